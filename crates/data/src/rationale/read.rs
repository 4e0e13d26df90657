//! Data sets of explanations that people wrote.
//!
//! | data set | layout |
//! |---|---|
//! | VQA-X | as NLX-GPT joins it: an object of question id to `question`, `answers` (objects with `answer`, or texts), `image_name`, `explanation` (list); the answer is the one given most often as it stands, the first of equals |
//! | ACT-X | the same without questions; `answers` is a text |
//! | e-SNLI-VE | CSV with `pairID`, `Flickr30kID`, `hypothesis`, `gold_label`, `explanation` |
//! | VCR | JSON lines with `annot_id`, `img_fn`, `objects`, `question`, `answer_choices`, `answer_label`, `rationale_choices`, `rationale_label`; tokens are words, or lists of numbers of objects, which have their boxes in the file `metadata_fn` |
//!
//! Texts stay as they are written: NLX-GPT lowers explanations and drops their points, which a caller does to both sides or to none.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use mmlens_files::{lines, open, parse_json, read};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Explanation, Place, Rationale};

/// A file of rationales that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {reason}", file.display(), line.map_or_else(String::new, |line| format!(", line {line}")))]
pub struct ReadError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1, where there are lines.
    pub line: Option<u64>,
    /// What is wrong: which field, what was found.
    pub reason: String,
}

/// The most bytes of a file that is read at once.
const MOST_BYTES: u64 = 1 << 30;

fn whole<T: DeserializeOwned>(file: &Path) -> Result<T, ReadError> {
    let fault = |reason: String| ReadError { file: file.to_owned(), line: None, reason };
    let bytes = read(file, MOST_BYTES).map_err(|error| fault(error.to_string()))?;
    parse_json(&bytes).map_err(|error| fault(error.to_string()))
}

fn explained(texts: impl IntoIterator<Item = String>) -> Vec<Explanation> {
    texts.into_iter().map(|text| Explanation { text, ..Explanation::default() }).collect()
}

#[derive(Deserialize)]
struct Joined {
    question: Option<String>,
    answers: Answers,
    image_name: String,
    explanation: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answers {
    One(String),
    Texts(Vec<String>),
    Given(Vec<Given>),
}

#[derive(Deserialize)]
struct Given {
    answer: String,
}

impl Answers {
    /// The one that is given most often, the first of equals.
    fn most(self) -> Option<String> {
        let all = match self {
            Self::One(answer) => return Some(answer),
            Self::Texts(all) => all,
            Self::Given(all) => all.into_iter().map(|given| given.answer).collect(),
        };
        let count = |answer: &String| all.iter().filter(|other| *other == answer).count();
        let mut best: Option<&String> = None;
        for answer in &all {
            // no NaN: whole numbers
            if best.is_none_or(|best| count(answer) > count(best)) {
                best = Some(answer);
            }
        }
        best.cloned()
    }
}

/// VQA-X and ACT-X as NLX-GPT joins them, in the order of their ids as texts.
///
/// # Errors
/// [`ReadError`] for a file that is none, and an entry without an answer.
///
/// # Memory
/// The file, and all rationales.
pub fn nlx(file: impl AsRef<Path>) -> Result<Vec<Rationale>, ReadError> {
    let file = file.as_ref();
    let all: BTreeMap<String, Joined> = whole(file)?;
    let one = |(id, joined): (String, Joined)| {
        let Joined { question, answers, image_name, explanation } = joined;
        let answer = answers.most().ok_or_else(|| ReadError {
            file: file.to_owned(),
            line: None,
            reason: format!("field `{id}.answers`: there is none"),
        })?;
        Ok(Rationale {
            id,
            question,
            picture: Some(image_name),
            answer,
            explanations: explained(explanation),
        })
    };
    all.into_iter().map(one).collect()
}

#[derive(Deserialize)]
struct Entailed {
    #[serde(rename = "pairID")]
    pair: String,
    #[serde(rename = "Flickr30kID")]
    picture: String,
    hypothesis: String,
    gold_label: String,
    explanation: String,
}

/// e-SNLI-VE, line by line.
///
/// # Errors
/// [`ReadError`] for a file that cannot be opened; each line has its own.
pub fn esnli_ve(
    file: impl AsRef<Path>,
) -> Result<impl Iterator<Item = Result<Rationale, ReadError>>, ReadError> {
    let file = file.as_ref().to_owned();
    let handle = opened(&file)?;
    let rows = csv::Reader::from_reader(handle).into_deserialize::<Entailed>();
    Ok(rows.map(move |row| {
        let Entailed { pair, picture, hypothesis, gold_label, explanation } =
            row.map_err(|error| ReadError {
                file: file.clone(),
                line: error.position().map(csv::Position::line),
                reason: error.to_string(),
            })?;
        let explanations = explained([explanation]);
        Ok(Rationale {
            id: pair,
            question: Some(hypothesis),
            picture: Some(picture),
            answer: gold_label,
            explanations,
        })
    }))
}

fn opened(file: &Path) -> Result<File, ReadError> {
    let fault =
        |error: std::io::Error| ReadError { file: file.to_owned(), line: None, reason: error.to_string() };
    Ok(open(file).map_err(fault)?.0)
}

/// A word, or numbers of objects.
#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Word(String),
    Objects(Vec<usize>),
}

