use anyhow::Result;
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {}
impl Explain { pub(crate) fn run(&self) -> Result<()> { Ok(()) } }
