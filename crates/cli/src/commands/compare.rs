//! `mmlens compare`: maps of the same pictures side by side.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use mmlens::evaluation::comparison::{self, Shown};
use mmlens::evaluation::{ComparisonSettings, Sign, compare};
use mmlens::files::Target;
use mmlens::finding::Finding;
use mmlens::report::Page;
use serde::Serialize;

use super::report::{PictureArgs, sources};
use crate::caution::ToldCaution;
use crate::print;

/// Lays maps of the same pictures side by side: of two models, of several methods, of runs before and after.
///
/// A number of one model is not a number of another. So every map is painted on one grid and divided by the sum of its magnitudes; then it is told how far each two agree, beside what shifts of
/// one over the other give. Findings without a map of the picture, such as those of cka, are shown on the page and take no part.
///
/// Of two models on one input, `mmlens explain MODEL --beside OTHER` does all of it at once.
///
/// mmlens explain --image P --ask Q --method ig,occlusion --out out; mmlens compare out/ig.safetensors out/occlusion.safetensors --out both.html
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The findings, as `mmlens explain` wrote them: two or more that hold maps.
    #[arg(value_name = "FINDING", required = true)]
    findings: Vec<PathBuf>,
    /// Cells of the common grid, one above the other.
    #[arg(long, value_name = "COUNT", default_value_t = ComparisonSettings::default().rows)]
    rows: usize,
    /// Cells of the common grid, side by side.
    #[arg(long, value_name = "COUNT", default_value_t = ComparisonSettings::default().cols)]
    cols: usize,
    /// Takes numbers as they are, and not their magnitudes.
    #[arg(long)]
    signed: bool,
    /// Which share of the cells is the top of a map.
    #[arg(long, value_name = "SHARE", default_value_t = ComparisonSettings::default().top)]
    top: f64,
    #[command(flatten)]
    pictures: PictureArgs,
    /// The page with the maps side by side, none of the files that are read.
    #[arg(long, value_name = "PAGE")]
    out: PathBuf,
    /// Also writes what was found into this file, as a finding.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Prints what was found as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
pub(super) struct Told {
    report: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    finding: Option<PathBuf>,
    maps: Vec<Named>,
    /// How far each two agree.
    pairs: Vec<Pair>,
    cautions: Vec<ToldCaution>,
    /// Maps of answers that are not told in words, so that nobody sees whether they are the same.
    unknown_answers: Vec<String>,
    /// Findings without a map, which take no part.
    without: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Named {
    name: String,
    file: PathBuf,
}

#[derive(Serialize)]
struct Pair {
    first: String,
    second: String,
    #[serde(flatten)]
    agree: BTreeMap<String, Option<f32>>,
}

/// A finding as it was read.
struct Read {
    file: PathBuf,
    finding: Finding,
    name: String,
}

impl Read {
    fn shown(&self) -> Shown<'_> {
        Shown { name: &self.name, finding: &self.finding }
    }
}

/// The model and the method, and where these are there more than once the file.
fn named(files: &[PathBuf], findings: Vec<Finding>) -> Vec<Read> {
    let plain = |finding: &Finding| format!("{}: {}", finding.provenance.subject, finding.provenance.method);
    let plains: Vec<String> = findings.iter().map(plain).collect();
    let all = files.iter().zip(findings).zip(&plains);
    let one = |((file, finding), plain): ((&PathBuf, Finding), &String)| {
        let same = plains.iter().filter(|other| *other == plain).count();
        let name = if same > 1 { format!("{plain} ({})", file.display()) } else { plain.clone() };
        Read { file: file.clone(), finding, name }
    };
    all.map(one).collect()
}

/// How far each two maps agree.
fn pairs(found: &Finding, maps: &[&Read]) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for (at, first) in maps.iter().enumerate() {
        for (other, second) in maps.iter().enumerate().skip(at + 1) {
            let agree = comparison::TABLES.iter().map(|name| {
                let value = found.table(name)?.get(&[at, other]);
                Ok(((*name).to_owned(), value.filter(|value| value.is_finite())))
            });
            let agree = agree.collect::<Result<_>>()?;
            pairs.push(Pair { first: first.name.clone(), second: second.name.clone(), agree });
        }
    }
    Ok(pairs)
}

impl Compare {
    /// What was explained of two models, side by side.
    pub(super) fn of(findings: Vec<PathBuf>, (out, save): (PathBuf, PathBuf)) -> Self {
        let ComparisonSettings { rows, cols, top, .. } = ComparisonSettings::default();
        let pictures = PictureArgs::default();
        Self { findings, rows, cols, signed: false, top, pictures, out, save: Some(save), json: false }
    }

    pub(crate) fn run(&self) -> Result<()> {
        let told = self.compared(true)?;
        if self.json { print::json(&told) } else { told.print() }
    }

