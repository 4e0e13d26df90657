//! A page in a browser without a window: what it became there, and what scripts of tests say of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

const NAMES: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const PATIENCE: Duration = Duration::from_secs(90);

fn browser() -> Option<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|candidate| candidate.is_file())
}

/// Whether tests in a browser are left out: there is none, and `MMLENS_BROWSER` is not `required`.
pub fn without_browser() -> bool {
    browser().is_none() && env::var("MMLENS_BROWSER").as_deref() != Ok("required")
}

/// What a page became in the browser.
#[derive(Debug)]
pub struct Seen {
    /// Its elements.
    pub dom: String,
    /// The lines of its console.
    pub console: Vec<String>,
}

impl Seen {
    /// Opens an address, with these further options of the browser.
    ///
    /// # Panics
    /// Without a browser, or if it takes longer than 90 seconds.
    pub fn at(address: &str, options: &[&str]) -> Self {
        let browser = browser()
            .expect("no Chromium on PATH: install it (Debian and Ubuntu: `apt-get install -y chromium`)");
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut child = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--enable-logging=stderr", "--v=0", "--dump-dom"])
            .args(options)
            .arg("--window-size=1200,900")
            .arg(format!("--user-data-dir={}", at("profile").display()))
            .arg(address)
            .stdin(Stdio::null())
            .stdout(File::create(at("dom")).unwrap())
            .stderr(File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if started.elapsed() > PATIENCE {
                child.kill().unwrap();
                panic!("the browser took longer than {PATIENCE:?}");
            }
            sleep(Duration::from_millis(50));
        }
        let text = |name: &str| String::from_utf8_lossy(&fs::read(at(name)).unwrap()).into_owned();
        let console =
            text("log").lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
        Self { dom: text("dom"), console }
    }

    /// What a script of the test left as base64 of JSON in `data-said`; the console has to be silent.
    ///
    /// # Panics
    /// If it left nothing, or something stands on the console.
    pub fn said(&self) -> Value {
        assert_eq!(self.console, Vec::<String>::new());
        let (_, rest) = self.dom.split_once("data-said=\"").expect("the script of the test ran to its end");
        let bytes = STANDARD.decode(rest.split('"').next().unwrap_or_default()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}
