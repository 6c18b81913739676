//! Where the agent's health is answered: a unix socket of each process, and the node's address of who holds the lock.
//!
//! Neither ever ends an agent: pods depend on it, and nobody's pod depends on its metrics.

use crate::http::{self, Limits};
use axum::Router;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::net::UnixListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The flag that gives the node's address.
const FLAG: &str = "--metrics-address";
/// How long until an address that could not be had is tried again: the agent before us may be about to leave it.
const AGAIN: Duration = Duration::from_secs(5);
/// How often the process's own socket is looked for, should somebody have wiped the directory.
const LOOK: Duration = Duration::from_secs(1);

/// A process's own socket. Its file goes with it.
pub(crate) struct Own {
    listener: UnixListener,
    path: PathBuf,
}

impl Own {
    /// Listens at `path`, in a folder that is made when it is not there; what dead agents left there is removed.
    pub(crate) fn bind(path: PathBuf, now: SystemTime) -> Result<Own, http::Error> {
        if let Some(folder) = path.parent() {
            let failed = |cause| http::Error::Socket { path: path.clone(), cause };
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
            sweep(folder, now);
        }
        Ok(Own { listener: http::bind_unix(&path)?, path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until `stop`, on a new socket whenever the name is gone or another's: a kubelet would end an agent that it
    /// cannot ask.
    pub(crate) async fn serve(self, router: Router, stop: CancellationToken) {
        let Own { mut listener, path } = self;
        loop {
            let own = identity(&path);
            let ours = stop.child_token();
            let serving = http::serve(listener, router.clone(), Limits::default(), ours.clone());
            let renewed = async {
                loop {
                    sleep(LOOK).await;
                    if identity(&path) != own
                        && let Some(renewed) = renew(&path)
                    {
                        return renewed;
                    }
                }
            };
            tokio::pin!(serving);
            tokio::select! {
                () = &mut serving => break,
                renewed = renewed => listener = renewed,
            }
            // What is under way on the old one ends by itself, and nobody new finds it.
            ours.cancel();
        }
        // A name that is gone already is what we want.
        let _ = std::fs::remove_file(&path);
    }
}

fn renew(path: &Path) -> Option<UnixListener> {
    let folder = path.parent()?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).ok()?;
    let listener = http::bind_unix(path).ok()?;
    tracing::warn!(socket = %path.display(), "this agent's own socket was taken away; it is there again");
    Some(listener)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Serves on the node's address until `stop`, trying again while another process has it.
pub(crate) async fn on_node(address: SocketAddr, router: Router, stop: CancellationToken) {
    let mut said = String::new();
    loop {
        match http::bind(FLAG, address) {
            Ok(listener) => {
                tracing::info!(%address, "health and metrics are served");
                return http::serve(listener, router, Limits::default(), stop).await;
            }
            Err(error) => {
                let error = error.to_string();
                if error != said {
                    tracing::warn!("{error}; trying again every {} s", AGAIN.as_secs());
                    said = error;
                }
            }
        }
        if stop.run_until_cancelled(sleep(AGAIN)).await.is_none() {
            return;
        }
    }
}

/// The name of this process's socket in `folder`, where nobody gave it one. Agents of two pods share the directory and may
/// both be process 1, each of its own process namespace, so the namespace is in the name.
pub(crate) fn unnamed(folder: &Path) -> PathBuf {
    folder.join(format!("{}-{}.sock", namespace(), std::process::id()))
}

/// The number of this process's own process namespace; 0 where there is no `/proc` to tell.
pub(super) fn namespace() -> u64 {
    let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let digits: String = link.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// Removes sockets that nobody listens on any more. Young ones stay: between its birth and its first listening a socket
/// looks dead.
fn sweep(folder: &Path, now: SystemTime) {
    const YOUNG: Duration = Duration::from_secs(10);
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let born = entry.metadata().and_then(|found| found.modified());
        let old = born.is_ok_and(|born| now.duration_since(born).is_ok_and(|age| age > YOUNG));
        let named = path.extension().is_some_and(|kind| kind == "sock");
        if old && named && !millrace_host::socket::is_open(&path) {
            let _ = std::fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::health::{Check, Health, router};
    use crate::agent::metrics::Metrics;
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    const DEADLINE: Duration = Duration::from_secs(60);

    async fn get(address: SocketAddr, page: &str, accept: &str) -> String {
        let mut stream = loop {
            // Nobody listens until the address is free and tried again.
            match TcpStream::connect(address).await {
                Ok(stream) => break stream,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        };
        let request =
            format!("GET {page} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_node_is_answered_once_its_address_is_free() {
        // An address of the loopback network that no other test asks for.
        let pid = std::process::id().to_be_bytes();
        let own = Ipv4Addr::new(127, 77, pid[2], pid[3]);
        let before = TcpListener::bind((own, 0)).await.unwrap();
        let address = before.local_addr().unwrap();
        let (health, metrics, stop) =
            (Health::new(&[Check::Watch]), Metrics::new("0.0.0"), CancellationToken::new());
        let server = tokio::spawn(on_node(address, router(health.clone(), metrics), stop.clone()));
        tokio::task::yield_now().await;
        drop(before);
        let asked = async {
            let answer = get(address, "/readyz", "*/*").await;
            assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("not ready\n"), "{answer}");
            health.ok(Check::Watch, "no pods");
            let answer = get(address, "/readyz", "application/json").await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"ready\": true"), "{answer}");
            assert!(answer.contains("content-type: application/json"), "{answer}");
            let answer = get(address, "/livez", "*/*").await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("live\n"), "{answer}");
            let answer = get(address, "/metrics", "*/*").await;
            assert!(answer.contains("content-type: application/openmetrics-text"), "{answer}");
            assert!(answer.contains("millrace_build_info{version=\"0.0.0\"") && answer.ends_with("# EOF\n"));
            let answer = get(address, "/", "*/*").await;
            assert!(answer.ends_with("there are /livez, /readyz and /metrics\n"), "{answer}");
        };
        timeout(DEADLINE, asked).await.expect("answers within the deadline");
        stop.cancel();
        timeout(DEADLINE, server).await.expect("it ends").unwrap();
    }

    #[tokio::test]
    async fn an_address_that_is_never_free_ends_nobody_and_the_end_is_heard() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(on_node(taken.local_addr().unwrap(), Router::new(), stop.clone()));
        tokio::task::yield_now().await;
        stop.cancel();
        timeout(DEADLINE, server).await.expect("it ends").unwrap();
    }
}
