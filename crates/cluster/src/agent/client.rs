//! The connection to the API server, made anew when it is in doubt.
//!
//! Reads the pod's own service account, or a kubeconfig; keeps neither, and writes neither (M6).

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Until a connection stands. An API server that is reachable takes milliseconds.
const CONNECT: Duration = Duration::from_secs(5);

/// Whence address, authority and credential come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// From the pod's environment and its projected service account.
    InCluster,
    /// From a kubeconfig's current context.
    Kubeconfig(PathBuf),
}

/// A client that can be renewed. A clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    access: Access,
    current: Arc<Mutex<Current>>,
}

/// A client, and how many came before it.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) client: Client,
    pub(crate) generation: u64,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "client {}", self.generation)
    }
}

impl Link {
    /// The first client. Nothing is asked of the server yet; it fails only where there is no usable configuration.
    pub(crate) async fn new(access: Access) -> Result<Link> {
        let client = access.client().await?;
        let current = Arc::new(Mutex::new(Current { client, generation: 0 }));
        Ok(Link { access, current })
    }

    /// The client of now.
    pub(crate) fn current(&self) -> Current {
        self.locked().clone()
    }

    /// Replaces the client of `generation`, if nobody did so before: everything is read again, and no connection of the old
    /// one is used. A token that the kubelet replaced is read by the client itself within a minute; this is for one that
    /// was refused already, for a changed authority, and for connections that lead nowhere without saying so.
    pub(crate) async fn renew(&self, generation: u64) -> Result<()> {
        if self.locked().generation != generation {
            return Ok(());
        }
        let client = self.access.client().await?;
        let mut current = self.locked();
        if current.generation == generation {
            *current = Current { client, generation: generation + 1 };
        }
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Access {
    async fn client(&self) -> Result<Client> {
        Client::try_from(self.config().await?).context("make a client of the API server")
    }

    /// Address, authority and credential, and how they are used.
    pub(crate) async fn config(&self) -> Result<Config> {
        let mut config = match self {
            Access::InCluster => Config::incluster_env().context(
                "read the pod's service account; run in a pod with automountServiceAccountToken, or name a kubeconfig",
            )?,
            Access::Kubeconfig(path) => {
                let file = Kubeconfig::read_from(path);
                let file = file.with_context(|| format!("read the kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .with_context(|| format!("use the kubeconfig {}", path.display()))?
            }
        };
        config.connect_timeout = Some(CONNECT);
        // A watch is silent for long; whoever asks for one object has a deadline of his own.
        config.read_timeout = None;
        // A disruption budget's 429 is an answer, and everything else is tried again by who knows for how long it matters.
        config.default_retry = false;
        Ok(config)
    }
}

/// Whether the server did not know who asks: the credential is to be read again.
pub(crate) fn is_unauthorized(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 401)
}
