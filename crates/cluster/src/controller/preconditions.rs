//! What a cluster must have, and what in it is in the way: each finding with its code and the way out. PURE.
//!
//! It stops nothing: a finding is said, and the operator decides. What cannot be read is not guessed at.

use super::observed::Node;
use super::platforms::{self, Kind};
use crate::api::mesh::MeshCNISpec;
use crate::codes::Code;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What was read of a cluster beside its nodes; what could not be read is absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The API server's version, as in `1` and `31+`.
    pub(crate) server: Option<(String, String)>,
    /// The data of the injectors' ConfigMaps, by revision: `values` and `config`.
    pub(crate) injectors: Vec<String>,
    /// The images of the mesh's control plane.
    pub(crate) control_planes: Vec<String>,
    /// Cilium's settings.
    pub(crate) cilium: Option<BTreeMap<String, String>>,
    /// What Calico does with connections as they are made.
    pub(crate) calico: Option<String>,
    /// DaemonSets that may bring a redirector of their own: namespace and name.
    pub(crate) daemon_sets: Vec<(String, String)>,
    /// Namespaces with injection whose Pod Security forbids NET_ADMIN, each with its level.
    pub(crate) confined: Vec<(String, String)>,
    /// Whether a webhook that injects sidecars is there.
    pub(crate) injects: Option<bool>,
}

impl Facts {
    /// Whether a DaemonSet may have two pods on a node while one replaces the other. Of a server that does not say, the best is
    /// assumed.
    pub(crate) fn surges(&self) -> bool {
        let version = self.server.as_ref().and_then(|(major, minor)| version(&format!("{major}.{minor}")));
        version.is_none_or(|version| version >= SURGE)
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// What the injector puts into pods, if that was looked at.
    pub(crate) injector: Option<Injector>,
    /// What is in the way, by code.
    pub(crate) findings: Vec<Finding>,
}

/// What the injector puts into pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Injector {
    /// Nothing: there is none.
    None,
    /// istio-init.
    Init,
    /// istio-validation, and leaves the redirection to a chain.
    Validation,
}

/// One thing that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// As `millrace explain` knows it.
    pub(crate) code: Code,
    /// What it is, and the way out.
    pub(crate) text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

/// The oldest Kubernetes that is worked on.
const KUBERNETES: (u64, u64) = (1, 28);
/// The first in which DaemonSets surge.
const SURGE: (u64, u64) = (1, 22);
/// The oldest mesh whose pods are understood.
const MESH: (u64, u64) = (1, 14);
/// The most names in one finding.
const MOST_NAMED: usize = 5;
/// Who else brings a plugin that redirects, by the names of their DaemonSets.
const OTHERS: [&str; 4] = ["istio-cni-node", "linkerd-cni", "kuma-cni-node", "consul-cni"];

/// What is in the way of `spec` in this cluster.
pub(crate) fn find(spec: &MeshCNISpec, facts: &Facts, nodes: &BTreeMap<String, Node>) -> Found {
    let injector = facts.injects.map(|injects| match injects {
        false => Injector::None,
        true if facts.injectors.iter().any(|values| leaves_it_to_a_chain(values)) => Injector::Validation,
        true => Injector::Init,
    });
    let mut findings: Vec<Finding> = server(facts).into_iter().chain(mesh(facts)).collect();
    findings.extend(injection(facts, injector));
    findings.extend(other_redirectors(facts));
    findings.extend(dataplanes(facts));
    findings.extend(of_nodes(spec, nodes));
    findings.sort_by_key(|finding| finding.code);
    Found { injector, findings }
}

fn finding(code: Code, text: impl Into<String>) -> Finding {
    Finding { code, text: text.into() }
}

fn server(facts: &Facts) -> Option<Finding> {
    let (major, minor) = facts.server.as_ref()?;
    let version = version(&format!("{major}.{minor}"))?;
    (version < KUBERNETES).then(|| {
        let text = format!(
            "the API server is {}.{}, older than {}.{}: rules in CEL are not enforced, and no pod has a native sidecar; update it",
            version.0, version.1, KUBERNETES.0, KUBERNETES.1
        );
        finding(Code::KubernetesTooOld, text)
    })
}

fn mesh(facts: &Facts) -> Option<Finding> {
    let tag = |image: &String| {
        let name = image.split('@').next().unwrap_or_default();
        name.rsplit_once(':').and_then(|(_, tag)| version(tag)).map(|version| (version, image.clone()))
    };
    let (oldest, image) = facts.control_planes.iter().filter_map(tag).min()?;
    (oldest < MESH).then(|| {
        let text = format!(
            "{image} is older than {}.{}: its pods are not understood; update the mesh",
            MESH.0, MESH.1
        );
        finding(Code::MeshVersionUnsupported, text)
    })
}

