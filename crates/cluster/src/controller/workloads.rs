//! Who redirects a pod, told from the little that is kept of it, and how many there are of each kind. PURE.
//!
//! A pod outside the mesh is forgotten at once; of one in it a few bytes stay, so that 30 000 of them are a few megabytes.
//! It never lists and never asks.

use crate::api::mesh::{ExcludedPolicy, MeshCNISpec, Mode};
use crate::api::status::{State, Workloads};
use crate::mechanism::{Mechanism, told};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::Object;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// A pod, with all dropped on arrival that nobody looks at.
pub(crate) type Pod = Object<PodSpec, PodStatus>;

/// What is read of a pod's specification.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodSpec {
    /// Where it is.
    pub(crate) node_name: String,
    /// Its init containers.
    pub(crate) init_containers: Vec<Container>,
}

/// What is read of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Container {
    /// Its name.
    pub(crate) name: String,
}

/// What is read of a pod's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodStatus {
    /// Its phase.
    pub(crate) phase: String,
    /// Its conditions.
    pub(crate) conditions: Vec<PodCondition>,
    /// How its init containers are.
    pub(crate) init_container_statuses: Vec<ContainerStatus>,
    /// How its containers are.
    pub(crate) container_statuses: Vec<ContainerStatus>,
}

/// What is read of a condition of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodCondition {
    /// Which.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Whether it holds.
    pub(crate) status: String,
    /// Since when.
    pub(crate) last_transition_time: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
}

/// What is read of a container's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerStatus {
    /// Its name.
    pub(crate) name: String,
    /// How often it was started again.
    pub(crate) restart_count: i32,
    /// How it is.
    pub(crate) state: ContainerState,
    /// How it was.
    pub(crate) last_state: ContainerState,
}

/// What is read of a container's state.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerState {
    /// Its end.
    pub(crate) terminated: Option<Terminated>,
}

/// What is read of a container's end.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Terminated {
    /// How it ended.
    pub(crate) exit_code: i32,
    /// Its last words.
    pub(crate) message: String,
}

/// How many pods of each kind there are, by namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// By namespace and mechanism; never zero.
    pub(crate) by: BTreeMap<(String, Mechanism), u32>,
}

/// Who redirects `pod`; nothing of one that is outside the mesh, or over.
pub(crate) fn mechanism(pod: &Pod) -> Option<Mechanism> {
    told(
        pod.status.as_ref().map_or("", |status| status.phase.as_str()),
        |key| pod.metadata.annotations.as_ref()?.get(key).map(String::as_str),
        |name| pod.spec.init_containers.iter().any(|container| container.name == name),
    )
}

/// What is kept of the pods of the mesh, and their number by kind, kept as they come and go.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pods: HashMap<u128, Entry>,
    namespaces: HashMap<String, u32>,
    names: Vec<String>,
    counts: HashMap<(u32, Mechanism), u32>,
    round: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    namespace: u32,
    mechanism: Mechanism,
    /// In which listing it was seen last.
    round: bool,
}

impl Ledger {
    /// A pod is as `mechanism` says now. Returns whether a count changed.
    pub(crate) fn put(&mut self, meta: &ObjectMeta, mechanism: Option<Mechanism>) -> bool {
        let Some(key) = key(meta) else { return false };
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let entry = mechanism.map(|mechanism| Entry {
            namespace: self.number(namespace),
            mechanism,
            round: self.round,
        });
        let before = match entry {
            Some(entry) => self.pods.insert(key, entry),
            None => self.pods.remove(&key),
        };
        self.count(before, entry);
        before.map(|before| (before.namespace, before.mechanism))
            != entry.map(|entry| (entry.namespace, entry.mechanism))
    }

    /// A pod is gone.
    pub(crate) fn remove(&mut self, meta: &ObjectMeta) {
        self.put(meta, None);
    }

    /// All pods are about to be told anew.
    pub(crate) fn begin(&mut self) {
        self.round = !self.round;
    }

    /// All pods were told anew: those that were not are gone.
    pub(crate) fn end(&mut self) {
        let round = self.round;
        let gone: Vec<Entry> = self.pods.values().filter(|entry| entry.round != round).copied().collect();
        self.pods.retain(|_, entry| entry.round == round);
        gone.into_iter().for_each(|entry| self.count(Some(entry), None));
    }

