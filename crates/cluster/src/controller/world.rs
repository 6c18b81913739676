//! The cluster as the watches keep it, for the one loop that acts on it.
//!
//! It holds what `observed` reads of objects and never an object. Whoever changes it rings; the loop is never rung for what
//! nothing follows from. It decides nothing.

use super::children::{Key, REVISION};
use super::heal::{self, Stuck};
use super::observed::{self, Agent, JobSpec, JobStatus, Observed, STARTED_WITH};
use super::workloads::{self, Ledger, Pod};
use crate::api::mesh::MeshCNI;
use crate::api::node::MeshCNINode;
use crate::print::words::selector;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::core::{Object, PartialObjectMeta};
use kube::runtime::watcher::Event;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, watch};

/// A Job, with all dropped on arrival that nobody looks at.
pub(crate) type Job = Object<JobSpec, JobStatus>;

/// What is known of one of our objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    /// What changes when somebody changes it: its generation, or its version where it has none.
    pub(crate) version: String,
    /// The revision that it was made of, if it says so.
    pub(crate) revision: Option<i64>,
    /// The UID of the MeshCNI that owns it.
    pub(crate) owner: String,
}

/// The cluster as the watches keep it.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// The MeshCNI, if there is one.
    pub(crate) mesh: Option<Arc<MeshCNI>>,
    /// Nodes, agents, reports and Jobs; pods are in `ledger`.
    pub(crate) observed: Observed,
    /// The pods of the mesh.
    pub(crate) ledger: Ledger,
    /// Pods that can never start, by namespace and name.
    pub(crate) stuck: BTreeMap<String, Stuck>,
    /// Our objects.
    pub(crate) children: BTreeMap<Key, Child>,
    /// Since when all pods are known.
    pub(crate) pods_listed: Option<Instant>,
    /// What was listed.
    listed: BTreeSet<&'static str>,
    /// What the listing that is under way has brought.
    seen: BTreeMap<&'static str, BTreeSet<String>>,
}

/// The world, and the bell.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    world: Mutex<World>,
    bell: watch::Sender<u64>,
    /// Rings when pods are to be listed anew.
    relist: Notify,
}

/// What `print` calls the pods that clear nodes.
const CLEARS: &str = "uninstall";
/// The most pods that are remembered as stuck (M10): many more than are evicted in an hour.
const MOST_STUCK: usize = 1000;

impl Shared {
    /// A world of which nothing is known.
    pub(crate) fn new() -> Shared {
        let inner = Inner { world: Mutex::default(), bell: watch::Sender::new(0), relist: Notify::new() };
        Shared(Arc::new(inner))
    }

    /// Looks at the world, or changes it. What a task that panicked left is as good as before: each change is of one object.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings.
    pub(crate) fn ring(&self) {
        self.0.bell.send_modify(|count| *count += 1);
    }

    /// Hears the bell.
    pub(crate) fn bell(&self) -> watch::Receiver<u64> {
        self.0.bell.subscribe()
    }

    /// Has all pods listed anew.
    pub(crate) fn relist(&self) {
        self.0.relist.notify_one();
    }

    /// Waits until pods are to be listed anew.
    pub(crate) async fn relisted(&self) {
        self.0.relist.notified().await;
    }
}

