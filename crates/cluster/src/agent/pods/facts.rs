//! A pod and a namespace as they come over the wire, of which only what policy looks at is ever kept.
//!
//! Decides nothing. What a reader of manifests makes of the same object is the same pod; a test holds the two together.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::Resource;
use millrace_core::knobs::KNOBS;
use millrace_core::pod::{Container, Pod, Role};
use millrace_core::policy::DISABLE;
use millrace_core::stamp::STAMP_ANNOTATION;
use millrace_core::status::STATUS_ANNOTATION;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

/// A static pod's mirror carries the UID that the node knows the pod by.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Whose labels and annotations policy reads; the rest may be long and is nobody's concern here.
const KEPT: [&str; 2] = ["istio.io", "millrace.dev"];

/// One pod of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// What a decision looks at; of labels, annotations, environments and arguments only what matters to one.
    pub(crate) pod: Pod,
    /// For the mirror of a static pod: the UID that the runtime has.
    pub(crate) static_uid: Option<String>,
    /// Whether it is on its way out: deleted, or all its containers have ended for good.
    pub(crate) ending: bool,
    /// Whether a container of it runs or has run, so that its network is there; for the audit, as what follows.
    pub(crate) started: bool,
    /// Whether it has a controller, which would make another in its place.
    pub(crate) controlled: bool,
    /// Its addresses, as far as known.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Known {
    /// Whether it is the pod that a runtime calls by that UID.
    pub(crate) fn is(&self, uid: &str) -> bool {
        self.pod.uid.as_deref() == Some(uid) || self.static_uid.as_deref() == Some(uid)
    }
}

/// Whether an injector has been at it, ours or the field's.
pub(crate) fn is_meshed(pod: &Pod) -> bool {
    [STATUS_ANNOTATION, STAMP_ANNOTATION].iter().any(|name| pod.annotations.contains_key(*name))
}

/// A pod of the wire; lives as long as its event.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "WirePod")]
pub(crate) struct Seen {
    meta: ObjectMeta,
    pub(crate) known: Known,
    /// When it came to this node.
    came: Option<SystemTime>,
}

impl Seen {
    /// How long ago it came to this node.
    pub(crate) fn age(&self, now: SystemTime) -> Option<std::time::Duration> {
        // A server whose clock is ahead has sent it just now.
        self.came.map(|came| now.duration_since(came).unwrap_or_default())
    }
}

/// A namespace of the wire.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "WireNamespace")]
pub(crate) struct Space {
    meta: ObjectMeta,
    /// Whether new pods in it are injected, by its labels.
    pub(crate) is_enrolled: bool,
}

impl Space {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }
}

macro_rules! resource {
    ($type:ty, $kind:literal, $plural:literal, $scope:ty) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind(&(): &()) -> Cow<'_, str> {
                $kind.into()
            }
            fn group(&(): &()) -> Cow<'_, str> {
                "".into()
            }
            fn version(&(): &()) -> Cow<'_, str> {
                "v1".into()
            }
            fn plural(&(): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.meta
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.meta
            }
        }
    };
}
resource!(Seen, "Pod", "pods", NamespaceResourceScope);
resource!(Space, "Namespace", "namespaces", ClusterResourceScope);

#[derive(Deserialize)]
struct WirePod {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct WireNamespace {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    owner_references: Option<Vec<Owner>>,
}

#[derive(Deserialize)]
struct Owner {
    controller: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    host_network: Option<bool>,
    security_context: Option<Identity>,
    init_containers: Option<Vec<WireContainer>>,
    containers: Option<Vec<WireContainer>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    conditions: Option<Vec<Condition>>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<Address>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Deserialize)]
struct Address {
    ip: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    #[serde(default)]
    state: State,
    #[serde(default)]
    last_state: State,
}

/// Of each state only whether it is one.
#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    running: Option<IgnoredAny>,
    terminated: Option<IgnoredAny>,
}

