//! PURE: which pods and replica sets workloads want, what is to be done about it, and their status.

use super::place::{self, fits, name};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// Create an object of this kind, in the owner's namespace.
    Create(&'static str, Value),
    /// Delete one, by its kind and name.
    Delete(&'static str, String),
    /// Merge this into one, by kind, name and part.
    Change(&'static str, String, &'static str, Value),
}

pub(super) const PODS: &str = "pods";
pub(super) const SETS: &str = "replicasets.apps";
pub(super) const DEPLOYMENTS: &str = "deployments.apps";
pub(super) const DAEMONS: &str = "daemonsets.apps";
pub(super) const JOBS: &str = "jobs.batch";
const HASH: &str = "pod-template-hash";
const REVISION: &str = "controller-revision-hash";

/// What a replica set wants of its pods.
pub(super) fn replica_set(set: &Value, pods: &[Value]) -> Vec<Act> {
    let mut active: Vec<&Value> = pods.iter().filter(|pod| is_active(pod)).collect();
    // The ones that serve least go first.
    active.sort_by_key(|pod| (is_ready(pod), pod["spec"]["nodeName"].is_string()));
    let wanted = usize::try_from(number(set, "/spec/replicas")).unwrap_or(0);
    let mut acts = Vec::new();
    if set["metadata"]["deletionTimestamp"].is_null() {
        let missing = wanted.saturating_sub(active.len());
        acts.extend((0..missing).map(|_| Act::Create(PODS, pod(set, "ReplicaSet", json!({}), None))));
        let spare = active.len().saturating_sub(wanted);
        acts.extend(active[..spare].iter().map(|pod| Act::Delete(PODS, name(pod).to_owned())));
    }
    let ready = active.iter().filter(|pod| is_ready(pod)).count();
    let status = json!({
        "replicas": active.len(), "fullyLabeledReplicas": active.len(), "readyReplicas": ready,
        "availableReplicas": ready, "observedGeneration": number(set, "/metadata/generation"),
    });
    acts.extend(told(SETS, set, status));
    acts
}

/// What a deployment wants of its replica sets.
pub(super) fn deployment(deployment: &Value, sets: &[Value], now: &str) -> Vec<Act> {
    let hash = hash(&deployment["spec"]["template"]);
    let (new, old): (Vec<&Value>, Vec<&Value>) =
        sets.iter().partition(|set| set["metadata"]["labels"][HASH] == hash.as_str());
    let wanted = number(deployment, "/spec/replicas");
    let of = |sets: &[&Value], path: &str| sets.iter().map(|set| number(set, path)).sum::<i64>();
    let mut acts = Vec::new();
    if deployment["metadata"]["deletionTimestamp"].is_null() && deployment["spec"]["paused"] != true {
        acts = rolled(deployment, &hash, new.first().copied(), &old);
    }
    let (ready, available) = (of(&new, READY) + of(&old, READY), of(&new, AVAILABLE) + of(&old, AVAILABLE));
    let least =
        wanted - amount(&deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], wanted, false);
    let updated = of(&new, "/status/replicas");
    let whole = updated >= wanted && available >= wanted && of(&old, "/status/replicas") == 0;
    let progress = if whole { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" };
    let enough = available >= least;
    let conditions = [
        condition(
            deployment,
            "Available",
            enough,
            if enough { "MinimumReplicasAvailable" } else { "MinimumReplicasUnavailable" },
            now,
        ),
        condition(deployment, "Progressing", true, progress, now),
    ];
    let status = json!({
        "replicas": updated + of(&old, "/status/replicas"), "updatedReplicas": updated, "readyReplicas": ready,
        "availableReplicas": available, "unavailableReplicas": (wanted - available).max(0), "conditions": conditions,
        "observedGeneration": number(deployment, "/metadata/generation"),
    });
    acts.extend(told(DEPLOYMENTS, deployment, status));
    acts
}

const READY: &str = "/status/readyReplicas";
const AVAILABLE: &str = "/status/availableReplicas";
const REPLICAS: &str = "/spec/replicas";

/// One step of a roll-out: the new set up as far as it may, the old ones down as far as they may.
fn rolled(deployment: &Value, hash: &str, new: Option<&Value>, old: &[&Value]) -> Vec<Act> {
    let wanted = number(deployment, REPLICAS);
    let strategy = &deployment["spec"]["strategy"];
    let recreate = strategy["type"] == "Recreate";
    let surge = if recreate { 0 } else { amount(&strategy["rollingUpdate"]["maxSurge"], wanted, true) };
    let mut down = amount(&strategy["rollingUpdate"]["maxUnavailable"], wanted, false);
    if surge == 0 && down == 0 {
        down = 1;
    }
    let has = new.map_or(0, |set| number(set, REPLICAS));
    let olds: i64 = old.iter().map(|set| number(set, REPLICAS)).sum();
    let gone = old.iter().all(|set| number(set, "/status/replicas") == 0 && number(set, REPLICAS) == 0);
    let room = if recreate { if gone { wanted } else { 0 } } else { (wanted + surge - olds).max(0) };
    let target = if old.is_empty() { wanted } else { room.min(wanted).max(has.min(wanted)) };
    let mut acts = Vec::new();
    match new {
        None => acts.push(Act::Create(SETS, set(deployment, hash, target))),
        Some(set) if has != target => {
            acts.push(Act::Change(SETS, name(set).to_owned(), "", json!({"spec": {"replicas": target}})));
        }
        Some(_) => {}
    }
    let available = new.map_or(0, |set| number(set, AVAILABLE));
    let serving: i64 = old.iter().map(|set| number(set, AVAILABLE)).sum();
    let broken = olds - serving;
    let spare = (available + serving - (wanted - down)).max(0) + broken.max(0);
    let mut left = if recreate { olds } else { spare.min(olds) };
    for set in old {
        let count = number(set, REPLICAS);
        let less = count.min(left);
        left -= less;
        if less > 0 {
            acts.push(Act::Change(
                SETS,
                name(set).to_owned(),
                "",
                json!({"spec": {"replicas": count - less}}),
            ));
        }
    }
    let limit = usize::try_from(number(deployment, "/spec/revisionHistoryLimit")).unwrap_or(0);
    let mut empty: Vec<&&Value> =
        old.iter().filter(|set| number(set, "/status/replicas") == 0 && number(set, REPLICAS) == 0).collect();
    empty.sort_by_key(|set| set["metadata"]["creationTimestamp"].to_string());
    let many = empty.len().saturating_sub(limit);
    acts.extend(empty[..many].iter().map(|set| Act::Delete(SETS, name(set).to_owned())));
    acts
}

fn set(deployment: &Value, hash: &str, replicas: i64) -> Value {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"][HASH] = hash.into();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"][HASH] = hash.into();
    json!({
        "metadata": {
            "name": format!("{}-{hash}", name(deployment)), "labels": template["metadata"]["labels"],
            "annotations": deployment["metadata"]["annotations"],
            "ownerReferences": [owner(deployment, "Deployment", "apps/v1")],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    })
}

/// What a daemon set wants of its pods, one for each node that takes them.
pub(super) fn daemon_set(set: &Value, nodes: &[Value], pods: &[Value]) -> Vec<Act> {
    let hash = hash(&set["spec"]["template"]);
    let spec = place::tolerant(set["spec"]["template"]["spec"].clone());
    let wanted: Vec<&str> = nodes.iter().filter(|node| fits(&spec, node)).map(name).collect();
    let mut on: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_active(pod)) {
        on.entry(pod["spec"]["nodeName"].as_str().unwrap_or_default()).or_default().push(pod);
    }
    let is_new = |pod: &Value| pod["metadata"]["labels"][REVISION] == hash.as_str();
    let update = &set["spec"]["updateStrategy"];
    let count = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
    let rolls = update["type"] == "RollingUpdate";
    let mut surge = if rolls { amount(&update["rollingUpdate"]["maxSurge"], count, true) } else { 0 };
    let surges = surge > 0;
    let mut down = if rolls { amount(&update["rollingUpdate"]["maxUnavailable"], count, true) } else { 0 };
    let none = Vec::new();
    let of = |node: &str| on.get(node).unwrap_or(&none);
    down -= i64::try_from(wanted.iter().filter(|node| !of(node).iter().any(|pod| is_ready(pod))).count())
        .unwrap_or(0);
    surge -= i64::try_from(wanted.iter().filter(|node| of(node).len() > 1).count()).unwrap_or(0);
    let mut acts = Vec::new();
    let make = |node: &str| {
        let labels = json!({REVISION: hash});
        let mut made = pod(set, "DaemonSet", labels, Some(spec.clone()));
        made["spec"]["nodeName"] = node.into();
        Act::Create(PODS, made)
    };
    let live = set["metadata"]["deletionTimestamp"].is_null();
    for node in wanted.iter().filter(|_| live) {
        let (new, old): (Vec<&Value>, Vec<&Value>) = of(node).iter().partition(|pod| is_new(pod));
        match (new.first(), old.first()) {
            (None, None) => acts.push(make(node)),
            (None, Some(_)) if surges && surge > 0 => {
                surge -= 1;
                acts.push(make(node));
            }
            (None, Some(pod)) if !surges && rolls && (down > 0 || !is_ready(pod)) => {
                down -= i64::from(is_ready(pod));
                acts.push(Act::Delete(PODS, name(pod).to_owned()));
            }
            (Some(new), Some(old)) if is_ready(new) => acts.push(Act::Delete(PODS, name(old).to_owned())),
            _ => {}
        }
    }
    let elsewhere = on.iter().filter(|(node, _)| !wanted.contains(node)).flat_map(|(_, pods)| pods);
    acts.extend(elsewhere.filter(|_| live).map(|pod| Act::Delete(PODS, name(pod).to_owned())));
    let nodes_with = |good: &dyn Fn(&Value) -> bool| {
        wanted.iter().filter(|node| of(node).iter().any(|pod| good(pod))).count()
    };
    let ready = nodes_with(&|pod| is_ready(pod));
    let status = json!({
        "desiredNumberScheduled": wanted.len(), "currentNumberScheduled": nodes_with(&|_| true),
        "updatedNumberScheduled": nodes_with(&is_new), "numberReady": ready, "numberAvailable": ready,
        "numberUnavailable": wanted.len() - ready, "numberMisscheduled": on.keys().filter(|node| !wanted.contains(node)).count(),
        "observedGeneration": number(set, "/metadata/generation"),
    });
    acts.extend(told(DAEMONS, set, status));
    acts
}

