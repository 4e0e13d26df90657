//! A page in a browser without a window: what it became there, and what scripts of tests say of it.

use std::fs;

use mmlens_testkit::Seen;
use serde_json::Value;

/// Opens the first of these files, given by name and text, with these further options.
pub(crate) fn see(files: &[(&str, &str)], options: &[&str]) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    Seen::at(&format!("file://{}", folder.path().join(files[0].0).display()), options)
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
    see(&[("frame.html", &frame), ("page.html", &page)], options).said()
}
