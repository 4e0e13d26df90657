//! Documents stay true where a machine can tell: links lead somewhere, and the README says how tests are run.

use std::fs;
use std::path::{Path, PathBuf};

/// What the README tells people to run, and `cargo xtask check test` runs.
pub(crate) const TEST_COMMAND: &str = "cargo test";

/// What is wrong with the documents, one line each, and how many there are.
pub(crate) fn faults(root: &Path) -> Result<(Vec<String>, usize), String> {
    let mut faults = Vec::new();
    let documents = documents(root)?;
    for file in &documents {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let shown = file.strip_prefix(root).unwrap_or(file).display();
        let folder = file.parent().unwrap_or(root);
        let dead = links(&text).into_iter().filter(|link| !folder.join(link).exists());
        faults.extend(dead.map(|link| format!("{shown}: the link to `{link}` leads nowhere")));
    }
    let readme = fs::read_to_string(root.join("README.md")).unwrap_or_default();
    if !readme.lines().any(|line| line.trim() == TEST_COMMAND) {
        faults.push(format!("README.md: no line says `{TEST_COMMAND}`"));
    }
    Ok((faults, documents.len()))
}

/// Markdown files of the project: what is hidden, built or made by others is left out.
fn documents(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let left_out = name.starts_with('.') || ["target", "venv", "out", "runs"].contains(&name.as_str());
        if path.is_dir() && !left_out {
            found.extend(documents(&path)?);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The targets of links to files, without their fragments. Code is left out.
fn links(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect();
        for rest in prose.split("](").skip(1) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or("");
            if !target.is_empty() && !target.contains(':') {
                found.push(target.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_found_and_others_are_not() {
        let text = "See [a](docs/a.md#one) and [b](../b.md), ![c](c.png \"title\"), [here](#here), [web](https://x.y/z.md),\n\
                    `[no](code.md)` and [`d`](d.md).\n```\n[no](fenced.md)\n```\n[e](e.md)";
        assert_eq!(links(text), ["docs/a.md", "../b.md", "c.png", "d.md", "e.md"]);
    }
}
