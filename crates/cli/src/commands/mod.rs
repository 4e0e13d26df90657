//! The commands, one file each.

mod ask;
mod certify;
mod explain;
mod rerun;
#[cfg(feature = "remote-server")]
mod serve;
mod sites;
mod trace;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use mmlens::kernels;

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
    Ask(ask::Ask),
    Certify(certify::Certify),
    Explain(explain::Explain),
    Rerun(rerun::Rerun),
    #[cfg(feature = "remote-server")]
    Serve(serve::Serve),
    Sites(sites::Sites),
    Trace(trace::Trace),
}

impl Cli {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        if let Some(path) = std::env::var_os(KERNELS) {
            let take = path.to_string_lossy().parse::<kernels::Path>().and_then(kernels::Path::take);
            take.with_context(|| format!("the environment variable {KERNELS}"))?;
        }
        match &self.command {
            Command::Ask(ask) => ask.run(),
            Command::Certify(certify) => certify.run(),
            Command::Explain(explain) => explain.run(),
            Command::Rerun(rerun) => return rerun.run(),
            #[cfg(feature = "remote-server")]
            Command::Serve(serve) => serve.run(),
            Command::Sites(sites) => sites.run(),
            Command::Trace(trace) => trace.run(),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