#[derive(Deserialize)]
struct Vcr {
    annot_id: String,
    img_fn: String,
    metadata_fn: String,
    objects: Vec<String>,
    question: Vec<Token>,
    answer_choices: Vec<Vec<Token>>,
    answer_label: usize,
    rationale_choices: Vec<Vec<Token>>,
    rationale_label: usize,
}

/// The most bytes of a line of VCR; the longest known has some ten thousand.
const MOST_LINE: u64 = 1 << 24;

#[derive(Deserialize)]
struct Metadata {
    /// x0, y0, x1, y1, and how sure.
    boxes: Vec<[f32; 5]>,
}

/// VCR, line by line: the right answer and its rationale, whose objects have boxes. `pictures` is the folder in which `metadata_fn` lies.
///
/// # Errors
/// [`ReadError`] for a file that cannot be opened; each line has its own: a label or an object there is not, a file of boxes that cannot be read.
pub fn vcr(
    file: impl AsRef<Path>,
    pictures: impl AsRef<Path>,
) -> Result<impl Iterator<Item = Result<Rationale, ReadError>>, ReadError> {
    let (file, pictures) = (file.as_ref().to_owned(), pictures.as_ref().to_owned());
    let fault =
        |error: std::io::Error| ReadError { file: file.clone(), line: None, reason: error.to_string() };
    let lines = lines(file.clone(), MOST_LINE).map_err(fault)?;
    Ok((1..).zip(lines).map(move |(line, text)| {
        let fault = |reason: String| ReadError { file: file.clone(), line: Some(line), reason };
        let text = text.map_err(|error| fault(error.to_string()))?;
        let one: Vcr = parse_json(text.as_bytes()).map_err(|error| fault(error.to_string()))?;
        let Metadata { boxes } = whole(&pictures.join(&one.metadata_fn))?;
        one.joined(&boxes).map_err(fault)
    }))
}

impl Vcr {
    fn joined(self, boxes: &[[f32; 5]]) -> Result<Rationale, String> {
        let chosen = |name: &str, choices: &[Vec<Token>], label: usize| match choices.get(label) {
            Some(tokens) => self.said(tokens, boxes),
            None => Err(format!("field `{name}`: {label}, of {} choices", choices.len())),
        };
        let answer = chosen("answer_label", &self.answer_choices, self.answer_label)?;
        let why = chosen("rationale_label", &self.rationale_choices, self.rationale_label)?;
        let question = self.said(&self.question, boxes)?;
        let rationale = Rationale {
            id: self.annot_id,
            question: Some(question.text),
            picture: Some(self.img_fn),
            answer: answer.text,
            explanations: vec![why],
        };
        rationale.check().map_err(|error| error.to_string())?;
        Ok(rationale)
    }

