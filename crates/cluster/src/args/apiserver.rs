//! The flags of `millrace apiserver`.

use clap::Args as ClapArgs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Serve the Kubernetes API from memory, for one machine: for trying things out and for tests.
///
/// Namespaces, nodes, pods, workloads, services, RBAC, webhooks, custom resources and more, for kubectl and any other client. Workloads
/// become pods and pods find nodes, which others play. It asks
/// nobody who he is, listens on loopback only, and forgets everything when it ends. It prints its address when it is ready.
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = super::EXIT)]
pub(crate) struct Apiserver {
    /// Where to listen; port 0 is any that is free.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Listen on a unix socket instead.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "kubeconfig"])]
    pub(crate) socket: Option<PathBuf>,
    /// Write a kubeconfig for it, once it listens.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// How many objects there may be at once [default: 200000].
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_objects: Option<usize>,
    /// How many watches there may be at once [default: 8192].
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_watches: Option<usize>,
    /// How many events of one kind are remembered for who watches [default: 20000].
    #[arg(long, value_name = "COUNT")]
    pub(crate) history: Option<usize>,
    /// Where the webhooks of a service are; may be repeated. Without it they are where its Endpoints say.
    #[arg(long, value_name = "NAMESPACE/NAME=ADDRESS", value_parser = resolved)]
    pub(crate) resolve: Vec<(String, SocketAddr)>,
    /// Keep objects only: workloads make no pods, pods find no nodes, nothing is collected that lost its owner.
    #[arg(long)]
    pub(crate) no_controllers: bool,
    #[command(flatten)]
    pub(crate) log: crate::telemetry::Log,
}

fn resolved(text: &str) -> Result<(String, SocketAddr), String> {
    let (service, address) = text.split_once('=').ok_or("write NAMESPACE/NAME=ADDRESS:PORT")?;
    if service.split('/').count() != 2 {
        return Err(format!("{service:?} is no NAMESPACE/NAME of a service"));
    }
    let address = address.parse().map_err(|_| format!("{address:?} is no ADDRESS:PORT"))?;
    Ok((service.to_owned(), address))
}
