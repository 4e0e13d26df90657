//! `mmlens whatif` and `mmlens studio`: sessions over lines and over a port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::{Said, command, mmlens, model, picture};

/// What a session says to these lines.
fn replies(args: &[&str], lines: &str) -> Vec<Value> {
    let mut command = command();
    command.arg("whatif").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) };
    said.well().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_session_on_standard_input_says_what_ask_says_and_goes_on_after_refusals() {
    let square = picture("square");
    let asks = ["--image", &square, "--ask", "what colour is the square ?"];
    let lines = [
        r#"{"do": "ask", "id": "a"}"#,
        "{",
        r#"{"do": "hide", "cells": [64]}"#,
        r#"{"do": "edit", "edit": "text.blocks.1.attn.z[head=0]=zero"}"#,
        r#"{"do": "ask"}"#,
        r#"{"do": "undo"}"#,
        r#"{"do": "ask", "id": "a"}"#,
    ];
    let replies = replies(&asks, &lines.join("\n"));
    assert_eq!(replies.len(), 7);
    let ask = |more: &[&str]| mmlens(["ask"].iter().chain(&asks).chain(more).chain(&["--json"])).json();
    let (plain, edited) = (ask(&[]), ask(&["--edit", "text.blocks.1.attn.z[head=0]=zero"]));
    assert_eq!(
        (&replies[0]["result"]["answer"], &replies[0]["result"]["tokens"]),
        (&plain["answer"], &plain["tokens"])
    );
    assert_eq!(replies[4]["result"]["tokens"], edited["tokens"]);
    assert_eq!(
        (&replies[1]["error"]["field"], &replies[2]["error"]["field"]),
        (&json!("do"), &json!("cells"))
    );
    assert_eq!(replies[2]["error"]["expected"], "expected less than 64");
    assert_eq!(replies[6], replies[0]);
}

#[test]
fn what_a_session_cannot_be_begun_with_is_refused() {
    let square = picture("square");
    let asks = ["whatif", "--image", &square, "--ask", "Red?"];
    let with = |more: &[&str]| mmlens(asks.iter().chain(more));
    assert!(
        with(&["--grid", "99x1"]).refused().contains("`grid` is `99 x 1`: expected 1 to 64 rows and columns")
    );
    let said = with(&["--listen", "0.0.0.0:0"]).refused();
    assert!(said.contains("is no address of loopback"), "{said}");
    for more in [&["--grid", "8"][..], &["--direction", "red=nowhere"], &["--direction", "red=/nowhere#x"]] {
        assert_eq!(with(more).code, Some(2), "{more:?}");
    }
    let said = mmlens(["whatif", "--model", &model("gpt2-a")]);
    assert!(said.err.contains("nothing is asked"), "{said:?}");
}

/// A program that serves, which ends with the test.
struct Serving {
    child: Child,
    line: String,
}

impl Serving {
    fn new(args: &[&str]) -> Self {
        let square = picture("square");
        let mut command = command();
        command.args(args).args(["--image", &square, "--ask", "what colour is the square ?"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, line }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

fn sent(address: &str, text: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn a_session_on_a_port_asks_for_its_token() {
    let serving = Serving::new(&["whatif", "--listen", "127.0.0.1:0"]);
    let rest = serving.line.trim().strip_prefix("answering at http://").unwrap();
    let (address, token) = rest.split_once("/session with the token ").unwrap();
    let post = |token: &str| {
        let body = r#"{"do": "ask"}"#;
        let length = body.len();
        sent(
            address,
            &format!(
                "POST /session HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
        )
    };
    assert!(post(token).contains(r#""done":"ask""#));
    assert!(post(&token.replace(|c: char| c.is_ascii_digit(), "0")).starts_with("HTTP/1.1 401 "));
    // Without a page there is none.
    assert!(
        sent(address, &format!("GET /?token={token} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
            .starts_with("HTTP/1.1 404 ")
    );
}

#[test]
fn the_studio_shows_its_page_at_the_address_that_it_says() {
    let serving = Serving::new(&["studio"]);
    let address = serving.line.trim().strip_prefix("open http://").unwrap();
    let (host, query) = address.split_once('/').unwrap();
    let page = sent(host, &format!("GET /{query} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("data:image/png;base64,"), "{page}");
    assert!(sent(host, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).starts_with("HTTP/1.1 401 "));
    assert!(
        sent(host, &format!("GET /{query} HTTP/1.1\r\nHost: elsewhere\r\n\r\n")).starts_with("HTTP/1.1 403 ")
    );
}