    /// Compares; where maps are not `needed` and there are fewer than two, the page shows what there is and nothing is compared.
    pub(super) fn compared(&self, needed: bool) -> Result<Told> {
        let load = |file: &PathBuf| Finding::load(file).with_context(|| file.display().to_string());
        let findings: Vec<Finding> = self.findings.iter().map(load).collect::<Result<_>>()?;
        let read = || {
            let sources = findings.iter().flat_map(sources);
            sources.chain(self.findings.iter().cloned()).chain(self.pictures.files())
        };
        let page = Target::new(&self.out)?.apart_from(read())?;
        let saved = self.save.as_ref().map(|path| Target::new(path)?.apart_from(read())).transpose()?;
        let all = named(&self.findings, findings.clone());
        let (maps, without): (Vec<&Read>, Vec<&Read>) =
            all.iter().partition(|read| comparison::has_map(&read.finding));
        let shown: Vec<Shown<'_>> = maps.iter().map(|read| read.shown()).collect();
        let sign = if self.signed { Sign::Signed } else { Sign::Absolute };
        let settings = ComparisonSettings { rows: self.rows, cols: self.cols, sign, top: self.top };
        let found = match needed || shown.len() > 1 {
            true => Some(compare(&shown, &settings)?),
            false => None,
        };
        if let (Some(target), Some(found)) = (saved, &found) {
            let bytes = found.to_bytes()?;
            target.write(|out| out.write_all(&bytes))?;
        }
        let told = self.told(found.as_ref(), &maps, &without)?;
        let own = found.is_some().then(|| self.save.as_ref().unwrap_or(&self.out).clone());
        let files: Vec<PathBuf> = own.into_iter().chain(self.findings.iter().cloned()).collect();
        let (whole, _) = self.pictures.page(&files, found.into_iter().chain(findings).collect())?;
        let html = Page { title: "Side by side".to_owned(), ..whole }.html()?;
        page.write(|out| out.write_all(html.as_bytes()))?;
        Ok(told)
    }

    fn told(&self, found: Option<&Finding>, maps: &[&Read], without: &[&Read]) -> Result<Told> {
        let pairs = found.map(|found| pairs(found, maps)).transpose()?.unwrap_or_default();
        let cautions = found.map(Finding::cautions).unwrap_or_default();
        Ok(Told {
            report: self.out.clone(),
            finding: self.save.clone().filter(|_| found.is_some()),
            maps: maps
                .iter()
                .map(|read| Named { name: read.name.clone(), file: read.file.clone() })
                .collect(),
            pairs,
            cautions: cautions.iter().map(ToldCaution::from).collect(),
            unknown_answers: maps
                .iter()
                .filter(|read| read.finding.provenance.answer.is_none())
                .map(|read| read.name.clone())
                .collect(),
            without: without.iter().map(|read| read.file.clone()).collect(),
        })
    }
}

impl Told {
    /// For people.
    pub(super) fn print(&self) -> Result<()> {
        let number = |name: &str| {
            self.maps
                .iter()
                .position(|map| map.name == name)
                .map_or_else(String::new, |at| (at + 1).to_string())
        };
        let maps: Vec<[String; 2]> =
            self.maps.iter().map(|map| [number(&map.name), print::visible(&map.name)]).collect();
        print::columns(&maps)?;
        let heads = [
            "",
            "rank correlation",
            "shifted",
            "shared mass",
            "shifted",
            "top overlap",
            "shifted",
            "shifts as good",
        ];
        let mut rows = vec![heads.map(str::to_owned)];
        for pair in &self.pairs {
            let value = |name: &str| match pair.agree.get(name).copied().flatten() {
                Some(value) => format!("{value:.3}"),
                None => "none".to_owned(),
            };
            let [rank, mass, top, shifted, less, least, reached] = comparison::TABLES.map(value);
            let both = format!("{} and {}", number(&pair.first), number(&pair.second));
            rows.push([both, rank, shifted, mass, less, top, least, reached]);
        }
        if self.pairs.is_empty() {
            print::note(
                "there are fewer than two maps of the picture: the page shows all side by side, and nothing is compared",
            );
        } else {
            print::line("")?;
            print::columns(&rows)?;
        }
        print::line("")?;
        let show = |path: &Path| print::visible(&path.display().to_string());
        if let Some(file) = &self.finding {
            print::line(format!("finding    {}", show(file)))?;
        }
        print::line(format!("report     {}", show(&self.report)))?;
        if !self.unknown_answers.is_empty() {
            let names: Vec<String> = self.unknown_answers.iter().map(|name| print::visible(name)).collect();
            print::note(&format!(
                "which answer is explained is not told in words by {}: whether it is the same is not seen",
                names.join(", ")
            ));
        }
        for file in &self.without {
            print::note(&format!("{} holds no map of the picture, and takes no part", show(file)));
        }
        self.cautions.iter().for_each(|caution| print::note(&print::visible(&caution.text)));
        Ok(())
    }
}
