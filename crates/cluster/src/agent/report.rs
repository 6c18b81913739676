//! This node's `MeshCNINode`: what the agent knows anyway, told to the cluster when something changes and every five minutes.
//!
//! Nobody waits for it, and it decides nothing. It writes this node's object alone, by server-side apply; a cluster without the
//! resource, or one that forbids it, costs one line of the log and a try now and then.

use super::audit::drifts::Drifted;
use super::client::Link;
use super::config::LARGEST;
use super::guard::Status;
use super::health::Health;
use super::install::{Place, Way};
use super::shared::Shared;
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::convert::text_digest;
use crate::api::node::{Chain, Failure, MeshCNINode, MeshCNINodeSpec, MeshCNINodeStatus, Outcomes};
use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use millrace_core::ask::Event;
use millrace_core::repair::Act;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio::time::timeout;

/// Whose fields these are.
pub(crate) const MANAGER: &str = "millrace-agent";
/// How often it is looked whether something changed, which is also how often it is told at most: of health there is no event.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is told when nothing changed. Counts of pods alone are no change: on a busy node they never rest.
const ANYWAY: Duration = Duration::from_secs(300);
/// Until a server is asked again that does not know the resource, or does not let us.
const LATER: Duration = Duration::from_secs(300);
/// How long one report may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The most failures that are told, and the longest text of one.
const MOST_FAILURES: usize = 5;
const LONGEST_TEXT: usize = 1024;
/// The most entries of a chain that are told, and the longest list that is read.
const MOST_PLUGINS: usize = 64;
const LONGEST_LIST: u64 = 1 << 20;

/// What other tasks see of this node.
pub(super) struct Seen {
    /// What the guard says of the chain.
    pub(super) guarded: watch::Receiver<Status>,
    /// Where our entry is.
    pub(super) place: watch::Receiver<Option<Place>>,
    /// Which running pods the audit found to be redirected otherwise than planned.
    pub(super) drifted: watch::Receiver<Option<Drifted>>,
}

/// Reports until it is told to stop.
pub(super) async fn report(shared: Shared, seen: Seen, mut events: broadcast::Receiver<Event>) {
    let mut counted = Outcomes::default();
    let mut backend = None;
    let mut told = Told::new(shared.link.clone(), shared.setup.node.clone());
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            event = events.recv() => match event {
                Ok(event) => count(&event, &mut counted, &mut backend, Timestamp::now()),
                // What was missed is in the metrics.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return shared.stop.cancelled().await,
            },
            _ = tick.tick() => {
                let (guarded, place) = (seen.guarded.borrow().clone(), seen.place.borrow().clone());
                let (folder, config) = (shared.setup.target.conf_dir.clone(), shared.setup.config_file.clone());
                let files = tokio::task::spawn_blocking(move || {
                    (place.and_then(|place| chain(&folder, &place)), config.and_then(|file| digest_of(&file)))
                });
                let (chain, config) = files.await.unwrap_or_default();
                let facts = Facts {
                    health: &shared.health,
                    guarded: &guarded,
                    audits: shared.setup.audits && shared.config.borrow().audit.act != Act::Off,
                    config,
                    chain,
                    outcomes: &counted,
                    backend: backend.as_deref(),
                    drifted: seen.drifted.borrow().clone(),
                };
                let status = status(&facts);
                // Whoever stops the agent does not wait for an API server.
                if shared.stop.run_until_cancelled(told.tell(status, Instant::now(), Timestamp::now())).await.is_none() {
                    return;
                }
            }
        }
    }
}

/// What a report is made of.
struct Facts<'a> {
    health: &'a Health,
    guarded: &'a Status,
    audits: bool,
    config: Option<String>,
    chain: Option<Chain>,
    outcomes: &'a Outcomes,
    backend: Option<&'a str>,
    drifted: Option<Drifted>,
}

