//! `mmlens certify`: whether a checkpoint computes what transformers does.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use mmlens::zoo::certify::{Compared, Kind, certify};

use crate::model::ModelArgs;
use crate::print;

/// Holds a model against a reference made with transformers, site by site.
///
/// `oracles/trace.py MODEL_DIR --image I --ask Q --out ORACLE.safetensors` makes one. Activations must be within 1e-4 of the
/// largest value beside them (at their position, of their head), scores within 2e-4 of the largest of their head, gradients
/// within 1e-3; token ids must be equal. The exit status is 0 if all are, 1 if not, and 2 if they cannot be compared.
#[derive(Debug, Args)]
pub(crate) struct Certify {
    #[command(flatten)]
    model: ModelArgs,
    /// The reference.
    #[arg(long, value_name = "ORACLE")]
    against: PathBuf,
    /// Where the pictures are that the reference names. Without it: the folder of the reference.
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Prints the certificate as JSON.
    #[arg(long)]
    json: bool,
}

impl Certify {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let subject = self.model.open()?;
        let beside = || self.against.parent().map(PathBuf::from).unwrap_or_default();
        let pictures = self.pictures.clone().unwrap_or_else(beside);
        let certificate = certify(subject.as_ref(), &self.against, &pictures)?;
        if self.json {
            print::json(&certificate)?;
        } else {
            let head =
                ["", "largest error", "measured against", "relative", "bound", "at"].map(str::to_owned);
            let rows: Vec<[String; 6]> =
                std::iter::once(head).chain(certificate.compared.iter().map(row)).collect();
            print::columns(&rows)?;
            for name in &certificate.left_out {
                print::line(format_args!("{}: not compared", print::visible(name)))?;
            }
        }
        let failed = certificate.compared.iter().filter(|c| !c.passed).count();
        if failed > 0 {
            let (all, reference) = (certificate.compared.len(), &certificate.reference);
            print::error(&print::visible(&format!("{failed} of {all} values differ from {reference}")));
            return Ok(ExitCode::FAILURE);
        }
        if !certificate.says_something() {
            bail!("{} holds no activation and no gradient of a site of this model", certificate.reference);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(c: &Compared) -> [String; 6] {
    let name = print::visible(&c.name);
    let name = if c.passed { name } else { format!("{name} DIFFERS") };
    let only = |what: String| [name.clone(), what, String::new(), String::new(), String::new(), place(&c.at)];
    if let Some(fault) = &c.fault {
        return only(fault.clone());
    }
    if c.kind == Kind::Ids {
        return only(format!("{} differ", c.error));
    }
    let (error, largest) = (format!("{:.1e}", c.error), format!("{:.3}", c.largest));
    [name.clone(), error, largest, format!("{:.1e}", c.relative()), format!("{:.0e}", c.bound), place(&c.at)]
}

fn place(at: &[usize]) -> String {
    at.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
