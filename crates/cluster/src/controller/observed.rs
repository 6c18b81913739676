//! What is observed of a cluster, as plain data: the little of each object that decisions look at. PURE.
//!
//! It decides nothing. Objects are read field by field as they arrive, and everything else of them is dropped.

#[cfg(test)]
use crate::api::cleared::LastWords;
use crate::api::cleared::Proof;
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::node::MeshCNINode;
pub(crate) use crate::api::ours::{CONDITION, PLATFORM_LABEL};
use crate::controller::workloads::{Counts, Pod};
use k8s_openapi::api::core::v1::Node as ApiNode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A cluster as it is seen now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    /// Nodes by name.
    pub(crate) nodes: BTreeMap<String, Node>,
    /// The agents' pods by name.
    pub(crate) agents: BTreeMap<String, Agent>,
    /// What agents say, by node.
    pub(crate) reports: BTreeMap<String, Report>,
    /// The Jobs that clear nodes, by node.
    pub(crate) clearings: BTreeMap<String, Clearing>,
    /// What the pods of these Jobs said at their end, by the Job's identity.
    pub(crate) endings: BTreeMap<String, Ending>,
    /// The pods of these Jobs that are not over, by name, each with its node.
    pub(crate) clearers: BTreeMap<String, String>,
    /// Pods of the mesh, counted.
    pub(crate) pods: Counts,
}

impl Observed {
    /// Whether an agent is on a node that is Ready. On another one nobody can say what became of it.
    pub(crate) fn has_agents(&self) -> bool {
        let there = |agent: &Agent| self.nodes.get(&agent.node).is_some_and(|node| node.ready);
        self.agents.values().any(there)
    }

    /// Whether a node is being cleared, or was and nobody has put that away.
    pub(crate) fn is_clearing(&self) -> bool {
        let there = |node: &String| self.nodes.get(node).is_some_and(|node| node.ready);
        !self.clearings.is_empty() || self.clearers.values().any(there)
    }

    /// Whether a node was cleared: its Job succeeded, and its last words, if there are any, say the same.
    pub(crate) fn is_clear(&self, node: &str) -> bool {
        self.clearings.get(node).is_some_and(|clearing| clearing.done) && self.unclear(node).is_none()
    }

    /// Why a node is not clear though a Job was at it, if that is so.
    pub(crate) fn unclear(&self, node: &str) -> Option<String> {
        let clearing = self.clearings.get(node)?;
        let ending = self.endings.get(&clearing.uid);
        match (clearing.done, ending.map(|ending| &ending.proof)) {
            (true, Some(Proof::Not(why))) => Some(why.clone()),
            (true, _) => None,
            (false, proof) if clearing.failed => Some(proof.map_or_else(
                || format!("Job {} failed, and none of its pods is there to say why", clearing.name),
                ToString::to_string,
            )),
            (false, _) => None,
        }
    }
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its identity, for who owns what is about it.
    pub(crate) uid: String,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// The keys of its NoSchedule taints.
    pub(crate) taints: Vec<String>,
    /// Whether its kubelet says that it is Ready.
    pub(crate) ready: bool,
    /// Since when `ready` is so.
    pub(crate) since: Option<Timestamp>,
    /// What our condition says, if it is there: its status, its reason and its message.
    pub(crate) condition: Option<(String, String, String)>,
    /// Its operating system, as it calls itself.
    pub(crate) os_image: String,
    /// Its runtime, as in `containerd://1.7.24`.
    pub(crate) runtime: String,
    /// Its kernel, as in `6.1.0-28-amd64`.
    pub(crate) kernel: String,
    /// Its kubelet's version.
    pub(crate) kubelet: String,
    /// How its cloud knows it.
    pub(crate) provider: String,
}

