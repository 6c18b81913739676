//! `millrace completion`, `millrace man`: what shells and man(1) know of the command line, made from the flags themselves.
//!
//! As `kubectl-millrace` on the PATH the program is a plugin of kubectl, and its help says `kubectl millrace`.

use super::Outcome;
use crate::args::{Args, Completion, Man};
use anyhow::{Context, Result};
use clap::CommandFactory;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

/// The name by which kubectl finds its plugin.
const PLUGIN: &str = "kubectl-millrace";

/// The command line, by the name that this program was started with.
pub(crate) fn command() -> clap::Command {
    named(std::env::args_os().next().as_deref())
}

fn named(program: Option<&OsStr>) -> clap::Command {
    let command = Args::command();
    let file = program.map(Path::new).and_then(Path::file_name);
    match file.is_some_and(|file| file == PLUGIN) {
        true => command.bin_name("kubectl millrace").display_name("kubectl millrace"),
        false => command,
    }
}

/// Prints what a shell takes.
pub(crate) fn completion(args: &Completion, out: &mut dyn Write) -> Result<Outcome> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "millrace", &mut text);
    out.write_all(&text)?;
    Ok(Outcome::Well)
}

/// Writes the manual.
pub(crate) fn man(args: &Man, out: &mut dyn Write) -> Result<Outcome> {
    match &args.into {
        None => clap_mangen::Man::new(Args::command()).render(out)?,
        Some(folder) => clap_mangen::generate_to(Args::command(), folder)
            .with_context(|| format!("write the manual into {}", folder.display()))?,
    }
    Ok(Outcome::Well)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_plugin_the_help_says_kubectl_millrace() {
        let usage = |program: &str| {
            let command = named(Some(OsStr::new(program)));
            let error = command.try_get_matches_from([program, "status", "--help"]).unwrap_err();
            error.to_string().lines().find(|line| line.starts_with("Usage")).unwrap_or_default().to_owned()
        };
        assert_eq!(usage("/usr/bin/kubectl-millrace"), "Usage: kubectl millrace status [OPTIONS]");
        assert_eq!(usage("millrace"), "Usage: millrace status [OPTIONS]");
    }

    #[test]
    fn the_flags_are_sound() {
        Args::command().debug_assert();
    }
}
