//! What a method can be told: its settings, their defaults, and what each may be.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Fitting, Method};
use crate::AnalysisError;

/// A setting of a method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its default.
    pub default: Value,
    /// What it may be, in the words in which other values are refused.
    pub expected: Vec<String>,
}

/// Values that most settings refuse, each in another way: a word, and numbers below, at and beyond the ends of what is usual.
fn probes() -> [Value; 5] {
    [json!("?"), json!(-1), json!(0), json!(1.5), json!(u32::MAX)]
}

impl Method {
    /// Its settings, in their order. What each may be is found by asking for what it may not be, so that it is what the method checks.
    ///
    /// # Errors
    /// As [`Method::defaults`].
    pub fn settings(&self) -> Result<Vec<Setting>, AnalysisError> {
        Ok(listed(self.defaults()?, |settings| self.make(settings).err()))
    }
}

impl Fitting {
    /// Its settings, as those of a [`Method`].
    ///
    /// # Errors
    /// As [`Fitting::defaults`].
    pub fn settings(&self) -> Result<Vec<Setting>, AnalysisError> {
        Ok(listed(self.defaults()?, |settings| self.settled(settings).err()))
    }
}

fn listed(defaults: Value, refused: impl Fn(Value) -> Option<AnalysisError>) -> Vec<Setting> {
    let Value::Object(defaults) = defaults else { return Vec::new() };
    let of = |(name, default): (String, Value)| {
        let told = probes().into_iter().filter_map(|probe| {
            let settings = json!({ name.as_str(): probe });
            expected(&refused(settings)?, &name)
        });
        let mut all: Vec<String> = Vec::new();
        for one in told {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        Setting { name, default, expected: all }
    };
    defaults.into_iter().map(of).collect()
}

/// What a refusal says was expected of a setting.
fn expected(error: &AnalysisError, name: &str) -> Option<String> {
    match error {
        AnalysisError::Setting { setting, expected, .. } if *setting == name => Some((*expected).to_owned()),
        AnalysisError::Settings { reason, .. } => {
            let (_, kind) = reason.rsplit_once("expected ")?;
            Some(plain(kind.trim_end_matches(" or null")))
        }
        _ => None,
    }
}

/// The name of a type in words.
fn plain(kind: &str) -> String {
    let word = match kind {
        "usize" | "u64" | "u32" => "a whole number",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a string" => "a text",
        "a map" => "a table",
        other => other,
    };
    word.to_owned()
}
