//! What reading a million lines takes, counted allocation by allocation.
//!
//! The allocator counts for the whole process: a binary of its own, and one test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use mmlens_data::benchmark::{Reader, Source};
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
}
