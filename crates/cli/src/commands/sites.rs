//! `mmlens sites`: every place that can be read, changed and differentiated.

use anyhow::Result;
use clap::Args;
use mmlens::core::{Site, SiteSpec};
use mmlens::zoo::families::{Checked, Largest};
use serde_json::json;

use crate::model::ModelArgs;
use crate::print;

/// Lists every site of a model with its axes, its name in plain words and what it holds.
///
/// Blocks that hold the same are one line, `text.blocks.0..4.attn.q`, which `mmlens trace --read` takes as it stands. After
/// an empty line: what was checked of its family of models against transformers, the largest error, and what is not
/// supported.
#[derive(Debug, Args)]
pub(crate) struct Sites {
    #[command(flatten)]
    model: ModelArgs,
    /// Prints one object for each site as JSON.
    #[arg(long)]
    json: bool,
}

impl Sites {
    pub(crate) fn run(&self) -> Result<()> {
        let subject = self.model.open()?;
        if self.json {
            let sites = subject.sites().iter().map(|spec| {
                let axes =
                    spec.axes.iter().map(|(axis, length)| json!({ "axis": axis.name(), "length": length }));
                json!({
                    "site": spec.site.to_string(),
                    "name": spec.site.plain(),
                    "axes": axes.collect::<Vec<_>>(),
                    "meaning": spec.site.point().meaning(),
                })
            });
            return print::json(&sites.collect::<Vec<_>>());
        }
        let rows = families(subject.sites()).into_iter().map(|family| {
            let point = family.spec.site.point();
            [family.selector(), family.spec.describe(), point.plain().to_owned(), point.meaning().to_owned()]
        });
        print::columns(&rows.collect::<Vec<_>>())?;
        match self.model.checked()? {
            Some(checked) => told(&checked),
            None => Ok(()),
        }
    }
}

/// What was checked of the model's family.
fn told(checked: &Checked) -> Result<()> {
    let error = |largest: &Largest| match largest.at.as_str() {
        "" => "none taken".to_owned(),
        at => format!("{:.1e} ({at})", largest.error),
    };
    print::line("")?;
    print::columns(&[
        ["family".to_owned(), checked.family.clone()],
        [
            "checked".to_owned(),
            format!(
                "{} sites in {} passes of {} small checkpoints, against transformers",
                checked.sites,
                checked.traces,
                checked.fixtures.len()
            ),
        ],
        ["largest error".to_owned(), error(&checked.activations)],
        ["of gradients".to_owned(), error(&checked.gradients)],
        ["not supported".to_owned(), checked.limits.join("; ")],
    ])
}

/// One point in neighbouring blocks of equal shape.
struct Family<'a> {
    spec: &'a SiteSpec,
    blocks: usize,
}

impl Family<'_> {
    fn takes(&self, spec: &SiteSpec) -> bool {
        let (own, other) = (self.spec.site, spec.site);
        let next = own.block_index().map(|first| first + self.blocks);
        (own.part(), own.point()) == (other.part(), other.point())
            && next.is_some_and(|next| other.block_index() == Some(next))
            && self.spec.axes == spec.axes
    }

    fn selector(&self) -> String {
        match self.spec.site.block_index() {
            Some(first) if self.blocks > 1 => {
                let (part, point) = (self.spec.site.part().name(), self.spec.site.point().name());
                format!("{part}.blocks.{first}..{}.{point}", first + self.blocks)
            }
            _ => self.spec.site.to_string(),
        }
    }
}

/// The sites in the order of a pass, each with the blocks after it that hold the same.
fn families(sites: &[SiteSpec]) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for spec in sites {
        match families.iter_mut().find(|family| family.takes(spec)) {
            Some(family) => family.blocks += 1,
            None => families.push(Family { spec, blocks: 1 }),
        }
    }
    families
}

/// The name of a site as a key of a trace.
pub(crate) fn key(site: Site) -> String {
    let name = site.to_string();
    if name == "text.logits" { "logits".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use mmlens::core::{AxisName, Part, Point, Selector};

    use super::*;

    #[test]
    fn blocks_of_one_shape_are_one_selector() {
        let wide = |site, d| SiteSpec::new(site, [(AxisName::Batch, None), (AxisName::Neuron, Some(d))]);
        let block = |i, d| wide(Site::block(Part::Text, i, Point::MlpPre), d);
        let sites = [
            wide(Site::of(Part::Text, Point::Embed), 4),
            block(0, 8),
            block(1, 8),
            block(2, 6),
            wide(Site::of(Part::Text, Point::FinalNorm), 4),
        ];
        let names: Vec<String> = families(&sites).iter().map(Family::selector).collect();
        assert_eq!(
            names,
            ["text.embed", "text.blocks.0..2.mlp.pre", "text.blocks.2.mlp.pre", "text.final_norm"]
        );
        let chosen: Vec<Site> = names
            .iter()
            .flat_map(|name| name.parse::<Selector>().unwrap().resolve("model", &sites).unwrap())
            .collect();
        assert_eq!(chosen, sites.map(|spec| spec.site));
    }
}
