//! `mmlens diff`: two findings side by side.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use mmlens::finding::{
    Compared, Comparison, Difference, Finding, Numbers, Outcome, Place, Role, SharedAxis, Texts, fixed,
};
use serde::Serialize;
use serde_json::Value;

use crate::print;
use crate::tables::short;

/// Says in what two findings differ: how they were made, and table by table how far their values lie apart.
///
/// Tables are matched by name, positions by what stands there: where only some layers, steps or words are in both, those are compared
/// and the others are named. Of numbers it prints the largest difference and where it is, that difference beside the largest
/// absolute value of both, the correlation of the values (Pearson) and of their ranks (Spearman), and how many signs are turned.
///
/// The exit status is 0 if all values are the same, bit by bit, or within `--tolerance`; 1 if they are not, or one finding has what
/// the other lacks; 2 if they cannot be compared. How they were made does not count.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The one.
    #[arg(value_name = "A")]
    left: PathBuf,
    /// The other.
    #[arg(value_name = "B")]
    right: PathBuf,
    /// How far numbers may lie apart, as a share of the largest absolute value of both in their table: 1e-4.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    tolerance: f64,
    /// Prints it as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told<'a> {
    left: &'a PathBuf,
    right: &'a PathBuf,
    tolerance: f64,
    /// Whether all values are the same, or within the tolerance.
    same: bool,
    /// In what they differ in how they were made.
    made: Vec<Made<'a>>,
    #[serde(flatten)]
    compared: &'a Comparison,
}

#[derive(Serialize)]
struct Made<'a> {
    field: &'a str,
    left: &'a Value,
    right: &'a Value,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share.is_finite() && share >= 0.0 => Ok(share),
        _ => Err("expected a share such as 1e-4, not less than 0".to_owned()),
    }
}

impl Diff {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let (left, right) = (Finding::load(&self.left)?, Finding::load(&self.right)?);
        let compared = left.compared(&right)?;
        let same = compared.same(self.tolerance);
        let made: Vec<Made<'_>> = compared.made.iter().filter_map(of_provenance).collect();
        if self.json {
            let (left, right) = (&self.left, &self.right);
            print::json(&Told { left, right, tolerance: self.tolerance, same, made, compared: &compared })?;
        } else {
            self.print(&made, &compared, same)?;
        }
        Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn print(&self, made: &[Made<'_>], compared: &Comparison, same: bool) -> Result<()> {
        for Made { field, left, right } in made {
            let [left, right] = apart(&left.to_string(), &right.to_string());
            print::line(format!("{}: {left} and {right}", print::visible(field)))?;
        }
        for table in &compared.tables {
            told(table)?;
        }
        for (file, tables) in [(&self.left, &compared.left_only), (&self.right, &compared.right_only)] {
            for table in tables {
                print::line(format!("`{}` is in {} alone", print::visible(table), shown(file)))?;
            }
        }
        let verdict = match (same, self.tolerance > 0.0) {
            (true, false) => "the same, bit by bit".to_owned(),
            (true, true) => format!("the same within {:e}", self.tolerance),
            (false, _) => "not the same".to_owned(),
        };
        print::line(format!("{} and {}: {verdict}", shown(&self.left), shown(&self.right)))
    }
}

fn of_provenance(difference: &Difference) -> Option<Made<'_>> {
    match difference {
        Difference::Provenance { field, left, right } => Some(Made { field, left, right }),
        _ => None,
    }
}

fn shown(file: &Path) -> String {
    print::visible(&file.display().to_string())
}

/// What came of a table.
fn told(compared: &Compared) -> Result<()> {
    let name = print::visible(&compared.table);
    match &compared.outcome {
        Outcome::Numbers(numbers) => of_numbers(&name, numbers)?,
        Outcome::Texts(Texts { compared, differ: 0, .. }) => print::line(all_same(&name, *compared, "text"))?,
        Outcome::Texts(Texts { compared, differ, first }) => {
            print::line(format!("`{name}`: {differ} of {compared} texts differ"))?;
            if let Some((at, left, right)) = first {
                print::line(format!("  first at {}: “{}” and “{}”", place(at), short(left), short(right)))?;
            }
        }
        Outcome::Apart(reason) => print::line(format!("`{name}`: not compared: {}", print::visible(reason)))?,
        _ => {}
    }
    compared.axes.iter().try_for_each(left_out)
}

