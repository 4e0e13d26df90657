//! What the classes of a classifier are called.

use serde_json::Value;

use crate::{ZooError, positive};

/// One label for each class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels(Vec<String>);

impl Labels {
    /// From labels at hand, in the order of the classes.
    pub fn new(labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(labels.into_iter().map(Into::into).collect())
    }

    /// `id2label` of a config; without it `LABEL_0` and so on, as many as `num_labels` says, or two.
    ///
    /// # Errors
    /// [`ZooError::Value`] for classes that are not counted from zero, labels that are no text, or another number of them
    /// than `num_labels`.
    pub fn read(config: &Value) -> Result<Self, ZooError> {
        let wrong = |field: &str, found: String, expected: &str| ZooError::Value {
            field: field.to_owned(),
            found,
            expected: expected.to_owned(),
        };
        let count = match config.get("num_labels").filter(|value| !value.is_null()) {
            None => None,
            Some(value) => {
                let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
                Some(count.ok_or_else(|| wrong("num_labels", value.to_string(), "a number of classes"))?)
            }
        };
        let labels = match config.get("id2label").filter(|value| !value.is_null()) {
            None => {
                let count = count.unwrap_or(2);
                positive("num_labels", count)?;
                (0..count).map(|class| format!("LABEL_{class}")).collect()
            }
            Some(Value::Object(named)) => {
                let label = |class: usize| {
                    let label = named.get(&class.to_string()).and_then(Value::as_str);
                    let expected = format!("a label for each of the {} classes, counted from 0", named.len());
                    label
                        .map(str::to_owned)
                        .ok_or_else(|| wrong("id2label", format!("none for class {class}"), &expected))
                };
                (0..named.len()).map(label).collect::<Result<Vec<_>, _>>()?
            }
            Some(other) => return Err(wrong("id2label", other.to_string(), "an object of labels")),
        };
        positive("the number of labels", labels.len())?;
        if let Some(count) = count.filter(|count| *count != labels.len()) {
            let expected = format!("as many as `id2label` has: {}", labels.len());
            return Err(wrong("num_labels", count.to_string(), &expected));
        }
        Ok(Self(labels))
    }

    /// How many classes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The label of a class.
    #[must_use]
    pub fn get(&self, class: u32) -> Option<&str> {
        self.0.get(class as usize).map(String::as_str)
    }

    /// The class of a label, spaces around it apart.
    ///
    /// # Errors
    /// In words: a label there is not, or that several classes have.
    pub fn class(&self, label: &str) -> Result<u32, String> {
        let label = label.trim();
        let all: Vec<usize> = (0..self.len()).filter(|class| self.0[*class].trim() == label).collect();
        match *all {
            [class] => Ok(class as u32),
            [] => {
                let like = |other: &&String| {
                    let (a, b) = (other.to_lowercase(), label.to_lowercase());
                    !b.is_empty() && (a.contains(&b) || b.contains(&a))
                };
                let near: Vec<String> =
                    self.0.iter().filter(like).take(3).map(|near| format!("`{near}`")).collect();
                let hint = match near.as_slice() {
                    [] => format!("; the first is `{}`", self.0.first().map_or("", String::as_str)),
                    near => format!("; similar: {}", near.join(", ")),
                };
                Err(format!("no class is called `{label}`, of {}{hint}", self.len()))
            }
            _ => Err(format!("the classes {all:?} are all called `{label}`: give the number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_come_from_wherever_configs_have_them() {
        let read = |config: Value| Labels::read(&config).unwrap();
        let named =
            read(json!({"id2label": {"10": "k", "0": "a", "1": "b", "2": "c", "3": "d", "4": "e", "5": "f",
            "6": "g", "7": "h", "8": "i", "9": "j"}, "num_labels": 11}));
        assert_eq!((named.get(10), named.class(" b "), named.get(11)), (Some("k"), Ok(1), None));
        assert_eq!(read(json!({"num_labels": 3})), Labels::new(["LABEL_0", "LABEL_1", "LABEL_2"]));
        assert_eq!(read(json!({"id2label": null, "num_labels": null})).len(), 2);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (config, said) in [
            (json!({"id2label": {"1": "a", "2": "b"}}), "none for class 0"),
            (json!({"id2label": {"0": 5}}), "none for class 0"),
            (json!({"id2label": ["a"]}), "an object of labels"),
            (json!({"id2label": {}}), "1 to"),
            (json!({"id2label": {"0": "a"}, "num_labels": 2}), "as many as `id2label` has: 1"),
            (json!({"num_labels": 0}), "num_labels"),
            (json!({"num_labels": "two"}), "a number of classes"),
        ] {
            let error = Labels::read(&config).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let labels = Labels::new(["crane", "tabby cat", "crane"]);
        assert_eq!(
            labels.class("Tabby").unwrap_err(),
            "no class is called `Tabby`, of 3; similar: `tabby cat`"
        );
        assert_eq!(labels.class("dog").unwrap_err(), "no class is called `dog`, of 3; the first is `crane`");
        assert!(labels.class("crane").unwrap_err().contains("the classes [0, 2] are all called `crane`"));
    }
}