fn injection(facts: &Facts, injector: Option<Injector>) -> Vec<Finding> {
    let mut found = Vec::new();
    match injector {
        Some(Injector::None) => found.push(finding(
            Code::NoInjector,
            "no sidecar injector is there; install one, or give pods their sidecar by millrace inject",
        )),
        Some(Injector::Validation) => found.push(finding(
            Code::InjectorInValidationMode,
            "the injector adds istio-validation, so that no pod starts on a node without an agent; set pilot.cni.enabled=false",
        )),
        Some(Injector::Init) | None => {}
    }
    if !facts.confined.is_empty() {
        let named = facts.confined.iter().map(|(name, level)| format!("{name} ({level})"));
        let text = format!(
            "Pod Security refuses istio-init in {}: while no webhook answers, pods of the mesh are refused there",
            list(named)
        );
        found.push(finding(Code::PodSecurityForbidsInit, text));
    }
    found
}

fn other_redirectors(facts: &Facts) -> Option<Finding> {
    let others = facts.daemon_sets.iter().filter(|(_, name)| OTHERS.contains(&name.as_str()));
    let named: Vec<String> = others.map(|(namespace, name)| format!("{namespace}/{name}")).collect();
    (!named.is_empty()).then(|| {
        let text = format!(
            "{} brings a redirector of its own; remove it once nodes serve: until then our agents take its place in the chain",
            list(named.into_iter())
        );
        finding(Code::OtherMeshInChain, text)
    })
}

fn dataplanes(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let is = |key: &str, value: &str| {
        facts.cilium.as_ref().and_then(|cilium| cilium.get(key)).is_some_and(|found| found == value)
    };
    if is("cni-exclusive", "true") {
        found.push(finding(
            Code::CiliumExclusive,
            "Cilium takes every other list away; set cni.exclusive=false in its chart (cni-exclusive in cilium-config)",
        ));
    }
    if is("bpf-lb-sock", "true") && !is("bpf-lb-sock-hostns-only", "true") {
        found.push(finding(
            Code::CiliumSocketLoadBalancing,
            "Cilium translates services inside pods, before any rule; set socketLB.hostNamespaceOnly=true in its chart",
        ));
    }
    if facts.calico.as_deref().is_some_and(|mode| !matches!(mode, "Disabled" | "")) {
        found.push(finding(
            Code::CalicoConnectTimeLoadBalancing,
            "Calico translates services as connections are made; set bpfConnectTimeLoadBalancing: Disabled in its FelixConfiguration",
        ));
    }
    found
}