/// The report, without its moments.
fn status(facts: &Facts<'_>) -> MeshCNINodeStatus {
    let ready = facts.health.ready();
    let wrong: Vec<String> =
        ready.checks().filter(|(_, ok, _)| !ok).map(|(name, _, why)| format!("{name}: {why}")).collect();
    let answers = ready.checks().any(|(name, ok, _)| name == "plugin" && ok);
    let holds = facts.guarded.condition();
    let fight = matches!(facts.guarded, Status::BackedOff { .. });
    let (why, text) = if wrong.is_empty() {
        ("Serving", "pods that start here are redirected".to_owned())
    } else {
        ("NotServing", wrong.join("; "))
    };
    let mut conditions = vec![
        condition("Ready", wrong.is_empty(), why, text),
        condition("ChainConfigured", holds.holds, holds.reason, holds.message.clone()),
        match fight {
            true => condition("NoChainConflict", false, holds.reason, holds.message),
            false => {
                condition("NoChainConflict", true, "NoConflict", "nobody keeps undoing our entry".to_owned())
            }
        },
    ];
    if facts.audits {
        conditions.push(condition("Audited", true, "Looking", "running pods are looked at".to_owned()));
    }
    MeshCNINodeStatus {
        serving: wrong.is_empty(),
        reported_at: None,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        plugin_version: (answers && holds.holds).then(|| env!("CARGO_PKG_VERSION").to_owned()),
        config_digest: facts.config.clone(),
        chain: facts.chain.clone(),
        backend: facts.backend.map(str::to_owned),
        outcomes: facts.outcomes.clone(),
        drifted: facts.drifted.as_ref().map(|drifted| drifted.count),
        drifted_pods: facts.drifted.as_ref().map(|drifted| drifted.pods.clone()).unwrap_or_default(),
        conditions,
    }
}

fn condition(kind: &str, holds: bool, reason: &str, message: String) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: if holds { ConditionStatus::True } else { ConditionStatus::False },
        reason: reason.to_owned(),
        message,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        observed_generation: None,
    }
}

/// The digest of the configuration, as the file is now; one that cannot be used is told by the log.
fn digest_of(file: &Path) -> Option<String> {
    let whole = std::fs::metadata(file).is_ok_and(|file| file.len() <= LARGEST);
    whole.then(|| std::fs::read_to_string(file).ok())?.map(|text| text_digest(&text))
}

/// The file that holds our entry, as it is now.
fn chain(folder: &Path, place: &Place) -> Option<Chain> {
    let path: PathBuf = folder.join(&place.file);
    let whole = std::fs::metadata(&path).is_ok_and(|file| file.len() <= LONGEST_LIST);
    let text = whole.then(|| std::fs::read_to_string(&path).ok())??;
    let list: Value = serde_json::from_str(&text).ok()?;
    // A file of Multus's auxiliary chain is one entry.
    let entries = list["plugins"].as_array().cloned().unwrap_or_else(|| vec![list.clone()]);
    let kinds: Vec<String> =
        entries.iter().map(|entry| entry["type"].as_str().unwrap_or_default().to_owned()).collect();
    Some(Chain {
        file: place.file.clone(),
        way: match place.way {
            Way::InPlace => "InPlace",
            Way::Own => "OwnList",
            Way::Auxiliary => "Auxiliary",
        }
        .to_owned(),
        digest: text_digest(&text),
        position: kinds
            .iter()
            .position(|kind| kind == millrace_core::cni::entry::TYPE)
            .and_then(|at| u32::try_from(at).ok()),
        plugins: kinds.into_iter().take(MOST_PLUGINS).collect(),
    })
}

/// Counts what the plugin did with one pod.
fn count(event: &Event, counted: &mut Outcomes, backend: &mut Option<String>, now: Timestamp) {
    if event.verb != "ADD" {
        return;
    }
    if !event.backend.is_empty() {
        *backend = Some(event.backend.clone());
    }
    match event.outcome.as_str() {
        "redirected" => counted.redirected += 1,
        "passed" => counted.skipped += 1,
        _ => {
            counted.failed += 1;
            let end = event.message.floor_char_boundary(LONGEST_TEXT);
            let failure = Failure {
                pod: format!("{}/{}", event.namespace, event.name),
                message: event.message[..end].to_owned(),
                at: Time(now),
            };
            counted.last_failures.insert(0, failure);
            counted.last_failures.truncate(MOST_FAILURES);
        }
    }
}