    /// Words with spaces between, objects by their names and numbers ("person1 and person2"), which have boxes.
    fn said(&self, tokens: &[Token], boxes: &[[f32; 5]]) -> Result<Explanation, String> {
        let mut said = Explanation::default();
        for token in tokens {
            if !said.text.is_empty() {
                said.text.push(' ');
            }
            match token {
                Token::Word(word) => said.text.push_str(word),
                Token::Objects(some) => {
                    let from = said.text.len();
                    let (mut names, mut own) = (Vec::new(), Vec::new());
                    for at in some {
                        let none = || {
                            format!(
                                "object {at} is named, of {} objects and {} boxes",
                                self.objects.len(),
                                boxes.len()
                            )
                        };
                        let (name, [x0, y0, x1, y1, _]) =
                            self.objects.get(*at).zip(boxes.get(*at)).ok_or_else(none)?;
                        names.push(format!("{name}{at}"));
                        own.push([*x0, *y0, *x1, *y1]);
                    }
                    said.text.push_str(&names.join(" and "));
                    said.spans.push(Place { words: [from, said.text.len()], boxes: own });
                }
            }
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use super::{esnli_ve, nlx, vcr};

    #[test]
    fn joined_answers_are_those_given_most_often() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vqaX.json");
        let answers = r#"[{"answer": "no", "answer_id": 1}, {"answer": "yes", "answer_id": 2}, {"answer": "yes", "answer_id": 3}]"#;
        let text = format!(
            r#"{{"9": {{"question": "Is it?", "answers": {answers}, "image_id": "3", "image_name": "b.jpg", "explanation": ["it is", "so"]}},
                "12": {{"answers": "skating", "image_id": "4", "image_name": "a.jpg", "explanation": ["she skates"]}}}}"#
        );
        std::fs::write(&file, text).unwrap();
        let read = nlx(&file).unwrap();
        assert_eq!(
            read.iter().map(|own| (own.id.as_str(), own.answer.as_str())).collect::<Vec<_>>(),
            [("12", "skating"), ("9", "yes")]
        );
        assert_eq!((read[1].question.as_deref(), read[1].explanations.len()), (Some("Is it?"), 2));
        std::fs::write(&file, r#"{"9": {"answers": [], "image_name": "b.jpg", "explanation": []}}"#).unwrap();
        assert!(nlx(&file).unwrap_err().to_string().ends_with("field `9.answers`: there is none"));
        std::fs::write(&file, r#"{"9": {"answers": "a", "explanation": []}}"#).unwrap();
        let said = nlx(&file).unwrap_err().to_string();
        assert!(said.contains("`9`") && said.contains("image_name"), "{said}");
    }

    #[test]
    fn entailments_are_read_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("esnlive.csv");
        let head = ",pairID,Flickr30kID,hypothesis,gold_label,explanation\n";
        std::fs::write(
            &file,
            format!("{head}0,1.jpg#2,1.jpg,\"A man, old.\",contradiction,He is \"\"young.\n1,2.jpg\n"),
        )
        .unwrap();
        let read: Vec<_> = esnli_ve(&file).unwrap().collect();
        let first = read[0].as_ref().unwrap();
        assert_eq!((first.id.as_str(), first.answer.as_str()), ("1.jpg#2", "contradiction"));
        assert_eq!(
            (first.question.as_deref(), first.picture.as_deref()),
            (Some("A man, old."), Some("1.jpg"))
        );
        let said = read[1].as_ref().unwrap_err();
        assert_eq!(said.line, Some(3));
        assert!(said.to_string().starts_with(&format!("{}, line 3: ", file.display())), "{said}");
        assert!(esnli_ve(folder.path().join("none.csv")).is_err());
    }

    #[test]
    fn objects_of_a_rationale_have_their_boxes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("val.jsonl");
        let line = |label: usize, object: usize| {
            format!(
                r#"{{"annot_id": "val-0", "img_fn": "a.jpg", "metadata_fn": "a.json", "objects": ["person", "dog"], "question": ["Why", "is", [0], "here", "?"],
                "answer_choices": [["No", "."], ["Because", "of", [1]]], "answer_label": {label}, "rationale_choices": [[[0, {object}], "play", "."]], "rationale_label": 0}}"#
            )
            .replace('\n', " ")
        };
        std::fs::write(&file, format!("{}\n{}\n{}\n", line(1, 1), line(2, 1), line(1, 2))).unwrap();
        let boxes = r#"{"boxes": [[0, 1, 10, 11, 0.9], [5, 5, 8, 9, 0.8]], "width": 20, "height": 20}"#;
        std::fs::write(folder.path().join("a.json"), boxes).unwrap();
        let read: Vec<_> = vcr(&file, folder.path()).unwrap().collect();
        let first = read[0].as_ref().unwrap();
        assert_eq!(
            (first.question.as_deref(), first.answer.as_str()),
            (Some("Why is person0 here ?"), "Because of dog1")
        );
        let why = &first.explanations[0];
        assert_eq!(why.text, "person0 and dog1 play .");
        assert_eq!(
            (why.spans[0].words, why.spans[0].boxes.as_slice()),
            ([0, 16], &[[0.0, 1.0, 10.0, 11.0], [5.0, 5.0, 8.0, 9.0]][..])
        );
        let said = [1, 2].map(|at: usize| read[at].as_ref().unwrap_err().to_string());
        assert!(said[0].ends_with("line 2: field `answer_label`: 2, of 2 choices"), "{said:?}");
        assert!(said[1].ends_with("line 3: object 2 is named, of 2 objects and 2 boxes"), "{said:?}");
    }
}
