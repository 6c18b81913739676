//! This replica's webhook: what it answers follows the MeshCNI, and its certificates are those of a Secret that all replicas
//! share.
//!
//! A replica converts pods only while it knows that this is wanted, and says so before: one that has heard nothing for a while
//! stops, at each review by the clock that nobody sets. It answers no review itself; `webhook` does.

use super::accepted::refused;
use super::apply::{Error, ask};
use super::children::{MANAGED_BY, MANAGER};
use super::converting::{DOUBT, Line, Map};
use super::decision::wanted;
use super::metrics::Metrics;
use super::transition::Wanted;
use super::watches::changes;
use crate::api::mesh::MeshCNI;
use crate::api::status::State;
use crate::http;
use crate::print::words::WEBHOOK;
use crate::webhook::certs::{Certs, make, rotate, secret};
use crate::webhook::metrics::Metrics as Admitted;
use crate::webhook::serve::{Admission, LIMITS, serve};
use crate::webhook::wishes::{Mode, Wishes};
use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, PostParams};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

/// How often the MeshCNI is asked for though no change of it is told: a watch does not tell that there are none, nor that it is
/// late.
const ASK: Duration = Duration::from_secs(5);
/// How long a line that is struck at the end may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often the certificates are looked at though nobody wrote any: their dates pass without an event, and a clock may jump.
const LOOK: Duration = Duration::from_secs(60);
/// The Secret of the certificates.
pub(crate) const SECRET: &str = WEBHOOK;

/// What a replica's webhook is told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The names it is called by.
    pub(crate) names: Vec<String>,
    /// The namespace of its Secret.
    pub(crate) namespace: String,
    /// Who it is.
    pub(crate) identity: String,
}

/// A webhook that is about to answer.
pub(crate) struct Webhook {
    told: Told,
    client: Client,
    metrics: Metrics,
    listener: TcpListener,
    certs: Certs,
    served: watch::Sender<Arc<CertifiedKey>>,
    bundle: watch::Sender<String>,
}

impl Webhook {
    /// Listens, with the certificates that are there, or the first.
    pub(crate) async fn new(told: Told, client: Client, metrics: Metrics) -> Result<Webhook> {
        let listener = http::bind("--webhook-address", told.address)?;
        let certs = renewed(&client, &told, &metrics, None).await?;
        let served = watch::Sender::new(make::served(&certs)?);
        let bundle = watch::Sender::new(certs.bundle());
        Ok(Webhook { told, client, metrics, listener, certs, served, bundle })
    }

    /// Whom the API server is to trust, now and later.
    pub(crate) fn bundle(&self) -> watch::Receiver<String> {
        self.bundle.subscribe()
    }

    /// Answers until told to stop; from `leaving` on as somebody who is about to go.
    pub(crate) async fn serve(
        mut self,
        admitted: Admitted,
        leaving: CancellationToken,
        stop: CancellationToken,
    ) {
        let wishes = watch::Sender::new(Wishes { serving: false, ..Wishes::default() });
        let known = watch::Sender::new(Some(Instant::now()));
        let (wished, until) = (wishes.subscribe(), known.subscribe());
        let admission = Admission { wishes: wished, known: until, metrics: admitted, leaving };
        let answering = serve(self.listener, self.served.subscribe(), admission, LIMITS, stop.clone());
        let map = Map::new(self.client.clone(), &self.told.namespace, self.metrics.clone());
        let mut line = Line::new(map, &self.told.identity);
        let following = async {
            Following { metrics: &self.metrics, wishes, known }.follow(&self.client, &mut line, &stop).await;
            let _ = timeout(FAREWELL, line.say(None)).await;
        };
        let renewing = async {
            let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.told.namespace);
            let mut written = changes(secrets, SECRET);
            while stop.run_until_cancelled(timeout(LOOK, written.next())).await.is_some() {
                match renewed(&self.client, &self.told, &self.metrics, Some(&self.certs)).await {
                    Ok(next) if next == self.certs => {}
                    Ok(next) => match make::served(&next) {
                        Ok(key) => {
                            self.served.send_replace(key);
                            self.bundle.send_replace(next.bundle());
                            self.certs = next;
                        }
                        Err(error) => tracing::error!("the earlier certificate is served on: {error}"),
                    },
                    Err(error) => tracing::warn!("the earlier certificate is served on: {error:#}"),
                }
            }
        };
        tokio::join!(answering, following, renewing);
    }
}

/// What is wished for by `mesh`: nothing where there is none.
pub(crate) fn wishes(mesh: Option<&MeshCNI>) -> Wishes {
    let Some(mesh) = mesh else {
        return Wishes { mode: Mode::Disabled, serving: false, ..Wishes::default() };
    };
    // What is wrong with it was refused by the schema, and is by `children` once more.
    let (wishes, _) = Wishes::of(&mesh.spec);
    let is_serving = mesh.status.as_ref().and_then(|status| status.state) == Some(State::Serving);
    // One that is being deleted asks nobody, whatever it says.
    let mode = if wanted(mesh) == Wanted::Uninstall { Mode::Disabled } else { wishes.mode };
    Wishes { mode, serving: wishes.serving && is_serving, ..wishes }
}

/// What is heard, for those who answer.
struct Following<'a> {
    metrics: &'a Metrics,
    wishes: watch::Sender<Wishes>,
    known: watch::Sender<Option<Instant>>,
}

