//! This node's pods, as a watch of the API server keeps them: the facts that decisions look at, and nothing else.
//!
//! Answers from memory; asks the server only for a pod that outran the watch. What was known stays known while the server
//! is away. It changes nothing in the cluster.

pub(crate) mod answer;
pub(crate) mod facts;
mod follow;
mod watch;

pub(crate) use facts::Known;

use super::client::Link;
use super::metrics::Metrics;
use millrace_core::policy::Mesh;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, broadcast, watch as signal};

/// The most pods that are kept (M10); a kubelet runs 110, or a few hundred. One over it is asked for by a GET, each time.
const MOST_PODS: usize = 2000;
/// The most namespaces that the enrolment hint may name: it is carried in the chain's entry, which every ADD reads.
const MOST_ENROLLED: usize = 500;
/// The most objects that a list may bring (M10); of namespaces, those that are injected.
const MOST_LISTED: usize = 20_000;
/// The most GETs at a time: a storm of pods that the watch has not seen must not become one of requests.
const MOST_GETS: usize = 8;
/// How many changes a slow listener may fall behind before it has to list again.
const BACKLOG: usize = 256;

/// The pods of this node. A clone is the same.
#[derive(Clone, Debug)]
pub(crate) struct Pods(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    link: Link,
    mesh: signal::Receiver<Mesh>,
    metrics: Metrics,
    store: Mutex<Store>,
    changes: broadcast::Sender<Change>,
    enrolled: signal::Sender<Enrolled>,
    synced: signal::Sender<bool>,
    /// Rings when connections are to be tried again now.
    doubt: signal::Sender<u64>,
    gets: Semaphore,
}

#[derive(Debug, Default)]
struct Store {
    pods: HashMap<String, Arc<Known>>,
    /// Namespaces that are injected by their labels; nothing until they were listed.
    spaces: Option<BTreeSet<String>>,
    /// Whether there are more of them than are kept.
    too_many: bool,
    trouble: Option<Trouble>,
    /// When the watches were last told to connect anew.
    reconnected: Option<Instant>,
}

/// Which namespaces have pods of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Enrolled {
    /// Not all was listed yet.
    Unknown,
    /// More than a hint may name: without one, every pod whose annotations are unknown is asked for.
    TooMany,
    /// These, sorted.
    These(Vec<String>),
}

/// Why nothing new is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Since when.
    pub(crate) since: Instant,
    /// What the last try met.
    pub(crate) why: String,
}

/// What became of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is new, or something that decides about it changed.
    Applied(Arc<Known>),
    /// It is gone.
    Gone(Arc<Known>),
}

impl Pods {
    /// Pods of which nothing is known yet; `run` watches them. `mesh` is what the operator says, now and later.
    pub(crate) fn new(link: Link, mesh: signal::Receiver<Mesh>, metrics: Metrics) -> Pods {
        Pods(Arc::new(Inner {
            link,
            mesh,
            metrics,
            store: Mutex::default(),
            changes: broadcast::Sender::new(BACKLOG),
            enrolled: signal::Sender::new(Enrolled::Unknown),
            synced: signal::Sender::new(false),
            doubt: signal::Sender::new(0),
            gets: Semaphore::new(MOST_GETS),
        }))
    }

    /// Whether the pods were listed; they are known from then on, also while the server is away.
    pub(crate) fn synced(&self) -> signal::Receiver<bool> {
        self.0.synced.subscribe()
    }

