//! The node agent: what a node needs around the plugin. The list of its tasks is its table of contents.
//!
//! It decides nothing of its own: `core` decides about pods, chains and remedies. It never writes a credential to the node.

pub(crate) mod audit;
mod auditing;
mod chain;
pub(crate) mod client;
pub(crate) mod config;
mod events;
pub(crate) mod flight;
pub(crate) mod guard;
pub(crate) mod health;
pub(crate) mod install;
pub(crate) mod lock;
pub(crate) mod metrics;
pub(crate) mod platform;
pub(crate) mod pods;
mod program;
mod report;
mod run;
pub(crate) mod runtime;
pub(crate) mod selftest;
pub(crate) mod serve;
mod serving;
mod shared;
pub(crate) mod telemetry;
pub(crate) mod uninstall;

use crate::api::platform::Platform;
use crate::args::agent::{Agent, AgentCommand, Install, Places, Serve, Way as WayFlag};
use crate::telemetry::start as start_logging;
use anyhow::{Context, Result};
use client::Access;
use config::Config;
use install::{Way, command};
use millrace_core::repair::Act;
use shared::Setup;
use std::io::Write;
use std::path::PathBuf;

/// Runs the agent, or what it was told to do instead; whether all is well.
pub(crate) fn run(args: &Agent, out: &mut impl Write) -> Result<bool> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match &args.command {
        Some(AgentCommand::Uninstall(args)) => return uninstall::command::run(args, out),
        Some(AgentCommand::Probe(args)) => return health::probe::run(args, variable, out),
        None => {}
    }
    let config = args.config.as_ref().map_or(Ok(Config::default()), |file| Config::from_file(file))?;
    let args = settle(args, &config, variable("POD_NAME"))?;
    if args.once || args.dry_run {
        return command::run(&args, &config.entry, out);
    }
    start_logging(&args.serve.log, variable)?;
    run::run(setup(&args, config, variable)?)?;
    Ok(true)
}

/// What flags leave unsaid, as the configuration says it.
fn settle(args: &Agent, config: &Config, pod: Option<String>) -> Result<Agent> {
    let (said, args) = (&config.install, args.clone());
    let way = said.way.map(|way| match way {
        Way::InPlace => WayFlag::InPlace,
        Way::Own => WayFlag::OwnList,
        Way::Auxiliary => WayFlag::Auxiliary,
    });
    Ok(Agent {
        places: places(&args.places, said)?,
        install: Install {
            list: args.install.list.or_else(|| said.list.clone()),
            way: args.install.way.or(way),
            installer: args.install.installer.or(pod),
            ..args.install
        },
        ..args
    })
}

/// The places that flags leave unsaid, as the configuration says them.
pub(crate) fn places(flags: &Places, said: &config::Install) -> Result<Places> {
    let flags = flags.clone();
    let platform = said.platform.as_deref().map(|name| {
        let known = clap::ValueEnum::from_str(name, false);
        known.map_err(|_| {
            let all = <Platform as clap::ValueEnum>::value_variants().iter();
            let names: Vec<_> = all.filter_map(clap::ValueEnum::to_possible_value).collect();
            let names: Vec<&str> = names.iter().map(clap::builder::PossibleValue::get_name).collect();
            anyhow::anyhow!("install.platform is {name:?}; write one of {}", names.join(", "))
        })
    });
    let bin_dir =
        if flags.bin_dir.is_empty() { said.bin_dir.clone().into_iter().collect() } else { flags.bin_dir };
    Ok(Places {
        platform: flags.platform.or(platform.transpose()?),
        conf_dir: flags.conf_dir.or_else(|| said.conf_dir.clone()),
        bin_dir,
        ..flags
    })
}

fn setup(args: &Agent, config: Config, variable: impl Fn(&str) -> Option<String>) -> Result<Setup> {
    let Serve { node, kubeconfig, metrics_address, proc, log: _ } = args.serve.clone();
    let node = node.or_else(|| variable("NODE_NAME")).context(
        "which node is this? name it by --node, or let NODE_NAME hold the pod's spec.nodeName (downward API)",
    )?;
    let metrics_address = match metrics_address.as_str() {
        "none" => None,
        text => Some(text.parse().with_context(|| {
            format!("--metrics-address is {text:?}; write an address and a port, such as [::]:15094, or none")
        })?),
    };
    // With nothing to do about a finding, no privilege is used to look for one.
    let audits = config.audit.act != Act::Off;
    let (places, target) = command::target(&args.places, &args.install, &config.entry)?;
    places.notes.iter().for_each(|note| tracing::warn!("{note}"));
    let own_socket = variable(health::probe::VARIABLE).map(PathBuf::from);
    let unnamed = || health::serve::unnamed(&args.places.state_dir.join("agents"));
    Ok(Setup {
        node,
        access: kubeconfig.map_or(Access::InCluster, Access::Kubeconfig),
        config,
        config_file: args.config.clone(),
        target,
        installer: command::installer(&args.install),
        state_dir: args.places.state_dir.clone(),
        own_socket: own_socket.unwrap_or_else(unnamed),
        metrics_address,
        audits,
        proc,
    })
}
