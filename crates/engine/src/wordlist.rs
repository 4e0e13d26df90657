//! A list of texts that the user brings: in the settings, or in a file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mmlens_core::AnalysisError;
use serde::{Deserialize, Serialize};

/// No list of texts is longer.
const MOST_BYTES: u64 = 64 << 20;

/// Texts: these, or the lines of a file.
///
/// ```
/// use mmlens_engine::WordList;
/// let list: WordList = serde_json::from_str(r#"["red", "a dog"]"#)?;
/// assert_eq!(list.texts("splice")?, ["red", "a dog"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a list of texts, or {\"file\": FILE} with a text on each line")]
pub enum WordList {
    /// These.
    Here(Vec<String>),
    /// The lines of a file; those of white space alone are left out, and white space around the others.
    Lines {
        /// The file.
        file: PathBuf,
    },
}

impl Default for WordList {
    fn default() -> Self {
        Self::Here(Vec::new())
    }
}

impl WordList {
    /// The texts, each once.
    ///
    /// # Errors
    /// [`AnalysisError::Setting`] for a file that cannot be read, no text, or one that comes twice.
    pub fn texts(&self, method: &'static str) -> Result<Vec<String>, AnalysisError> {
        let refused = |found: String, expected| {
            Err(AnalysisError::Setting { method, setting: "texts", found, expected })
        };
        let texts = match self {
            Self::Here(texts) => texts.clone(),
            Self::Lines { file } => {
                let read = match mmlens_files::read_text(file, MOST_BYTES) {
                    Ok(read) => read,
                    Err(error) => {
                        let found = format!("{}: {error}", file.display());
                        return refused(found, "a file of texts, one on each line");
                    }
                };
                read.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
            }
        };
        if texts.is_empty() {
            return refused("none".to_owned(), "at least one text: a list, or {\"file\": FILE}");
        }
        let mut seen = BTreeMap::new();
        for (at, text) in texts.iter().enumerate() {
            if let Some(before) = seen.insert(text, at) {
                return refused(format!("`{text}` as text {before} and text {at}"), "each text once");
            }
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::WordList;

    #[test]
    fn lists_and_files_of_lines_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("words.txt");
        std::fs::write(&file, "red\n\n  a dog \r\n").unwrap();
        let here = WordList::Here(vec!["red".into(), "a dog".into()]);
        assert_eq!(WordList::Lines { file: file.clone() }.texts("m").unwrap(), here.texts("m").unwrap());
        std::fs::write(&file, "red\nblue\nred\n").unwrap();
        let said = WordList::Lines { file }.texts("m").unwrap_err().to_string();
        assert_eq!(said, "m: texts = `red` as text 0 and text 2, but each text once");
        let said = WordList::default().texts("m").unwrap_err().to_string();
        assert_eq!(said, "m: texts = none, but at least one text: a list, or {\"file\": FILE}");
        let said = WordList::Lines { file: "nowhere.txt".into() }.texts("m").unwrap_err().to_string();
        assert!(said.starts_with("m: texts = nowhere.txt") && said.ends_with("one on each line"), "{said}");
        let said = serde_json::from_str::<WordList>("3").unwrap_err().to_string();
        assert!(said.starts_with("a list of texts, or"), "{said}");
    }
}