impl Node {
    /// Whether its labels are all of `wanted`, and maybe more.
    pub(crate) fn has_labels(&self, wanted: &BTreeMap<String, String>) -> bool {
        wanted.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

/// What an agent says of its node, as far as anything follows from it: not how many pods started, and not in which words its
/// chain was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Whether pods that start there are redirected.
    pub(crate) serving: bool,
    /// When it last said so, if it ever did.
    pub(crate) at: Option<Timestamp>,
    /// The digest of the configuration that it follows.
    pub(crate) config: Option<String>,
    /// How many running pods' rules are not as planned, where that is looked for.
    pub(crate) drifted: Option<u32>,
    /// What it says of being ready or not, and since when.
    pub(crate) ready: Option<(String, Timestamp)>,
    /// Who contests the node's chain, if anybody does.
    pub(crate) contested: Option<String>,
}

impl Report {
    /// Whether it says the same as `earlier`, at whatever time: every agent repeats itself every five minutes.
    pub(crate) fn repeats(&self, earlier: &Report) -> bool {
        let said = |report: &Report| report.at.is_some();
        let Report { serving, at: _, config, drifted, ready, contested } = self;
        said(self) == said(earlier)
            && (serving, config, drifted) == (&earlier.serving, &earlier.config, &earlier.drifted)
            && (ready, contested) == (&earlier.ready, &earlier.contested)
    }
}

/// An agent's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Agent {
    /// Where it is, if it is anywhere yet.
    pub(crate) node: String,
    /// Whether it is Ready, and not on its way out.
    pub(crate) ready: bool,
    /// Since when.
    pub(crate) since: Option<Timestamp>,
    /// The digest of what it was started with.
    pub(crate) digest: String,
}

/// A Job that clears a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clearing {
    /// The Job's name.
    pub(crate) name: String,
    /// It has succeeded.
    pub(crate) done: bool,
    /// It has given up.
    pub(crate) failed: bool,
    /// The Job's identity: another of that name is another attempt.
    pub(crate) uid: String,
}

/// What a pod of such a Job said at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Whether it ended well.
    pub(crate) well: bool,
    /// What its last words prove.
    pub(crate) proof: Proof,
}

/// Of a Job, what [`Clearing`] needs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct JobStatus {
    succeeded: i32,
    conditions: Vec<Mark>,
}

