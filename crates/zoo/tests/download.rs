//! Downloading, against a server on loopback that speaks the hub's few endpoints. Run with the feature, which builds Burn
//! again: `cargo test --features mmlens-zoo/download --test download`.
#![cfg(test)]
#![cfg(feature = "download")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use mmlens_zoo::hub::{Hub, HubCache, HubError, HubId, id_of};

const COMMIT: &str = "0123456789012345678901234567890123456789";

type Files = BTreeMap<String, Vec<u8>>;

/// A hub with one model, `org/tiny`, and what was asked of it.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (files, log) = (files.clone(), log.clone());
                std::thread::spawn(move || answer(stream.unwrap(), &files, &log));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn answer(mut stream: TcpStream, files: &Files, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let range = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let bytes = name.eq_ignore_ascii_case("range").then(|| value.strip_prefix("bytes="))??;
        let (from, to) = bytes.split_once('-')?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()))
    });
    let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
    let info = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string().into_bytes();
    let name = path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/"));
    let (status, body, more) = match (path.as_str(), name.and_then(|name| files.get(name))) {
        ("/api/models/org/tiny/revision/main" | "/api/models/org/tiny/revision/refs%2Fpr%2F1", _) => {
            ("200 OK", info, String::new())
        }
        (_, Some(file)) => {
            log.lock().unwrap().push(name.unwrap_or_default().to_owned());
            let (from, to) = range.unwrap_or((0, None));
            let to = to.map_or(file.len(), |to| to + 1).min(file.len());
            let more = format!(
                "ETag: \"{:016x}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {from}-{}/{}\r\n",
                file.iter()
                    .fold(file.len() as u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)),
                to.saturating_sub(1),
                file.len()
            );
            ("206 Partial Content", file[from..to].to_vec(), more)
        }
        _ => ("404 Not Found", Vec::new(), String::new()),
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n")
        .unwrap();
    stream.write_all(&body).unwrap();
}

fn files(fixture: &str) -> Files {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures").join(fixture).join("model");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

fn id(text: &str) -> HubId {
    text.parse().unwrap()
}

#[test]
fn what_is_read_is_fetched_once() {
    let mut all = files("clip-b");
    let wanted: Vec<String> = all.keys().cloned().collect();
    for other in
        ["pytorch_model.bin", "README.md", "onnx/model.onnx", "onnx/config.json", "consolidated.safetensors"]
    {
        all.insert(other.to_owned(), b"not read".to_vec());
    }
    let server = Server::new(all.clone());
    let folder = tempfile::tempdir().unwrap();
    let cache = HubCache::at(folder.path());
    let hub = Hub::new(&server.address, cache.clone(), None).unwrap();
    let told = Mutex::new(Vec::new());
    let found = hub.fetch(&id("org/tiny"), |file| told.lock().unwrap().push(file.to_owned())).unwrap();
    assert_eq!(found, folder.path().join("models--org--tiny/snapshots").join(COMMIT));
    assert_eq!(cache.find(&id("org/tiny")).unwrap(), found);
    assert_eq!(id_of(&found).as_deref(), Some("org/tiny"));
    let mut here: Vec<String> = std::fs::read_dir(&found)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    here.sort();
    assert_eq!(here, wanted);
    for name in &wanted {
        assert_eq!(std::fs::read(found.join(name)).unwrap(), all[name], "{name}");
    }
    // The index of the shards comes with them.
    assert_eq!(told.lock().unwrap().len(), wanted.len() - 1);
    mmlens_zoo::open(&found, &Default::default()).unwrap();
    assert!(!server.asked().is_empty());

    // Another name of the same commit: nothing is fetched again.
    assert_eq!(hub.fetch(&id("org/tiny@refs/pr/1"), |_| {}).unwrap(), found);
    assert_eq!(cache.find(&id("org/tiny@refs/pr/1")).unwrap(), found);
    assert_eq!(server.asked(), Vec::<String>::new());
    // What is lost is fetched, and that alone.
    std::fs::remove_file(found.join("config.json")).unwrap();
    hub.fetch(&id("org/tiny"), |_| {}).unwrap();
    let asked = server.asked();
    assert!(!asked.is_empty() && asked.iter().all(|file| file == "config.json"), "{asked:?}");
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let server = Server::new(Files::from([
        ("config.json".to_owned(), b"{}".to_vec()),
        ("pytorch_model.bin".to_owned(), b"old".to_vec()),
    ]));
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::new(&server.address, HubCache::at(folder.path()), None).unwrap();
    let said = hub.fetch(&id("org/other"), |_| {}).unwrap_err();
    assert!(matches!(&said, HubError::Download { what, .. } if what == "the list of its files"), "{said}");
    assert!(said.to_string().contains(&server.address) && said.to_string().contains("404"), "{said}");
    let said = hub.fetch(&id("org/tiny"), |_| {}).unwrap_err().to_string();
    assert!(said.ends_with("it has neither model.safetensors nor model.safetensors.index.json"), "{said}");

    let index = br#"{"weight_map": {"a": "model-1.safetensors"}}"#;
    let server = Server::new(Files::from([("model.safetensors.index.json".to_owned(), index.to_vec())]));
    let hub = Hub::new(&server.address, HubCache::at(folder.path().join("second")), None).unwrap();
    let said = hub.fetch(&id("org/tiny"), |_| {}).unwrap_err().to_string();
    assert!(said.ends_with("it names `model-1.safetensors`, which the hub does not have"), "{said}");
}
