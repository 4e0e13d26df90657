//! A look at every item before the first is answered: what cannot be scored is told then, and not after hours.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::BenchError;
use crate::benchmark::{Answer, Item, Items, Pairwise, Reader, Scorer, ScorerName};

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Items that show no picture.
    pub(super) blind: usize,
    /// Of the first of them the field, not read, that looks as if it named one.
    pub(super) unread: Option<String>,
}

impl Survey {
    /// Looks at so many items, without their pictures.
    ///
    /// # Errors
    /// An item that cannot be read or scored; two items of one id, but of LLaVA, which names conversations about one picture alike. Of ids a hash of
    /// 64 bits is held: of 2^28 items with ids of their own the chance that two share one is 0.2 %.
    pub(super) fn of(
        items: &dyn Items,
        count: usize,
        (scorer, reader): (Option<&dyn Scorer>, Reader),
    ) -> Result<Self, BenchError> {
        let (mut survey, mut ids) = (Self::default(), BTreeSet::new());
        for index in 0..count {
            let item = items.item(index)?;
            if let Some(scorer) = scorer {
                let answer = match scorer.name() {
                    name if name.parse::<ScorerName>().is_ok_and(ScorerName::of_pairs) => {
                        Pairwise::shorter(&item)
                    }
                    _ => Answer::default(),
                };
                scorer.judge(&item, &answer)?;
            }
            let mut hash = DefaultHasher::new();
            item.id.hash(&mut hash);
            if reader != Reader::Llava && !ids.insert(hash.finish()) {
                return Err(BenchError::Twice { item: item.id, index });
            }
            if item.pictures.is_empty() {
                if survey.blind == 0 {
                    survey.unread = names_picture(&item);
                }
                survey.blind += 1;
            }
        }
        Ok(survey)
    }
}

/// A field that nobody reads and that ends as the name of a picture does.
fn names_picture(item: &Item) -> Option<String> {
    let ends = |text: &str| {
        let ending = text.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
        ending.is_some_and(|ending| matches!(&*ending, "png" | "jpg" | "jpeg" | "webp" | "bmp" | "gif"))
    };
    let found = item.extra.iter().find(|(_, value)| match value {
        Value::String(text) => ends(text),
        Value::Array(list) => list.first().and_then(Value::as_str).is_some_and(ends),
        _ => false,
    });
    found.map(|(name, _)| name.clone())
}
