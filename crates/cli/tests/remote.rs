//! `mmlens serve`, and the other commands on the device it serves.
#![cfg(all(test, feature = "remote-server"))]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use support::{Said, command, mmlens, model, picture};

const TOKEN: &str = "of these tests alone";

/// A server on a free port of loopback, which ends with the test.
struct Server {
    process: Child,
    device: String,
}

impl Server {
    fn new() -> Self {
        let mut command = command();
        command.args(["serve", "--listen", "127.0.0.1:0"]).env("MMLENS_DEVICE_TOKEN", TOKEN);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let device = line.trim().strip_prefix("serving flex at ").unwrap().to_owned();
        Self { process, device }
    }

    /// A command on its device.
    fn on(&self, args: &[&str], token: &str) -> Said {
        let mut command = command();
        command.args(args).args(["--device", &self.device]).env("MMLENS_DEVICE_TOKEN", token);
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn commands_on_a_remote_device_say_what_they_say_here() {
    let server = Server::new();
    let square = picture("square");
    let ask = ["ask", "--image", &square, "--ask", "what colour is the square?"];
    assert_eq!(server.on(&ask, TOKEN).well(), mmlens(ask).well());
    let sites = ["sites", "--model", &model("gpt2-a")];
    assert_eq!(server.on(&sites, TOKEN).well(), mmlens(sites).well());
}

#[test]
fn a_wrong_token_and_a_server_that_is_gone_are_said() {
    let mut server = Server::new();
    let sites = ["sites", "--model", &model("gpt2-a")];
    let said = server.on(&sites, "another").refused();
    assert!(said.contains("cannot be used") && said.contains("rejected the credential"), "{said}");
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let said = server.on(&sites, TOKEN).refused();
    assert!(said.contains("cannot be used") && said.contains("reached"), "{said}");
}

#[test]
fn nothing_is_served_without_a_token() {
    let mut command = command();
    let output = command.arg("serve").env_remove("MMLENS_DEVICE_TOKEN").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: MMLENS_DEVICE_TOKEN is not set"));
}
