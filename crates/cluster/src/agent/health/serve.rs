//! Where the agent's health is answered: a unix socket of each process, and the node's address of who holds the lock.
//!
//! Neither ever ends an agent: pods depend on it, and nobody's pod depends on its metrics.

use crate::http::{self, Limits};
use axum::Router;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::net::UnixListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The flag that gives the node's address.
const FLAG: &str = "--metrics-address";
/// How long until an address that could not be had is tried again: the agent before us may be about to leave it.
const AGAIN: Duration = Duration::from_secs(5);

/// A process's own socket. Its file goes with it.
pub(crate) struct Own {
    listener: UnixListener,
    path: PathBuf,
}

impl Own {
    /// Listens in `folder`, which is made when it is not there; what dead agents left there is removed.
    pub(crate) fn bind(folder: &Path, now: SystemTime) -> Result<Own, http::Error> {
        let path = folder.join(own_name());
        let failed = |cause| http::Error::Socket { path: path.clone(), cause };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        sweep(folder, now);
        Ok(Own { listener: http::bind_unix(&path)?, path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until `stop`.
    pub(crate) async fn serve(self, router: Router, stop: CancellationToken) {
        http::serve(self.listener, router, Limits::default(), stop).await;
        // A name that is gone already is what we want.
        let _ = std::fs::remove_file(&self.path);
    }
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

/// The name of this process's socket. Agents of two pods share the directory and may both be process 1, each of its own
/// process namespace, so the namespace is in the name.
fn own_name() -> String {
    format!("{}-{}.sock", namespace(), std::process::id())
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