/// Of a Job, where it runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct JobSpec {
    template: JobTemplate,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct JobTemplate {
    spec: Place,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Place {
    node_name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Mark {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// The annotation of an agent's pod with the digest of what it was started with.
pub(crate) const STARTED_WITH: &str = "millrace.dev/started-with";

/// The little of a node.
pub(crate) fn node(object: &ApiNode) -> (String, Node) {
    let spec = object.spec.as_ref();
    let status = object.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let ready = find("Ready");
    let ours = find(CONDITION).map(|condition| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        (condition.status.clone(), text(&condition.reason), text(&condition.message))
    });
    let info = status.and_then(|status| status.node_info.as_ref());
    let taints = spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let taints = taints.iter().filter(|taint| taint.effect == "NoSchedule").map(|taint| taint.key.clone());
    let node = Node {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        labels: object.metadata.labels.clone().unwrap_or_default(),
        taints: taints.collect(),
        ready: ready.is_some_and(|condition| condition.status == "True"),
        since: ready.and_then(|condition| Some(condition.last_transition_time.as_ref()?.0)),
        condition: ours,
        os_image: info.map(|info| info.os_image.clone()).unwrap_or_default(),
        runtime: info.map(|info| info.container_runtime_version.clone()).unwrap_or_default(),
        kernel: info.map(|info| info.kernel_version.clone()).unwrap_or_default(),
        kubelet: info.map(|info| info.kubelet_version.clone()).unwrap_or_default(),
        provider: spec.and_then(|spec| spec.provider_id.clone()).unwrap_or_default(),
    };
    (object.metadata.name.clone().unwrap_or_default(), node)
}

/// What an agent says, by its node.
pub(crate) fn report(object: &MeshCNINode) -> (String, Report) {
    let name = object.metadata.name.clone().unwrap_or_default();
    let Some(status) = &object.status else { return (name, Report::default()) };
    let find = |kind: &str| status.conditions.iter().find(|condition| condition.kind == kind);
    let spoken = |condition: &Condition| (condition.message.clone(), condition.last_transition_time.0);
    let contested = find("NoChainConflict").filter(|one| one.status == ConditionStatus::False);
    let report = Report {
        serving: status.serving,
        at: status.reported_at.as_ref().map(|time| time.0),
        config: status.config_digest.clone(),
        drifted: status.drifted,
        ready: find("Ready").map(spoken),
        contested: contested.map(|one| one.message.clone()),
    };
    (name, report)
}

/// How a Job that clears a node went, by that node.
pub(crate) fn clearing(meta: &ObjectMeta, spec: &JobSpec, status: Option<&JobStatus>) -> (String, Clearing) {
    let given_up = |status: &JobStatus| {
        status.conditions.iter().any(|mark| mark.kind == "Failed" && mark.status == "True")
    };
    let clearing = Clearing {
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        done: status.is_some_and(|status| status.succeeded > 0),
        failed: status.is_some_and(given_up),
    };
    (spec.template.spec.node_name.clone(), clearing)
}

/// The Job of a pod that clears a node, and what it said at its end; nothing of one that is not over.
pub(crate) fn ending(pod: &Pod) -> Option<(String, Ending)> {
    let status = pod.status.as_ref()?;
    let well = match status.phase.as_str() {
        "Succeeded" => true,
        "Failed" => false,
        _ => return None,
    };
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let job = owners.iter().find(|owner| owner.kind == "Job")?.uid.clone();
    let end = status.container_statuses.iter().find_map(|container| container.state.terminated.as_ref());
    let proof = Proof::of(end.map_or("", |end| &end.message), &pod.spec.node_name);
    Some((job, Ending { well, proof }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Whether the node n1 is clear, and what is told of it, when its Job stands so and its pod ended with these words.
    fn check(job: Value, phase: &str, words: &str, clear: bool, told: Option<&str>) {
        let meta =
            ObjectMeta { name: Some("j".to_owned()), uid: Some("u".to_owned()), ..ObjectMeta::default() };
        let spec = serde_json::from_value(json!({ "template": { "spec": { "nodeName": "n1" } } }));
        let status = serde_json::from_value(job).expect("it is a status");
        let (node, clearing) = clearing(&meta, &spec.expect("it is a Job's"), Some(&status));
        let pod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "j-1", "ownerReferences": [{ "apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u" }] },
            "spec": { "nodeName": "n1" },
            "status": { "phase": phase, "containerStatuses": [{
                "name": "agent", "state": { "terminated": { "exitCode": 0, "message": words } },
            }] },
        }));
        let mut observed = Observed::default();
        observed.endings.extend(ending(&pod.expect("it is a pod")));
        observed.clearings.insert(node, clearing);
        assert_eq!(
            (observed.is_clear("n1"), observed.unclear("n1").as_deref()),
            (clear, told),
            "{phase} {words}"
        );
    }

    #[test]
    fn a_node_is_clear_when_its_job_and_its_last_words_say_so() {
        let [good, bad, other] = [("n1", vec![]), ("n1", vec!["/x: there".to_owned()]), ("n2", vec![])]
            .map(|(node, wrong)| LastWords::new(node, wrong.is_empty(), 7, &wrong).write());
        let (well, failed) =
            (json!({ "succeeded": 1 }), json!({ "conditions": [{ "type": "Failed", "status": "True" }] }));
        check(well.clone(), "Succeeded", &good, true, None);
        check(well.clone(), "Succeeded", "", true, None);
        check(well.clone(), "Running", "", true, None);
        check(well.clone(), "Succeeded", &bad, false, Some("/x: there"));
        check(well, "Succeeded", &other, false, Some("its last words are about node \"n2\""));
        check(json!({}), "Succeeded", &good, false, None);
        check(failed.clone(), "Failed", &bad, false, Some("/x: there"));
        check(failed.clone(), "Failed", "", false, Some("it said nothing"));
        check(failed, "Running", "", false, Some("Job j failed, and none of its pods is there to say why"));
    }

    /// A report, and what an agent wrote.
    fn read(status: Value) -> Report {
        let object = json!({
            "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNINode", "metadata": { "name": "n1" }, "spec": {},
            "status": status,
        });
        let object = serde_json::from_value(object).expect("it is a report");
        let (name, report) = report(&object);
        assert_eq!(name, "n1");
        report
    }

    #[test]
    fn what_nothing_follows_from_is_a_repetition() {
        let condition = |kind: &str, status: &str, message: &str| {
            json!({
                "type": kind, "status": status, "reason": "R", "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        let status = |serving: bool, at: &str, redirected: u32, free: &str| {
            read(json!({
                "serving": serving, "reportedAt": at, "configDigest": "d", "drifted": 0,
                "outcomes": { "redirected": redirected },
                "conditions": [condition("Ready", "True", "well"), condition("NoChainConflict", free, "cilium")],
            }))
        };
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z");
        let first = status(true, early, 1, "True");
        assert!(status(true, late, 9, "True").repeats(&first));
        assert!(!status(false, late, 9, "True").repeats(&first));
        assert!(!status(true, late, 9, "False").repeats(&first));
        assert!(!first.repeats(&read(json!({}))));
        assert_eq!(status(true, early, 1, "False").contested.as_deref(), Some("cilium"));
    }
}
