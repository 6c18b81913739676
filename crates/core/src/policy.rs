//! Decides whether a pod is redirected: the five conditions of the vendor's page and some more, each a named
//! [`Reason`].
//!
//! Knows nothing of rules, and nothing of how a redirection is stated beyond what decides it. Every condition is
//! always looked at, so that whoever asks why gets the whole answer.

pub use crate::reason::Reason;

use crate::knobs::{Defaults, go_bool};
use crate::pod::{Container, Pod, Role};
use crate::settings::Settings;
use crate::stamp::{self, STAMP_ANNOTATION, Stamp};
use crate::status::{STATUS_ANNOTATION, lists_init_container};
use std::collections::BTreeMap;

/// The container that is the sidecar, unless the operator names another.
pub const PROXY: &str = "istio-proxy";
/// The container that redirects its own pod, with privilege.
pub const INIT: &str = "istio-init";

const INJECT: &str = "sidecar.istio.io/inject";
const MODE: &str = "sidecar.istio.io/interceptionMode";
/// A variable of the sidecar that takes its pod out of the mesh.
pub const DISABLE: &str = "DISABLE_ENVOY";

/// What the operator says about the mesh: which pods are of it, and what those get that say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// Namespaces whose pods redirect themselves by `istio-init`, exactly as named.
    pub excluded_namespaces: Vec<String>,
    /// Namespaces with pods in the mesh, as the agent last saw them; `None` if it never said. Only a hint for
    /// runtimes that hand over no annotations.
    pub enrolled_namespaces: Option<Vec<String>>,
    /// The name of the container that is the sidecar.
    pub proxy_container: String,
    /// The fewest containers a pod of the mesh has, ordinary init containers not counted.
    pub min_containers: usize,
    /// The settings of pods that state none.
    pub defaults: Defaults,
}

impl Default for Mesh {
    fn default() -> Mesh {
        Mesh {
            excluded_namespaces: Vec::new(),
            enrolled_namespaces: None,
            proxy_container: PROXY.to_owned(),
            min_containers: 2,
            defaults: Defaults::default(),
        }
    }
}

/// Whether a pod is redirected, and everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What happens.
    pub verdict: Verdict,
    /// What settled it.
    pub basis: Basis,
    /// Every condition, in the order in which the first that fails gives the reason.
    pub conditions: Vec<Condition>,
}

/// What happens to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is redirected.
    Redirect,
    /// It is left alone.
    Skip(Reason),
}

/// What settled a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The conditions.
    Conditions,
    /// The stamp, made when the pod was admitted. It outlives later exclusions of its namespace.
    Stamp,
    /// The conditions, because the stamp cannot be followed.
    UnreadableStamp(stamp::Error),
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The reason it gives when it does not hold.
    pub reason: Reason,
    /// Whether it holds.
    pub holds: bool,
    /// What was found.
    pub found: String,
}

/// Decides about a pod of which everything is known.
pub fn decide(pod: &Pod, mesh: &Mesh) -> Decision {
    let conditions = conditions(pod, mesh);
    let (verdict, basis) = match pod.annotations.get(STAMP_ANNOTATION).map(|text| stamp::read(text)) {
        Some(Ok(Stamp::Redirect(_))) => (Verdict::Redirect, Basis::Stamp),
        Some(Ok(Stamp::Skip(reason))) => (Verdict::Skip(reason), Basis::Stamp),
        Some(Err(error)) => (first_failing(&conditions), Basis::UnreadableStamp(error)),
        None => (first_failing(&conditions), Basis::Conditions),
    };
    Decision { verdict, basis, conditions }
}

/// What the facts that a runtime hands over settle, without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Early {
    /// Redirect, like this: the stamp says so.
    Redirect(Box<Settings>),
    /// Leave it alone.
    Skip(Reason),
    /// The agent has to be asked; with the stamp's error if there is one that cannot be followed.
    Ask(Option<stamp::Error>),
}

