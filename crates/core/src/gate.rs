//! What stands before a served device: connections are counted, and what they send is measured before it is read.
//!
//! A client speaks HTTP once and WebSocket (RFC 6455) from then on. Of the first the head is read here, of the second the
//! headers of frames; payloads are passed on as they come.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What clients of a served device may do together, and each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; each is one session. Further ones are refused.
    pub connections: usize,
    /// Bytes of one message: a tensor, or a batch of operations. At most 1 GiB, whatever is said here.
    pub message: u64,
    /// The time in which a client must have said who it is.
    pub greeting: Duration,
}

impl Default for Limits {
    /// Sixteen connections, messages of 1 GiB, ten seconds.
    fn default() -> Self {
        Self { connections: 16, message: 1 << 30, greeting: Duration::from_secs(10) }
    }
}

/// The most bytes of the head of a request.
const HEAD: usize = 8 << 10;
/// The most bytes of the first message, which holds the token.
const FIRST: u64 = 64 << 10;
/// The most bytes of a control frame.
const CONTROL: u64 = 125;
/// What a client asks for. Servers also lend tensors to one another, without asking for a token: not here.
const SESSION: &str = "GET /session HTTP/1.1";

/// Passes on the connections that keep to the limits, until the listener fails. Each takes two threads.
///
/// # Errors
/// What the system says of the listener.
pub fn stand(listener: &TcpListener, inner: SocketAddr, limits: Limits) -> io::Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let mut client = match listener.accept() {
            Ok((client, _)) => client,
            // One that hung up before it was taken, or no more files for now: the next may do better.
            Err(error) if is_passing(&error) => {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            Err(error) => return Err(error),
        };
        let Some(place) = Place::take(&open, limits.connections) else {
            // Whoever cannot hear it sees the connection closed.
            let _ = answer(&mut client, "503 Service Unavailable");
            continue;
        };
        // Without a thread the connection is dropped with what should have run there. What goes wrong with a connection is
        // over with it.
        let _ = std::thread::Builder::new().name("gate".to_owned()).spawn(move || {
            let _place = place;
            pass(&client, inner, limits)
        });
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, OutOfMemory, WouldBlock};
    // 23 and 24: too many open files.
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | OutOfMemory | WouldBlock)
        || matches!(error.raw_os_error(), Some(23 | 24))
}

/// One of the connections that may be open at a time.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let more = |n: usize| (n < most).then_some(n + 1);
        open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Self(open.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One connection, both ways, until either end closes it.
fn pass(stream: &TcpStream, inner: SocketAddr, limits: Limits) -> io::Result<()> {
    keep_alive(stream)?;
    let mut client = Client { stream, ahead: Vec::new(), until: Some(Instant::now() + limits.greeting) };
    let head = client.head()?;
    if !head.starts_with(format!("{SESSION}\r\n").as_bytes()) {
        return answer(&mut stream.try_clone()?, "404 Not Found");
    }
    let mut server = TcpStream::connect(inner)?;
    server.set_nodelay(true)?;
    stream.set_nodelay(true)?;
    server.write_all(&head)?;
    let (mut from, mut to) = (server.try_clone()?, stream.try_clone()?);
    let close = |server: &TcpStream| {
        // One that is closed already cannot be closed again.
        let _ = server.shutdown(Shutdown::Both);
        let _ = stream.shutdown(Shutdown::Both);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let copied = io::copy(&mut from, &mut to);
            close(&from);
            copied
        });
        let passed = frames(&mut client, &mut server, limits);
        close(&server);
        passed
    })
}

/// Passes on frames whose messages keep to the limits; ends with the client, or at the first frame that does not.
fn frames(client: &mut Client<'_>, server: &mut TcpStream, limits: Limits) -> io::Result<()> {
    let (mut message, mut most) = (0_u64, FIRST.min(limits.message));
    let mut header = [0; 14];
    while let Some(Frame { bytes, control, last, length }) = frame(client, &mut header)? {
        let sum = if control { length } else { message.saturating_add(length) };
        if sum > if control { CONTROL } else { most } {
            return Err(io::ErrorKind::InvalidData.into());
        }
        server.write_all(header.get(..bytes).unwrap_or_default())?;
        if io::copy(&mut client.take(length), server)? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if control {
            continue;
        }
        message = if last { 0 } else { sum };
        if last {
            most = limits.message;
            client.may_be_silent()?;
        }
    }
    Ok(())
}

/// The header of a frame.
struct Frame {
    /// Its own bytes.
    bytes: usize,
    /// Whether it belongs to no message.
    control: bool,
    /// Whether it ends its message.
    last: bool,
    /// The bytes that follow.
    length: u64,
}

