//! The console in a cluster, as every replica of the controller may serve it: on loopback for kubectl port-forward, or by TLS under
//! names that it is given.
//!
//! It runs on a thread of its own, so that no page keeps an admission review waiting, and nothing of it runs where nobody looks. What
//! a session holds is in this replica's memory: whoever comes to another one logs in there.

use super::door::Door;
use super::review::Reviewer;
use super::site::{Entry, Site};
use super::{GRANTS, routes};
use crate::args::controller::Console;
use crate::http;
use crate::webhook::certs::make;
use crate::webhook::tls::TlsListener;
use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use kube::Config;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

/// How often the certificate's files and the ends of sessions are looked at: a clock sends no event, and files may come by any mount.
const LOOK: Duration = Duration::from_secs(10);

/// Starts serving until `stop`, if there is an address to serve on; `config` is how the controller asks the API server, and `home` the
/// namespace that it is in.
pub(crate) fn start(args: &Console, config: Config, home: String, stop: CancellationToken) -> Result<()> {
    let Some(address) = args.console_address.0 else { return Ok(()) };
    let door = door(args, address)?;
    let certificate = args.console_tls_cert.clone().zip(args.console_tls_key.clone()).map(Certificate::read);
    let certificate = certificate.transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the console's runtime")?;
    let (started, starts) = mpsc::channel();
    let serve = move || {
        let ready = runtime.block_on(async {
            let listener = http::bind("--console-address", address)?;
            let address = listener.local_addr().context("ask for the console's address")?;
            let reviewer = Box::new(Reviewer::new(config)?);
            tracing::info!(%address, tls = certificate.is_some(), "the console is served");
            Ok((listener, Site::new(door, Entry::Reviewed { reviewer, home }, None, stop.clone())))
        });
        match ready {
            Ok((listener, site)) => {
                let _ = started.send(Ok(()));
                runtime.block_on(live(listener, certificate, Arc::new(site), stop));
            }
            Err(error) => drop(started.send(Err(error))),
        }
    };
    std::thread::Builder::new()
        .name("console".to_owned())
        .spawn(serve)
        .context("start the console's thread")?;
    starts.recv().context("start the console")?
}

async fn live(
    listener: TcpListener,
    certificate: Option<Certificate>,
    site: Arc<Site>,
    stop: CancellationToken,
) {
    let router = routes::router(Arc::clone(&site));
    let served = certificate.as_ref().map(|certificate| certificate.served.subscribe());
    let looking = async {
        while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
            site.sessions.sweep(Instant::now()).iter().for_each(|visitor| visitor.reader.forget());
            certificate.iter().for_each(Certificate::renew);
        }
    };
    tokio::join!(serve(listener, served, router, stop.clone()), looking);
}

async fn serve(
    listener: TcpListener,
    served: Option<watch::Receiver<Arc<CertifiedKey>>>,
    router: Router,
    stop: CancellationToken,
) {
    match served {
        Some(served) => http::serve(TlsListener::new(listener, served), router, GRANTS, stop).await,
        None => http::serve(listener, router, GRANTS, stop).await,
    }
}

/// The door that the flags describe, or what is wrong with them.
fn door(args: &Console, address: SocketAddr) -> Result<Door> {
    let is_tls = args.console_tls_cert.is_some() || args.console_tls_in_front;
    let hosts = &args.console_host;
    if !is_tls {
        ensure!(
            address.ip().is_loopback(),
            "serve the console on {address}: without TLS whoever is on the way takes the tokens that are sent; give --console-tls-cert \
             and --console-tls-key, or --console-tls-in-front where TLS ends before it, or an address of loopback for kubectl \
             port-forward"
        );
        ensure!(
            hosts.is_empty(),
            "serve the console as {}: browsers come to a name by TLS alone; give --console-tls-cert and --console-tls-key, or \
             --console-tls-in-front where TLS ends before it",
            hosts.join(", ")
        );
        return Ok(Door::forwarded());
    }
    if hosts.is_empty() {
        bail!(
            "serve the console by TLS: it answers to names that it was given alone; give --console-host the name that browsers ask for"
        );
    }
    Ok(Door::named(hosts.clone()))
}

/// A certificate in files, which are read again when they are others.
struct Certificate {
    files: (PathBuf, PathBuf),
    served: watch::Sender<Arc<CertifiedKey>>,
    text: watch::Sender<(Vec<u8>, Vec<u8>)>,
}

impl Certificate {
    fn read(files: (PathBuf, PathBuf)) -> Result<Certificate> {
        let text = texts(&files)?;
        let served = watch::Sender::new(usable(&files, &text)?);
        Ok(Certificate { files, served, text: watch::Sender::new(text) })
    }

    /// Serves what is in the files now. One of them may be newer than the other just now: then what was served is, and it is looked again.
    fn renew(&self) {
        let renewed = texts(&self.files).and_then(|text| {
            if *self.text.borrow() != text {
                self.served.send_replace(usable(&self.files, &text)?);
                self.text.send_replace(text);
                tracing::info!(file = %self.files.0.display(), "the console's certificate is new");
            }
            Ok(())
        });
        if let Err(error) = renewed {
            tracing::error!("the console's earlier certificate is served on: {error:#}");
        }
    }
}

fn texts((certificate, key): &(PathBuf, PathBuf)) -> Result<(Vec<u8>, Vec<u8>)> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("read the console's certificate, {}", path.display()))
    };
    Ok((read(certificate)?, read(key)?))
}

fn usable(files: &(PathBuf, PathBuf), text: &(Vec<u8>, Vec<u8>)) -> Result<Arc<CertifiedKey>> {
    let pair = make::pair(&text.0, &text.1).map_err(anyhow::Error::msg);
    pair.with_context(|| format!("serve the console with {} and {}", files.0.display(), files.1.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::controller::Listen;
    use axum::http::{HeaderMap, Method};

    fn args(address: &str, flags: impl FnOnce(&mut Console)) -> Result<Door> {
        let address = address.parse().unwrap();
        let mut args = Console {
            console_address: Listen(Some(address)),
            console_host: Vec::new(),
            console_tls_cert: None,
            console_tls_key: None,
            console_tls_in_front: false,
        };
        flags(&mut args);
        door(&args, address)
    }

    #[test]
    fn without_tls_it_is_for_loopback_alone() {
        assert!(args("127.0.0.1:8090", |_| {}).is_ok() && args("[::1]:8090", |_| {}).is_ok());
        let wrong = |address: &str, flags: fn(&mut Console), named: &str| {
            let said = args(address, flags).unwrap_err().to_string();
            assert!(said.contains(named), "{said}");
        };
        wrong("0.0.0.0:8090", |_| {}, "--console-tls-in-front");
        wrong("[::]:8090", |args| args.console_host.push("a.example".to_owned()), "without TLS");
        wrong("127.0.0.1:8090", |args| args.console_host.push("a.example".to_owned()), "by TLS alone");
        wrong("0.0.0.0:8090", |args| args.console_tls_in_front = true, "--console-host");
        let front = args("0.0.0.0:8090", |args| {
            args.console_tls_in_front = true;
            args.console_host.push("a.example".to_owned());
        });
        let asked = HeaderMap::from_iter([("host".parse().unwrap(), "a.example".parse().unwrap())]);
        let door = front.unwrap();
        assert_eq!(door.admits(&Method::GET, &asked), Ok(()));
        assert!(door.set(&asked, "", Duration::ZERO).ends_with("; Secure"));
    }
}
