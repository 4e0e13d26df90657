//! What reading a million lines takes, counted allocation by allocation.
//!
//! The allocator counts for the whole process: a binary of its own, and one test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use mmlens_data::benchmark::{Reader, Source};
use mmlens_data::rationale::gqa_rex::{Files, GqaRex};
use peak_alloc::PeakAlloc;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

const LINES: usize = 1_000_000;

fn write(path: &Path, head: &str, line: impl Fn(usize) -> String, end: &str) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    write!(file, "{head}").unwrap();
    (0..LINES).for_each(|i| write!(file, "{}", line(i)).unwrap());
    write!(file, "{end}").unwrap();
}

/// Bytes at most, while so many items are read one after the other and some out of order. All are passed over as it is opened.
fn peak(source: &Source, read: usize) -> usize {
    COUNTED.reset_peak_usage();
    let before = COUNTED.current_usage();
    let items = source.open().unwrap();
    assert_eq!(items.len(), LINES);
    for (index, item) in items.iter().take(read).enumerate() {
        assert_eq!(item.unwrap().id, index.to_string());
    }
    for index in [LINES - 1, 0, 77_777, 500_000] {
        assert_eq!(items.item(index).unwrap().id, index.to_string());
    }
    COUNTED.peak_usage() - before
}

#[test]
fn a_million_lines_take_no_more_than_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let question = |i: usize| {
        format!(
            "{{\"question_id\": {i}, \"image\": \"{}.jpg\", \"text\": \"Is there a cat?\", \"label\": \"yes\"}}",
            i / 6
        )
    };
    // 24 bytes for each of 64 lines are 375,000; a vector that grows holds up to three times as much while it is copied, and
    // beside that there are a buffer and a record.
    let most = 3 * 24 * (LINES / 64) + (1 << 18);
    write(&path, "", |i| question(i) + "\n", "");
    let pope = peak(&Source::new(Reader::Pope, &path), LINES);
    assert!(pope < most, "{pope} bytes for lines of JSON");

    write(&path, "index\tquestion\tanswer\n", |i| format!("{i}\t\"Is it {i}?\"\tyes\n"), "");
    let table = peak(&Source::new(Reader::Tsv, &path), LINES / 20);
    assert!(table < most, "{table} bytes for a table");

    let list = |i: usize| {
        let comma = if i > 0 { ",\n" } else { "" };
        format!(
            "{comma}{{\"id\": {i}, \"conversations\": [{{\"from\": \"human\", \"value\": \"Hello {i}\"}}]}}"
        )
    };
    write(&path, "[", list, "]");
    let json = peak(&Source::new(Reader::Llava, &path), LINES / 20);
    assert!(json < most, "{json} bytes for a list of JSON");

    let explanation = |i: usize| {
        format!("{}\"{}\": \"(obj:7) is left of (obj*:dog)\"", if i > 0 { ",\n" } else { "" }, i % 1000)
    };
    write(&path, "{", explanation, "}");
    let asked =
        |i: usize| format!("\"{i}\": {{\"imageId\": \"5\", \"question\": \"Is it?\", \"answer\": \"no\"}}");
    let questions: Vec<String> = (0..1000).map(asked).collect();
    let graph = "{\"5\": {\"width\": 9, \"height\": 9, \"objects\": {\"7\": {\"name\": \"cat\", \"x\": 0, \"y\": 0, \"w\": 2, \"h\": 2}}}}";
    let [asked, graphs] = ["questions", "graphs"].map(|name| folder.path().join(name));
    std::fs::write(&asked, format!("{{{}}}", questions.join(","))).unwrap();
    std::fs::write(&graphs, graph).unwrap();
    let files = Files { explanations: path, questions: asked, scene_graphs: graphs, boxes: None };
    COUNTED.reset_peak_usage();
    let before = COUNTED.current_usage();
    let set = GqaRex::open(&files).unwrap();
    assert_eq!(set.len(), LINES);
    for (index, one) in set.iter().take(LINES / 20).enumerate() {
        assert_eq!(one.unwrap().id, (index % 1000).to_string());
    }
    assert_eq!(set.rationale(LINES - 1).unwrap().explanations[0].text, "cat is left of dog");
    let rationales = COUNTED.peak_usage() - before;
    assert!(rationales < most, "{rationales} bytes for explanations");
}