/// Decides from the namespace, the name and the annotations, if these are enough. `annotations` is `None` where the
/// runtime hands none over, which says nothing about the pod.
pub fn from_annotations(
    namespace: &str,
    name: &str,
    annotations: Option<&BTreeMap<String, String>>,
    mesh: &Mesh,
) -> Early {
    if namespace.is_empty() || name.is_empty() {
        return Early::Skip(Reason::NotKubernetes);
    }
    let mut unreadable = None;
    match annotations.and_then(|known| known.get(STAMP_ANNOTATION)).map(|text| stamp::read(text)) {
        Some(Ok(Stamp::Redirect(settings))) => return Early::Redirect(settings),
        Some(Ok(Stamp::Skip(reason))) => return Early::Skip(reason),
        Some(Err(error)) => unreadable = Some(error),
        None => {}
    }
    let status = annotations.and_then(|known| known.get(STATUS_ANNOTATION));
    let redirects_itself = status.and_then(|status| lists_init_container(status, INIT)) == Some(true);
    // A stamp that cannot be followed shows that the webhook has been at the pod: it may have taken `istio-init`
    // out, and the namespace may have been excluded after that. Only the agent can tell.
    if unreadable.is_some() {
        return Early::Ask(unreadable);
    }
    if redirects_itself {
        return Early::Skip(Reason::InitContainerPresent);
    }
    if mesh.excludes(namespace) {
        return Early::Skip(Reason::NamespaceExcluded);
    }
    match (annotations, &mesh.enrolled_namespaces) {
        (Some(_), _) if status.is_none() => Early::Skip(Reason::NotInjected),
        (None, Some(enrolled)) if !enrolled.iter().any(|known| known == namespace) => {
            Early::Skip(Reason::NotEnrolled)
        }
        _ => Early::Ask(None),
    }
}

impl Mesh {
    fn excludes(&self, namespace: &str) -> bool {
        self.excluded_namespaces.iter().any(|excluded| excluded == namespace)
    }
}

fn first_failing(conditions: &[Condition]) -> Verdict {
    let failing = conditions.iter().find(|condition| !condition.holds);
    failing.map_or(Verdict::Redirect, |condition| Verdict::Skip(condition.reason))
}

/// All conditions. What makes every other one pointless stands first; the rest goes from what the operator says to
/// what the pod's author says.
fn conditions(pod: &Pod, mesh: &Mesh) -> Vec<Condition> {
    let proxy = staying(pod).find(|container| container.name == mesh.proxy_container);
    let condition = |reason, (holds, found)| Condition { reason, holds, found };
    vec![
        condition(Reason::NotKubernetes, named(pod)),
        condition(Reason::HostNetwork, (!pod.host_network, yes_no("hostNetwork", pod.host_network))),
        condition(Reason::NamespaceExcluded, namespace(pod, mesh)),
        condition(Reason::InitContainerPresent, init(pod)),
        condition(Reason::NoProxyContainer, container_names(pod, mesh, proxy)),
        condition(Reason::SingleContainer, count(pod, mesh)),
        condition(Reason::NotInjected, injected(pod)),
        condition(Reason::InjectionDisabled, inject(pod)),
        condition(Reason::ProxyDisabled, disabled(proxy)),
        condition(Reason::NotSidecar, proxy_type(proxy)),
        condition(Reason::InterceptionNone, mode(pod)),
    ]
}

fn named(pod: &Pod) -> (bool, String) {
    match (pod.namespace.as_str(), pod.name.as_str()) {
        ("", "") => (false, "neither a namespace nor a name".to_owned()),
        ("", name) => (false, format!("the name {name} and no namespace")),
        (namespace, "") => (false, format!("the namespace {namespace} and no name")),
        (namespace, name) => (true, format!("{namespace}/{name}")),
    }
}

fn yes_no(what: &str, value: bool) -> String {
    format!("{what} is {value}")
}

fn namespace(pod: &Pod, mesh: &Mesh) -> (bool, String) {
    let excluded = match mesh.excluded_namespaces.as_slice() {
        [] => "nothing is excluded".to_owned(),
        names => format!("excluded: {}", names.join(", ")),
    };
    (!mesh.excludes(&pod.namespace), format!("namespace {}; {excluded}", pod.namespace))
}

fn init(pod: &Pod) -> (bool, String) {
    match pod.containers.iter().any(|container| container.name == INIT) {
        true => (false, format!("a container {INIT}")),
        false => (true, "none".to_owned()),
    }
}

fn container_names(pod: &Pod, mesh: &Mesh, proxy: Option<&Container>) -> (bool, String) {
    let names: Vec<&str> = staying(pod).map(|container| container.name.as_str()).collect();
    let names = if names.is_empty() { "no container".to_owned() } else { names.join(", ") };
    match proxy {
        Some(_) => (true, names),
        None => (false, format!("none named {}: {names}", mesh.proxy_container)),
    }
}

fn count(pod: &Pod, mesh: &Mesh) -> (bool, String) {
    let (count, fewest) = (staying(pod).count(), mesh.min_containers);
    let enough = if fewest == 1 { "; one is enough" } else { "" };
    (count >= fewest, format!("{count} beside ordinary init containers{enough}"))
}

/// The containers that stay: an ordinary init container is gone before there is traffic.
fn staying(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.containers.iter().filter(|container| container.role != Role::Init)
}