    /// How many there are.
    pub(crate) fn counts(&self) -> Counts {
        let named = |(&(namespace, mechanism), &count): (&(u32, Mechanism), &u32)| {
            ((self.names[namespace as usize].clone(), mechanism), count)
        };
        Counts { by: self.counts.iter().map(named).collect() }
    }

    fn number(&mut self, namespace: &str) -> u32 {
        if let Some(number) = self.namespaces.get(namespace) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("namespaces are fewer than pods");
        self.names.push(namespace.to_owned());
        self.namespaces.insert(namespace.to_owned(), number);
        number
    }

    fn count(&mut self, before: Option<Entry>, after: Option<Entry>) {
        let place = |entry: Entry| (entry.namespace, entry.mechanism);
        if let Some(place) = after.map(place) {
            *self.counts.entry(place).or_default() += 1;
        }
        if let Some(place) = before.map(place) {
            let left = self.counts.get_mut(&place).expect("what is kept was counted");
            *left -= 1;
            if *left == 0 {
                self.counts.remove(&place);
            }
        }
    }
}

impl Counts {
    /// Pods that the chain redirects.
    pub(crate) fn dependent(&self) -> u32 {
        self.sum(|_, mechanism| mechanism == Mechanism::Cni)
    }

    /// The counts of a status: what `spec` wants, and whether pods are converted yet, says which pods need a restart.
    pub(crate) fn workloads(&self, spec: &MeshCNISpec, state: State, drifted: u32) -> Workloads {
        let chain = spec.mode == Mode::Cni && state == State::Serving;
        let self_help = spec.mode != Mode::Cni || state == State::Draining || state == State::Removing;
        let debt = |namespace: &str, mechanism: Mechanism| {
            let excluded = spec.exclude_namespaces.iter().any(|excluded| excluded == namespace);
            let untouched = excluded && spec.excluded_policy == ExcludedPolicy::None;
            match mechanism {
                Mechanism::Cni => self_help || (chain && excluded && !untouched),
                Mechanism::InitContainer => chain && !excluded,
                Mechanism::Kept | Mechanism::None => false,
            }
        };
        Workloads {
            cni: self.dependent(),
            init_container: self
                .sum(|_, mechanism| matches!(mechanism, Mechanism::InitContainer | Mechanism::Kept)),
            none: self.sum(|_, mechanism| mechanism == Mechanism::None),
            restart_debt: self.sum(debt),
            drifted,
        }
    }

    fn sum(&self, counted: impl Fn(&str, Mechanism) -> bool) -> u32 {
        let found = self.by.iter().filter(|((namespace, mechanism), _)| counted(namespace, *mechanism));
        found.map(|(_, count)| *count).sum()
    }
}

/// A pod by its UID; what is no UUID (a static pod's mirror has the digest of its file) by what it says.
fn key(meta: &ObjectMeta) -> Option<u128> {
    let uid = meta.uid.as_deref()?;
    let digits: String = uid.chars().filter(|letter| *letter != '-').collect();
    let spoken = || uid.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, fold);
    Some(u128::from_str_radix(&digits, 16).unwrap_or_else(|_| spoken()))
}

