//! The webhook without a controller, for trying out: wishes from a file, certificates in a folder.
//!
//! The folder is its Secret, and it is the only replica. It asks no API server for anything.

use super::certs::{Certs, make, rotate, secret};
use super::metrics::Metrics;
use super::serve::{Admission, LIMITS, PATH, serve};
use super::wishes::Wishes;
use crate::args::webhook::Webhook;
use crate::{http, telemetry};
use anyhow::{Context, Result};
use millrace_host::files::{self, Like};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_rustls::rustls::sign::CertifiedKey;

/// How often the file and the certificates are looked at: a clock sends no event, and a file may come by any kind of mount.
const LOOK: Duration = Duration::from_secs(1);

/// Serves until it is told to stop.
pub(crate) fn run(args: &Webhook, out: &mut impl Write) -> Result<()> {
    telemetry::start(&args.log, |name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let metrics = Metrics::default();
    let lived = runtime.context("start the runtime")?.block_on(live(args, metrics.clone()));
    let mut registry = Registry::with_prefix("millrace");
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).context("write what was counted")?;
    lived.and_then(|()| Ok(write!(out, "{text}")?))
}

async fn live(args: &Webhook, metrics: Metrics) -> Result<()> {
    let store = Store { folder: args.certs.clone(), names: args.name.clone() };
    let mut certs = store.renewed(None, make::now())?;
    let (wishes, served) =
        (watch::Sender::new(wishes(args.wishes.as_deref())?), watch::Sender::new(make::served(&certs)?));
    let listener = http::bind("--listen", args.listen)?;
    let address = listener.local_addr().context("ask for our own address")?;
    tracing::info!("serving https://{address}{PATH}; its authority is {}", store.authority().display());
    let stop = telemetry::stop()?;
    let admission = Admission::plain(wishes.subscribe(), metrics);
    let server = serve(listener, served.subscribe(), admission, LIMITS, stop.clone());
    let look = async {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            follow(args, &wishes);
            // It serves what it has until what comes next can be served.
            match renew(&store, &mut certs, &served) {
                Ok(()) => {}
                Err(error) => tracing::error!("the earlier certificate is served on: {error:#}"),
            }
        }
    };
    tokio::join!(server, look);
    Ok(())
}

fn follow(args: &Webhook, known: &watch::Sender<Wishes>) {
    match wishes(args.wishes.as_deref()) {
        Ok(now) => {
            known.send_if_modified(|held| {
                *held != now && {
                    *held = now;
                    true
                }
            });
        }
        Err(error) => tracing::error!("the earlier wishes stay: {error:#}"),
    }
}

fn renew(store: &Store, certs: &mut Certs, served: &watch::Sender<Arc<CertifiedKey>>) -> Result<()> {
    let next = store.renewed(Some(certs), make::now())?;
    if next != *certs {
        served.send_replace(make::served(&next)?);
        *certs = next;
    }
    Ok(())
}

fn wishes(file: Option<&Path>) -> Result<Wishes> {
    let Some(file) = file else { return Ok(Wishes::default()) };
    let read = || format!("read the wishes in {}", file.display());
    let text = std::fs::read_to_string(file).with_context(read)?;
    serde_saphyr::from_str(&text).with_context(read)
}

/// Where certificates are kept: in one file, as the data of a Secret.
struct Store {
    folder: PathBuf,
    names: Vec<String>,
}

impl Store {
    /// The certificates that are held, or those in the folder, after the step that is due.
    fn renewed(&self, held: Option<&Certs>, now: u64) -> Result<Certs> {
        let kept = if held.is_none() { self.read()? } else { None };
        let known = held.or(kept.as_ref());
        let step = rotate(now, known, &self.names);
        let next = make::carry_out(step, known, &self.names, now)?;
        if held != Some(&next) {
            tracing::info!(?step, "the certificates are new");
            let keep = || format!("keep the certificates in {}", self.folder.display());
            self.write(&next).with_context(keep)?;
        }
        Ok(next)
    }

    fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    fn read(&self) -> Result<Option<Certs>> {
        let file = self.folder.join("secret.json");
        match std::fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
            // What cannot be used is made anew.
            Ok(text) => {
                let certs = serde_json::from_slice(&text).ok().and_then(|data| secret::read(&data));
                Ok(certs.filter(|certs| make::served(certs).is_ok()))
            }
        }
    }

    fn write(&self, certs: &Certs) -> Result<()> {
        let data = serde_json::to_string(&secret::write(certs)).context("write certificates")?;
        for (name, text, mode) in [("secret.json", data, 0o600), ("ca.crt", certs.bundle(), 0o644)] {
            let staged = files::stage(&self.folder, &mut text.as_bytes(), &Like::new(mode), &mut |_| Ok(()))?;
            staged.put(&self.folder.join(name), &mut |_| Ok(()))?;
        }
        Ok(())
    }
}
