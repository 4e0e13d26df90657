//! MME: tasks as text files or folders, two questions about each picture.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::frame::{Cut, Record};
use super::records::Records;
use super::source::{Items, picture};
use crate::benchmark::error::cut;
use crate::benchmark::{Item, ReadError};

/// Two layouts, as they are handed out:
/// - for the scoring script, a file `TASK.txt` for each task with lines `picture<TAB>question<TAB>Yes` and perhaps a prediction behind
///   that, which is not read; pictures lie in `IMAGES/TASK` or in `IMAGES`;
/// - as released, a folder for each task, with a file `PICTURE.txt` of lines `question<TAB>Yes` beside `PICTURE.jpg` or
///   `PICTURE.png`, or the texts in `questions_answers_YN` and the pictures in `images`.
pub(super) struct Mme {
    folder: PathBuf,
    images: Option<PathBuf>,
    tasks: Vec<Task>,
}

struct Task {
    name: String,
    /// How many items come before it.
    before: usize,
    kind: Kind,
}

enum Kind {
    /// One file, two lines a picture.
    Lines(Records),
    /// One file a picture.
    Files { texts: Vec<PathBuf>, pictures: PathBuf },
}

/// Questions about a picture.
const EACH: usize = 2;

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let list = fs::read_dir(folder).map_err(ReadError::io(folder))?;
    let mut all =
        list.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>().map_err(ReadError::io(folder))?;
    all.sort();
    Ok(all)
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_text(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("txt")) && path.is_file()
}

impl Mme {
    pub(super) fn open(folder: &Path, images: Option<PathBuf>) -> Result<Self, ReadError> {
        let (mut tasks, mut before) = (Vec::new(), 0);
        for path in entries(folder)? {
            let (kind, count) = if is_text(&path) {
                let records = Records::open(&path, Cut::Lines, 0, |_, _| Ok(()))?;
                let count = records.len();
                if count % EACH != 0 {
                    let found = format!("{count} lines");
                    return Err(ReadError::field(
                        &path,
                        count,
                        "",
                        found,
                        "an even number, two for each picture",
                    ));
                }
                (Kind::Lines(records), count)
            } else if path.is_dir() {
                let inner = path.join("questions_answers_YN");
                let (texts, pictures) = match inner.is_dir() {
                    true => (entries(&inner)?, path.join("images")),
                    false => (entries(&path)?, path.clone()),
                };
                let texts: Vec<PathBuf> = texts.into_iter().filter(|path| is_text(path)).collect();
                let count = EACH * texts.len();
                (Kind::Files { texts, pictures }, count)
            } else {
                continue;
            };
            if count > 0 {
                if tasks.iter().any(|task: &Task| task.name == stem(&path)) {
                    let found = format!("two tasks `{}` in {}", stem(&path), folder.display());
                    let expected = "a file or a folder of that name, not both".to_owned();
                    return Err(ReadError::Source { reader: "mme", found, expected });
                }
                tasks.push(Task { name: stem(&path), before, kind });
            }
            before += count;
        }
        if tasks.is_empty() {
            let (found, expected) =
                (format!("no task in {}", folder.display()), "text files or folders of them");
            return Err(ReadError::Source { reader: "mme", found, expected: expected.to_owned() });
        }
        Ok(Self { folder: folder.to_owned(), images, tasks })
    }

    /// The picture of a released text: of the same name.
    fn beside(pictures: &Path, text: &Path) -> Result<PathBuf, ReadError> {
        let name = stem(text);
        ["jpg", "png", "jpeg"]
            .iter()
            .map(|ending| pictures.join(format!("{name}.{ending}")))
            .find(|path| path.is_file())
            .ok_or_else(|| {
                let found = format!("no picture `{name}` in {}", pictures.display());
                ReadError::field(text, 1, "", found, "one that ends with .jpg, .png or .jpeg")
            })
    }
}

/// The cells of a line, which must be so many, or one more if a prediction may stand there.
fn cells(file: &Path, record: &Record, names: &[&str], more: usize) -> Result<Vec<String>, ReadError> {
    let text = std::str::from_utf8(&record.bytes)
        .map_err(|error| ReadError::field(file, record.line, "", error.to_string(), "text in UTF-8"))?;
    let cells: Vec<String> = text.split('\t').map(str::to_owned).collect();
    if cells.len() < names.len() || cells.len() > names.len() + more {
        let found = format!("{} cells", cells.len());
        let expected = format!("{} between tabs: {}", names.len(), names.join(", "));
        return Err(ReadError::field(file, record.line, "", found, expected));
    }
    Ok(cells)
}

fn label(file: &Path, line: usize, text: &str) -> Result<String, ReadError> {
    match text.trim().to_lowercase().as_str() {
        word @ ("yes" | "no") => Ok(word.to_owned()),
        _ => Err(ReadError::field(file, line, "answer", format!("`{}`", cut(text)), "`Yes` or `No`")),
    }
}

impl Items for Mme {
    fn len(&self) -> usize {
        self.tasks.last().map_or(0, |last| {
            last.before
                + match &last.kind {
                    Kind::Lines(records) => records.len(),
                    Kind::Files { texts, .. } => EACH * texts.len(),
                }
        })
    }

    fn item(&self, index: usize) -> Result<Item, ReadError> {
        let past = || ReadError::Past { file: self.folder.clone(), index, len: self.len() };
        let at = self.tasks.partition_point(|task| task.before <= index);
        let task = at.checked_sub(1).and_then(|at| self.tasks.get(at)).filter(|_| index < self.len());
        let task = task.ok_or_else(past)?;
        let own = index - task.before;
        let (shown, question, answer) = match &task.kind {
            Kind::Lines(records) => {
                let record = records.get(own)?;
                let cells = cells(records.file(), &record, &["picture", "question", "answer"], 1)?;
                let [image, question, answer, ..] = cells.as_slice() else { return Err(past()) };
                // The other line of the pair must be about the same picture: scores count pairs.
                if own % EACH == 1 {
                    let first = records.get(own - 1)?;
                    if !first.bytes.starts_with(format!("{image}\t").as_bytes()) {
                        let expected = "the picture of the line before: two lines belong together";
                        let found = format!("`{}`", cut(image));
                        return Err(ReadError::field(
                            records.file(),
                            record.line,
                            "picture",
                            found,
                            expected,
                        ));
                    }
                }
                let images = self.images.clone().unwrap_or_else(|| self.folder.clone());
                let inner = images.join(&task.name);
                let images = if inner.is_dir() { inner } else { images };
                (picture(&images, image), question.clone(), label(records.file(), record.line, answer)?)
            }
            Kind::Files { texts, pictures } => {
                let text = texts.get(own / EACH).ok_or_else(past)?;
                let records = Records::open(text, Cut::Lines, 0, |_, _| Ok(()))?;
                if records.len() != EACH {
                    let found = format!("{} lines", records.len());
                    return Err(ReadError::field(text, 1, "", found, "two, a question each"));
                }
                let record = records.get(own % EACH)?;
                let cells = cells(text, &record, &["question", "answer"], 0)?;
                let [question, answer, ..] = cells.as_slice() else { return Err(past()) };
                let shown = super::super::Shown::File(Self::beside(pictures, text)?);
                (shown, question.clone(), label(text, record.line, answer)?)
            }
        };
        let group = format!("{}/{}", task.name, shown.name());
        Ok(Item {
            id: format!("{group}/{}", own % EACH),
            pictures: vec![shown],
            question: Some(question),
            answers: vec![answer.clone()],
            label: Some(answer),
            task: Some(task.name.clone()),
            group,
            ..Item::default()
        })
    }
}