/// FNV-1a of 128 bits.
fn fold(hash: u128, byte: u8) -> u128 {
    (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::stamp::STAMP_ANNOTATION;
    use millrace_core::status::STATUS_ANNOTATION;
    use serde_json::json;

    const REDIRECT: &str = r#"{"v":1,"redirect":{}}"#;
    const SKIP: &str = r#"{"v":1,"skip":"InitContainerPresent"}"#;

    fn pod(uid: &str, namespace: &str, annotations: serde_json::Value, init: &[&str], phase: &str) -> Pod {
        let init: Vec<_> = init.iter().map(|name| json!({ "name": name, "image": "x" })).collect();
        serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": namespace, "uid": uid, "annotations": annotations },
            "spec": { "nodeName": "n1", "initContainers": init, "containers": [{ "name": "app" }] },
            "status": { "phase": phase },
        }))
        .expect("it is a pod")
    }

    fn check(stamp: Option<&str>, status: Option<&str>, init: &[&str], expected: Option<Mechanism>) {
        let mut annotations = serde_json::Map::new();
        stamp.map(|text| annotations.insert(STAMP_ANNOTATION.into(), text.into()));
        status.map(|text| annotations.insert(STATUS_ANNOTATION.into(), text.into()));
        let pod = pod("u", "n", annotations.into(), init, "Running");
        assert_eq!(mechanism(&pod), expected, "{stamp:?} {status:?} {init:?}");
    }

    #[test]
    fn who_redirects_a_pod_is_told_from_its_metadata() {
        let injected = Some(r#"{"initContainers":["istio-init"],"containers":["istio-proxy"]}"#);
        let validated = Some(r#"{"initContainers":["istio-validation"]}"#);
        check(None, None, &["setup"], None);
        check(None, injected, &["istio-init"], Some(Mechanism::InitContainer));
        check(None, validated, &["istio-validation"], Some(Mechanism::Cni));
        check(None, Some("{}"), &[], Some(Mechanism::None));
        check(Some(REDIRECT), injected, &["istio-validation"], Some(Mechanism::Cni));
        check(Some(SKIP), injected, &["istio-init"], Some(Mechanism::Kept));
        check(Some(SKIP), None, &[], None);
        let excluded = Some(r#"{"v":1,"skip":"NamespaceExcluded"}"#);
        check(excluded, injected, &["istio-init"], Some(Mechanism::InitContainer));
        check(Some("?"), injected, &["istio-init"], Some(Mechanism::InitContainer));
        let over = pod("u", "n", json!({ STAMP_ANNOTATION: REDIRECT }), &[], "Succeeded");
        assert_eq!(mechanism(&over), None);
    }

    #[test]
    fn counts_follow_pods_that_come_change_and_go() {
        let mut ledger = Ledger::default();
        let meta = |uid: &str, namespace: &str| pod(uid, namespace, json!({}), &[], "Running").metadata;
        let of = |ledger: &Ledger| ledger.counts().by.into_iter().collect::<Vec<_>>();
        let a = "0f8fad5b-d9cb-469f-a165-70867728950e";
        ledger.put(&meta(a, "shop"), Some(Mechanism::InitContainer));
        ledger.put(&meta("mirror", "shop"), Some(Mechanism::Cni));
        ledger.put(&meta(a, "shop"), Some(Mechanism::Cni));
        assert_eq!(of(&ledger), [(("shop".to_owned(), Mechanism::Cni), 2)]);
        ledger.begin();
        ledger.put(&meta(a, "shop"), Some(Mechanism::Cni));
        ledger.end();
        assert_eq!(of(&ledger), [(("shop".to_owned(), Mechanism::Cni), 1)]);
        ledger.remove(&meta(a, "shop"));
        ledger.remove(&meta(a, "shop"));
        assert_eq!(of(&ledger), []);
    }

    #[test]
    fn a_restart_is_owed_by_pods_that_have_not_what_is_wanted() {
        let by = [
            (("shop".to_owned(), Mechanism::Cni), 1),
            (("shop".to_owned(), Mechanism::InitContainer), 2),
            (("shop".to_owned(), Mechanism::Kept), 4),
            (("legacy".to_owned(), Mechanism::Cni), 8),
            (("legacy".to_owned(), Mechanism::InitContainer), 16),
        ];
        let counts = Counts { by: by.into() };
        let owed = |spec: serde_json::Value, state| {
            let spec = serde_json::from_value(spec).expect("it is a specification");
            counts.workloads(&spec, state, 0).restart_debt
        };
        let excluded = json!({ "excludeNamespaces": ["legacy"] });
        assert_eq!(owed(excluded.clone(), State::Installing), 0);
        assert_eq!(owed(excluded, State::Serving), 2 + 8);
        let none = json!({ "excludeNamespaces": ["legacy"], "excludedPolicy": "None" });
        assert_eq!(owed(none, State::Serving), 2);
        assert_eq!(owed(json!({ "mode": "InitContainer" }), State::Draining), 1 + 8);
        assert_eq!(owed(json!({ "mode": "Disabled" }), State::Removing), 1 + 8);
    }
}