/// What a job wants of its pods.
pub(super) fn job(job: &Value, pods: &[Value], now: &str) -> Vec<Act> {
    let over = job["status"]["conditions"].as_array().is_some_and(|all| {
        all.iter()
            .any(|one| (one["type"] == "Complete" || one["type"] == "Failed") && one["status"] == "True")
    });
    let phase = |wanted: &str| pods.iter().filter(|pod| pod["status"]["phase"] == wanted).count();
    let (done, failed) = (phase("Succeeded"), phase("Failed"));
    let active = pods.iter().filter(|pod| is_active(pod)).count();
    let wanted = usize::try_from(job["spec"]["completions"].as_i64().unwrap_or(1)).unwrap_or(0);
    let most = usize::try_from(number(job, "/spec/parallelism")).unwrap_or(0);
    let given_up = failed > usize::try_from(number(job, "/spec/backoffLimit")).unwrap_or(0);
    let mut acts = Vec::new();
    if !over && !given_up && job["metadata"]["deletionTimestamp"].is_null() {
        let missing = most.min(wanted.saturating_sub(done)).saturating_sub(active);
        acts.extend((0..missing).map(|_| Act::Create(PODS, pod(job, "Job", json!({}), None))));
    }
    let mut status = json!({"active": active, "succeeded": done, "failed": failed, "conditions": job["status"]["conditions"]});
    status["startTime"] = job["metadata"]["creationTimestamp"].clone();
    if !over && done >= wanted {
        status["conditions"] = json!([condition(job, "Complete", true, "CompletionsReached", now)]);
        status["completionTime"] = now.into();
    } else if !over && given_up {
        status["conditions"] = json!([condition(job, "Failed", true, "BackoffLimitExceeded", now)]);
    }
    acts.extend(told(JOBS, job, status));
    acts
}