fn injected(pod: &Pod) -> (bool, String) {
    match pod.annotations.contains_key(STATUS_ANNOTATION) {
        true => (true, "it is".to_owned()),
        false => (false, "it is absent".to_owned()),
    }
}

/// The label beats the annotation; only what Go reads as false is false, as in the field.
fn inject(pod: &Pod) -> (bool, String) {
    let label = pod.labels.get(INJECT).map(|value| ("label", value));
    let stated = label.or_else(|| pod.annotations.get(INJECT).map(|value| ("annotation", value)));
    match stated {
        Some((kind, value)) => (go_bool(value) != Some(false), format!("the {kind} says {value:?}")),
        None => (true, "neither label nor annotation".to_owned()),
    }
}

fn disabled(proxy: Option<&Container>) -> (bool, String) {
    match proxy.and_then(|proxy| proxy.env.get(DISABLE)) {
        Some(value) => (go_bool(value) != Some(true), format!("{DISABLE}={value}")),
        None => (true, "it is not set".to_owned()),
    }
}

/// The proxy's arguments begin with `proxy TYPE`; without a type, even if a flag follows, it is a sidecar.
fn proxy_type(proxy: Option<&Container>) -> (bool, String) {
    let kind = proxy.and_then(|proxy| match proxy.args.as_slice() {
        [verb, kind, ..] if verb == "proxy" && !kind.starts_with('-') => Some(kind.as_str()),
        _ => None,
    });
    match kind {
        Some(kind) => (kind.is_empty() || kind == "sidecar", format!("its arguments say {kind:?}")),
        None => (true, "its arguments name no type".to_owned()),
    }
}

