//! A session on a port: who is answered, from where, and what becomes of work that nobody waits for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use image::{Rgb, RgbImage};
use mmlens_core::{Inputs, Picture, Plan, Sample, Subject, SubjectError, Trace, forward_subject};
use mmlens_model::METHODS;
use mmlens_whatif::{Server, Settings, Token, WhatIf, page};
use mmlens_zoo::Vlm;

const TOKEN: &str = "of-these-tests-alone";

/// The shipped model, each pass of which takes a while and is counted.
struct Slow {
    inner: Vlm,
    passes: Arc<AtomicUsize>,
}

impl Subject for Slow {
    forward_subject!(|own| &own.inner; name, weights_hash, alterations, dtype, device, kernels, edited, sites, anatomy, read_behind, weights, weight,
        encode, forward, resumes_from_suffix, need, dims, fits, begin, read_out, longest_answer, rules, generate, decode, token, tokens, mask, pad);

    fn run(&self, inputs: &Inputs, plan: Plan) -> Result<Trace, SubjectError> {
        self.passes.fetch_add(1, Ordering::SeqCst);
        sleep(Duration::from_millis(60));
        self.inner.run(inputs, plan)
    }
}

struct Served {
    address: SocketAddr,
    passes: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl Served {
    fn new() -> Self {
        let picture = Picture::new("grey", RgbImage::from_pixel(64, 64, Rgb([120; 3])));
        let document = page(std::slice::from_ref(&picture), &[]).unwrap();
        let token = Token::given(TOKEN).unwrap();
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), token, Some(document)).unwrap();
        let (address, passes, stop) =
            (server.address(), Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counted, stopped) = (passes.clone(), stop.clone());
        let serving = spawn(move || {
            let model = mmlens_zoo::shipped::shapes(&Device::flex()).unwrap();
            let subject = Slow { inner: model, passes: counted };
            let sample = Sample::ask(picture, "how many objects are there ?");
            let mut session = WhatIf::begin(&subject, sample, METHODS, Settings::default()).unwrap();
            server.serve(&mut session, &|| stopped.load(Ordering::SeqCst)).unwrap();
        });
        Self { address, passes, stop, serving: Some(serving) }
    }

    fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(text.replace("HOST", &self.address.to_string()).as_bytes()).unwrap();
        stream
    }

    /// The status, and all that came back.
    fn asked(&self, text: &str) -> (u16, String) {
        let mut reply = String::new();
        self.send(text).read_to_string(&mut reply).unwrap();
        (reply.split(' ').nth(1).unwrap_or_else(|| panic!("{text}: {reply:?}")).parse().unwrap(), reply)
    }

    fn posted(&self, headers: &str, body: &str) -> (u16, String) {
        self.asked(&post(headers, body))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let joined = self.serving.take().unwrap().join();
        assert!(joined.is_ok() || std::thread::panicking());
    }
}

