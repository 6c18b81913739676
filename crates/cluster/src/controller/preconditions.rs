//! What a cluster must have, and what in it is in the way: each finding with its code and the way out. PURE.
//!
//! It stops nothing: a finding is said, and the operator decides. What cannot be read is not guessed at.

use super::observed::Node;
use super::platforms::{self, Kind};
use crate::api::mesh::{ExcludedPolicy, MeshCNISpec, Mode, Way};
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
    /// DaemonSets, of which one may bring the cluster's network or a redirector of its own.
    pub(crate) daemon_sets: Vec<Set>,
    /// Namespaces with injection whose Pod Security forbids NET_ADMIN, each with its level.
    pub(crate) confined: Vec<(String, String)>,
    /// Whether a webhook that injects sidecars is there.
    pub(crate) injects: Option<bool>,
}

/// A DaemonSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// The image of its first container.
    pub(crate) image: String,
}

impl Facts {
    /// The networks of the cluster that are known by their DaemonSets: what each is called, and its image.
    pub(crate) fn networks(&self) -> impl Iterator<Item = (&'static str, &Set)> {
        let known =
            |set: &Set| NETWORKS.iter().find(|(name, _)| *name == set.name).map(|(_, called)| *called);
        self.daemon_sets.iter().filter_map(move |set| Some((known(set)?, set)))
    }

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
    /// What it is about: names and versions, in no language.
    pub(crate) about: String,
    /// What it is, and the way out.
    pub(crate) text: String,
    /// Whether it hurts only while something else fails.
    pub(crate) latent: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

/// The oldest Kubernetes that is worked on.
pub(crate) const KUBERNETES: (u64, u64) = (1, 28);
/// The first in which DaemonSets surge.
const SURGE: (u64, u64) = (1, 22);
/// The oldest mesh whose pods are understood.
pub(crate) const MESH: (u64, u64) = (1, 14);
/// The oldest kernel that takes rules of both families at once.
const KERNEL: (u64, u64) = (4, 19);
/// The most names in one finding.
const MOST_NAMED: usize = 5;
/// Who else brings a plugin that redirects, by the names of their DaemonSets.
const OTHERS: [&str; 4] = ["istio-cni-node", "linkerd-cni", "kuma-cni-node", "consul-cni"];
/// Multus's DaemonSet, thin and thick.
const MULTUS: [&str; 3] = ["kube-multus-ds", "kube-multus", "multus"];
/// What brings the cluster's network, by the names of their DaemonSets.
const NETWORKS: [(&str, &str); 12] = [
    ("cilium", "Cilium"),
    ("calico-node", "Calico"),
    ("canal", "Canal"),
    ("kube-flannel-ds", "Flannel"),
    ("aws-node", "AWS VPC CNI"),
    ("azure-cns", "Azure CNI"),
    ("kindnet", "kindnet"),
    ("antrea-agent", "Antrea"),
    ("ovnkube-node", "OVN-Kubernetes"),
    ("weave-net", "Weave Net"),
    ("terway-eniip", "Terway"),
    ("kube-router", "kube-router"),
];

/// What is in the way of `spec` in this cluster.
pub(crate) fn find(spec: &MeshCNISpec, facts: &Facts, nodes: &BTreeMap<String, Node>) -> Found {
    let injector = facts.injects.map(|injects| match injects {
        false => Injector::None,
        true if facts.injectors.iter().any(|values| leaves_it_to_a_chain(values)) => Injector::Validation,
        true => Injector::Init,
    });
    let mut findings: Vec<Finding> = server(facts).into_iter().chain(mesh(facts)).collect();
    findings.extend(injection(spec, facts, injector));
    findings.extend(other_redirectors(facts));
    findings.extend(multus(spec, facts));
    findings.extend(dataplanes(facts));
    findings.extend(of_nodes(spec, nodes));
    findings.sort_by_key(|finding| finding.code);
    Found { injector, findings }
}

fn finding(code: Code, about: impl Into<String>, text: impl Into<String>) -> Finding {
    Finding { code, about: about.into(), text: text.into(), latent: false }
}

fn server(facts: &Facts) -> Option<Finding> {
    let (major, minor) = facts.server.as_ref()?;
    let version = version(&format!("{major}.{minor}"))?;
    (version < KUBERNETES).then(|| {
        let text = format!(
            "the API server is {}.{}, older than {}.{}: rules in CEL are not enforced, and no pod has a native sidecar; update it",
            version.0, version.1, KUBERNETES.0, KUBERNETES.1
        );
        finding(Code::KubernetesTooOld, format!("{}.{}", version.0, version.1), text)
    })
}

fn mesh(facts: &Facts) -> Option<Finding> {
    let tag = |image: &String| Some((version(tag(image)?)?, image.clone()));
    let (oldest, image) = facts.control_planes.iter().filter_map(tag).min()?;
    (oldest < MESH).then(|| {
        let text = format!(
            "{image} is older than {}.{}: its pods are not understood; update the mesh",
            MESH.0, MESH.1
        );
        finding(Code::MeshVersionUnsupported, image, text)
    })
}

fn injection(spec: &MeshCNISpec, facts: &Facts, injector: Option<Injector>) -> Vec<Finding> {
    let mut found = Vec::new();
    match injector {
        Some(Injector::None) => found.push(finding(
            Code::NoInjector,
            "",
            "no sidecar injector is there; install one, or give pods their sidecar by millrace inject",
        )),
        Some(Injector::Validation) => found.push(finding(
            Code::InjectorInValidationMode,
            "",
            "the injector adds istio-validation, so that no pod starts on a node without an agent; set pilot.cni.enabled=false",
        )),
        Some(Injector::Init) | None => {}
    }
    let excluded = |name: &String| {
        let named = spec.exclude_namespaces.iter().any(|excluded| excluded == name);
        named && spec.mode == Mode::Cni && spec.excluded_policy == ExcludedPolicy::InitContainer
    };
    let (always, at_times): (Vec<_>, Vec<_>) = facts.confined.iter().partition(|(name, _)| excluded(name));
    let named =
        |all: Vec<&(String, String)>| list(all.iter().map(|(name, level)| format!("{name} ({level})")));
    if !always.is_empty() {
        let names = named(always);
        let text = format!(
            "Pod Security refuses istio-init in {names}, which is excluded and needs it: pods of the mesh are refused there"
        );
        found.push(finding(Code::PodSecurityForbidsInit, names, text));
    }
    if !at_times.is_empty() {
        let names = named(at_times);
        let text = format!(
            "Pod Security refuses istio-init in {names}: while no webhook answers, pods of the mesh are refused there"
        );
        found.push(Finding { latent: true, ..finding(Code::PodSecurityForbidsInit, names, text) });
    }
    found
}

fn other_redirectors(facts: &Facts) -> Option<Finding> {
    let others = facts.daemon_sets.iter().filter(|set| OTHERS.contains(&set.name.as_str()));
    let named: Vec<String> = others.map(|set| format!("{}/{}", set.namespace, set.name)).collect();
    (!named.is_empty()).then(|| {
        let names = list(named.into_iter());
        let text = format!(
            "{names} brings a redirector of its own; remove it once nodes serve: until then our agents take its place in the chain"
        );
        finding(Code::OtherMeshInChain, names, text)
    })
}

/// With Multus as the first list, a list of our own is not possible.
fn multus(spec: &MeshCNISpec, facts: &Facts) -> Option<Finding> {
    let set = facts.daemon_sets.iter().find(|set| MULTUS.contains(&set.name.as_str()))?;
    let name = format!("{}/{}", set.namespace, set.name);
    let text =
        format!("{name} stands in the way of a list of our own; set install.way to InPlace or Auxiliary");
    (spec.install.way == Some(Way::OwnList)).then(|| finding(Code::MultusPresent, name, text))
}

fn dataplanes(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let is = |key: &str, value: &str| {
        facts.cilium.as_ref().and_then(|cilium| cilium.get(key)).is_some_and(|found| found == value)
    };
    if is("cni-exclusive", "true") {
        found.push(finding(
            Code::CiliumExclusive,
            "",
            "Cilium takes every other list away; set cni.exclusive=false in its chart (cni-exclusive in cilium-config)",
        ));
    }
    if is("bpf-lb-sock", "true") && !is("bpf-lb-sock-hostns-only", "true") {
        found.push(finding(
            Code::CiliumSocketLoadBalancing,
            "",
            "Cilium translates services inside pods, before any rule; set socketLB.hostNamespaceOnly=true in its chart",
        ));
    }
    if facts.calico.as_deref().is_some_and(|mode| !matches!(mode, "Disabled" | "")) {
        found.push(finding(
            Code::CalicoConnectTimeLoadBalancing,
            "",
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
    let mut say = |code: Code, names: Vec<String>, words: &dyn Fn(&str) -> String| {
        if !names.is_empty() {
            let names = list(names.into_iter());
            found.push(finding(code, names.clone(), words(&names)));
        }
    };
    say(Code::NodeUnsupported, named(&|node| platforms::kind(spec, node) == Kind::Unserved), &|names| {
        format!("{names} run no DaemonSets: pods there keep istio-init")
    });
    let hides = named(&|node| targeted(node) && hides_annotations(&node.runtime));
    say(Code::RuntimeHidesAnnotations, hides, &|names| {
        format!(
            "the runtime of {names} does not tell plugins of a pod's annotations (containerd 1.6 and CRI-O 1.29 do): every pod's start asks the agent"
        )
    });
    let unknown = named(&|node| targeted(node) && is_unknown(&node.runtime));
    say(Code::RuntimeTooOld, unknown, &|names| {
        format!("the runtime of {names} is none that is known; use containerd or CRI-O")
    });
    let old = named(&|node| targeted(node) && is_old(&node.kernel));
    say(Code::KernelTooOld, old, &|names| {
        format!("the kernel of {names} is older than {}.{}; upgrade the node", KERNEL.0, KERNEL.1)
    });
    found
}

/// Why no agent can be expected to serve a node, where that is told by what its kubelet says of it: the code, and what there is.
pub(crate) fn unfit(node: &Node) -> Option<(Code, &str)> {
    if is_unknown(&node.runtime) {
        return Some((Code::RuntimeTooOld, &node.runtime));
    }
    is_old(&node.kernel).then_some((Code::KernelTooOld, &node.kernel))
}

fn is_old(kernel: &str) -> bool {
    version(kernel).is_some_and(|version| version < KERNEL)
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
    // The demo's own calls plugins as containerd does.
    runtime.split_once("://").is_some_and(|(name, _)| !matches!(name, "containerd" | "cri-o" | "demo"))
}

/// An injector's values: `istio_cni.enabled` until 1.23, `pilot.cni.enabled` after it.
fn leaves_it_to_a_chain(values: &str) -> bool {
    let Ok(values) = serde_json::from_str::<Value>(values) else { return false };
    values["pilot"]["cni"]["enabled"] == true || values["istio_cni"]["enabled"] == true
}

/// Major and minor of `v1.31.4-x`, `1.31+`, `asm-1.14.3`.
pub(crate) fn version(text: &str) -> Option<(u64, u64)> {
    let digits = text.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let mut parts = digits.split('.');
    let number = |part: &str| {
        let end = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().ok()
    };
    Some((number(parts.next()?)?, number(parts.next()?)?))
}

/// The tag of an image.
pub(crate) fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next()?.rsplit('/').next()?;
    name.split_once(':').map(|(_, tag)| tag)
}

/// Names, few of them and how many more there are.
pub(crate) fn list(names: impl Iterator<Item = String>) -> String {
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
        let set = |name: &str| Set { namespace: "system".into(), name: name.into(), image: "r/x:v1".into() };
        let other = Facts { daemon_sets: vec![set("istio-cni-node"), set("cilium")], ..Facts::default() };
        assert_eq!(other.networks().map(|(called, _)| called).collect::<Vec<_>>(), ["Cilium"]);
        check(other, &[Code::OtherMeshInChain]);
        check(Facts { daemon_sets: vec![set("kube-multus-ds")], ..Facts::default() }, &[]);
        let confined = vec![("shop".to_owned(), "restricted".to_owned())];
        check(Facts { confined, ..Facts::default() }, &[Code::PodSecurityForbidsInit]);
    }

    #[test]
    fn what_is_wished_for_counts_too() {
        let codes = |spec: &str, facts: &Facts| {
            let spec = serde_json::from_str(spec).expect("it is a specification");
            let found = find(&spec, facts, &BTreeMap::new()).findings;
            found.iter().map(|one| one.to_string()).collect::<Vec<_>>().join("\n")
        };
        let multus = Set { name: "kube-multus-ds".into(), ..Set::default() };
        let multus = Facts { daemon_sets: vec![multus], ..Facts::default() };
        assert!(codes(r#"{"install":{"way":"OwnList"}}"#, &multus).starts_with("MR5014"));
        let confined = ["shop", "legacy"].map(|name| (name.to_owned(), "baseline".to_owned()));
        let confined = Facts { confined: confined.into(), ..Facts::default() };
        let said = codes(r#"{"excludeNamespaces":["legacy"]}"#, &confined);
        assert!(
            said.contains("in legacy (baseline), which is excluded")
                && said.contains("in shop (baseline): while")
        );
    }

    #[test]
    fn nodes_are_looked_at_too() {
        let node = |runtime: &str, label: Option<&str>| Node {
            kernel: if runtime.contains("1.5.9") { "4.18.0-372.el8" } else { "5.10.0" }.to_owned(),
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
            [
                "MR5003: the runtime of c",
                "MR5004: the runtime of b",
                "MR5012: the kernel of b ",
                "MR5013: d run no DaemonS"
            ]
        );
    }
}
