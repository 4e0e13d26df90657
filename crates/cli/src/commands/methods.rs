//! `mmlens methods`: what can be asked of a model, what it costs, and when it misleads.

use anyhow::Result;
use clap::Args;
use mmlens::METHODS;
use mmlens::core::{Form, Method, Setting, Subject};
use serde::Serialize;
use serde_json::Value;

use crate::model::ModelArgs;
use crate::print;

/// Lists the methods, or tells all of one: its question, what it needs and costs, its settings, when it misleads.
///
/// With `--model MODEL` it says which of them the model allows, and why not the others. The marks before a name: `*` runs in a first
/// look, where `mmlens explain` is told no method.
#[derive(Debug, Args)]
pub(crate) struct Methods {
    /// The method, by its short name or its id; without it all of them.
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// Prints all of it as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told {
    id: &'static str,
    short: &'static str,
    name: &'static str,
    question: &'static str,
    takes: &'static str,
    first: bool,
    /// Whether `mmlens explain` runs it, given one sample.
    explained: bool,
    needs: Vec<String>,
    leaf: String,
    cost: &'static str,
    settings: Vec<Setting>,
    misleads: &'static [&'static str],
    source: &'static str,
    #[serde(flatten)]
    by: Option<Allowed>,
}

/// Whether a model allows it.
#[derive(Serialize)]
struct Allowed {
    model: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Methods {
    pub(crate) fn run(&self) -> Result<()> {
        let one = self.id.as_deref().map(|id| Method::called(METHODS, id)).transpose()?;
        let subject = self.model.named().map(|_| self.model.open()).transpose()?;
        let tell = |method: &Method| told(method, subject.as_deref());
        if let Some(method) = one {
            let told = tell(method)?;
            return if self.json { print::json(&told) } else { page(&told) };
        }
        let all = METHODS.iter().map(tell).collect::<Result<Vec<_>>>()?;
        if self.json { print::json(&all) } else { table(&all) }
    }
}

fn told(method: &Method, subject: Option<&dyn Subject>) -> Result<Told> {
    let card = method.card;
    let by = subject.map(|subject| {
        let refused = card.allows(subject).err();
        let model = subject.name().to_owned();
        Allowed { model, allowed: refused.is_none(), reason: refused.map(|error| error.to_string()) }
    });
    Ok(Told {
        id: card.id,
        short: card.short,
        name: card.name,
        question: card.question,
        takes: method.form.describe(),
        first: card.first,
        explained: method.form != Form::ManyCases,
        needs: card.needs.iter().map(ToString::to_string).collect(),
        leaf: card.leaf.to_string(),
        cost: card.cost,
        settings: method.settings()?,
        misleads: card.misleads,
        source: card.citation,
        by,
    })
}

/// A line for each; those that a model does not allow behind the others, each with the reason.
fn table(all: &[Told]) -> Result<()> {
    let allowed = |told: &&Told| told.by.as_ref().is_none_or(|by| by.allowed);
    let rows = all.iter().filter(allowed).map(|told| {
        let mark = if told.first { "*" } else { "" };
        [mark, told.short, told.id, told.question].map(str::to_owned)
    });
    print::columns(&rows.collect::<Vec<_>>())?;
    let refused =
        all.iter().filter_map(|told| Some([told.short.to_owned(), told.by.as_ref()?.reason.clone()?]));
    let refused: Vec<_> = refused.collect();
    if let (Some(by), false) = (all.first().and_then(|told| told.by.as_ref()), refused.is_empty()) {
        print::line(format!("\nnot on {}:", print::visible(&by.model)))?;
        print::columns(&refused)?;
    }
    print::line("\n* runs where no method is named. `mmlens methods ID` tells all of one.")
}

fn page(told: &Told) -> Result<()> {
    print::line(format!("{} ({})", told.name, told.short))?;
    print::line("")?;
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |name: &str, text: &str| rows.push([name.to_owned(), text.to_owned()]);
    let needs = if told.needs.is_empty() {
        "nothing that a model could lack".to_owned()
    } else {
        told.needs.join("; ")
    };
    row("question", told.question);
    row("takes", told.takes);
    row("needs", &needs);
    if let Some(by) = &told.by {
        row(
            "allowed",
            &by.reason.as_ref().map_or_else(|| format!("by {}", by.model), |why| format!("no: {why}")),
        );
    }
    let numbers = if told.explained { "; `mmlens explain ... --dry-run` says it in numbers" } else { "" };
    row("cost", &format!("{}{numbers}", told.cost));
    row(
        "first",
        match (told.first, told.explained) {
            (true, _) => "runs where no method is named",
            (false, true) => "runs where it is named (`--method`)",
            (false, false) => "in code alone: a program hands it a data set (`Given::over`)",
        },
    );
    row("id", told.id);
    row("leaf", &told.leaf);
    row("source", told.source);
    print::columns(&rows)?;
    print::line("\nsettings, with their defaults and what they may be:")?;
    let setting = |own: &Setting| {
        let name = format!("  {}.{}", told.short, own.name);
        [name, shown(&own.default), own.expected.join("; ")]
    };
    print::columns(&told.settings.iter().map(setting).collect::<Vec<_>>())?;
    print::line("\nwhen it misleads:")?;
    told.misleads.iter().try_for_each(|when| print::line(format!("  - {when}")))
}

/// A default on one line, as `--set` takes it.
fn shown(default: &Value) -> String {
    default.to_string()
}
