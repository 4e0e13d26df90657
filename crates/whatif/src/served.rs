//! A session on a port of loopback, for whoever knows its token.
//!
//! Connections are read and answered by threads, a few at a time; requests are computed one after the other, on the thread that serves. A
//! client that is gone stops what is computed for it. The address that a browser names and the page that it comes from must be this
//! server's: a page from elsewhere, by whatever name it reaches this machine, is refused.

use std::fmt;
use std::hint::black_box;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use mmlens_core::Watch;

use crate::http::{Asks, Bad, read, write};
use crate::page::Document;
use crate::session::WhatIf;

/// The most connections at once.
const MOST_CONNECTIONS: usize = 32;
/// The most requests that wait for their turn.
const MOST_WAITING: usize = 16;
/// The least and the most characters of a token that is given.
const TOKEN: std::ops::RangeInclusive<usize> = 16..=256;
/// How often it is looked whether somebody is gone.
const LOOKS: Duration = Duration::from_millis(50);
/// How long a connection may keep silent.
const SILENT: Duration = Duration::from_secs(10);

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What a client must know.
#[derive(Clone)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// 32 bytes of the system's randomness, as 64 digits.
    ///
    /// # Errors
    /// What the system reports.
    pub fn drawn() -> io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// One of 16 to 256 letters, digits, `-` and `_`; `None` of another.
    #[must_use]
    pub fn given(text: &str) -> Option<Self> {
        let letters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (letters && TOKEN.contains(&text.len())).then(|| Self(text.to_owned()))
    }

    /// As it stands in the address of the page, and in the header `Authorization: Bearer`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether it is this one; how much of it is right does not show in the time it takes.
    fn is(&self, other: &str) -> bool {
        let (own, other) = (self.0.as_bytes(), other.as_bytes());
        let differ = own.iter().enumerate().fold(own.len() ^ other.len(), |differ, (at, byte)| {
            black_box(differ | usize::from(byte ^ other.get(at).copied().unwrap_or_default()))
        });
        black_box(differ) == 0
    }
}

/// What serves one session.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    token: Token,
    document: Option<Document>,
}

/// A request on its way.
struct Job {
    body: Vec<u8>,
    reply: SyncSender<String>,
    gone: Arc<AtomicBool>,
}

/// What threads of connections share.
struct Door {
    address: SocketAddr,
    token: Token,
    document: Option<Document>,
    jobs: SyncSender<Job>,
    closed: AtomicBool,
    inside: AtomicUsize,
}

impl Server {
    /// Listens on an address of loopback; port 0 takes a free one. With a document it shows that page, too.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an address that others than this machine reach; what the system reports.
    pub fn bind(address: SocketAddr, token: Token, document: Option<Document>) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let said = format!("{address} is no address of loopback: expected 127.0.0.1:PORT or [::1]:PORT");
            return Err(io::Error::new(ErrorKind::InvalidInput, said));
        }
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, token, document })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the page is, with its token.
    #[must_use]
    pub fn page(&self) -> String {
        format!("http://{}/?token={}", self.address, self.token.text())
    }

    /// Where requests go.
    #[must_use]
    pub fn requests(&self) -> String {
        format!("http://{}/session", self.address)
    }

    /// Serves a session until it is stopped. Requests are computed here, one after the other.
    ///
    /// # Errors
    /// What the system reports of threads.
    pub fn serve(self, session: &mut WhatIf<'_>, stopped: &(dyn Fn() -> bool + Sync)) -> io::Result<()> {
        let Self { listener, address, token, document } = self;
        let (jobs, waiting) = sync_channel(MOST_WAITING);
        let closed = AtomicBool::new(false);
        let door = Arc::new(Door { address, token, document, jobs, closed, inside: AtomicUsize::new(0) });
        let own = Arc::clone(&door);
        let accepting =
            thread::Builder::new().name("what-if".to_owned()).spawn(move || accept(&listener, &own))?;
        compute(session, &waiting, stopped);
        door.closed.store(true, Ordering::SeqCst);
        // It waits for the next connection.
        drop(TcpStream::connect(address));
        drop(accepting.join());
        Ok(())
    }
}

/// Whoever waits for an answer may go, and the program may be stopped.
struct Waited<'a> {
    gone: &'a AtomicBool,
    stopped: &'a (dyn Fn() -> bool + Sync),
}