/// What was told, and when there is something to tell again.
struct Told {
    link: Link,
    node: String,
    last: Option<MeshCNINodeStatus>,
    due: Instant,
    complained: String,
}

impl Told {
    fn new(link: Link, node: String) -> Told {
        Told { link, node, last: None, due: Instant::now(), complained: String::new() }
    }

    /// Tells the cluster, if it is time to.
    async fn tell(&mut self, mut status: MeshCNINodeStatus, now: Instant, at: Timestamp) {
        stamp(&mut status, self.last.as_ref(), at);
        let is_news = self.last.as_ref().is_some_and(|last| is_news(last, &status));
        if now < self.due && !is_news {
            return;
        }
        let applied = match timeout(PATIENCE, self.apply(&status)).await {
            Ok(applied) => applied,
            Err(_) => Err(anyhow::anyhow!("the API server has not answered for {} s", PATIENCE.as_secs())),
        };
        match applied {
            Ok(()) => {
                self.due = now + ANYWAY;
                self.last = Some(status);
                self.complained.clear();
            }
            Err(error) => {
                // Nothing that was told is known to be there.
                (self.due, self.last) = (now + LATER, None);
                let error = format!("{error:#}");
                if error != self.complained {
                    tracing::warn!(
                        "this node is not reported, which is tried again in {} s: {error}",
                        LATER.as_secs()
                    );
                    self.complained = error;
                }
            }
        }
    }

    async fn apply(&self, status: &MeshCNINodeStatus) -> Result<()> {
        let client = self.link.current().client;
        let nodes: Api<MeshCNINode> = Api::all(client.clone());
        let apply = PatchParams::apply(MANAGER).force();
        let (api_version, kind) = (MeshCNINode::api_version(&()), MeshCNINode::kind(&()));
        let told = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": self.node }, "status": status });
        match nodes.patch_status(&self.node, &apply, &Patch::Apply(&told)).await {
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            written => {
                return written.map(drop).context("cannot write the status of this node's MeshCNINode");
            }
        }
        let node: Node =
            Api::all(client).get(&self.node).await.context("cannot read the node whose report this is")?;
        let Some(uid) = node.metadata.uid else { bail!("the node has no UID") };
        let mut object = MeshCNINode::new(&self.node, MeshCNINodeSpec::default());
        // It goes with its node.
        object.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.node.clone(),
            uid,
            ..OwnerReference::default()
        }]);
        let made = nodes.patch(&self.node, &apply, &Patch::Apply(&object)).await;
        made.context("cannot make this node's MeshCNINode; apply the definitions (millrace print crd)")?;
        let written = nodes.patch_status(&self.node, &apply, &Patch::Apply(&told)).await;
        written.map(drop).context("cannot write the status of this node's MeshCNINode")
    }
}

/// Puts the moments into a report: a condition keeps its own while its status is the same.
fn stamp(status: &mut MeshCNINodeStatus, last: Option<&MeshCNINodeStatus>, at: Timestamp) {
    status.reported_at = Some(Time(at));
    for condition in &mut status.conditions {
        let before = last.into_iter().flat_map(|last| &last.conditions);
        let same =
            before.into_iter().find(|one| one.kind == condition.kind && one.status == condition.status);
        condition.last_transition_time = same.map_or(Time(at), |one| one.last_transition_time.clone());
    }
}

/// Whether anything changed but moments and the counts of what went well.
fn is_news(last: &MeshCNINodeStatus, now: &MeshCNINodeStatus) -> bool {
    let Outcomes { redirected, skipped, .. } = last.outcomes;
    let outcomes = Outcomes { redirected, skipped, ..now.outcomes.clone() };
    MeshCNINodeStatus { reported_at: last.reported_at.clone(), outcomes, ..now.clone() } != *last
}

#[cfg(test)]
#[path = "../../tests/crd/report.rs"]
mod tests;