fn mode(pod: &Pod) -> (bool, String) {
    match pod.annotations.get(MODE) {
        Some(mode) => (mode != "NONE", format!("the annotation says {mode:?}")),
        None => (true, "no annotation, so REDIRECT".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meshed() -> Pod {
        let container = |name: &str| Container { name: name.to_owned(), ..Container::default() };
        let mut proxy = container(PROXY);
        proxy.args = vec!["proxy".to_owned(), "sidecar".to_owned(), "--domain".to_owned()];
        Pod {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            annotations: BTreeMap::from([(STATUS_ANNOTATION.to_owned(), "{}".to_owned())]),
            containers: vec![container("app"), proxy],
            ..Pod::default()
        }
    }

    fn check(change: impl FnOnce(&mut Pod), expected: Verdict) -> Decision {
        let mut pod = meshed();
        change(&mut pod);
        let mesh = Mesh { excluded_namespaces: vec!["kube-system".to_owned()], ..Mesh::default() };
        let decision = decide(&pod, &mesh);
        assert_eq!(decision.verdict, expected, "{:#?}", decision.conditions);
        assert_eq!(decision.conditions.len(), 11);
        decision
    }

    fn set(map: &mut BTreeMap<String, String>, name: &str, value: &str) {
        map.insert(name.to_owned(), value.to_owned());
    }

    #[test]
    fn a_pod_of_the_mesh_is_redirected() {
        let decision = check(|_| {}, Verdict::Redirect);
        assert!(decision.conditions.iter().all(|condition| condition.holds));
        check(|pod| pod.containers[1].role = Role::NativeSidecar, Verdict::Redirect);
        check(|pod| pod.containers[1].args.clear(), Verdict::Redirect);
        check(|pod| drop(pod.containers[1].args.remove(1)), Verdict::Redirect);
    }

    #[test]
    fn each_condition_alone_leaves_it_alone() {
        let skip = Verdict::Skip;
        check(|pod| pod.name.clear(), skip(Reason::NotKubernetes));
        check(|pod| pod.host_network = true, skip(Reason::HostNetwork));
        check(|pod| pod.namespace = "kube-system".to_owned(), skip(Reason::NamespaceExcluded));
        check(|pod| pod.containers[1].name = "envoy".to_owned(), skip(Reason::NoProxyContainer));
        check(|pod| drop(pod.containers.remove(0)), skip(Reason::SingleContainer));
        check(|pod| pod.containers[0].role = Role::Init, skip(Reason::SingleContainer));
        check(|pod| pod.containers[1].role = Role::Init, skip(Reason::NoProxyContainer));
        check(|pod| pod.annotations.clear(), skip(Reason::NotInjected));
        check(|pod| pod.containers[0].name = INIT.to_owned(), skip(Reason::InitContainerPresent));
        check(|pod| set(&mut pod.containers[1].env, "DISABLE_ENVOY", "T"), skip(Reason::ProxyDisabled));
        check(|pod| set(&mut pod.containers[1].env, "DISABLE_ENVOY", "yes"), Verdict::Redirect);
        check(|pod| pod.containers[1].args[1] = "router".to_owned(), skip(Reason::NotSidecar));
        check(|pod| set(&mut pod.annotations, MODE, "NONE"), skip(Reason::InterceptionNone));
    }

    #[test]
    fn the_operator_says_which_container_is_the_sidecar_and_how_many_there_are() {
        let alone = |name: &str| {
            let mut pod = meshed();
            pod.containers.remove(0);
            pod.containers[0].name = name.to_owned();
            pod
        };
        let mesh = Mesh { proxy_container: "envoy".to_owned(), min_containers: 1, ..Mesh::default() };
        assert_eq!(decide(&alone("envoy"), &mesh).verdict, Verdict::Redirect);
        assert_eq!(decide(&alone(PROXY), &mesh).verdict, Verdict::Skip(Reason::NoProxyContainer));
        let mesh = Mesh { min_containers: 1, ..Mesh::default() };
        assert_eq!(decide(&alone(PROXY), &mesh).verdict, Verdict::Redirect);
    }

    #[test]
    fn the_label_beats_the_annotation() {
        let disabled = Verdict::Skip(Reason::InjectionDisabled);
        for (value, expected) in [
            ("false", disabled),
            ("0", disabled),
            ("F", disabled),
            ("true", Verdict::Redirect),
            ("no", Verdict::Redirect),
        ] {
            check(|pod| set(&mut pod.labels, INJECT, value), expected);
            check(|pod| set(&mut pod.annotations, INJECT, value), expected);
        }
        check(
            |pod| {
                set(&mut pod.labels, INJECT, "true");
                set(&mut pod.annotations, INJECT, "false");
            },
            Verdict::Redirect,
        );
    }

    #[test]
    fn the_stamp_settles_it_and_outlives_an_exclusion() {
        let stamped =
            |pod: &mut Pod, stamp: &Stamp| set(&mut pod.annotations, STAMP_ANNOTATION, &stamp::write(stamp));
        let decision = check(
            |pod| {
                pod.namespace = "kube-system".to_owned();
                stamped(pod, &Stamp::Redirect(Box::default()));
            },
            Verdict::Redirect,
        );
        assert_eq!(decision.basis, Basis::Stamp);
        let skip = Stamp::Skip(Reason::NotSidecar);
        check(|pod| stamped(pod, &skip), Verdict::Skip(Reason::NotSidecar));
        let decision = check(|pod| set(&mut pod.annotations, STAMP_ANNOTATION, "{}"), Verdict::Redirect);
        assert!(matches!(decision.basis, Basis::UnreadableStamp(_)));
    }

    #[test]
    fn the_rungs_below_the_agent() {
        let rung = |namespace: &str, annotations: Option<&[(&str, &str)]>, mesh: &Mesh, expected: Early| {
            let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
            let annotations = annotations.map(|known| known.iter().map(owned).collect());
            assert_eq!(from_annotations(namespace, "web", annotations.as_ref(), mesh), expected);
        };
        let mesh = Mesh { excluded_namespaces: vec!["out".to_owned()], ..Mesh::default() };
        let hinted = Mesh { enrolled_namespaces: Some(vec!["in".to_owned()]), ..mesh.clone() };
        let status = (STATUS_ANNOTATION, r#"{"initContainers":["istio-init"]}"#);
        let ours = (STATUS_ANNOTATION, "{}");
        let stamp = (STAMP_ANNOTATION, r#"{"v":1,"redirect":{}}"#);
        let future = (STAMP_ANNOTATION, r#"{"v":2}"#);
        rung("", None, &mesh, Early::Skip(Reason::NotKubernetes));
        rung("out", Some(&[stamp, status]), &mesh, Early::Redirect(Box::default()));
        rung(
            "in",
            Some(&[(STAMP_ANNOTATION, r#"{"v":1,"skip":"NotSidecar"}"#)]),
            &mesh,
            Early::Skip(Reason::NotSidecar),
        );
        rung("in", Some(&[future, status]), &mesh, Early::Ask(Some(stamp::Error::Version("2".to_owned()))));
        rung("in", Some(&[status]), &mesh, Early::Skip(Reason::InitContainerPresent));
        rung("out", Some(&[ours]), &mesh, Early::Skip(Reason::NamespaceExcluded));
        rung("out", None, &mesh, Early::Skip(Reason::NamespaceExcluded));
        rung("in", Some(&[]), &mesh, Early::Skip(Reason::NotInjected));
        rung("in", Some(&[ours]), &mesh, Early::Ask(None));
        rung("in", None, &mesh, Early::Ask(None));
        rung("in", None, &hinted, Early::Ask(None));
        rung("elsewhere", None, &hinted, Early::Skip(Reason::NotEnrolled));
    }
}
