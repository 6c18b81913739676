//! Looks at the pods of this node that should be redirected, and does about each finding what the policy says.
//!
//! At the start, when something has happened, and now and then. Nobody waits for it: an ADD is answered meanwhile, and it
//! looks at few namespaces at a time, on threads of their own. It acts on a pod only when it is certain which namespace is
//! the pod's, never on one that redirects itself, and each act is told, counted, and looked at afterwards.

pub(crate) mod act;
pub(crate) mod api;
pub(crate) mod drifts;
mod find;
mod look;
mod place;
#[cfg(test)]
mod staged;
mod survey;
#[cfg(test)]
mod tests;
pub(crate) mod watched;

use crate::agent::metrics::Metrics;
use act::Acting;
use api::Requests;
use drifts::{Drifted, Drifts};
use millrace_core::dialect::Choice;
use millrace_core::pod::Pod;
use millrace_core::policy::Mesh;
use millrace_core::repair::{History, Life, Policy};
use millrace_host::records::Records;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What is known of one pod of this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// What a decision may look at.
    pub(crate) pod: Pod,
    /// Its UID as the API server has it.
    pub(crate) uid: String,
    /// Its UID as the runtime has it: a static pod's is in its mirror's annotation `kubernetes.io/config.hash`.
    pub(crate) node_uid: String,
    /// How far it has come.
    pub(crate) life: Life,
    /// `status.podIPs`
    pub(crate) addresses: Vec<IpAddr>,
    /// Whether it has a controller, which would make another in its place.
    pub(crate) controlled: bool,
    /// Whether it is a static pod's mirror.
    pub(crate) mirror: bool,
    /// Whether it has the label that marks a pod.
    pub(crate) labelled: bool,
}

/// The node as the agent knows it.
pub(crate) trait Node {
    /// The UIDs of its pods.
    fn uids(&self) -> Vec<String>;
    /// One of them; `None` when it is gone.
    fn known(&self, uid: &str) -> Option<Known>;
    /// What the operator says about the mesh.
    fn mesh(&self) -> Mesh;
    /// Whether a pod that starts now would be redirected, as far as that is proved.
    fn is_serving(&self) -> bool;
}

/// Why to look before it is time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// This pod has changed, by its UID.
    Pod(String),
    /// Pods may have started while the chain was without us.
    All,
}

/// What an audit is told.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// What is done about what.
    pub(crate) policy: Policy,
    /// How often everything is looked at. Nodes are not to do so in step: add something of the node's own.
    pub(crate) every: Duration,
    /// How long changes are collected before they are looked at.
    pub(crate) settle: Duration,
    /// The most a sweep may take; what is left is looked at in the next.
    pub(crate) longest: Duration,
    /// How many namespaces are looked at together.
    pub(crate) at_once: usize,
    /// `/proc`, as it shows the node's processes.
    pub(crate) proc: PathBuf,
    /// The attachment records.
    pub(crate) records: Records,
    /// Which backend is wanted.
    pub(crate) backend: Choice,
    /// Where the node's answer to [`Choice::Auto`] is kept.
    pub(crate) memory: Option<PathBuf>,
}

/// The audit of one node.
pub(crate) struct Audit<N, R> {
    node: N,
    options: Options,
    acting: Acting<R>,
    history: History,
    started: Instant,
    /// Pods that were looked at since they started and need no further look until everything is looked at.
    settled: BTreeSet<String>,
    /// Pods to look at again, and when.
    again: BTreeMap<String, Instant>,
    /// Pods that are redirected otherwise than planned.
    drifts: Drifts,
}

/// What came of looking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Pods whose rules were looked at.
    pub(crate) looked: usize,
    /// Of which something was wrong.
    pub(crate) found: usize,
    /// And something was done.
    pub(crate) acted: usize,
    /// Pods that could not be looked at.
    pub(crate) unseen: usize,
    /// Pods that were left for the next time, as time ran out.
    pub(crate) put_off: usize,
}

impl<N: Node, R: Requests> Audit<N, R> {
    /// An audit that has looked at nothing yet. Without `requests` nothing is told to an API server.
    pub(crate) fn new(node: N, options: Options, requests: Option<R>, metrics: Metrics) -> Audit<N, R> {
        Audit {
            node,
            options,
            acting: Acting::new(requests, metrics),
            history: History::default(),
            started: Instant::now(),
            settled: BTreeSet::new(),
            again: BTreeMap::new(),
            drifts: Drifts::default(),
        }
    }

    /// Says there from now on which pods are redirected otherwise than planned.
    pub(crate) fn telling(self, told: watch::Sender<Option<Drifted>>) -> Audit<N, R> {
        Audit { drifts: self.drifts.telling(told), ..self }
    }

    /// Goes on by other options. What was found and done still counts: caps and waits are no policy's own.
    pub(crate) fn change(self, node: N, options: Options, requests: Option<R>) -> Audit<N, R> {
        Audit { node, options, acting: self.acting.with(requests), ..self }
    }

    /// Looks until it is told to stop.
    pub(crate) async fn run(&mut self, wakes: &mut mpsc::Receiver<Wake>, stop: &CancellationToken) {
        let mut everything = Instant::now();
        let mut changed: BTreeMap<String, Instant> = BTreeMap::new();
        loop {
            let due = self.again.values().chain(changed.values()).min().copied();
            let next = due.map_or(everything, |due| due.min(everything));
            tokio::select! {
                () = stop.cancelled() => return,
                Some(wake) = wakes.recv() => {
                    self.note(wake, &mut changed, &mut everything);
                    continue;
                }
                () = tokio::time::sleep_until(next.into()) => {}
            }
            let now = Instant::now();
            let report = if now >= everything {
                everything = now + self.options.every;
                changed.clear();
                self.sweep(stop).await
            } else {
                let due: BTreeSet<String> = changed
                    .iter()
                    .chain(&self.again)
                    .filter(|(_, when)| **when <= now)
                    .map(|(uid, _)| uid.clone())
                    .collect();
                changed.retain(|uid, _| !due.contains(uid));
                self.look_at(due.into_iter().collect(), stop).await
            };
            if report.looked + report.unseen + report.put_off > 0 {
                tracing::debug!(?report, "audited");
            }
        }
    }

    /// Looks at every pod.
    pub(crate) async fn sweep(&mut self, stop: &CancellationToken) -> Report {
        let uids = self.node.uids();
        let living: BTreeSet<&str> = uids.iter().map(String::as_str).collect();
        self.history.keep(|uid| living.contains(uid));
        self.acting.keep(|uid| living.contains(uid));
        self.drifts.keep(|uid| living.contains(uid));
        self.settled.clear();
        self.again.clear();
        let report = self.look_at(uids, stop).await;
        if report.put_off == 0 {
            self.drifts.counted();
        }
        self.drifts.tell();
        report
    }

    /// Collects what happens, so that a change is looked at once, when the pod has settled.
    fn note(&self, wake: Wake, changed: &mut BTreeMap<String, Instant>, everything: &mut Instant) {
        let soon = Instant::now() + self.options.settle;
        match wake {
            Wake::All => *everything = soon.min(*everything),
            Wake::Pod(uid) if self.settled.contains(&uid) || changed.len() >= MOST_CHANGED => {}
            Wake::Pod(uid) => {
                // All that come while one waits are looked at with it: what is dear is to look at all processes.
                let when = changed.values().min().copied().unwrap_or(soon);
                changed.entry(uid).or_insert(when);
            }
        }
    }

    /// How long the history has been written.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The most changed pods that wait to be looked at (M10); the others wait for everything to be.
const MOST_CHANGED: usize = 4096;