/// Reads a header. None if the client has closed.
fn frame(client: &mut Client<'_>, header: &mut [u8; 14]) -> io::Result<Option<Frame>> {
    let (two, behind) = header.split_at_mut(2);
    let (first, second) = two.split_at_mut(1);
    if client.read(first)? == 0 {
        return Ok(None);
    }
    client.read_exact(second)?;
    let (first, second) = (first.first().copied().unwrap_or(0), second.first().copied().unwrap_or(0));
    let number = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    client.read_exact(behind.get_mut(..number + mask).unwrap_or_default())?;
    let length = match number {
        0 => u64::from(second & 0x7f),
        _ => behind.iter().take(number).fold(0, |length, byte| (length << 8) | u64::from(*byte)),
    };
    let (control, last) = (first & 0x08 != 0, first & 0x80 != 0);
    Ok(Some(Frame { bytes: 2 + number + mask, control, last, length }))
}

/// A client, which must have said who it is by a certain time.
struct Client<'a> {
    stream: &'a TcpStream,
    /// What was read of it too early.
    ahead: Vec<u8>,
    until: Option<Instant>,
}

impl Client<'_> {
    /// The head of its request, with the empty line that ends it.
    fn head(&mut self) -> io::Result<Vec<u8>> {
        let (mut found, mut piece) = (Vec::new(), [0; 1024]);
        loop {
            let read = self.read(&mut piece)?;
            found.extend_from_slice(piece.get(..read).unwrap_or_default());
            if let Some(end) = found.windows(4).position(|four| four == b"\r\n\r\n") {
                self.ahead = found.split_off(end + 4);
                return Ok(found);
            }
            if read == 0 || found.len() > HEAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }

    fn may_be_silent(&mut self) -> io::Result<()> {
        match self.until.take() {
            Some(_) => self.stream.set_read_timeout(None),
            None => Ok(()),
        }
    }
}

impl Read for Client<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if !self.ahead.is_empty() {
            let read = self.ahead.as_slice().read(bytes)?;
            self.ahead.drain(..read);
            return Ok(read);
        }
        if let Some(until) = self.until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
        }
        let mut stream = self.stream;
        stream.read(bytes)
    }
}

fn answer(client: &mut TcpStream, status: &str) -> io::Result<()> {
    client.set_write_timeout(Some(Duration::from_secs(1)))?;
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    client.write_all(text.as_bytes())?;
    client.shutdown(Shutdown::Write)
}