fn post(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST /session HTTP/1.1\r\nHost: HOST\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

const KNOWN: &str = "Authorization: Bearer of-these-tests-alone\r\nContent-Type: application/json\r\n";

#[test]
fn whoever_knows_the_token_is_answered_from_here_alone() {
    let served = Served::new();
    let ask = r#"{"do": "ask", "id": 1}"#;
    let (status, reply) = served.posted(KNOWN, ask);
    assert!(status == 200 && reply.contains(r#""done":"ask""#) && reply.contains(r#""answer":"#), "{reply}");
    let own = format!("{KNOWN}Origin: http://HOST\r\n");
    assert_eq!(served.posted(&own, ask).0, 200);
    for (headers, status) in [
        ("Content-Type: application/json\r\n".to_owned(), 401),
        (KNOWN.replace("alone", "alonf"), 401),
        (KNOWN.replace("-alone", ""), 401),
        (KNOWN.replace("Bearer", "Basic"), 401),
        (KNOWN.replace("application/json", "text/plain"), 415),
        (format!("{KNOWN}Origin: http://evil.example\r\n"), 403),
        (format!("{KNOWN}Origin: null\r\n"), 403),
        (format!("{KNOWN}Origin: https://HOST\r\n"), 403),
        (format!("{KNOWN}Host: HOST\r\n"), 400),
        (format!("{KNOWN}Transfer-Encoding: chunked\r\n"), 501),
    ] {
        let (found, reply) = served.posted(&headers, ask);
        assert_eq!(found, status, "{headers}: {reply}");
        assert!(!reply.contains("done") && !reply.contains(TOKEN), "{reply}");
    }
    // A name elsewhere that was made to point here, and another port of this machine.
    for host in ["evil.example", "127.0.0.1", "localhost:1"] {
        let text = post(KNOWN, ask).replace("Host: HOST", &format!("Host: {host}"));
        assert_eq!(served.asked(&text).0, 403, "{host}");
    }
    assert_eq!(served.asked(&post(KNOWN, ask).replace("Host: HOST\r\n", "")).0, 400);
    let large = "x".repeat((1 << 16) + 1);
    assert_eq!(served.posted(KNOWN, &large[..1 << 16]).0, 200);
    assert_eq!(
        served
            .asked(&format!("POST /session HTTP/1.1\r\nHost: HOST\r\nContent-Length: 65537\r\n{KNOWN}\r\n"))
            .0,
        413
    );
    assert_eq!(served.asked("DELETE /session HTTP/1.1\r\nHost: HOST\r\n\r\n").0, 405);
    assert_eq!(served.asked("GET /elsewhere HTTP/1.1\r\nHost: HOST\r\n\r\n").0, 404);
    assert_eq!(served.asked("nonsense\r\n\r\n").0, 400);
    // Whatever came before, the session goes on.
    assert!(served.posted(KNOWN, "no json").1.contains(r#""kind":"request""#));
    assert_eq!(served.posted(KNOWN, ask).1.lines().last(), reply_body(&reply));
}

fn reply_body(reply: &str) -> Option<&str> {
    reply.lines().last()
}

#[test]
fn the_page_is_shown_with_its_policy_to_whoever_knows_the_token() {
    let served = Served::new();
    let (status, reply) = served.asked(&format!("GET /?token={TOKEN} HTTP/1.1\r\nHost: HOST\r\n\r\n"));
    assert_eq!(status, 200);
    for part in [
        "Content-Security-Policy: default-src 'none'",
        "Referrer-Policy: no-referrer",
        "Cache-Control: no-store",
        "<title>mmlens studio",
    ] {
        assert!(reply.contains(part), "{part}");
    }
    for query in ["", "?token=", "?token=another-token-than-that", "?tokens=of-these-tests-alone"] {
        let (status, reply) = served.asked(&format!("GET /{query} HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        assert!(status == 401 && !reply.contains("studio"), "{query}: {reply}");
    }
}

/// A map of 64 cells, one by one, takes four seconds; whoever asked for it goes after a part of one.
#[test]
fn a_client_that_is_gone_stops_its_work() {
    let served = Served::new();
    assert_eq!(served.posted(KNOWN, r#"{"do": "ask"}"#).0, 200);
    let map = r#"{"do": "map", "method": "occlusion", "settings": {"rows": 1, "words": null}}"#;
    let begun = served.passes.load(Ordering::SeqCst);
    let stream = served.send(&post(KNOWN, map));
    while served.passes.load(Ordering::SeqCst) < begun + 4 {
        sleep(Duration::from_millis(10));
    }
    stream.shutdown(Shutdown::Both).unwrap();
    drop(stream);
    let since = Instant::now();
    assert_eq!(served.posted(KNOWN, r#"{"do": "ask"}"#).0, 200);
    let passes = served.passes.load(Ordering::SeqCst) - begun;
    assert!(passes < 20, "{passes} passes, {:?}", since.elapsed());
}

#[test]
fn connections_that_say_nothing_keep_nobody_out_and_loopback_alone_is_listened_on() {
    let served = Served::new();
    let silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(served.address).unwrap()).collect();
    assert_eq!(served.posted(KNOWN, r#"{"do": "ask"}"#).0, 200);
    drop(silent);
    let token = Token::given(TOKEN).unwrap();
    let error = Server::bind("0.0.0.0:0".parse().unwrap(), token, None).unwrap_err().to_string();
    assert_eq!(error, "0.0.0.0:0 is no address of loopback: expected 127.0.0.1:PORT or [::1]:PORT");
}