    /// Why and for how long nothing new has been heard; nothing while the watch of pods is open.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.store().trouble.clone()
    }

    /// All pods, in no order.
    pub(crate) fn list(&self) -> Vec<Arc<Known>> {
        self.store().pods.values().cloned().collect()
    }

    /// The pod of that name.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Known>> {
        self.store().pods.get(&key(namespace, name)).cloned()
    }

    /// Every change from now on. Whoever falls behind is told so by the channel, and lists again.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    /// Namespaces with pods of the mesh: by their labels, or because such a pod is on this node.
    pub(crate) fn enrolled(&self) -> signal::Receiver<Enrolled> {
        self.0.enrolled.subscribe()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a whole list for what there is.
    fn relist(&self, listed: Vec<Known>) {
        let mut gone = self.store().pods.clone();
        for known in listed {
            gone.remove(&key(&known.pod.namespace, &known.pod.name));
            self.keep(known);
        }
        for known in gone.into_values() {
            self.drop(&known.pod.namespace, &known.pod.name);
        }
        self.0.synced.send_replace(true);
        self.0.metrics.synced(true);
        self.enrol();
    }

    fn apply(&self, known: Known) {
        if self.keep(known) {
            self.enrol();
        }
    }

    fn forget(&self, namespace: &str, name: &str) {
        if self.drop(namespace, name) {
            self.enrol();
        }
    }

    /// Whether that changed anything.
    fn keep(&self, known: Known) -> bool {
        let key = key(&known.pod.namespace, &known.pod.name);
        let known = Arc::new(known);
        {
            let pods = &mut self.store().pods;
            if pods.get(&key) == Some(&known) {
                return false;
            }
            if pods.len() >= MOST_PODS && !pods.contains_key(&key) {
                tracing::error!(
                    pod = key,
                    "this node has more than {MOST_PODS} pods; the API server is asked for each more"
                );
                return false;
            }
            pods.insert(key, Arc::clone(&known));
        }
        // Nobody need listen.
        let _ = self.0.changes.send(Change::Applied(known));
        true
    }

    fn drop(&self, namespace: &str, name: &str) -> bool {
        let Some(known) = self.store().pods.remove(&key(namespace, name)) else { return false };
        let _ = self.0.changes.send(Change::Gone(known));
        true
    }

    fn enlist(&self, all: BTreeSet<String>) {
        {
            let mut store = self.store();
            (store.spaces, store.too_many) = (Some(all), false);
        }
        self.enrol();
    }

    fn enlist_one(&self, name: &str, is_enrolled: bool) {
        {
            let Store { spaces, too_many, .. } = &mut *self.store();
            let Some(all) = spaces else { return };
            if is_enrolled {
                all.insert(name.to_owned());
            } else {
                all.remove(name);
            }
            // A part of them would be a wrong hint. The next list may be shorter again.
            if all.len() > MOST_LISTED {
                tracing::error!(
                    "more than {MOST_LISTED} namespaces are injected; runtimes that pass no annotations ask for each pod"
                );
                *spaces = None;
                *too_many = true;
            }
        }
        self.enrol();
    }

    /// Says which namespaces are enrolled, if that is another answer than before.
    fn enrol(&self) {
        let synced = *self.0.synced.borrow();
        let now = if synced { enrolled(&self.store()) } else { Enrolled::Unknown };
        self.0.enrolled.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    fn heard(&self) {
        self.store().trouble = None;
    }

    fn troubled(&self, why: String, now: Instant) {
        let trouble = &mut self.store().trouble;
        let since = trouble.as_ref().map_or(now, |earlier| earlier.since);
        *trouble = Some(Trouble { since, why });
    }
}

impl Trouble {
    /// For how long.
    pub(crate) fn lasts(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

fn enrolled(store: &Store) -> Enrolled {
    if store.too_many {
        return Enrolled::TooMany;
    }
    let Some(spaces) = &store.spaces else { return Enrolled::Unknown };
    let meshed = store.pods.values().filter(|known| facts::is_meshed(&known.pod));
    let mut all: BTreeSet<&str> = meshed.map(|known| known.pod.namespace.as_str()).collect();
    all.extend(spaces.iter().map(String::as_str));
    match all.len() {
        0..=MOST_ENROLLED => Enrolled::These(all.into_iter().map(str::to_owned).collect()),
        _ => Enrolled::TooMany,
    }
}

fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

#[cfg(test)]
#[path = "../../tests/agent_pods/live.rs"]
mod live;
#[cfg(test)]
#[path = "../../tests/corpus/pod.rs"]
mod readers;