/// So that a client that vanished without a word is noticed: the server behind sees this machine alone.
fn keep_alive(client: &TcpStream) -> io::Result<()> {
    let every = Duration::from_secs(10);
    socket2::SockRef::from(client)
        .set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(every).with_interval(every))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    const GREETING: &str = "GET /session HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";

    fn limits() -> Limits {
        Limits { connections: 2, message: 100_000, greeting: Duration::from_millis(300) }
    }

    /// A gate before a server that tells what it gets and answers each byte `!` with a `?`.
    fn gate(limits: Limits) -> (SocketAddr, Receiver<Vec<u8>>) {
        let inner = TcpListener::bind("127.0.0.1:0").unwrap();
        let (place, (tell, told)) = (inner.local_addr().unwrap(), channel());
        std::thread::spawn(move || {
            for stream in inner.incoming() {
                let (mut stream, tell) = (stream.unwrap(), tell.clone());
                std::thread::spawn(move || {
                    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
                    while let Ok(read @ 1..) = stream.read(&mut piece) {
                        all.extend_from_slice(&piece[..read]);
                        let asked = piece[..read].iter().filter(|byte| **byte == b'!').count();
                        stream.write_all(&b"?".repeat(asked)).unwrap();
                    }
                    let _ = tell.send(all);
                });
            }
        });
        let outer = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = outer.local_addr().unwrap();
        std::thread::spawn(move || stand(&outer, place, limits));
        (address, told)
    }

    /// A frame of a client, masked with zeros.
    fn framed(first: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match length {
            0..126 => bytes.push(0x80 | length as u8),
            126..65536 => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.resize(bytes.len() + length, b'.');
        bytes
    }

    /// What comes back until the connection is closed, or nothing comes for a while.
    fn heard(stream: &mut TcpStream) -> String {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    const BINARY: u8 = 0x82;
    const BEGUN: u8 = 0x02;
    const ENDED: u8 = 0x80;
    const PING: u8 = 0x89;

    /// What the server gets of a client that sends this and then hangs up.
    fn got(limits: Limits, parts: &[Vec<u8>]) -> Vec<u8> {
        let (address, told) = gate(limits);
        let mut client = TcpStream::connect(address).unwrap();
        for part in parts {
            // Refused frames close the connection while they are sent.
            if client.write_all(part).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Write);
        told.recv_timeout(Duration::from_secs(5)).unwrap()
    }

    #[test]
    fn what_keeps_to_the_limits_passes_as_it_is() {
        let small = framed(BINARY, 1000);
        let parts = [
            GREETING.into(),
            framed(PING, 3),
            small.clone(),
            framed(BINARY, 100_000),
            // In three frames, with a control frame between.
            framed(BEGUN, 40_000),
            framed(PING, 125),
            framed(0, 40_000),
            framed(ENDED, 20_000),
            framed(BINARY, 70_000),
            framed(0x88, 2),
        ];
        assert_eq!(got(limits(), &parts), parts.concat());
        // However it is cut, and head and frames at once.
        let whole = [GREETING.as_bytes(), &small].concat();
        assert_eq!(got(limits(), std::slice::from_ref(&whole)), whole);
        let bytes: Vec<Vec<u8>> = whole.iter().map(|byte| vec![*byte]).collect();
        assert_eq!(got(limits(), &bytes), whole);
    }

    #[test]
    fn a_message_beyond_the_limit_does_not_come_through() {
        let first = framed(BINARY, 10);
        let before = [GREETING.as_bytes(), &first].concat();
        let refused: [&[Vec<u8>]; 4] = [
            &[framed(BINARY, 100_001)],
            &[framed(BEGUN, 60_000), framed(0, 40_001)],
            &[framed(PING, 126)],
            // A length of 2^64 - 1, of which nothing need follow.
            &[[&[BINARY, 0xff][..], &[0xff; 8], &[0; 4]].concat()],
        ];
        for parts in refused {
            let all = [std::slice::from_ref(&before), parts].concat();
            let (found, last) = (got(limits(), &all), parts.last().unwrap().len());
            assert!(found.starts_with(&before), "{} bytes", found.len());
            assert_eq!(found.len(), all.concat().len() - last, "the frame beyond the limit is not there");
        }
        // Nobody sends much before it has said who it is.
        let greeting: Vec<u8> = GREETING.into();
        assert_eq!(got(limits(), &[greeting.clone(), framed(BINARY, 65_537)]), greeting);
        let most = framed(BINARY, 65_536);
        assert_eq!(got(limits(), &[greeting.clone(), most.clone()]), [greeting, most].concat());
    }

    #[test]
    fn nothing_but_sessions_is_served() {
        let (address, _told) = gate(limits());
        for asked in
            ["GET /data HTTP/1.1\r\n\r\n", "POST /session HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"]
        {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(asked.as_bytes()).unwrap();
            assert!(heard(&mut client).starts_with("HTTP/1.1 404 Not Found\r\n"), "{asked}");
        }
        let mut client = TcpStream::connect(address).unwrap();
        let _ = client
            .write_all("GET /session HTTP/1.1\r\nA: ".as_bytes())
            .and_then(|()| client.write_all(&vec![b'a'; 20_000]));
        assert_eq!(heard(&mut client), "");
    }

    #[test]
    fn whoever_says_nothing_is_let_go_and_whoever_has_may_be_silent() {
        let (address, _told) = gate(limits());
        let begun = Instant::now();
        let silent = |sent: &[u8]| {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(sent).unwrap();
            assert_eq!(heard(&mut client), "");
        };
        silent(b"");
        silent(b"GET /session");
        silent(GREETING.as_bytes());
        // Half of a first message.
        silent(&[GREETING.as_bytes(), &framed(BINARY, 100)[..50]].concat());
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(&[GREETING.as_bytes(), &framed(BINARY, 3)].concat()).unwrap();
        std::thread::sleep(2 * limits().greeting);
        let mut asked = framed(BINARY, 1);
        *asked.last_mut().unwrap() = b'!';
        client.write_all(&asked).unwrap();
        let mut answer = [0];
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"?");
    }

    #[test]
    fn so_many_connections_at_a_time() {
        let (address, told) = gate(Limits { greeting: Duration::from_secs(30), ..limits() });
        let open = || {
            let mut client = TcpStream::connect(address).unwrap();
            let mut asked = framed(BINARY, 1);
            *asked.last_mut().unwrap() = b'!';
            let _ = client.write_all(&[GREETING.as_bytes(), &asked].concat());
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut answer = [0];
            client.read_exact(&mut answer).map(|()| (client, answer[0]))
        };
        let (first, answered) = open().unwrap();
        let second = open().unwrap();
        assert_eq!((answered, second.1), (b'?', b'?'));
        let mut third = TcpStream::connect(address).unwrap();
        assert!(heard(&mut third).starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        drop(first);
        told.recv_timeout(Duration::from_secs(5)).unwrap();
        // Its place is free a moment after the server has seen it go.
        let begun = Instant::now();
        while !open().is_ok_and(|(_, answer)| answer == b'?') {
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
    }
}
