//! The methods of the library, as the command line offers them.

use anyhow::{Context, Result};
use clap::builder::PossibleValue;
use mmlens::METHODS;
use mmlens::core::{AnyAnalysis, Card, Method};
use mmlens::report::Guide;
use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// How the command line presents a method.
pub(crate) fn value(method: &Method) -> PossibleValue {
    let value = PossibleValue::new(method.card.short).help(method.card.question);
    if method.card.id == method.card.short { value } else { value.alias(method.card.id) }
}

/// How its findings are to be read.
pub(crate) fn guide(method: &Method) -> Guide {
    let misleads = method.card.misleads.iter().map(|when| (*when).to_owned()).collect();
    Guide { method: method.card.id.to_owned(), question: method.card.question.to_owned(), misleads }
}

/// The methods asked for, in the order of the table; where nobody named one, those that run first.
pub(crate) fn chosen(names: &[String]) -> Vec<&'static Method> {
    let asked = |method: &&Method| match names {
        [] => method.card.first,
        names => names.iter().any(|name| method.is_called(name)),
    };
    METHODS.iter().filter(asked).collect()
}

/// A setting of a method, as `--set` takes it: `METHOD.SETTING=VALUE`.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    method: String,
    setting: String,
    value: Value,
}

impl Set {
    pub(crate) fn new(method: &str, setting: String, value: Value) -> Self {
        Self { method: method.to_owned(), setting, value }
    }

    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    /// Which setting, and its value.
    pub(crate) fn said(&self) -> (&str, &Value) {
        (&self.setting, &self.value)
    }

    /// Settings by name, all of which are for what this card is of.
    pub(crate) fn all_of(sets: &[Self], card: &Card) -> Result<Map<String, Value>> {
        let of = |set: &Self| match [card.id, card.short].contains(&set.method.as_str()) {
            true => Ok((set.setting.clone(), set.value.clone())),
            false => Err(Refusal::Unset { method: set.method.clone(), chosen: card.short.to_owned() }.into()),
        };
        sets.iter().map(of).collect()
    }
}

impl std::str::FromStr for Set {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}`: expected METHOD.SETTING=VALUE, such as ig.steps=64");
        let (place, value) = text.split_once('=').ok_or_else(wrong)?;
        let (method, setting) = place.split_once('.').ok_or_else(wrong)?;
        // What is no JSON is a word.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok(Self { method: method.to_owned(), setting: setting.to_owned(), value })
    }
}

/// The setting of methods that compare captions.
const CAPTIONS: &str = "captions";

/// The chosen methods with the settings that were given for them. Where a method compares captions, `captions` are those it is to
/// compare, unless its settings say which.
pub(crate) fn made(
    chosen: &[&Method],
    sets: &[Set],
    captions: &[String],
) -> Result<Vec<Box<dyn AnyAnalysis>>> {
    let of_none = |set: &&Set| !chosen.iter().any(|method| method.is_called(&set.method));
    if let Some(set) = sets.iter().find(of_none) {
        let chosen = chosen.iter().map(|method| method.card.short).collect::<Vec<_>>().join(", ");
        return Err(Refusal::Unset { method: set.method.clone(), chosen }.into());
    }
    let make = |method: &&Method| {
        let own = sets.iter().filter(|set| method.is_called(&set.method));
        let mut settings: Map<String, Value> =
            own.map(|set| (set.setting.clone(), set.value.clone())).collect();
        if !captions.is_empty() && method.defaults()?.get(CAPTIONS).is_some() {
            settings.entry(CAPTIONS).or_insert_with(|| captions.into());
        }
        method.make(Value::Object(settings)).with_context(|| format!("--method {}", method.card.short))
    };
    chosen.iter().map(make).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{METHODS, Set, chosen, made};

    #[test]
    fn captions_are_told_to_what_compares_them_unless_it_is_set() {
        let all = ["red".to_owned(), "blue".to_owned()];
        let own = |sets: &[Set], captions: &[String]| {
            let made = made(&chosen(&["ig".to_owned(), "logit-lens".to_owned()]), sets, captions).unwrap();
            assert_eq!(made[0].settings().unwrap().get("captions"), None);
            made[1].settings().unwrap()["captions"].clone()
        };
        assert_eq!((own(&[], &all), own(&[], &[])), (json!(all), json!([])));
        let set = "logit-lens.captions=[\"green\"]".parse().unwrap();
        assert_eq!(own(&[set], &all), json!(["green"]));
    }

    #[test]
    fn every_method_of_the_library_is_offered() {
        for method in METHODS {
            for name in [method.card.short, method.card.id] {
                let found = chosen(&[name.to_owned()]);
                assert_eq!(found.iter().map(|m| m.card.id).collect::<Vec<_>>(), [method.card.id]);
            }
        }
        assert!(chosen(&[]).iter().all(|method| method.card.first));
    }

    #[test]
    fn settings_are_read_and_refused() {
        let set = |text: &str| text.parse::<Set>();
        let asked = ["ig".to_owned(), "logit-lens".to_owned()];
        let of = |text: &str| made(&chosen(&asked), &[set(text).unwrap()], &[]);
        let ig = &of("ig.steps=64").unwrap()[0];
        assert_eq!(ig.settings().unwrap()["steps"], json!(64));
        assert_eq!(
            of("integrated-gradients.rule=trapezoid").unwrap()[0].settings().unwrap()["rule"],
            "trapezoid"
        );
        let said = |text: &str| format!("{:#}", of(text).err().unwrap());
        assert_eq!(
            said("ig.stesp=64"),
            "--method ig: settings of integrated-gradients: field `stesp`: unknown field `stesp`, expected one of `along`, `sites`, \
             `gap`, `budget`, `steps`, `rule`, `rows`"
        );
        assert_eq!(
            said("ig.steps=0"),
            "--method ig: integrated-gradients: steps = 0, but it needs 1 to 4096"
        );
        assert_eq!(
            said("occlusion.rows=2"),
            "`--set occlusion...`: this method does not run; those that do: ig, logit-lens"
        );
        assert!(set("ig.steps").unwrap_err().contains("expected METHOD.SETTING=VALUE"));
    }
}