fn of_nodes(spec: &MeshCNISpec, nodes: &BTreeMap<String, Node>) -> Vec<Finding> {
    let mut found = Vec::new();
    let named = |wanted: &dyn Fn(&Node) -> bool| {
        nodes.iter().filter(|(_, node)| wanted(node)).map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let targeted = |node: &Node| matches!(platforms::kind(spec, node), Kind::Target(_));
    let unserved = named(&|node| platforms::kind(spec, node) == Kind::Unserved);
    if !unserved.is_empty() {
        let text = format!("{} run no DaemonSets: pods there keep istio-init", list(unserved.into_iter()));
        found.push(finding(Code::NodeUnsupported, text));
    }
    let hides = named(&|node| targeted(node) && hides_annotations(&node.runtime));
    if !hides.is_empty() {
        let text = format!(
            "the runtime of {} does not tell plugins of a pod's annotations (containerd 1.6 and CRI-O 1.29 do): every pod's start asks the agent",
            list(hides.into_iter())
        );
        found.push(finding(Code::RuntimeHidesAnnotations, text));
    }
    let old = named(&|node| targeted(node) && is_unknown(&node.runtime));
    if !old.is_empty() {
        let text = format!(
            "the runtime of {} is none that is known; use containerd or CRI-O",
            list(old.into_iter())
        );
        found.push(finding(Code::RuntimeTooOld, text));
    }
    found
}

/// containerd from 1.6 on, and CRI-O from 1.29 on, tell.
fn hides_annotations(runtime: &str) -> bool {
    let Some((name, text)) = runtime.split_once("://") else { return false };
    let oldest = match name {
        "containerd" => (1, 6),
        "cri-o" => (1, 29),
        _ => return false,
    };
    version(text).is_some_and(|version| version < oldest)
}

fn is_unknown(runtime: &str) -> bool {
    runtime.split_once("://").is_some_and(|(name, _)| !matches!(name, "containerd" | "cri-o"))
}

/// An injector's values: `istio_cni.enabled` until 1.23, `pilot.cni.enabled` after it.
fn leaves_it_to_a_chain(values: &str) -> bool {
    let Ok(values) = serde_json::from_str::<Value>(values) else { return false };
    values["pilot"]["cni"]["enabled"] == true || values["istio_cni"]["enabled"] == true
}

/// Major and minor of `v1.31.4-x`, `1.31+`, `asm-1.14.3`.
fn version(text: &str) -> Option<(u64, u64)> {
    let digits = text.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let mut parts = digits.split('.');
    let number = |part: &str| {
        let end = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().ok()
    };
    Some((number(parts.next()?)?, number(parts.next()?)?))
}

fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let shown = names[..names.len().min(MOST_NAMED)].join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(facts: Facts, expected: &[Code]) {
        let spec = serde_json::from_str("{}").expect("every field has a default");
        let found = find(&spec, &facts, &BTreeMap::new());
        let codes: Vec<Code> = found.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, expected, "{facts:?}");
    }

    #[test]
    fn what_is_in_the_way_is_named_by_its_code() {
        let words = |pairs: &[(&str, &str)]| {
            Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        let version = |minor: &str| Some(("1".to_owned(), minor.to_owned()));
        let injecting = |values: &str| Facts {
            injects: Some(true),
            injectors: vec![values.to_owned()],
            ..Facts::default()
        };
        check(Facts::default(), &[]);
        check(Facts { server: version("20+"), ..Facts::default() }, &[Code::KubernetesTooOld]);
        check(Facts { server: version("31"), ..Facts::default() }, &[]);
        let planes = |image: &str| Facts { control_planes: vec![image.to_owned()], ..Facts::default() };
        check(planes("r.example:5000/pilot:1.13.9"), &[Code::MeshVersionUnsupported]);
        check(planes("r.example:5000/pilot:1.14.3-asm"), &[]);
        check(planes("r.example:5000/pilot@sha256:00"), &[]);
        check(injecting("{}"), &[]);
        check(injecting(r#"{"istio_cni":{"enabled":true}}"#), &[Code::InjectorInValidationMode]);
        check(injecting(r#"{"pilot":{"cni":{"enabled":true}}}"#), &[Code::InjectorInValidationMode]);
        check(Facts { injects: Some(false), ..Facts::default() }, &[Code::NoInjector]);
        check(
            Facts { cilium: words(&[("cni-exclusive", "true")]), ..Facts::default() },
            &[Code::CiliumExclusive],
        );
        let socket = [("bpf-lb-sock", "true"), ("bpf-lb-sock-hostns-only", "true")];
        check(Facts { cilium: words(&socket[..1]), ..Facts::default() }, &[Code::CiliumSocketLoadBalancing]);
        check(Facts { cilium: words(&socket), ..Facts::default() }, &[]);
        let tcp = Facts { calico: Some("TCP".to_owned()), ..Facts::default() };
        check(tcp, &[Code::CalicoConnectTimeLoadBalancing]);
        let other = ("istio-system".to_owned(), "istio-cni-node".to_owned());
        check(Facts { daemon_sets: vec![other], ..Facts::default() }, &[Code::OtherMeshInChain]);
        let confined = vec![("shop".to_owned(), "restricted".to_owned())];
        check(Facts { confined, ..Facts::default() }, &[Code::PodSecurityForbidsInit]);
    }

    #[test]
    fn nodes_are_looked_at_too() {
        let node = |runtime: &str, label: Option<&str>| Node {
            runtime: runtime.to_owned(),
            labels: label.map(|value| ("type".to_owned(), value.to_owned())).into_iter().collect(),
            ..Node::default()
        };
        let nodes = [
            ("a", node("containerd://1.7.24", None)),
            ("b", node("containerd://1.5.9", None)),
            ("c", node("docker://24.0.1", None)),
            ("d", node("", Some("virtual-kubelet"))),
        ];
        let nodes = nodes.map(|(name, node)| (name.to_owned(), node)).into();
        let spec = serde_json::from_str("{}").expect("every field has a default");
        let found = find(&spec, &Facts::default(), &nodes).findings;
        let found: Vec<String> = found.iter().map(|one| one.to_string().chars().take(24).collect()).collect();
        assert_eq!(
            found,
            ["MR5003: the runtime of c", "MR5004: the runtime of b", "MR5013: d run no DaemonS"]
        );
    }
}
