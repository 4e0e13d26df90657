//! `mmlens serve`, and the other commands on the device it serves.
#![cfg(all(test, feature = "remote-server"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "a part of what tests of the program share")]
#[path = "program/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mmlens::core::{AnyTensor, DeviceName};

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

/// Bytes of memory that a process has at the moment.
#[cfg(target_os = "linux")]
fn resident(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap();
    4096 * text.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
}

/// A client that holds 256 MiB on the server, until another test kills it.
#[test]
fn client() {
    let Ok(device) = std::env::var("MMLENS_REMOTE_CLIENT") else { return };
    let device = device.parse::<DeviceName>().unwrap().open(Some(TOKEN)).unwrap();
    let held = AnyTensor::from_values(vec![1.0; 64 << 20], &[64 << 20], &device).unwrap();
    // Read back, so that it has arrived.
    assert_eq!(held.part(0, 0, 1).unwrap().to_values().unwrap(), [1.0]);
    println!("held");
    std::io::stdout().flush().unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

/// A running [`client`], once it holds its memory.
fn holding(device: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "client", "--nocapture"]).env("MMLENS_REMOTE_CLIENT", device);
    let mut client = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(client.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.ends_with("held")), "the client failed");
    client
}

/// The allocator keeps pages that are free: what clients that are gone held is there for the next, and no more is taken for it.
#[cfg(target_os = "linux")]
#[test]
fn a_client_that_is_gone_frees_its_memory() {
    let server = Server::new();
    let taken: Vec<u64> = (0..6)
        .map(|_| {
            let mut client = holding(&server.device);
            let taken = resident(server.process.id());
            client.kill().unwrap(); // SIGKILL
            client.wait().unwrap();
            // The server sees the connection end.
            std::thread::sleep(Duration::from_secs(1));
            taken >> 20
        })
        .collect();
    // Six clients that were kept would take 1280 MiB more than one.
    assert!(taken[0] > 256 && taken[5] < taken[0] + 512, "MiB while each was there: {taken:?}");
}

/// However far a command has come when its device dies, it ends with an error.
#[test]
fn a_server_that_dies_is_an_error_wherever_the_work_was() {
    for moment in [100, 250, 400, 600] {
        let mut server = Server::new();
        let mut command = command();
        command.args(["ask", &model("gpt2-a"), "--prompt", "Hi", "--max-new", "100"]);
        command.args(["--device", &server.device]).env("MMLENS_DEVICE_TOKEN", TOKEN);
        let client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(moment));
        server.process.kill().unwrap();
        server.process.wait().unwrap();
        let output = client.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() != Some(0) {
            assert_eq!(output.status.code(), Some(1), "after {moment} ms: {said}");
            assert!(
                said.starts_with("error: ") && !said.contains("fault of mmlens"),
                "after {moment} ms: {said}"
            );
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test may have killed it already.
        let _ = self.process.kill();
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
