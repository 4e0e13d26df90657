//! Requests and replies as lines of JSON.

use mmlens_core::Watch;
use serde::Serialize;
use serde_json::{Value, json};

use super::WhatIf;
use crate::refusal::{Kind, Refusal};
use crate::reply::{Reply, VERSION};
use crate::request::parse;

/// A reply on its line.
#[derive(Serialize)]
struct Done<'a> {
    version: u64,
    id: &'a Value,
    done: &'static str,
    result: &'a Reply,
}

/// A refusal on its line.
#[derive(Serialize)]
struct Refused<'a> {
    version: u64,
    id: &'a Value,
    error: Told<'a>,
}

#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    refusal: &'a Refusal,
    text: String,
}

impl<'a> WhatIf<'a> {
    /// Answers a request of JSON, on one line: `{"version", "id", "done", "result"}`, or `{"version", "id", "error"}` with a [`Refusal`].
    pub fn answer(&mut self, text: &[u8], watch: &dyn Watch) -> String {
        let (id, outcome) = match parse(text) {
            Err((id, refusal)) => (id, Err(refusal)),
            Ok((id, request)) => {
                let name = request.name();
                (id, self.request(request, watch).map(|reply| (name, reply)))
            }
        };
        // Written as they are: a number of single precision has the digits of one.
        let written = match &outcome {
            Ok((done, result)) => serde_json::to_string(&Done { version: VERSION, id: &id, done, result }),
            Err(refusal) => {
                let error = Told { refusal, text: refusal.to_string() };
                serde_json::to_string(&Refused { version: VERSION, id: &id, error })
            }
        };
        written.unwrap_or_else(|error| {
            let refusal = Refusal::new(Kind::Model, "do", "the reply", error);
            json!({ "version": VERSION, "id": id, "error": refusal }).to_string()
        })
    }

    /// Answers requests of one line each, until there are no more, and writes each reply on a line. An empty line is no request; a line that
    /// is too long is refused, and read past.
    ///
    /// # Errors
    /// What reading or writing reports.
    pub fn converse(
        &mut self,
        requests: impl std::io::BufRead,
        mut replies: impl std::io::Write,
        watch: &dyn Watch,
    ) -> std::io::Result<()> {
        let mut requests = requests;
        let mut line = Vec::new();
        while bounded(&mut requests, &mut line)? {
            if line.trim_ascii().is_empty() {
                continue;
            }
            writeln!(replies, "{}", self.answer(line.trim_ascii(), watch))?;
            replies.flush()?;
        }
        Ok(())
    }
}

/// The next line; of one that is longer than a request may be a part that is refused for its length. Whether there was one.
fn bounded(requests: &mut impl std::io::BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let mut some = false;
    loop {
        let (read, ended) = {
            let part = match requests.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                part => part?,
            };
            if part.is_empty() {
                return Ok(some);
            }
            some = true;
            let end = part.iter().position(|byte| *byte == b'\n');
            let own = part.get(..end.unwrap_or(part.len())).unwrap_or_default();
            let room = (crate::request::MOST_REQUEST + 1).saturating_sub(line.len());
            line.extend(own.iter().take(room));
            (end.map_or(part.len(), |end| end + 1), end.is_some())
        };
        requests.consume(read);
        if ended {
            return Ok(true);
        }
    }
}
