//! The commands, one file each.

mod apply;
mod ask;
mod bench;
mod certify;
mod compare;
mod diff;
mod dry;
mod evaluate;
mod explain;
mod fit;
mod methods;
mod record;
mod report;
mod rerun;
mod scene;
#[cfg(feature = "remote-server")]
mod serve;
mod show;
mod sites;
mod trace;
mod whatif;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use mmlens::kernels;

use crate::job;

/// Which path of the kernels is taken, instead of the best there is.
const KERNELS: &str = "MMLENS_KERNELS";

/// Opens up multimodal models: the answer, why it was given, and what lies inside.
#[derive(Debug, Parser)]
#[command(name = "mmlens", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Apply(apply::Apply),
    Ask(ask::Ask),
    Bench(bench::Bench),
    Certify(certify::Certify),
    Compare(compare::Compare),
    Diff(diff::Diff),
    Evaluate(evaluate::Evaluate),
    Explain(explain::Explain),
    Fit(fit::Fit),
    Methods(methods::Methods),
    Record(record::Record),
    Report(report::Report),
    Rerun(rerun::Rerun),
    Scene(scene::Scene),
    #[cfg(feature = "remote-server")]
    Serve(serve::Serve),
    Show(show::Show),
    Sites(sites::Sites),
    Studio(whatif::Studio),
    Trace(trace::Trace),
    Whatif(whatif::Ask),
}

impl Cli {
    /// The exit status of a command that failed. Of those that judge, 1 is a verdict, so that it is 2 as for a command line that is
    /// not understood.
    pub(crate) fn failed(&self) -> ExitCode {
        match self.command {
            Command::Certify(_) | Command::Diff(_) | Command::Rerun(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    /// The command line, with the options of its job file, if it names one. What clap refuses of the line itself it tells, and the
    /// program ends; of a job file it is an error that names the place.
    pub(crate) fn read() -> Result<Self> {
        let (words, job) = job::expanded(std::env::args_os().collect(), &Self::command())?;
        let read =
            Self::command().try_get_matches_from(words).and_then(|matches| Self::from_arg_matches(&matches));
        read.or_else(|error| match job.and_then(|job| job.at(&error)) {
            Some(fault) => Err(fault.into()),
            None => error.exit(),
        })
    }

    pub(crate) fn run(&self) -> Result<ExitCode> {
        if let Some(path) = std::env::var_os(KERNELS) {
            let take = path.to_string_lossy().parse::<kernels::Path>().and_then(kernels::Path::take);
            take.with_context(|| format!("the environment variable {KERNELS}"))?;
        }
        crate::threads::start()?;
        match &self.command {
            Command::Apply(apply) => apply.run(),
            Command::Ask(ask) => ask.run(),
            Command::Bench(bench) => bench.run(),
            Command::Certify(certify) => return certify.run(),
            Command::Compare(compare) => compare.run(),
            Command::Diff(diff) => return diff.run(),
            Command::Evaluate(evaluate) => evaluate.run(),
            Command::Explain(explain) => explain.run(),
            Command::Fit(fit) => fit.run(),
            Command::Methods(methods) => methods.run(),
            Command::Record(record) => record.run(),
            Command::Report(report) => report.run(),
            Command::Rerun(rerun) => return rerun.run(),
            Command::Scene(scene) => scene.run(),
            #[cfg(feature = "remote-server")]
            Command::Serve(serve) => serve.run(),
            Command::Show(show) => show.run(),
            Command::Sites(sites) => sites.run(),
            Command::Studio(studio) => studio.run(),
            Command::Trace(trace) => trace.run(),
            Command::Whatif(session) => session.run(),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The options of `mmlens explain`, if that is the command.
pub(crate) fn explain_of(cli: Cli) -> Option<explain::Explain> {
    match cli.command {
        Command::Explain(explain) => Some(explain),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use mmlens::core::Reach;
    use mmlens::{METHODS, TOOLS};

    /// A key of a job file is an option or the table of a method, and never both.
    #[test]
    fn no_method_is_called_as_an_option() {
        let program = super::Cli::command();
        let explain = program.find_subcommand("explain").unwrap();
        let options: Vec<&str> = explain.get_arguments().filter_map(|arg| arg.get_long()).collect();
        assert!(options.contains(&"job"), "{options:?}");
        for name in METHODS.iter().flat_map(|method| [method.card.short, method.card.id]) {
            assert!(!options.contains(&name), "{name}");
        }
    }

    /// The commands that reach tools are commands of this program, with options that it has.
    #[test]
    fn tools_are_reached_by_what_is_written() {
        let own = |word: &str| match word {
            "MODEL" | "OTHER" | "FILE" | "FOLDER" | "PAGE" | "PATH" | "FINDING" | "QUESTION" => {
                "some".to_owned()
            }
            "METHOD" => "ig".to_owned(),
            "LAYOUT" | "SCORER" => "pope".to_owned(),
            "FORMAT" => "qwen2-vl".to_owned(),
            "SITES" => "text.blocks.*.resid_post".to_owned(),
            "F" => "2".to_owned(),
            word => word.to_owned(),
        };
        let mut commands = 0;
        for tool in TOOLS {
            let Reach::Command(text) = tool.reach else { continue };
            let read = super::Cli::command().try_get_matches_from(text.split(' ').map(own));
            assert!(read.is_ok(), "{text}: {}", read.unwrap_err());
            commands += 1;
        }
        assert!(commands > 10);
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