impl Following<'_> {
    /// Keeps the wishes those of the MeshCNI, until told to stop.
    async fn follow(&self, client: &Client, line: &mut Line, stop: &CancellationToken) {
        let meshes: Api<MeshCNI> = Api::all(client.clone());
        let mut heard = Instant::now();
        let mut changed = changes(meshes.clone(), "default");
        loop {
            // What an answer says was so when it was asked for.
            let asked = Instant::now();
            match ask(self.metrics, "get", || "the MeshCNI".to_owned(), meshes.get_opt("default")).await {
                Ok(mesh) => {
                    if asked.saturating_duration_since(heard) >= DOUBT {
                        line.doubt();
                    }
                    heard = asked;
                    if self.go_by(mesh.as_ref(), line, asked).await {
                        continue;
                    }
                }
                Err(error) if heard.elapsed() >= DOUBT => tracing::warn!("no pod is converted: {error}"),
                Err(error) => tracing::debug!("{error}"),
            }
            if stop.run_until_cancelled(timeout(ASK, changed.next())).await.is_none() {
                return;
            }
        }
    }

    /// Goes by this MeshCNI, as it was at that moment. Whether to ask for it once more at once: who is about to convert says so
    /// first, and then looks whether that is still wanted.
    async fn go_by(&self, mesh: Option<&MeshCNI>, line: &mut Line, asked: Instant) -> bool {
        // What cannot be accepted changes nothing, here as in the controller that acts.
        let wishes = match mesh.filter(|mesh| refused(mesh).is_some() && wanted(mesh) != Wanted::Uninstall) {
            Some(_) => self.wishes.borrow().clone(),
            None => wishes(mesh),
        };
        let generation = mesh.and_then(|mesh| mesh.metadata.generation).unwrap_or_default();
        let converts = (wishes.mode == Mode::Cni && wishes.serving).then_some(generation);
        let begins = converts.is_some() && !line.is_there();
        let serving = wishes.serving && !begins;
        set(&self.wishes, Wishes { serving, ..wishes });
        self.known.send_replace(Some(asked + DOUBT));
        match line.say(converts).await {
            Ok(()) => begins,
            Err(error) => {
                tracing::warn!(
                    "{}: {error}",
                    if begins { "no pod is converted" } else { "others wait for us" }
                );
                false
            }
        }
    }
}

fn set(known: &watch::Sender<Wishes>, now: Wishes) {
    known.send_if_modified(|held| {
        let changes = *held != now;
        if changes {
            *held = now;
        }
        changes
    });
}

/// The certificates of the Secret after the step that is due. Of several replicas that take it, one is heard.
async fn renewed(client: &Client, told: &Told, metrics: &Metrics, held: Option<&Certs>) -> Result<Certs> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &told.namespace);
    let what = || format!("Secret {}/{SECRET}", told.namespace);
    let there = ask(metrics, "get", what, secrets.get_opt(SECRET)).await?;
    let known = there.as_ref().and_then(certs_of);
    let now = make::now();
    let step = rotate(now, known.as_ref(), &told.names);
    let next = make::carry_out(step, known.as_ref(), &told.names, now).context("make certificates")?;
    if known.as_ref() == Some(&next) {
        return Ok(next);
    }
    let object = written(there.as_ref(), &next);
    let params = PostParams::default();
    let done = match there {
        None => ask(metrics, "create", what, secrets.create(&params, &object)).await,
        Some(_) => ask(metrics, "replace", what, secrets.replace(SECRET, &params, &object)).await,
    };
    match done {
        Ok(_) => {
            tracing::info!(?step, "the certificates are new");
            Ok(next)
        }
        // Another replica was faster: its certificates count.
        Err(error) if error.is_conflict() => {
            let there: Result<_, Error> = ask(metrics, "get", what, secrets.get(SECRET)).await;
            let theirs = certs_of(&there?);
            theirs.or_else(|| held.cloned()).context("read the certificates that another replica wrote")
        }
        Err(error) => Err(error.into()),
    }
}

/// The certificates of that Secret, if they can be used.
pub(crate) fn certs_of(object: &Secret) -> Option<Certs> {
    let data = object.data.as_ref()?.iter();
    let texts = data.map(|(key, value)| Some((key.clone(), String::from_utf8(value.0.clone()).ok()?)));
    let texts: Option<BTreeMap<String, String>> = texts.collect();
    // What cannot be used is made anew.
    secret::read(&texts?).filter(|certs| make::served(certs).is_ok())
}

fn written(there: Option<&Secret>, certs: &Certs) -> Secret {
    let metadata = there.map(|there| there.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        name: Some(SECRET.to_owned()),
        labels: Some([(MANAGED_BY.to_owned(), MANAGER.to_owned())].into()),
        ..ObjectMeta::default()
    });
    Secret { metadata, string_data: Some(secret::write(certs)), ..Secret::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(state: &str, mode: &str, leaving: bool, expected: (Mode, bool)) {
        let mut mesh = json!({
            "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNI", "metadata": { "name": "default" },
            "spec": { "mode": mode }, "status": { "state": state },
        });
        if leaving {
            mesh["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        let mesh = serde_json::from_value(mesh).expect("it is a MeshCNI");
        let wishes = wishes(Some(&mesh));
        assert_eq!((wishes.mode, wishes.serving), expected, "{state} {mode} {leaving}");
    }

    #[test]
    fn pods_are_converted_in_serving_alone() {
        check("Serving", "CNI", false, (Mode::Cni, true));
        check("Installing", "CNI", false, (Mode::Cni, false));
        check("Draining", "InitContainer", false, (Mode::InitContainer, false));
        check("Serving", "CNI", true, (Mode::Disabled, true));
        assert_eq!(wishes(None).mode, Mode::Disabled);
    }
}
