//! The command line, as clap reads it. Flags only: what they do is in the module of each command.

pub(crate) mod agent;
pub(crate) mod apiserver;
pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod console;
pub(crate) mod controller;
pub(crate) mod inject;
pub(crate) mod lifecycle;
pub(crate) mod look;
pub(crate) mod migrate;
pub(crate) mod output;
pub(crate) mod pod;
pub(crate) mod print;
pub(crate) mod report;
pub(crate) mod subject;
pub(crate) mod switch;
pub(crate) mod webhook;

use clap::{Args as ClapArgs, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The mesh's CNI, from the people's side: decide, explain, trace and verify the redirection of pods.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, max_term_width = 110, after_help = EXIT)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_SWITCH: &str = "\
Exit status: 0 it is done, and with --wait reached; 1 it was not reached in time; 2 it could not be done; 130 the waiting was \
interrupted.";

const EXIT_DIFF: &str = "Exit status: 0 nothing differs; 1 something does; 2 it could not be looked at.";

const EXIT: &str =
    "Exit status: 0 all is well; 1 something is wrong with what was looked at; 2 it could not be looked at.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Enable(switch::Enable),
    Disable(switch::Disable),
    Exclude(switch::Exclude),
    Status(look::Status),
    Nodes(look::Nodes),
    Plan(look::Plan),
    Check(check::Check),
    Drift(check::Drift),
    Report(Box<report::Report>),
    Migrate(migrate::Migrate),
    Rollback(lifecycle::Rollback),
    Upgrade(lifecycle::Upgrade),
    Uninstall(lifecycle::Uninstall),
    Completion(Completion),
    Man(Man),
    Explain(Box<pod::Explain>),
    Inject(inject::Inject),
    Rules(Box<pod::Rules>),
    Trace(Box<pod::Trace>),
    Verify(Box<pod::Verify>),
    Why(Box<pod::Why>),
    Agent(Box<agent::Agent>),
    Console(Box<console::Console>),
    Controller(Box<controller::Controller>),
    Print(print::Print),
    Apiserver(apiserver::Apiserver),
    Demo(Demo),
    #[command(hide = true)]
    Webhook(webhook::Webhook),
    #[command(hide = true)]
    DemoApp(DemoApp),
    #[command(hide = true)]
    DemoInjector(DemoInjector),
}

/// Print what makes a shell complete this program's commands: `source <(millrace completion bash)`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Completion {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Write the manual, one page for each command.
#[derive(Debug, ClapArgs)]
pub(crate) struct Man {
    /// The directory to write the pages into; without it, this program's own page is printed.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) into: Option<PathBuf>,
}

/// Start the vendor page's bookinfo on this machine, redirect it from outside, and prove it by real traffic (root).
///
/// A controller switches mesh CNI on, an agent installs it on a node; then it is switched off and on again while requests go on.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXIT)]
pub(crate) struct Demo {
    /// Once bookinfo is proved, leave everything running until Ctrl-C, and say how to look inside.
    #[arg(long)]
    pub(crate) keep: bool,
    /// The same, with the console served, whose address is printed.
    #[arg(long)]
    pub(crate) console: bool,
    /// The plugin; else MILLRACE_CNI, else the one beside this program or in cargo's other profiles.
    #[arg(long, value_name = "PATH")]
    pub(crate) cni_bin: Option<PathBuf>,
    /// Envoy; else MILLRACE_ENVOY, else the one scripts/envoy installed, else the one on PATH.
    #[arg(long, value_name = "PATH")]
    pub(crate) envoy: Option<PathBuf>,
}

/// One of the demo's programs, started by the demo in a pod.
#[derive(Debug, ClapArgs)]
pub(crate) struct DemoApp {
    /// Which program: details, ratings, reviews, productpage or visitor.
    pub(crate) app: String,
    /// Its version: reviews v2 and v3 call ratings.
    #[arg(long, default_value = "v1")]
    pub(crate) version: String,
    /// The name of its pod, to sign answers with.
    #[arg(long)]
    pub(crate) pod: String,
    /// The port to listen on, IPv4 and IPv6.
    #[arg(long, default_value_t = 9080)]
    pub(crate) port: u16,
    /// The names of services and their addresses, in the shape of /etc/hosts.
    #[arg(long)]
    pub(crate) hosts: PathBuf,
}

/// The demo's injector of sidecars, a webhook as Istio's is.
#[derive(Debug, ClapArgs)]
pub(crate) struct DemoInjector {
    /// Where to listen; its certificate is for this address.
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// The file that is to hold the authority of its certificate; it is there once it listens.
    #[arg(long)]
    pub(crate) authority: PathBuf,
}
