//! Files are read and written through `mmlens-files` alone, so that what is there is whole, and what is read is a regular file of a bounded
//! size: every other way is refused.

use std::fs;
use std::path::{Path, PathBuf};

/// Those that may: the crate that does it, and tools that write for the sake of tests.
const DOORS: &[&str] = &["crates/files/src", "crates/fuzz", "crates/testkit"];

/// What writes, renames or copies files, and what stands for it.
const WAYS: &[&str] = &[
    "fs::write(",
    "fs::rename(",
    "fs::copy(",
    "fs::hard_link(",
    "File::create",
    "File::options(",
    "fs::OpenOptions",
    "serialize_to_file(",
    "NamedTempFile",
];

/// What reads a file, or opens one to be read, whatever it is and however large.
const READS: &[&str] =
    &["fs::read(", "fs::read_to_string(", "File::open(", "ImageReader::open(", "image::open("];

/// What reads past the crate for a reason: what the system says of its memory, and fixtures.
const READERS: &[&str] = &["crates/core/src/memory.rs", "crates/zoo/src/qwen_vl/recorded.rs"];

/// Where the project reads or writes past that crate, one line each, and how many files were looked at. Tests may.
pub(crate) fn faults(root: &Path) -> Result<(Vec<String>, usize), String> {
    let mut files = Vec::new();
    for folder in ["crates", "benches"] {
        sources(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut faults = Vec::new();
    for file in &files {
        let shown = file.strip_prefix(root).unwrap_or(file).display().to_string();
        let text = fs::read_to_string(file).map_err(|e| format!("{shown}: {e}"))?;
        if !DOORS.iter().any(|door| shown.starts_with(door)) {
            faults.extend(of_text(&text, WAYS).into_iter().map(|(line, way)| {
                format!("{shown}:{line}: `{way}` may leave half a file; write through `mmlens_files`")
            }));
            let reads = if READERS.contains(&shown.as_str()) { &[] } else { READS };
            faults.extend(of_text(&text, reads).into_iter().map(|(line, way)| {
                format!(
                    "{shown}:{line}: `{way}` reads devices and files of any size; read through `mmlens_files`"
                )
            }));
        }
    }
    Ok((faults, files.len()))
}

/// Lines outside the module of tests, and which of these ways stands there.
fn of_text(text: &str, ways: &[&'static str]) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // By the house's order, the module of tests is the last thing of a file.
        if line.starts_with("#[cfg(test)]") || line.starts_with("#![cfg(test)]") {
            break;
        }
        let code = line.split("//").next().unwrap_or("");
        found.extend(ways.iter().filter(|way| code.contains(**way)).map(|way| (number + 1, *way)));
    }
    found
}

/// Every source file but those of tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && name != "tests" && name != "target" {
            sources(&path, found)?;
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_looked_at_and_tests_and_comments_are_not() {
        let text = "use std::fs;\n// fs::write(a)\nfs::write(a, b)?; // File::create\n\
                    let f = File::create_new(p)?;\n#[cfg(test)]\nmod tests { fs::write(a) }\n";
        assert_eq!(of_text(text, WAYS), [(3, "fs::write("), (4, "File::create")]);
        assert_eq!(
            of_text("let a = fs::read(b)?; // fs::read(c)\nmmlens_files::read(d)?;", READS),
            [(1, "fs::read(")]
        );
    }
}
