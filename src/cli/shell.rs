//! What a shell and `man` know of this program, generated from its own command line.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::error::CliError;

#[derive(Args)]
#[command(after_help = "Example:\n  permyx completions bash > /usr/share/bash-completion/completions/permyx")]
pub struct CompletionsArgs {
    shell: Shell,
}

pub fn completions(args: &CompletionsArgs, out: &mut dyn Write) -> Result<(), CliError> {
    // Whole, so that a shell which stops reading is an error of ours and no panic of the generator's.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "permyx", &mut text);
    Ok(out.write_all(&text)?)
}

#[derive(Args)]
#[command(after_help = "Examples:\n  permyx man | man -l -\n  permyx man --out /usr/share/man/man1")]
pub struct ManArgs {
    /// Write a page for each verb into this directory, instead of the first one to the output
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn man(args: &ManArgs, out: &mut dyn Write) -> Result<(), CliError> {
    match &args.out {
        Some(dir) => Ok(clap_mangen::generate_to(Cli::command(), dir)?),
        None => Ok(clap_mangen::Man::new(Cli::command()).render(out)?),
    }
}