fn all_same(name: &str, count: usize, what: &str) -> String {
    match count {
        1 => format!("`{name}`: the same {what}"),
        _ => format!("`{name}`: {count} {what}s, all the same"),
    }
}

fn of_numbers(name: &str, numbers: &Numbers) -> Result<()> {
    let Numbers { compared, differ, not_finite, unit, .. } = numbers;
    let Some(largest) = &numbers.largest else {
        return print::line(all_same(name, *compared, "number"));
    };
    print::line(format!("`{name}`: {differ} of {compared} numbers differ"))?;
    let (left, right, at) = (largest.left, largest.right, place(&largest.at));
    let at = if at.is_empty() { at } else { format!(" at {at}") };
    let by = match largest.difference {
        by if by.is_nan() => String::new(),
        by => format!(", by {by:.3e} {unit}, {:.2e} of the largest value", numbers.relative),
    };
    print::line(format!("  most{at}: {left:?} and {right:?}{by}"))?;
    if *not_finite > 0 {
        print::line(format!("  {not_finite} are no finite numbers; they count in nothing else"))?;
    }
    let parts = [
        numbers.pearson.map(|r| format!("correlation {}", fixed(r, 6))),
        numbers.spearman.map(|r| format!("of ranks {}", fixed(r, 6))),
        (numbers.sign_flips > 0).then(|| turned(numbers.sign_flips)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { Ok(()) } else { print::line(format!("  {}", parts.join(", "))) }
}

fn turned(signs: usize) -> String {
    if signs == 1 { "1 sign turned".to_owned() } else { format!("{signs} signs turned") }
}

/// The positions of an axis that only one has.
fn left_out(axis: &SharedAxis) -> Result<()> {
    for (side, labels) in [("A", &axis.left_only), ("B", &axis.right_only)] {
        if !labels.is_empty() {
            let named =
                labels.iter().take(MOST_NAMED).map(|label| short(label)).collect::<Vec<_>>().join(", ");
            let more = match labels.len().checked_sub(MOST_NAMED) {
                Some(more @ 1..) => format!(" and {more} more"),
                _ => String::new(),
            };
            print::line(format!("  left out: {} {named}{more}, in {side} alone", axis.role))?;
        }
    }
    Ok(())
}

/// So many positions that are left out are named.
const MOST_NAMED: usize = 4;

/// Where a value stands. Tokens repeat, so that their position is told too.
fn place(at: &[Place]) -> String {
    let one = |Place { role, index, label }: &Place| match role {
        Role::Token | Role::Query | Role::Key => format!("{role} {index} {}", short(label)),
        _ => format!("{role} {}", short(label)),
    };
    at.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Two texts on one line each, without what both begin with if they are long.
fn apart(left: &str, right: &str) -> [String; 2] {
    let same = left.chars().zip(right.chars()).take_while(|(a, b)| a == b).count();
    let skipped = same.saturating_sub(BEFORE);
    [left, right].map(|text| {
        if short(text) == print::visible(text) || skipped == 0 {
            return short(text);
        }
        format!("…{}", short(&text.chars().skip(skipped).collect::<String>()))
    })
}

/// So many characters are shown of what both begin with.
const BEFORE: usize = 12;

#[cfg(test)]
mod tests {
    use super::apart;

    #[test]
    fn long_texts_are_shown_where_they_part() {
        let (left, right) = ("a".repeat(50) + "left", "a".repeat(50) + "right");
        assert_eq!(apart(&left, &right), ["…aaaaaaaaaaaaleft", "…aaaaaaaaaaaaright"]);
        assert_eq!(apart("64", "128"), ["64", "128"]);
    }
}
