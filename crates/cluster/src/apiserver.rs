//! `millrace apiserver`: a Kubernetes API server in memory, for one machine: what the demo and tests stand on, and for trying things
//! out. Unchanged clients speak to it: kubectl, kube-rs, and all our own roles.
//!
//! It listens on loopback or on a unix socket only, knows no credential, and forgets everything when it ends. What requests mean is
//! decided by pure modules over values; `server` has the state, `serve` the wire.

mod admission;
mod cel;
mod conditions;
mod controllers;
mod defaults;
mod discovery;
mod draft;
mod evict;
mod fields;
mod names;
mod openapi;
mod patch;
mod path;
mod present;
mod refusal;
mod registry;
mod rules;
mod select;
mod serve;
mod server;
mod shape;
mod store;
mod views;
mod watch;

use crate::args::apiserver::Apiserver;
use crate::cli::Outcome;
use crate::{http, telemetry};
use anyhow::{Context, Result, bail};
use server::{Limits, Server};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// As long as a process of tests or of a demo may live.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Serves until SIGTERM or SIGINT. The address is printed when it is ready.
pub(crate) fn run(args: &Apiserver, out: &mut impl Write) -> Result<Outcome> {
    telemetry::start(&args.log, |name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the server's runtime")?;
    runtime.block_on(live(args, out))?;
    Ok(Outcome::Well)
}

async fn live(args: &Apiserver, out: &mut impl Write) -> Result<()> {
    let stop = telemetry::stop()?;
    let defaults = Limits::default();
    let bounds = store::Bounds {
        objects: args.max_objects.unwrap_or(defaults.bounds.objects),
        history: args.history.unwrap_or(defaults.bounds.history),
    };
    let watches = args.max_watches.unwrap_or(defaults.watches);
    let limits = Limits { bounds, watches, ..defaults };
    let grants = http::Limits {
        connections: watches + 256,
        life: DAY,
        request: Duration::from_secs(60),
        farewell: Duration::from_millis(500),
        ..http::Limits::default()
    };
    let resolve = args.resolve.iter().cloned().collect();
    let server = Arc::new(Server::new(limits, resolve));
    if !args.no_controllers {
        tokio::spawn(controllers::run(Arc::clone(&server), stop.clone()));
    }
    let router = serve::router(server);
    if let Some(path) = &args.socket {
        let listener = http::bind_unix(path)?;
        writeln!(out, "unix://{}", path.display())?;
        out.flush()?;
        http::serve(listener, router, grants, stop).await;
        return Ok(());
    }
    let listener = listen(args.listen)?;
    let url = format!("http://{}", listener.local_addr().context("ask for the address that is listened on")?);
    if let Some(path) = &args.kubeconfig {
        write_kubeconfig(path, &url)?;
    }
    writeln!(out, "{url}")?;
    out.flush()?;
    http::serve(listener, router, grants, stop).await;
    Ok(())
}

fn listen(address: SocketAddr) -> Result<tokio::net::TcpListener> {
    if !address.ip().is_loopback() {
        bail!(
            "listen on {address}: this server asks nobody who he is, so it is for this machine alone; give --listen an \
             address of loopback, such as 127.0.0.1:0"
        );
    }
    Ok(http::bind("--listen", address)?)
}

/// A kubeconfig with no credential in it.
fn write_kubeconfig(path: &Path, url: &str) -> Result<()> {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: millrace\n\
         clusters:\n- name: millrace\n  cluster:\n    server: {url}\n\
         contexts:\n- name: millrace\n  context:\n    cluster: millrace\n    user: anybody\n    namespace: default\n\
         users:\n- name: anybody\n  user: {{}}\n"
    );
    // Beside and renamed, as a client may be waiting for the file to be there.
    let beside = path.with_extension("new");
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("write the kubeconfig {}", path.display()))
}
