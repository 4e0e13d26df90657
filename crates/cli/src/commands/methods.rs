//! `mmlens methods`: what can be asked of a model, what it costs, and when it misleads.

use anyhow::Result;
use clap::Args;
use mmlens::core::{
    AnalysisError, Card, Fitting, Form, Leaf, Method, NoMethod, Reach, Setting, Subject, Tool, closest,
};
use mmlens::{FITS, METHODS, TOOLS};
use serde::Serialize;
use serde_json::Value;

use crate::model::ModelArgs;
use crate::print;

/// Lists the methods by what they look at, or tells all of one: its question, what it needs and costs, its settings, when it misleads.
///
/// With `--model MODEL` it says which of them the model allows, and why not the others. The marks before a name: `*` runs in a first
/// look, where `mmlens explain` is told no method; `+` looks at many cases together (`--cases`); `~` learns first (`mmlens fit`);
/// `-` is no method but a tool of the same leaf, such as a reader of a benchmark, with the command that reaches it.
#[derive(Debug, Args)]
pub(crate) struct Methods {
    /// The method, by its short name or its id, or the tool; without it all of them.
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// Prints all of it as JSON.
    #[arg(long)]
    json: bool,
}

/// What is listed: in JSON told apart by `what`.
#[derive(Serialize)]
#[serde(tag = "what", rename_all = "lowercase")]
enum Listed {
    Method(Box<Told>),
    Tool(ToldTool),
}

