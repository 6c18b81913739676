//! The flags of `millrace webhook`.

use super::EXIT;
use clap::Args as ClapArgs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Serve the webhook alone, without a controller: for trying out what it does to pods.
///
/// The wishes come from a file, which is read again when it changes; the certificates are kept in a folder, whose ca.crt an
/// API server is given as caBundle. What was counted is printed at the end.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXIT)]
pub(crate) struct Webhook {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9443")]
    pub(crate) listen: SocketAddr,
    /// The wishes, YAML; without it, those of a cluster in which every node serves.
    #[arg(long, value_name = "FILE")]
    pub(crate) wishes: Option<PathBuf>,
    /// Where the certificates are kept, and made when they are not there.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) certs: PathBuf,
    /// A name or an address by which it is called; may be repeated.
    #[arg(long, value_name = "NAME", default_values_t = ["127.0.0.1".to_owned(), "localhost".to_owned()])]
    pub(crate) name: Vec<String>,
    #[command(flatten)]
    pub(crate) log: crate::telemetry::Log,
}