impl World {
    /// Whether all of `names` were listed.
    pub(crate) fn knows(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.listed.contains(name))
    }

    /// The MeshCNI is, or is not. Returns whether anything follows from it.
    pub(crate) fn mesh(&mut self, event: Event<MeshCNI>) -> bool {
        match event {
            Event::Apply(mesh) | Event::InitApply(mesh) if mesh.name_any() == "default" => {
                self.see("mesh", "default");
                self.mesh = Some(Arc::new(mesh));
            }
            Event::Delete(_) => self.mesh = None,
            Event::Init => self.begin("mesh"),
            Event::InitDone => {
                if self.end("mesh").is_empty() {
                    self.mesh = None;
                }
            }
            Event::Apply(_) | Event::InitApply(_) => return false,
        }
        true
    }

    /// A node is, or is not.
    pub(crate) fn node(&mut self, event: Event<Node>) -> bool {
        match event {
            Event::Apply(node) | Event::InitApply(node) => {
                let (name, node) = observed::node(&node);
                self.see("nodes", &name);
                self.observed.nodes.insert(name, node.clone()).as_ref() != Some(&node)
            }
            Event::Delete(node) => self.observed.nodes.remove(&node.name_any()).is_some(),
            Event::Init => self.beginning("nodes"),
            Event::InitDone => {
                let seen = self.end("nodes");
                self.observed.nodes.retain(|name, _| seen.contains(name));
                true
            }
        }
    }

    /// A report is, or is not.
    pub(crate) fn report(&mut self, event: Event<MeshCNINode>) -> bool {
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let (name, report) = observed::report(&object);
                self.see("reports", &name);
                let repeats = |earlier: &observed::Report| report.repeats(earlier);
                let is_news = !self.observed.reports.get(&name).is_some_and(repeats);
                self.observed.reports.insert(name, report);
                is_news
            }
            Event::Delete(object) => self.observed.reports.remove(&object.name_any()).is_some(),
            Event::Init => self.beginning("reports"),
            Event::InitDone => {
                let seen = self.end("reports");
                self.observed.reports.retain(|name, _| seen.contains(name));
                true
            }
        }
    }

    /// A Job that clears a node is, or is not.
    pub(crate) fn job(&mut self, event: Event<Job>) -> bool {
        match event {
            Event::Apply(job) | Event::InitApply(job) => {
                let (node, clearing) = observed::clearing(&job.metadata, &job.spec, job.status.as_ref());
                self.see("jobs", &node);
                self.observed.clearings.insert(node, clearing);
            }
            Event::Delete(job) => {
                let (node, clearing) = observed::clearing(&job.metadata, &job.spec, None);
                self.observed.clearings.remove(&node);
                self.observed.endings.remove(&clearing.uid);
            }
            Event::Init => return self.beginning("jobs"),
            Event::InitDone => {
                let seen = self.end("jobs");
                self.observed.clearings.retain(|node, _| seen.contains(node));
            }
        }
        true
    }

    /// One of our objects, of that kind, is, or is not.
    pub(crate) fn child(&mut self, kind: &'static str, event: Event<PartialObjectMeta>) -> bool {
        let key = |object: &PartialObjectMeta| Key {
            kind: kind.to_owned(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        };
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let (key, child) = (key(&object), child(&object));
                self.see(kind, &format!("{}/{}", key.namespace, key.name));
                self.children.insert(key, child.clone()).as_ref() != Some(&child)
            }
            Event::Delete(object) => self.children.remove(&key(&object)).is_some(),
            Event::Init => self.beginning(kind),
            Event::InitDone => {
                let seen = self.end(kind);
                let listed = |key: &Key| seen.contains(&format!("{}/{}", key.namespace, key.name));
                self.children.retain(|key, _| key.kind != kind || listed(key));
                true
            }
        }
    }

    /// A pod is, or is not. `home` is where agents are.
    pub(crate) fn pod(&mut self, home: &str, event: Event<Pod>) -> bool {
        match event {
            Event::Apply(pod) | Event::InitApply(pod) => self.pod_is(home, &pod),
            Event::Delete(pod) => {
                let name = place(&pod);
                self.ledger.remove(&pod.metadata);
                self.stuck.remove(&name);
                self.observed.agents.remove(&name);
                self.observed.clearers.remove(&name);
                true
            }
            Event::Init => {
                self.ledger.begin();
                self.beginning("pods")
            }
            Event::InitDone => {
                self.ledger.end();
                let seen = self.end("pods");
                self.stuck.retain(|name, _| seen.contains(name));
                self.observed.agents.retain(|name, _| seen.contains(name));
                self.observed.clearers.retain(|name, _| seen.contains(name));
                self.pods_listed = Some(Instant::now());
                true
            }
        }
    }

    fn pod_is(&mut self, home: &str, pod: &Pod) -> bool {
        let name = place(pod);
        let mut rings = self.ledger.put(&pod.metadata, workloads::mechanism(pod));
        let of_ours = pod.namespace().as_deref() == Some(home);
        if of_ours && selector().iter().all(|(key, value)| pod.labels().get(key) == Some(value)) {
            self.see("pods", &name);
            let agent = agent(pod);
            rings |= self.observed.agents.insert(name, agent.clone()).as_ref() != Some(&agent);
            return rings;
        }
        if of_ours && pod.labels().get("app.kubernetes.io/component").is_some_and(|part| part == CLEARS) {
            self.see("pods", &name);
            let over = pod
                .status
                .as_ref()
                .is_some_and(|status| matches!(status.phase.as_str(), "Succeeded" | "Failed"));
            let node = pod.spec.node_name.clone();
            if let Some((job, ending)) = observed::ending(pod) {
                // Of several attempts of one Job the one counts that went well.
                let known = self.observed.endings.get(&job);
                if known.is_none_or(|known| !known.well) {
                    rings |= known != Some(&ending);
                    self.observed.endings.insert(job, ending);
                }
            }
            return rings
                | match over {
                    true => self.observed.clearers.remove(&name).is_some(),
                    false => self.observed.clearers.insert(name, node.clone()) != Some(node),
                };
        }
        match heal::stuck(pod) {
            Some(stuck) if self.stuck.len() < MOST_STUCK => {
                self.see("pods", &name);
                rings |= self.stuck.insert(name, stuck.clone()).as_ref() != Some(&stuck);
            }
            _ => rings |= self.stuck.remove(&name).is_some(),
        }
        rings
    }

    fn begin(&mut self, what: &'static str) {
        self.seen.insert(what, BTreeSet::new());
    }

    /// A listing begins, from which nothing follows yet.
    fn beginning(&mut self, what: &'static str) -> bool {
        self.begin(what);
        false
    }

    fn see(&mut self, what: &'static str, name: &str) {
        if let Some(seen) = self.seen.get_mut(what) {
            seen.insert(name.to_owned());
        }
    }

    fn end(&mut self, what: &'static str) -> BTreeSet<String> {
        self.listed.insert(what);
        self.seen.remove(what).unwrap_or_default()
    }
}

