//! What becomes of each pod when it is admitted anew: the pod and the wishes in, the change out. PURE.

use crate::codes::Code;
use crate::mechanism::{Mechanism, mechanism};
use crate::webhook::edit::outline;
use crate::webhook::inject::{Operation, Request, admit};
use crate::webhook::wishes::{Mode, Wishes};
use millrace_core::stamp::{self, STAMP_ANNOTATION};
use serde_json::{Value, json};

/// What becomes of all pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// The pods that get another redirection when they are restarted.
    pub(crate) changes: Vec<Change>,
    /// What is to be known of pods, whether they change or not: the pod, the code, the words.
    pub(crate) remarks: Vec<(String, Code, String)>,
    /// Pods of the mesh that stay as they are.
    pub(crate) same: usize,
    /// Pods outside the mesh.
    pub(crate) outside: usize,
}

/// A pod that gets another redirection when it is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) pod: String,
    /// Who would start it again: kind and name; `None` if nobody would.
    pub(crate) workload: Option<(String, String)>,
    /// Who redirects it now.
    pub(crate) before: Mechanism,
    /// Who would.
    pub(crate) after: Mechanism,
}

impl Plan {
    /// Takes a pod in.
    pub(crate) fn look(&mut self, pod: &Value, wishes: &Wishes) {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let Some(Next { before, after, same, remarks, .. }) = next(pod, &namespace, wishes) else {
            self.outside += 1;
            return;
        };
        let named = remarks.into_iter().map(|(code, words)| (format!("{namespace}/{name}"), code, words));
        self.remarks.extend(named);
        if same {
            self.same += 1;
            return;
        }
        self.changes.push(Change { workload: workload(pod), namespace, pod: name, before, after });
    }

    /// Puts it into the order in which it is read.
    pub(crate) fn sort(&mut self) {
        self.changes.sort_by(|one, other| (&one.namespace, &one.pod).cmp(&(&other.namespace, &other.pod)));
        self.remarks.sort();
    }
}

/// What becomes of one pod of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// Who redirects it now.
    pub(crate) before: Mechanism,
    /// Who would, once it is made anew.
    pub(crate) after: Mechanism,
    /// Whether nothing of it changes, its settings included.
    pub(crate) same: bool,
    /// What is to be known of it.
    pub(crate) remarks: Vec<(Code, String)>,
    /// The stamp it would get.
    pub(crate) stamp: Option<String>,
}

/// What becomes of a pod when it is made anew; nothing is to be said of one outside the mesh.
pub(crate) fn next(pod: &Value, namespace: &str, wishes: &Wishes) -> Option<Next> {
    let before = mechanism(pod)?;
    let (admitted, remarks) = again(pod, namespace, wishes);
    let after = after(before, pod, &admitted, wishes);
    let same = is_same(before, after) && stamps_agree(pod, &admitted, after);
    let stamp = admitted["metadata"]["annotations"][STAMP_ANNOTATION].as_str().map(str::to_owned);
    Some(Next { before, after, same, remarks, stamp })
}

/// The outline of the pod as it would be admitted anew, and what would be said about it. Nobody makes a pod with a stamp.
fn again(pod: &Value, namespace: &str, wishes: &Wishes) -> (Value, Vec<(Code, String)>) {
    let answer = admit(&Request { operation: Operation::Again, namespace, object: pod }, wishes);
    let mut admitted = outline(pod);
    if let Some(annotations) = admitted["metadata"]["annotations"].as_object_mut() {
        annotations.remove(STAMP_ANNOTATION);
    }
    let patched = json_patch::patch(&mut admitted, &answer.patch);
    debug_assert!(patched.is_ok(), "a patch made of a pod applies to it: {patched:?}");
    let remarks = answer.warnings.iter().chain(&answer.refusal).filter_map(|remark| {
        let code = Code::ALL.iter().find(|code| code.name() == remark.code.name())?;
        Some((*code, format!("{}; {}", remark.about, remark.way_out)))
    });
    (admitted, remarks.collect())
}

/// Who redirects the pod as it would be made anew. Where nothing is converted the injector's own container is in it again.
fn after(before: Mechanism, pod: &Value, admitted: &Value, wishes: &Wishes) -> Mechanism {
    let stamped = !pod["metadata"]["annotations"][STAMP_ANNOTATION].is_null();
    match before {
        Mechanism::Cni if stamped && wishes.mode != Mode::Cni => Mechanism::InitContainer,
        Mechanism::Kept if wishes.mode != Mode::Cni => Mechanism::InitContainer,
        _ => mechanism(admitted).unwrap_or(before),
    }
}

/// A pod that keeps istio-init on purpose is redirected as one that has it anyway.
fn is_same(before: Mechanism, after: Mechanism) -> bool {
    let plain = |one| if one == Mechanism::Kept { Mechanism::InitContainer } else { one };
    plain(before) == plain(after)
}

/// Whether the settings that a chain follows stay the same.
fn stamps_agree(pod: &Value, admitted: &Value, after: Mechanism) -> bool {
    let read = |pod: &Value| pod["metadata"]["annotations"][STAMP_ANNOTATION].as_str().map(stamp::read);
    after != Mechanism::Cni || read(pod) == read(admitted)
}