/// A tool, and the command or the path of the library that reaches it.
#[derive(Serialize)]
struct ToldTool {
    id: &'static str,
    question: &'static str,
    leaf: String,
    #[serde(flatten)]
    reach: ToldReach,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum ToldReach {
    Command(&'static str),
    Library(&'static str),
}

impl From<&Tool> for ToldTool {
    fn from(tool: &Tool) -> Self {
        let reach = match tool.reach {
            Reach::Command(text) => ToldReach::Command(text),
            other => ToldReach::Library(other.text()),
        };
        Self { id: tool.id, question: tool.question, leaf: tool.leaf.to_string(), reach }
    }
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
    /// Whether it learns first, by `mmlens fit`.
    learns: bool,
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

/// A row of either table.
#[derive(Clone, Copy)]
enum Row {
    Method(&'static Method),
    Fit(&'static Fitting),
}

impl Row {
    /// All of them, leaf by leaf.
    fn all() -> Vec<Self> {
        let methods = METHODS.iter().map(Self::Method);
        let mut all: Vec<Self> = methods.chain(FITS.iter().map(Self::Fit)).collect();
        all.sort_by_key(|row| row.card().leaf);
        all
    }

    fn called(name: &str) -> Result<Self> {
        match (Method::called(METHODS, name), Fitting::called(FITS, name)) {
            (Ok(method), _) => Ok(Self::Method(method)),
            (_, Ok(fit)) => Ok(Self::Fit(fit)),
            (Err(_), Err(_)) => {
                let cards = Self::all().into_iter().flat_map(|row| [row.card().short, row.card().id]);
                let nearest = closest(name, cards.chain(TOOLS.iter().map(|tool| tool.id)));
                Err(NoMethod { asked: name.to_owned(), nearest }.into())
            }
        }
    }

    fn card(self) -> Card {
        match self {
            Self::Method(method) => method.card,
            Self::Fit(fit) => fit.card,
        }
    }

    fn settings(self) -> Result<Vec<Setting>, AnalysisError> {
        match self {
            Self::Method(method) => method.settings(),
            Self::Fit(fit) => fit.settings(),
        }
    }

    fn takes(self) -> &'static str {
        match self {
            Self::Method(method) => method.form.describe(),
            Self::Fit(_) => "a data set to learn from; then a sample",
        }
    }

    fn told(self, subject: Option<&dyn Subject>) -> Result<Told> {
        let card = self.card();
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
            takes: self.takes(),
            first: card.first,
            explained: matches!(self, Self::Method(method) if method.form != Form::ManyCases),
            learns: matches!(self, Self::Fit(_)),
            needs: card.needs.iter().map(ToString::to_string).collect(),
            leaf: card.leaf.to_string(),
            cost: card.cost,
            settings: self.settings()?,
            misleads: card.misleads,
            source: card.citation,
            by,
        })
    }
}

impl Methods {
    pub(crate) fn run(&self) -> Result<()> {
        let tool = TOOLS.iter().find(|tool| Some(tool.id) == self.id.as_deref());
        if let Some(tool) = tool.map(ToldTool::from) {
            return if self.json { print::json(&Listed::Tool(tool)) } else { tool_page(&tool) };
        }
        let one = self.id.as_deref().map(Row::called).transpose()?;
        let subject = self.model.named().map(|_| self.model.open()).transpose()?;
        if let Some(row) = one {
            let told = row.told(subject.as_deref())?;
            return if self.json { print::json(&Listed::Method(Box::new(told))) } else { page(&told) };
        }
        let all =
            Row::all().into_iter().map(|row| row.told(subject.as_deref())).collect::<Result<Vec<_>>>()?;
        let tools = TOOLS.iter().map(ToldTool::from);
        if self.json {
            let all = all.into_iter().map(|told| Listed::Method(Box::new(told)));
            return print::json(&all.chain(tools.map(Listed::Tool)).collect::<Vec<_>>());
        }
        table(&all, &tools.collect::<Vec<_>>())
    }
}

/// A line for each, leaf by leaf, the tools of a leaf behind its methods; methods that a model does not allow behind all others, each
/// with the reason.
fn table(all: &[Told], tools: &[ToldTool]) -> Result<()> {
    let allowed = |told: &&Told| told.by.as_ref().is_none_or(|by| by.allowed);
    let mark = |told: &Told| match (told.first, told.learns, told.explained) {
        (true, ..) => "*",
        (_, true, _) => "~",
        (_, _, false) => "+",
        _ => "",
    };
    let row = |told: &Told| [mark(told), told.short, told.id, told.question].map(str::to_owned);
    for leaf in Leaf::ALL.map(|leaf| leaf.to_string()) {
        let rows: Vec<_> = all.iter().filter(allowed).filter(|told| told.leaf == leaf).map(row).collect();
        let tools: Vec<&ToldTool> = tools.iter().filter(|tool| tool.leaf == leaf).collect();
        if rows.is_empty() && tools.is_empty() {
            continue;
        }
        print::line(&leaf)?;
        print::columns(&rows)?;
        for tool in tools {
            print::line(format!("-  {}: {}\n     {}", tool.id, tool.question, tool.reached()))?;
        }
        print::line("")?;
    }
    let refused =
        all.iter().filter_map(|told| Some([told.short.to_owned(), told.by.as_ref()?.reason.clone()?]));
    let refused: Vec<_> = refused.collect();
    if let (Some(by), false) = (all.first().and_then(|told| told.by.as_ref()), refused.is_empty()) {
        print::line(format!("not on {}:", print::visible(&by.model)))?;
        print::columns(&refused)?;
        print::line("")?;
    }
    print::line(
        "* runs where no method is named   + looks at many cases together (`--cases`)   ~ learns first (`mmlens fit`)   - is no method\n\
         `mmlens methods ID` tells all of one.",
    )
}

impl ToldTool {
    /// The command, or where in the library.
    fn reached(&self) -> String {
        match self.reach {
            ToldReach::Command(text) => text.to_owned(),
            ToldReach::Library(path) => format!("{path} (in code)"),
        }
    }
}

fn tool_page(tool: &ToldTool) -> Result<()> {
    print::line(format!("{}, a tool", tool.id))?;
    print::line("")?;
    let rows =
        [("question", tool.question.to_owned()), ("leaf", tool.leaf.clone()), ("reached", tool.reached())];
    print::columns(&rows.map(|(name, text)| [name.to_owned(), text]))
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
        match (told.first, told.learns, told.explained) {
            (true, ..) => "runs where no method is named",
            (false, true, _) => "learns first, `mmlens fit METHOD --cases PATH`; then `mmlens apply` runs it",
            (false, false, true) => "runs where it is named (`--method`)",
            (false, false, false) => {
                "runs where it is named, over a data set: `mmlens explain --method ... --cases PATH`"
            }
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
