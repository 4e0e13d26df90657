//! What a session is asked to do, as JSON has it: one object, whose `do` names it.

use mmlens_core::{Measure, closest};
use mmlens_files::{count_values, parse_json, parse_value};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::refusal::{Kind, Refusal};
use crate::reply::VERSION;
use crate::state::{PictureFill, WordFill};

/// The most bytes of a request.
pub const MOST_REQUEST: usize = 1 << 16;

/// The most values and names of a request.
const MOST_VALUES: usize = 1 << 13;

/// The most characters of an id that comes back with the reply.
const MOST_ID: usize = 64;

/// Names and values of an object.
pub type Fields = serde_json::Map<String, Value>;

/// Requests by the name that `do` gives, with what each of them must hold, and behind the semicolon what it may.
macro_rules! requests {
    ($(
        $(#[$about:meta])*
        $name:literal $request:ident {
            $($(#[$of_must:meta])* $must:ident : $must_kind:ty,)*;
            $($(#[$of:meta])* $field:ident : $kind:ty,)*
        }
    )*) => {
        /// What a session is asked to do.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Request {
            $($(#[$about])* $request {
                $($(#[$of_must])* $must: $must_kind,)*
                $($(#[$of])* $field: $kind,)*
            },)*
        }

        $(
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct $request {
                $($must: $must_kind,)*
                $(#[serde(default = "given")] $field: $kind,)*
            }
        )*

        /// Every request by its name.
        pub(crate) const NAMES: &[&str] = &[$($name),*];

        impl Request {
            /// Its name, as `do` gives it.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$request { .. } => $name,)*
                }
            }

            fn read(name: &str, fields: Fields) -> Result<Self, Refusal> {
                match name {
                    $($name => {
                        let $request { $($must,)* $($field,)* } = read(fields)?;
                        Ok(Self::$request { $($must,)* $($field,)* })
                    })*
                    _ => Err(unknown(name)),
                }
            }
        }
    };
}

requests! {
    /// Tells model, sites, parts of the sample, state, methods and directions.
    "describe" Describe {;}
    /// Asks the model under the present state.
    "ask" Ask {
        ;
        /// So many of the likeliest tokens, classes or captions are told.
        top: Top,
    }
    /// Compares the present state with the first one.
    "difference" Difference {
        ;
        /// As for `ask`, of each of the two.
        top: Top,
    }
    /// Runs a method on the case under the present state.
    "map" Map {
        /// Its short name or id.
        method: String,
        ;
        /// Its settings by name; those left out have their defaults.
        settings: Fields,
    }
    /// Hides cells of a picture, strikes words.
    "hide" Hide {
        ;
        /// Which picture, counted from 0.
        picture: usize,
        /// Its cells, row by row.
        cells: Vec<usize>,
        /// `[x0, y0, x1, y1]` in pixels of the original picture: all cells whose middle lies in it.
        region: Option<[f32; 4]>,
        /// Words of the question, by their number.
        words: Vec<usize>,
        /// What stands in the place of cells, of all that are hidden.
        picture_fill: Option<PictureFill>,
        /// What stands in the place of words, of all that are struck.
        word_fill: Option<WordFill>,
    }
    /// Shows cells and words again.
    "show" Show {
        ;
        /// Which picture, counted from 0.
        picture: usize,
        /// Its cells.
        cells: Vec<usize>,
        /// As for `hide`.
        region: Option<[f32; 4]>,
        /// Words.
        words: Vec<usize>,
        /// Everything that is hidden.
        all: bool,
    }
    /// Writes another text in the place of a word.
    "replace" Replace {
        /// Which word, by its number.
        word: usize,
        /// The text; none takes the word out.
        by: String,
        ;
    }
    /// Asks another question.
    "question" Question {
        /// The question, or the prompt.
        text: String,
        ;
    }
    /// Changes the model, as `--edit` does, without tensors from files.
    "edit" Edit {
        /// `SITE[AXIS=INDICES,...]=CHANGE`.
        edit: String,
        ;
        /// What it is called; an edit of this name is replaced. Without it the next free number.
        name: Option<String>,
    }
    /// Steers by a direction that the session was begun with.
    "steer" Steer {
        /// The direction's name.
        direction: String,
        /// Where: a site or a selector.
        site: String,
        /// How many times it is added.
        strength: f32,
        ;
        /// As for `edit`.
        name: Option<String>,
    }
    /// Takes edits back.
    "unedit" Unedit {
        ;
        /// Their names.
        names: Vec<String>,
        /// All of them.
        all: bool,
    }
    /// Says what of the answer methods explain.
    "aim" Aim {
        /// What.
        aim: Aimed,
        ;
    }
    /// Takes the last change back.
    "undo" Undo {;}
    /// Goes back to the first state.
    "reset" Reset {;}
}

/// What of the answer methods explain; without anything all of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Aimed {
    /// A phrase of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<String>,
    /// A token of the answer, or a class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Rather than another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versus: Option<String>,
    /// By its logit, log-probability or probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
}

/// How many of the likeliest are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Top(pub usize);

/// What a field holds that was left out.
trait Given {
    fn given() -> Self;
}

macro_rules! given {
    ($($kind:ty),+) => { $(impl Given for $kind { fn given() -> Self { Self::default() } })+ };
}

given!(usize, bool, Vec<usize>, Vec<String>, Fields);

fn given<T: Given>() -> T {
    T::given()
}

impl<T> Given for Option<T> {
    fn given() -> Self {
        None
    }
}

impl Given for Top {
    fn given() -> Self {
        Self(5)
    }
}

/// A request, with the id that its reply has too.
///
/// # Errors
/// The id, as far as there is one, and a [`Refusal`] that names the field.
pub fn parse(text: &[u8]) -> Result<(Value, Request), (Value, Refusal)> {
    let nobody = |refusal| (Value::Null, refusal);
    if text.len() > MOST_REQUEST {
        return Err(nobody(Refusal::size("do", format_args!("{} bytes", text.len()), MOST_REQUEST, "bytes")));
    }
    let values = count_values(text);
    if values > MOST_VALUES {
        return Err(nobody(Refusal::size("do", format_args!("{values} values"), MOST_VALUES, "values")));
    }
    let read: Result<Fields, _> = parse_json(text);
    let mut fields = read.map_err(|error| {
        let text = String::from_utf8_lossy(text);
        nobody(Refusal::new(
            Kind::Request,
            "do",
            text.trim(),
            format_args!("expected one JSON object: {error}"),
        ))
    })?;
    let id = fields.remove("id").unwrap_or_default();
    if !matches!(&id, Value::Null | Value::Number(_))
        && id.as_str().is_none_or(|id| id.chars().count() > MOST_ID)
    {
        let expected = format!("expected a number, or a text of at most {MOST_ID} characters");
        return Err(nobody(Refusal::new(Kind::Request, "id", id, expected)));
    }
    match named(fields) {
        Ok(request) => Ok((id, request)),
        Err(refusal) => Err((id, refusal)),
    }
}

fn named(mut fields: Fields) -> Result<Request, Refusal> {
    match fields.remove("version") {
        None => {}
        Some(version) if version == VERSION => {}
        Some(version) => {
            let expected = format!("this is version {VERSION} of the schema");
            return Err(Refusal::new(Kind::Request, "version", version, expected));
        }
    }
    match fields.remove("do") {
        Some(Value::String(name)) => Request::read(&name, fields),
        Some(other) => Err(Refusal::new(Kind::Request, "do", other, requests())),
        None => Err(Refusal::new(Kind::Request, "do", "nothing", requests())),
    }
}

fn requests() -> String {
    format!("expected one of {}", NAMES.join(", "))
}

fn unknown(name: &str) -> Refusal {
    let meant = closest(name, NAMES).map_or_else(String::new, |meant| format!(" (did you mean `{meant}`?)"));
    Refusal::new(Kind::Request, "do", name, requests() + &meant)
}

/// The fields of a request.
fn read<T: for<'de> Deserialize<'de>>(fields: Fields) -> Result<T, Refusal> {
    let value = Value::Object(fields);
    parse_value(&value).map_err(|error| {
        let place = error.field.split('.').filter(|name| !name.is_empty());
        let found = place.clone().try_fold(&value, |value, name| match value {
            Value::Array(list) => list.get(name.parse::<usize>().ok()?),
            value => value.get(name),
        });
        let field = if error.field.is_empty() { "do" } else { &error.field };
        Refusal::new(Kind::Request, field, found.map_or_else(String::new, Value::to_string), &error.problem)
    })
}

#[cfg(test)]
mod tests {
    use super::{Request, Top, parse};
    use crate::Kind;

    fn refused(text: &str) -> (Kind, String, String, String) {
        let (_, refusal) = parse(text.as_bytes()).unwrap_err();
        (refusal.kind, refusal.field, refusal.found, refusal.expected)
    }

    #[test]
    fn a_request_is_read_with_its_id_and_what_it_leaves_out() {
        let (id, request) = parse(br#"{"id": "a", "version": 1, "do": "ask"}"#).unwrap();
        assert_eq!((id.as_str(), request), (Some("a"), Request::Ask { top: Top(5) }));
        let (id, request) = parse(br#"{"do": "replace", "word": 2, "by": "blue", "id": 7}"#).unwrap();
        assert_eq!((id.as_u64(), request.name()), (Some(7), "replace"));
        assert_eq!(request, Request::Replace { word: 2, by: "blue".to_owned() });
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_field() {
        let said = refused(r#"{"do": "hide", "cells": [1, "x"]}"#);
        assert_eq!((said.0, said.1.as_str(), said.2.as_str()), (Kind::Request, "cells.1", "\"x\""));
        assert!(said.3.contains("expected usize"), "{}", said.3);
        let said = refused(r#"{"do": "hide", "cell": [1]}"#);
        assert_eq!(said.1, "cell");
        assert!(said.3.contains("unknown field `cell`, expected one of `picture`, `cells`"), "{}", said.3);
        let said = refused(r#"{"do": "hdie"}"#);
        assert_eq!((said.1.as_str(), said.2.as_str()), ("do", "hdie"));
        assert!(said.3.contains("(did you mean `hide`?)"), "{}", said.3);
        assert_eq!(refused(r#"{"do": "ask", "version": 2}"#).1, "version");
        assert_eq!(refused("[1]").1, "do");
        assert_eq!(refused(r#"{"cells": []}"#).2, "nothing");
        assert_eq!(refused(r#"{"do": "ask", "id": [1]}"#).1, "id");
    }

    #[test]
    fn a_request_is_bounded_before_it_is_read() {
        assert_eq!(refused(&" ".repeat(1 << 17)).0, Kind::Size);
        assert_eq!(
            refused(&format!("{{\"do\": \"hide\", \"cells\": [{}0]}}", "0,".repeat(9000))).0,
            Kind::Size
        );
    }
}