/// Who would start a pod again: a ReplicaSet's Deployment where its name tells.
pub(crate) fn workload(pod: &Value) -> Option<(String, String)> {
    let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let owner =
        owners.clone().find(|owner| owner["controller"] == json!(true)).or_else(|| owners.clone().next())?;
    let (kind, name) = (owner["kind"].as_str()?, owner["name"].as_str()?);
    let hash = pod["metadata"]["labels"]["pod-template-hash"].as_str();
    let deployment = hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
    Some(match (kind, deployment) {
        ("ReplicaSet", Some(deployment)) => ("Deployment".to_owned(), deployment.to_owned()),
        _ => (kind.to_owned(), name.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plan::wishes;
    use millrace_rig::injector::told;

    fn pod(name: &str, namespace: &str, init: &[&str], app: &str) -> Value {
        let mut list: Vec<Value> = init.iter().map(|name| json!({ "name": name, "image": "x" })).collect();
        let injector = json!({ "name": "istio-init", "image": "proxyv2", "args": told(),
            "securityContext": { "runAsUser": 0, "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] } } });
        list.push(injector);
        json!({
            "metadata": { "name": name, "namespace": namespace, "annotations": {
                "sidecar.istio.io/status": r#"{"initContainers":["istio-init"],"containers":["istio-proxy"]}"# },
                "labels": { "pod-template-hash": "abc" },
                "ownerReferences": [{ "kind": "ReplicaSet", "name": "web-abc", "controller": true }] },
            "spec": { "initContainers": list, "containers": [{ "name": app, "image": "x" },
                { "name": "istio-proxy", "image": "proxyv2", "args": ["proxy", "sidecar"],
                  "securityContext": { "runAsUser": 1337, "runAsGroup": 1337 } }] },
            "status": { "phase": "Running" },
        })
    }

    /// Of each change: the pod, before and after; then how many stay, and the codes of remarks.
    fn check(pods: &[Value], spec: Value, expected: &[&str], same: usize, codes: &[Code]) {
        let wishes = wishes(&defaulted(spec)).unwrap();
        let mut plan = Plan::default();
        pods.iter().for_each(|pod| plan.look(pod, &wishes));
        plan.sort();
        let shown: Vec<String> = plan
            .changes
            .iter()
            .map(|one| format!("{}/{} {:?} {:?}", one.namespace, one.pod, one.before, one.after))
            .collect();
        assert_eq!(shown, expected);
        assert_eq!(plan.same, same);
        assert_eq!(plan.remarks.iter().map(|one| one.1).collect::<Vec<_>>(), codes);
    }

    fn defaulted(spec: Value) -> Value {
        let spec: crate::api::mesh::MeshCNISpec = serde_json::from_value(spec).unwrap();
        serde_json::to_value(spec).unwrap()
    }

    #[test]
    fn what_changes_is_what_the_webhook_would_do() {
        let plain = pod("a", "shop", &[], "app");
        let waits = pod("b", "shop", &["setup"], "app");
        let excluded = pod("c", "legacy", &[], "app");
        let outside = json!({ "metadata": { "name": "d", "namespace": "shop" }, "spec": { "containers": [{ "name": "x" }] } });
        let all = [plain.clone(), waits, excluded, outside];
        let spec = json!({ "mode": "CNI", "excludeNamespaces": ["legacy"] });
        check(&all, spec.clone(), &["shop/a InitContainer Cni"], 2, &[Code::InitContainersKept]);
        check(&all, json!({ "mode": "InitContainer" }), &[], 3, &[]);
        let wanted = wishes(&defaulted(spec.clone())).unwrap();
        let request = Request { operation: Operation::Create, namespace: "shop", object: &plain };
        let mut converted = plain.clone();
        json_patch::patch(&mut converted, &admit(&request, &wanted).patch).unwrap();
        check(std::slice::from_ref(&converted), spec, &[], 1, &[]);
        check(
            std::slice::from_ref(&converted),
            json!({ "mode": "Disabled" }),
            &["shop/a Cni InitContainer"],
            0,
            &[],
        );
        let newly = json!({ "excludeNamespaces": ["shop"] });
        check(std::slice::from_ref(&converted), newly, &["shop/a Cni InitContainer"], 0, &[]);
        let settings = json!({ "redirection": { "defaults": { "excludeOutboundPorts": ["3306"] } } });
        check(&[converted], settings, &["shop/a Cni Cni"], 0, &[]);
    }

    #[test]
    fn a_replica_set_is_its_deployments() {
        let deployment = workload(&pod("a", "shop", &[], "app")).unwrap();
        assert_eq!(deployment, ("Deployment".to_owned(), "web".to_owned()));
        assert_eq!(workload(&json!({ "metadata": {} })), None);
        let set = json!({ "metadata": { "ownerReferences": [{ "kind": "StatefulSet", "name": "db" }] } });
        assert_eq!(workload(&set), Some(("StatefulSet".to_owned(), "db".to_owned())));
    }
}
