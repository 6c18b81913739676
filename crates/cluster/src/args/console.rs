//! The flags of `millrace console`.

use super::check::Home;
use super::cluster::Server;
use super::output::Lang;
use super::pod::STATE_DIR;
use clap::Args as ClapArgs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Serve the console on this machine's loopback: the page with the switch, its plan, its progress, and the proof behind it.
///
/// It reads and changes the cluster with the rights of your kubeconfig, and prints an address that lets you in; nobody gets in without
/// it. It keeps nothing and ends with Ctrl-C.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = super::EXIT)]
pub(crate) struct Console {
    /// Where to listen, on loopback; port 0 is any that is free.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Show everything and change nothing.
    #[arg(long)]
    pub(crate) read_only: bool,
    /// The language of pages until a browser chooses one; else that of the locale.
    #[arg(long, value_enum)]
    pub(crate) lang: Option<Lang>,
    /// Where millrace-cni keeps its records: pods of this machine are looked into without anybody's help.
    #[arg(long, value_name = "DIRECTORY", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
    #[command(flatten)]
    pub(crate) home: Home,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) log: crate::telemetry::Log,
}