impl Watch for Waited<'_> {
    fn step(&self, _: &'static str, _: usize, _: usize) -> ControlFlow<()> {
        match self.gone.load(Ordering::SeqCst) || (self.stopped)() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

fn compute(session: &mut WhatIf<'_>, waiting: &Receiver<Job>, stopped: &(dyn Fn() -> bool + Sync)) {
    while !stopped() {
        match waiting.recv_timeout(LOOKS) {
            Ok(job) if job.gone.load(Ordering::SeqCst) => {}
            Ok(job) => {
                let reply = session.answer(&job.body, &Waited { gone: &job.gone, stopped });
                // Nobody may be there any more.
                drop(job.reply.send(reply));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn accept(listener: &TcpListener, door: &Arc<Door>) {
    for stream in listener.incoming() {
        if door.closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut stream) = stream else {
            // Of too many open files, say; they become fewer.
            thread::sleep(LOOKS);
            continue;
        };
        let own = Arc::clone(door);
        if door.inside.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
            door.inside.fetch_sub(1, Ordering::SeqCst);
            drop(stream.set_write_timeout(Some(LOOKS)));
            drop(write(&mut stream, 503, TEXT, "", b"too many connections"));
            continue;
        }
        let spawned = thread::Builder::new().name("what-if connection".to_owned()).spawn(move || {
            own.receive(stream);
            own.inside.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            door.inside.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Door {
    /// One connection, from its request to its answer. What goes wrong in it is nobody else's matter.
    fn receive(&self, mut stream: TcpStream) {
        let timed =
            stream.set_read_timeout(Some(SILENT)).and_then(|()| stream.set_write_timeout(Some(SILENT)));
        if timed.is_err() {
            return;
        }
        let answered = read(&mut stream).and_then(|asks| self.answer(&asks, &mut stream));
        if let Err(Bad::Status(status, reason)) = answered {
            drop(write(&mut stream, status, TEXT, "", reason.as_bytes()));
        }
    }

    fn answer(&self, asks: &Asks, stream: &mut TcpStream) -> Result<(), Bad> {
        self.comes_from_here(asks)?;
        match (asks.method.as_str(), asks.path.as_str()) {
            ("GET", "/") => {
                let document = self.document.as_ref().ok_or(Bad::Status(404, "there is nothing here"))?;
                self.knows(asks.asked("token"))?;
                let policy =
                    format!("Content-Security-Policy: {}\r\nX-Frame-Options: DENY\r\n", document.policy);
                let page = document.html.as_bytes();
                write(stream, 200, "text/html; charset=utf-8", &policy, page).map_err(|_| Bad::Gone)
            }
            ("POST", "/session") => {
                let bearer = asks.header("authorization")?;
                self.knows(bearer.and_then(|bearer| bearer.strip_prefix("Bearer ")))?;
                if asks.header("content-type")? != Some(JSON) {
                    return Err(Bad::Status(415, "a request is application/json"));
                }
                let reply = self.computed(asks.body.clone(), stream)?;
                write(stream, 200, JSON, "", reply.as_bytes()).map_err(|_| Bad::Gone)
            }
            (_, "/" | "/session") => Err(Bad::Status(405, "the page is for GET, /session for POST")),
            _ => Err(Bad::Status(404, "there is nothing here")),
        }
    }

    /// Refuses requests to another name than this server's (which a page from elsewhere may have made point here), and those that a page
    /// from elsewhere makes.
    fn comes_from_here(&self, asks: &Asks) -> Result<(), Bad> {
        let port = self.address.port();
        let own = [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")];
        let host = asks.header("host")?.ok_or(Bad::Status(400, "the request names no host"))?;
        if !own.iter().any(|own| own == host) {
            return Err(Bad::Status(403, "this server has another name"));
        }
        let elsewhere = |origin: &str| origin.strip_prefix("http://") != Some(host);
        if asks.header("origin")?.is_some_and(elsewhere) {
            return Err(Bad::Status(403, "the request comes from another page"));
        }
        Ok(())
    }

    fn knows(&self, token: Option<&str>) -> Result<(), Bad> {
        match token.is_some_and(|token| self.token.is(token)) {
            true => Ok(()),
            false => Err(Bad::Status(401, "the token is not the one that the program said")),
        }
    }

    /// Waits for the answer as long as somebody else does.
    fn computed(&self, body: Vec<u8>, stream: &TcpStream) -> Result<String, Bad> {
        let gone = Arc::new(AtomicBool::new(false));
        let (reply, replies) = sync_channel(1);
        self.jobs.try_send(Job { body, reply, gone: Arc::clone(&gone) }).map_err(|error| match error {
            TrySendError::Full(_) => Bad::Status(503, "too many requests wait for their turn"),
            TrySendError::Disconnected(_) => Bad::Status(503, "the session has ended"),
        })?;
        loop {
            match replies.recv_timeout(LOOKS) {
                Ok(reply) => return Ok(reply),
                Err(RecvTimeoutError::Disconnected) => return Err(Bad::Status(503, "the session has ended")),
                Err(RecvTimeoutError::Timeout) if self.closed.load(Ordering::SeqCst) => {
                    return Err(Bad::Status(503, "the session has ended"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if has_gone(stream) {
                gone.store(true, Ordering::SeqCst);
                return Err(Bad::Gone);
            }
        }
    }
}

/// Whether the other end of a connection was closed.
fn has_gone(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let gone = match stream.peek(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    };
    gone | stream.set_nonblocking(false).is_err()
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn a_token_is_all_of_it() {
        let token = Token::drawn().unwrap();
        assert_eq!(token.text().len(), 64);
        assert!(token.is(token.text()) && Token::given(token.text()).is_some());
        let short = &token.text()[..63];
        for other in ["", short, &format!("{short}x"), &format!("{}0", token.text())] {
            assert!(!token.is(other), "{other}");
        }
        assert_ne!(Token::drawn().unwrap().text(), token.text());
        for text in ["short", "with a space in it", "with&signs=in-it?"] {
            assert!(Token::given(text).is_none(), "{text}");
        }
    }
}
