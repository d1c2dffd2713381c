use crate::cli;
pub(super) fn new(_args: &cli::New) -> anyhow::Result<()> { anyhow::bail!("not yet") }