fn place(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// What is looked at of an agent's pod.
pub(crate) fn agent(pod: &Pod) -> Agent {
    let conditions = pod.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.kind == "Ready");
    let leaving = pod.metadata.deletion_timestamp.is_some();
    // One that is told to go is missed once it had its time to; one that nothing was said of is as it is since it was made.
    let made = pod.metadata.creation_timestamp.as_ref();
    let said = || ready.map_or(made, |ready| ready.last_transition_time.as_ref());
    let since = pod.metadata.deletion_timestamp.as_ref().or_else(said);
    Agent {
        node: pod.spec.node_name.clone(),
        ready: !leaving && ready.is_some_and(|ready| ready.status == "True"),
        since: since.map(|time| time.0),
        digest: pod.annotations().get(STARTED_WITH).cloned().unwrap_or_default(),
    }
}

fn child(object: &PartialObjectMeta) -> Child {
    let meta = &object.metadata;
    let version = meta.generation.map(|generation| generation.to_string());
    let owner = meta.owner_references.as_deref().unwrap_or_default();
    let owner = owner.iter().find(|owner| owner.kind == "MeshCNI").map(|owner| owner.uid.clone());
    Child {
        version: version.or_else(|| meta.resource_version.clone()).unwrap_or_default(),
        revision: object.annotations().get(REVISION).and_then(|text| text.parse().ok()),
        owner: owner.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(metadata: Value, conditions: Value, ready: bool, since: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": { "conditions": conditions },
        });
        let found = agent(&serde_json::from_value(pod).expect("it is a pod"));
        assert_eq!((found.ready, found.since), (ready, since.parse().ok()), "{metadata}");
    }

    #[test]
    fn since_when_an_agent_is_away() {
        let [made, turned, goes] = ["2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z", "2026-01-01T00:00:33Z"];
        let ready = json!([{ "type": "Ready", "status": "True", "lastTransitionTime": turned }]);
        check(json!({ "creationTimestamp": made }), json!([]), false, made);
        check(json!({ "creationTimestamp": made }), ready.clone(), true, turned);
        check(json!({ "creationTimestamp": made, "deletionTimestamp": goes }), ready, false, goes);
    }
}