fn pod(of: &Value, kind: &str, labels: Value, spec: Option<Value>) -> Value {
    let template = &of["spec"]["template"];
    let version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    let mut metadata = json!({
        "generateName": format!("{}-", name(of)), "labels": template["metadata"]["labels"],
        "annotations": template["metadata"]["annotations"], "ownerReferences": [owner(of, kind, version)],
    });
    for (key, value) in labels.as_object().into_iter().flatten() {
        metadata["labels"][key] = value.clone();
    }
    json!({"metadata": metadata, "spec": spec.unwrap_or_else(|| template["spec"].clone())})
}

fn owner(of: &Value, kind: &str, version: &str) -> Value {
    json!({
        "apiVersion": version, "kind": kind, "name": name(of), "uid": of["metadata"]["uid"], "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// A status, if it is another than the one that is there.
fn told(kind: &'static str, object: &Value, status: Value) -> Option<Act> {
    let differs = status.as_object().into_iter().flatten().any(|(field, value)| {
        let found = &object["status"][field];
        // A zero may be left out.
        found != value && !(found.is_null() && (value == 0 || value.is_null()))
    });
    differs.then(|| Act::Change(kind, name(object).to_owned(), "status", json!({"status": status})))
}

fn condition(object: &Value, kind: &str, is: bool, reason: &str, now: &str) -> Value {
    let status = if is { "True" } else { "False" };
    let conditions = object["status"]["conditions"].as_array();
    let same = conditions
        .into_iter()
        .flatten()
        .find(|one| one["type"] == kind && one["status"] == status && one["reason"] == reason);
    same.cloned().unwrap_or_else(|| {
        json!({"type": kind, "status": status, "reason": reason, "lastTransitionTime": now, "lastUpdateTime": now})
    })
}

/// A number, or a percentage of `all`.
fn amount(value: &Value, all: i64, up: bool) -> i64 {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    match percent {
        Some(percent) if up => (all * percent + 99) / 100,
        Some(percent) => all * percent / 100,
        None => value.as_i64().unwrap_or(0),
    }
}

pub(super) fn is_active(pod: &Value) -> bool {
    let over = pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed";
    !over && pod["metadata"]["deletionTimestamp"].is_null()
}

pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or(0)
}

/// FNV-1a of a template, in the letters of names. The order of its fields says nothing: who applies may bring another.
fn hash(template: &Value) -> String {
    let mut template = template.clone();
    template.sort_all_objects();
    let mut hash: u32 = 0x811c_9dc5;
    for byte in template.to_string().bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let alphabet = b"bcdfghjklmnpqrstvwxz2456789";
    hash.to_string().bytes().map(|digit| char::from(alphabet[usize::from(digit % 27)])).collect()
}

#[cfg(test)]
mod tests;
