//! What the post-processor of a tokenizer puts around a text: how much, and tokens of which ids.

use serde_json::Value;

use super::outline::Wrong;

/// How often a text may stand in what is made of it: once; some templates of old have it twice.
const MOST_TEXTS: usize = 2;
/// The most tokens around a text. Those of checkpoints have a handful.
const MOST_TOKENS: usize = 256;

/// Refuses a post-processor that repeats the text, or adds tokens without end.
pub(super) fn check(step: &Value) -> Result<(), Wrong> {
    let (texts, tokens) = size(step);
    if texts <= MOST_TEXTS && tokens <= MOST_TOKENS {
        return Ok(());
    }
    let found = format!("the text {texts} times and {tokens} tokens around it");
    let field = match step.get("type").and_then(Value::as_str) {
        Some(TEMPLATE) => "post_processor.single",
        _ => "post_processor",
    };
    Err((field.to_owned(), found, "the text twice at most, and at most 256 tokens"))
}

/// Ids that a post-processor names, each with its field.
pub(super) fn ids(step: &Value) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    collect(step, "post_processor", &mut found);
    found
}

const TEMPLATE: &str = "TemplateProcessing";

/// How often the text stands in what a step makes of it, and how many tokens are added.
fn size(step: &Value) -> (usize, usize) {
    if let Some(steps) = step.get("processors").and_then(Value::as_array) {
        return steps.iter().map(size).fold((1, 0), |(texts, tokens), (times, more)| {
            (texts.saturating_mul(times), tokens.saturating_mul(times).saturating_add(more))
        });
    }
    match step.get("type").and_then(Value::as_str) {
        Some(TEMPLATE) => template(step),
        Some("BertProcessing" | "RobertaProcessing") => (1, 2),
        _ => (1, 0),
    }
}

fn template(step: &Value) -> (usize, usize) {
    let pieces = step.get("single").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let texts = pieces.iter().filter(|piece| piece.get("Sequence").is_some()).count();
    let special = pieces.iter().filter_map(|piece| piece.get("SpecialToken")?.get("id")?.as_str());
    let ids = |name: &str| step.get("special_tokens")?.get(name)?.get("ids")?.as_array().map(Vec::len);
    let tokens = special.fold(0_usize, |all, name| all.saturating_add(ids(name).unwrap_or(1)));
    // One that leaves the text out has none of it, which is for the library to say.
    (texts.max(1), tokens)
}

fn collect(step: &Value, field: &str, found: &mut Vec<(String, u64)>) {
    if let Some(steps) = step.get("processors").and_then(Value::as_array) {
        for (at, step) in steps.iter().enumerate() {
            collect(step, &format!("{field}.processors.{at}"), found);
        }
    }
    for name in ["sep", "cls"] {
        let id = step.get(name).and_then(|token| token.get(1)).and_then(Value::as_u64);
        found.extend(id.map(|id| (format!("{field}.{name}.1"), id)));
    }
    for (name, token) in step.get("special_tokens").and_then(Value::as_object).into_iter().flatten() {
        let ids = token.get("ids").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let named = |(at, id): (usize, &Value)| {
            let name = super::cut(name);
            Some((format!("{field}.special_tokens.{name}.ids.{at}"), id.as_u64()?))
        };
        found.extend(ids.iter().enumerate().filter_map(named));
    }
}
