//! As much of HTTP/1.1 as a page on this machine needs: one request for each connection, its head and body within limits.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::request::MOST_REQUEST;

/// The most bytes of a body: a request of a session.
pub const MOST_BODY: usize = MOST_REQUEST;

/// The most bytes of a request's first line and headers.
const MOST_HEAD: usize = 8 << 10;

/// The most headers.
const MOST_HEADERS: usize = 64;

/// How long a request may take to arrive.
const ARRIVES: Duration = Duration::from_secs(10);

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asks {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Why a request is not answered: by a status and a reason, or not at all, since nobody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    Gone,
    Status(u16, &'static str),
}

impl Asks {
    /// A header that stands once.
    ///
    /// # Errors
    /// A status, where it stands several times.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&str>, Bad> {
        let mut own = self.headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let first = own.next();
        match own.next() {
            Some(_) => Err(Bad::Status(400, "a header stands twice")),
            None => Ok(first),
        }
    }

    /// What the address says of a name.
    pub(crate) fn asked(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(own, _)| *own == name))
            .map(|(_, value)| value)
    }
}

/// Reads a request.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(from: &mut impl Read) -> Result<Asks, Bad> {
    let begun = Instant::now();
    let mut bytes = Vec::new();
    let mut more = |bytes: &mut Vec<u8>| {
        let mut part = [0; 4096];
        if begun.elapsed() > ARRIVES {
            return Err(Bad::Status(408, "the request took too long to arrive"));
        }
        match from.read(&mut part) {
            Ok(0) => Err(Bad::Gone),
            Ok(read) => {
                bytes.extend(part.iter().take(read));
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(_) => Err(Bad::Gone),
        }
    };
    let end = loop {
        match bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) if end <= MOST_HEAD => break end,
            None if bytes.len() <= MOST_HEAD => more(&mut bytes)?,
            _ => return Err(Bad::Status(431, "the head of the request is too long")),
        }
    };
    let head = bytes.get(..end).unwrap_or_default();
    let mut asks = headed(head).ok_or(Bad::Status(400, "this is no request of HTTP/1.1"))?;
    if asks.header("transfer-encoding")?.is_some() {
        return Err(Bad::Status(501, "a body is sent whole, with its length"));
    }
    let length = match asks.header("content-length")? {
        None => 0,
        Some(text) if text.len() <= 9 && text.bytes().all(|digit| digit.is_ascii_digit()) => {
            text.parse().map_err(|_| Bad::Status(400, "the length of the body is no number"))?
        }
        Some(_) => return Err(Bad::Status(400, "the length of the body is no number")),
    };
    if length > MOST_BODY {
        return Err(Bad::Status(413, "the body is too long"));
    }
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        more(&mut body)?;
    }
    body.truncate(length);
    asks.body = body;
    Ok(asks)
}

fn headed(head: &[u8]) -> Option<Asks> {
    let shown = |byte: &u8| matches!(byte, b'\t' | b'\r' | b'\n' | 0x20..=0x7e);
    let text = std::str::from_utf8(head).ok().filter(|text| text.as_bytes().iter().all(shown))?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target, version) = (first.next()?, first.next()?, first.next()?);
    let letters = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if first.next().is_some() || !letters(method) || !target.starts_with('/') || version != "HTTP/1.1" {
        return None;
    }
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').filter(|(name, _)| letters(name))?;
        if value.contains(['\r', '\n']) || headers.len() >= MOST_HEADERS {
            return None;
        }
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let [method, path, query] = [method, path, query].map(str::to_owned);
    Some(Asks { method, path, query, headers, body: Vec::new() })
}

/// Writes an answer and ends it. `more` are further headers, each with its line end.
pub(crate) fn write(
    to: &mut impl Write,
    status: u16,
    kind: &str,
    more: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        _ => "Service Unavailable",
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n{more}\r\n"
    );
    to.write_all(head.as_bytes())?;
    to.write_all(body)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::{Bad, read};

    fn of(text: &str) -> Result<super::Asks, Bad> {
        read(&mut text.as_bytes())
    }

    #[test]
    fn a_request_is_taken_apart() {
        let asks =
            of("POST /session?a=b&token=x HTTP/1.1\r\nHost: h:1\r\nContent-Length: 3\r\n\r\nabcd").unwrap();
        assert_eq!(
            (asks.method.as_str(), asks.path.as_str(), asks.body.as_slice()),
            ("POST", "/session", &b"abc"[..])
        );
        assert_eq!(
            (asks.asked("token"), asks.asked("toke"), asks.header("host")),
            (Some("x"), None, Ok(Some("h:1")))
        );
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let status = |text: &str| match of(text) {
            Err(Bad::Status(status, _)) => status,
            other => panic!("{text:?}: {other:?}"),
        };
        for text in [
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET http://elsewhere/ HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc",
            "GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "G\0T / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(status(text), 400, "{text:?}");
        }
        assert_eq!(status("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 501);
        assert_eq!(status(&format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", (1 << 16) + 1)), 413);
        assert_eq!(status(&format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(9000))), 431);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65))), 400);
        assert_eq!(of("GET / HTT"), Err(Bad::Gone));
        assert_eq!(of("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"), Err(Bad::Gone));
    }
}
