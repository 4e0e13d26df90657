//! A page in a browser without a window: what it became there, and what scripts of tests say of it.

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

pub(crate) fn browser() -> Option<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|candidate| candidate.is_file())
}

/// What a page became in the browser.
pub(crate) struct Seen {
    pub(crate) dom: String,
    pub(crate) console: Vec<String>,
}

/// Opens the first of these files, given by name and text, with these further options.
pub(crate) fn see(files: &[(&str, &str)], options: &[&str]) -> Seen {
    let browser = browser()
        .expect("no Chromium on PATH: install it (Debian and Ubuntu: `apt-get install -y chromium`)");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, text) in files {
        fs::write(at(name), text).unwrap();
    }
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--v=0", "--dump-dom"])
        .args(options)
        .arg("--window-size=1200,900")
        .arg(format!("--user-data-dir={}", at("profile").display()))
        .arg(format!("file://{}", at(files[0].0).display()))
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
    let console = text("log").lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    Seen { dom: text("dom"), console }
}

/// The page of `side` by `side` patches.
pub(crate) fn html(side: usize) -> String {
    crate::specimen::page(side).unwrap().html().unwrap()
}

/// Time runs as fast as the page has nothing to do.
pub(crate) const VIRTUAL: &[&str] = &["--virtual-time-budget=4000"];

/// What a script of the test says at the end of a page in a frame of this width, since no window is as narrow as a phone.
pub(crate) fn probe(html: &str, width: u32, script: &str) -> Value {
    probe_with(html, width, "", script, VIRTUAL)
}

/// The same, with a script that runs before those of the page, and options of the browser.
pub(crate) fn probe_with(html: &str, width: u32, before: &str, script: &str, options: &[&str]) -> Value {
    let start = html.find("<meta http-equiv=\"Content-Security-Policy\"").unwrap();
    let end = start + html[start..].find('>').unwrap() + 1;
    let open = [&html[..start], "<script>", before, "</script>", &html[end..]].concat();
    let script = format!(
        "<script>const said = (() => {{ {script} }})();\
         const bytes = new TextEncoder().encode(JSON.stringify(said));\
         parent.postMessage(btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join('')), '*');</script></body>"
    );
    let frame = format!(
        "<!doctype html><body style=\"margin:0\"><script>\
         addEventListener('message', (event) => {{ document.body.dataset.said = event.data; }});</script>\
         <iframe src=\"page.html\" style=\"border:0;width:{width}px;height:900px\"></iframe></body>"
    );
    let page = open.replace("</body>", &script);
    let seen = see(&[("frame.html", &frame), ("page.html", &page)], options);
    assert_eq!(seen.console, Vec::<String>::new());
    let (_, rest) = seen.dom.split_once("data-said=\"").expect("the script of the test ran");
    let bytes = STANDARD.decode(rest.split('"').next().unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}
