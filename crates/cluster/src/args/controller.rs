//! The flags of `millrace controller`.

use crate::telemetry::Log;
use clap::Args as ClapArgs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// An endpoint that goes is told to each kube-proxy by a watch, which writes it down no more often than each second
/// (KubeProxyConfiguration, minSyncPeriod); the rest is room for large and for busy clusters.
const LINGER: u32 = 10;
/// With what is done beside, it is within the pod's terminationGracePeriodSeconds.
pub(crate) const MOST_LINGER: u32 = 20;

/// Make the cluster what its MeshCNI says: agents on nodes, pods converted, and a status that tells how far it is.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = super::EXIT)]
pub(crate) struct Controller {
    /// The way to the API server, by its current context; else the pod's own service account.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The namespace of everything that has one; else POD_NAMESPACE, else millrace-system.
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Who this is among several controllers, of which one acts; else POD_NAME.
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Option<String>,
    /// The image of agents, where the MeshCNI names none; without it the one that `make image` makes.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// For how many seconds the one that acts is not replaced though it is silent, 3 to 300.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(3..=300))]
    pub(crate) lease_seconds: u32,
    /// How many seconds after the last pod was converted agents stay at least: a pod that was just admitted may be on its way.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) settle_seconds: u32,
    /// How many seconds reviews are answered on after SIGTERM, 0 to 20: an API server hears late that this webhook goes. A second
    /// SIGTERM ends that.
    #[arg(long, value_name = "SECONDS", default_value_t = LINGER, value_parser = clap::value_parser!(u32).range(0..=i64::from(MOST_LINGER)))]
    pub(crate) linger_seconds: u32,
    /// Where health and metrics are served; none for nowhere.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:15095", value_parser = listen)]
    pub(crate) metrics_address: Listen,
    /// Where the webhook listens; none for no webhook, so that no pod is converted.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:9443", value_parser = listen)]
    pub(crate) webhook_address: Listen,
    /// How an API server reaches the webhook where there is no Service, as in https://192.0.2.1:9443/inject.
    #[arg(long, value_name = "URL")]
    pub(crate) webhook_url: Option<String>,
    #[command(flatten)]
    pub(crate) console: Console,
    #[command(flatten)]
    pub(crate) log: Log,
}

/// The console that a controller serves.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Console")]
pub(crate) struct Console {
    /// Where the console is served; none for nowhere. Without TLS it is for loopback alone, which kubectl port-forward reaches.
    #[arg(long, value_name = "ADDRESS", default_value = "none", value_parser = listen)]
    pub(crate) console_address: Listen,
    /// A name that browsers ask for it by, with the port where that is not 443; may be repeated. It answers to no other.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = host)]
    pub(crate) console_host: Vec<String>,
    /// The certificate to serve it with, PEM, those it leads to after it; read again when it changes.
    #[arg(long, value_name = "FILE", requires = "console_tls_key")]
    pub(crate) console_tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM.
    #[arg(long, value_name = "FILE", requires = "console_tls_cert")]
    pub(crate) console_tls_key: Option<PathBuf>,
    /// TLS ends in front of it, at an ingress or a proxy: browsers come by https all the same.
    #[arg(long, conflicts_with = "console_tls_cert")]
    pub(crate) console_tls_in_front: bool,
}

/// An address to listen on, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) Option<SocketAddr>);

/// A host as requests name it.
fn host(text: &str) -> Result<String, String> {
    let is_sign = |sign: char| sign.is_ascii_alphanumeric() || ".-:[]".contains(sign);
    let is_host = !text.is_empty() && text.len() <= 253 + 6 && text.chars().all(is_sign);
    if is_host {
        Ok(text.to_owned())
    } else {
        Err("write a name, as in mesh.example.org or mesh.example.org:8443".to_owned())
    }
}

fn listen(text: &str) -> Result<Listen, String> {
    if text == "none" {
        return Ok(Listen(None));
    }
    let address = text.parse().map_err(|_| "write an address, as in 127.0.0.1:15095, or none".to_owned())?;
    Ok(Listen(Some(address)))
}