impl Status {
    /// Whether a container runs or has run. One whose sandbox is still being made waits.
    fn has_started(&self) -> bool {
        let all = self.init_container_statuses.iter().chain(&self.container_statuses).flatten();
        let ran = |state: &State| state.running.is_some() || state.terminated.is_some();
        all.into_iter().any(|one| ran(&one.state) || ran(&one.last_state))
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let all = self.pod_ips.iter().flatten();
        all.filter_map(|address| address.ip.as_ref()?.parse().ok()).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    last_transition_time: Option<Time>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Identity {
    run_as_user: Option<i64>,
    run_as_group: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireContainer {
    name: String,
    args: Option<Vec<String>>,
    env: Option<Vec<Variable>>,
    restart_policy: Option<String>,
    security_context: Option<Identity>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: Option<String>,
}

impl From<WirePod> for Seen {
    fn from(wire: WirePod) -> Seen {
        let WirePod { mut metadata, spec, status } = wire;
        let defaults = spec.security_context.unwrap_or_default();
        let early = spec.init_containers.into_iter().flatten().map(|one| (one, Role::Init));
        let late = spec.containers.into_iter().flatten().map(|one| (one, Role::Regular));
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        // The server binds a pod to its node by an update that also sets this condition.
        let bound =
            status.conditions.iter().flatten().find(|one| one.kind == "PodScheduled" && one.status == "True");
        let came = bound.and_then(|one| one.last_transition_time.as_ref());
        let came = came.or(metadata.creation_timestamp.as_ref()).map(|time| SystemTime::from(time.0));
        let annotations = metadata.annotations.as_mut();
        let static_uid = annotations.and_then(|annotations| annotations.remove(CONFIG_HASH));
        let known = Known {
            pod: Pod {
                namespace: metadata.namespace.clone().unwrap_or_default(),
                name: metadata.name.clone().unwrap_or_default(),
                uid: metadata.uid.clone(),
                labels: kept(metadata.labels.take()),
                annotations: kept(metadata.annotations.take()),
                host_network: spec.host_network == Some(true),
                containers: early.chain(late).map(|(one, role)| container(one, role, defaults)).collect(),
            },
            static_uid,
            ending: over || metadata.deletion_timestamp.is_some(),
            started: status.has_started(),
            controlled: metadata
                .owner_references
                .iter()
                .flatten()
                .any(|owner| owner.controller == Some(true)),
            addresses: status.addresses(),
        };
        Seen { meta: metadata.into(), known, came }
    }
}

impl From<WireNamespace> for Space {
    fn from(wire: WireNamespace) -> Space {
        let label = |name: &str| wire.metadata.labels.as_ref()?.get(name).map(String::as_str);
        // As the injector reads them: the older label decides where it stands.
        let is_enrolled = match label("istio-injection") {
            Some(injection) => injection == "enabled",
            None => label("istio.io/rev").is_some_and(|revision| !revision.is_empty()),
        };
        Space { is_enrolled, meta: wire.metadata.into() }
    }
}

impl From<Metadata> for ObjectMeta {
    fn from(wire: Metadata) -> ObjectMeta {
        ObjectMeta {
            name: wire.name,
            namespace: wire.namespace,
            resource_version: wire.resource_version,
            ..ObjectMeta::default()
        }
    }
}

fn container(wire: WireContainer, role: Role, defaults: Identity) -> Container {
    let own = wire.security_context.unwrap_or_default();
    let id = |own: Option<i64>, default: Option<i64>| own.or(default).and_then(|id| u32::try_from(id).ok());
    let sidecar = role == Role::Init && wire.restart_policy.as_deref() == Some("Always");
    // Whichever is the sidecar: the operator names it, and may name another while this pod runs.
    let matters = |name: &str| name == DISABLE || KNOBS.iter().any(|knob| knob.proxy_env.contains(&name));
    let variables = wire.env.into_iter().flatten().filter(|one| matters(&one.name));
    let is_proxy = |args: &Vec<String>| args.first().is_some_and(|verb| verb == "proxy");
    let mut args = wire.args.filter(is_proxy).unwrap_or_default();
    // `proxy` and its type.
    args.truncate(2);
    args.shrink_to_fit();
    Container {
        role: if sidecar { Role::NativeSidecar } else { role },
        args,
        env: variables.filter_map(|one| Some((one.name, one.value?))).collect(),
        run_as_user: id(own.run_as_user, defaults.run_as_user),
        run_as_group: id(own.run_as_group, defaults.run_as_group),
        name: wire.name,
    }
}

fn kept(all: Option<BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let ours = |key: &String| {
        let domain = key.split('/').next().unwrap_or_default();
        KEPT.iter()
            .any(|kept| domain.strip_suffix(kept).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
    };
    all.into_iter().flatten().filter(|(key, _)| ours(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts;
    use millrace_core::knobs::{Defaults, settings_of};
    use millrace_core::policy::{Mesh, PROXY, decide};

    const POD: &str = r#"{"kind": "Pod", "metadata": {"name": "one", "namespace": "shop", "uid": "u1", "resourceVersion": "7",
        "creationTimestamp": "2026-11-22T10:00:00Z",
        "labels": {"app": "one", "sidecar.istio.io/inject": "true"},
        "annotations": {"sidecar.istio.io/status": "{}", "traffic.sidecar.istio.io/excludeOutboundPorts": "25",
          "istio.io/reroute-virtual-interfaces": "net1", "millrace.dev/dnsCapture": "true", "notistio.io/x": "y",
          "kubectl.kubernetes.io/last-applied-configuration": "long", "kubernetes.io/config.hash": "abc"},
        "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]},
      "spec": {"securityContext": {"runAsUser": 1000, "runAsGroup": 1001},
        "initContainers": [{"name": "istio-validation"}, {"name": "warm", "restartPolicy": "Always"}],
        "containers": [
          {"name": "app", "args": ["serve"], "env": [{"name": "SECRET", "value": "x"}], "securityContext": {"runAsUser": 0}},
          {"name": "istio-proxy", "args": ["proxy", "sidecar"], "securityContext": {"runAsUser": 1337, "runAsGroup": 1337},
           "env": [{"name": "ISTIO_META_DNS_CAPTURE", "value": "true"}, {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}]},
      "status": {"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-22T10:00:05Z"}]}}"#;

    fn seen(text: &str) -> Seen {
        serde_json::from_str(text).expect("a pod of the wire")
    }

    /// What a manifest's reader makes of the same text must lead to the same decision and the same settings.
    fn check(text: &str) -> Known {
        let manifest = facts::pods(text, "").expect("JSON is YAML").remove(0).pod;
        let known = seen(text).known;
        let mesh = Mesh { excluded_namespaces: vec!["kube-system".to_owned()], ..Mesh::default() };
        assert_eq!(decide(&known.pod, &mesh), decide(&manifest, &mesh));
        for proxy in [PROXY, "app", "warm"] {
            let mesh = Mesh { proxy_container: proxy.to_owned(), ..mesh.clone() };
            assert_eq!(decide(&known.pod, &mesh).verdict, decide(&manifest, &mesh).verdict);
            let settings = |pod| settings_of(pod, proxy, &Defaults::default());
            assert_eq!(settings(&known.pod), settings(&manifest));
        }
        known
    }

    #[test]
    fn survives_its_corpus() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/pod");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let read = files.map(|file| {
            eprintln!("{}", file.display());
            super::super::readers::pod(&std::fs::read(&file).unwrap());
        });
        assert!(read.count() >= 3, "{folder} holds too little to begin with");
    }

    #[test]
    fn nothing_that_decides_is_left_out() {
        check(POD);
        check(&POD.replace("\"sidecar\"]", "\"router\"]"));
        check(&POD.replace("\"true\"}", "\"false\"}"));
        check(&POD.replace("\"runAsUser\": 0", "\"runAsUser\": 1337"));
        check(&POD.replace("\"spec\": {", "\"spec\": {\"hostNetwork\": true, "));
        check(&POD.replace("istio-validation", "istio-init"));
        check(&POD.replace("ISTIO_META_DNS_CAPTURE", "DISABLE_ENVOY"));
        check(&POD.replace(
            "\"sidecar.istio.io/status\": \"{}\",",
            "\"millrace.dev/redirect\": \"{\\\"v\\\":1}\",",
        ));
        check(r#"{"kind": "Pod", "metadata": {"name": "bare", "namespace": "x"}}"#);
    }

    #[test]
    fn nothing_else_is_kept() {
        let known = check(POD);
        let pod = &known.pod;
        assert_eq!(pod.labels.keys().map(String::as_str).collect::<Vec<_>>(), ["sidecar.istio.io/inject"]);
        assert_eq!(pod.annotations.len(), 4, "{:?}", pod.annotations);
        let app = pod.containers.iter().find(|one| one.name == "app").unwrap();
        assert!(app.args.is_empty() && app.env.is_empty());
        assert_eq!((app.run_as_user, app.run_as_group), (Some(0), Some(1001)));
        assert!(known.is("u1") && known.is("abc") && !known.is("u2"));
        assert!(seen(POD).meta.managed_fields.is_none());
    }

    #[test]
    fn age_and_end() {
        let at =
            |second: u64| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_795_341_600 + second);
        assert_eq!(seen(POD).age(at(7)).unwrap().as_secs(), 2);
        assert_eq!(seen(POD).age(at(0)).unwrap().as_secs(), 0, "a clock that is behind");
        let unbound = POD.replace("PodScheduled", "Ready");
        assert_eq!(seen(&unbound).age(at(7)).unwrap().as_secs(), 7);
        assert!(!seen(POD).known.ending);
        assert!(seen(&POD.replace("Pending", "Failed")).known.ending);
        let deleted = POD.replace("\"uid\"", "\"deletionTimestamp\": \"2026-11-22T10:00:00Z\", \"uid\"");
        assert!(seen(&deleted).known.ending);
    }

    #[test]
    fn namespaces_by_their_labels() {
        for (labels, expected) in [
            (r#"{"istio-injection": "enabled"}"#, true),
            (r#"{"istio-injection": "disabled"}"#, false),
            (r#"{"istio-injection": "disabled", "istio.io/rev": "canary"}"#, false),
            (r#"{"istio.io/rev": "canary"}"#, true),
            (r#"{"istio.io/rev": ""}"#, false),
            ("{}", false),
            ("null", false),
        ] {
            let text = format!(r#"{{"metadata": {{"name": "x", "labels": {labels}}}, "spec": {{}}}}"#);
            let space: Space = serde_json::from_str(&text).unwrap();
            assert_eq!((space.name(), space.is_enrolled), ("x", expected), "{labels}");
        }
    }

    #[test]
    fn a_pod_has_started_when_a_container_of_it_ran() {
        let with = |status: &str| {
            let text = format!(
                r#"{{"metadata":{{"name":"a","ownerReferences":[{{"controller":true}}]}},"status":{{{status}}}}}"#
            );
            serde_json::from_str::<Seen>(&text).unwrap().known
        };
        let waiting =
            r#""containerStatuses":[{"state":{"waiting":{"reason":"PodInitializing"}},"lastState":{}}]"#;
        let known = with(waiting);
        assert!(known.controlled && !known.started && known.addresses.is_empty());
        for ran in [
            r#""initContainerStatuses":[{"state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}]"#,
            r#""containerStatuses":[{"state":{"terminated":{"exitCode":0}}}]"#,
            r#""initContainerStatuses":[{"state":{"waiting":{}},"lastState":{"terminated":{"exitCode":126}}}]"#,
        ] {
            assert!(with(ran).started, "{ran}");
        }
        let known = with(r#""podIPs":[{"ip":"198.51.100.2"},{"ip":"2001:db8::2"},{"ip":"?"}]"#);
        assert_eq!(known.addresses.len(), 2);
    }
}
