//! The node agent: what a node needs around the plugin. The list of its tasks is its table of contents.
//!
//! It decides nothing of its own: `core` decides about pods, chains and remedies. It never writes a credential to the node.
#![allow(dead_code, reason = "its parts land one by one; the run loop that uses them comes last")]

pub(crate) mod audit;
pub(crate) mod client;
pub(crate) mod flight;
pub(crate) mod guard;
pub(crate) mod health;
pub(crate) mod install;
pub(crate) mod lock;
pub(crate) mod metrics;
pub(crate) mod platform;
pub(crate) mod pods;
pub(crate) mod runtime;
pub(crate) mod selftest;
pub(crate) mod serve;
pub(crate) mod telemetry;
pub(crate) mod uninstall;

use crate::args::agent::{Agent, AgentCommand};
use std::io::Write;

/// Runs the agent, or what it was told to do instead; whether all is well.
pub(crate) fn run(args: &Agent, out: &mut impl Write) -> anyhow::Result<bool> {
    match &args.command {
        Some(AgentCommand::Uninstall(args)) => uninstall::command::run(args, out),
        None if args.once || args.dry_run => install::command::run(args, out),
        None => anyhow::bail!("this release installs and ends: say --once or --dry-run, or uninstall"),
    }
}
