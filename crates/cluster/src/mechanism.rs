//! Who redirects a pod, told from its metadata and the names of its init containers. PURE.
//!
//! It says what is, and nothing about what should be.

use millrace_core::policy::INIT;
use millrace_core::reason::Reason;
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use millrace_core::status::{STATUS_ANNOTATION, lists_init_container};
use serde_json::Value;

/// Who redirects a pod of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Mechanism {
    /// The node's chain.
    Cni,
    /// Its own istio-init.
    InitContainer,
    /// Its own istio-init, which our webhook left it on purpose: restarting it changes nothing.
    Kept,
    /// Nobody.
    None,
}

/// The container of a pod that waits for somebody else's redirection.
const VALIDATION: &str = "istio-validation";

impl Mechanism {
    /// Its name, for people who read a plan.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Mechanism::Cni => "CNI",
            Mechanism::InitContainer => "istio-init",
            Mechanism::Kept => "istio-init (kept)",
            Mechanism::None => "nobody",
        }
    }

    /// Its name, in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mechanism::Cni => "cni",
            Mechanism::InitContainer | Mechanism::Kept => "init-container",
            Mechanism::None => "none",
        }
    }
}

/// Who redirects `pod`, an object as it is written; nothing of one that is outside the mesh, or over.
pub(crate) fn mechanism(pod: &Value) -> Option<Mechanism> {
    let init = pod["spec"]["initContainers"].as_array().map(Vec::as_slice).unwrap_or_default();
    told(
        pod["status"]["phase"].as_str().unwrap_or_default(),
        |key| pod["metadata"]["annotations"][key].as_str(),
        |name| init.iter().any(|container| container["name"] == name),
    )
}

/// The same of a pod in whatever form it is kept: its phase, its annotations, and whether it has an init container.
pub(crate) fn told<'a>(
    phase: &str,
    annotation: impl Fn(&str) -> Option<&'a str>,
    has: impl Fn(&str) -> bool,
) -> Option<Mechanism> {
    if matches!(phase, "Succeeded" | "Failed") {
        return None;
    }
    let stamp = annotation(STAMP_ANNOTATION).and_then(|text| stamp::read(text).ok());
    match (stamp, annotation(STATUS_ANNOTATION)) {
        (Some(Stamp::Redirect(_)), _) => Some(Mechanism::Cni),
        (Some(Stamp::Skip(Reason::InitContainerPresent)), _) if has(INIT) => Some(Mechanism::Kept),
        (Some(Stamp::Skip(_)), _) => has(INIT).then_some(Mechanism::InitContainer),
        (None, None) => None,
        (None, Some(_)) if has(INIT) => Some(Mechanism::InitContainer),
        // The injector leaves it to a chain, ours or another's.
        (None, Some(_)) if has(VALIDATION) => Some(Mechanism::Cni),
        (None, Some(text)) => lists_init_container(text, INIT).map(|_| Mechanism::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(stamp: Option<&str>, status: Option<&str>, init: &[&str], expected: Option<Mechanism>) {
        let mut annotations = serde_json::Map::new();
        stamp.map(|text| annotations.insert(STAMP_ANNOTATION.into(), text.into()));
        status.map(|text| annotations.insert(STATUS_ANNOTATION.into(), text.into()));
        let init: Vec<Value> = init.iter().map(|name| json!({ "name": name })).collect();
        let pod = json!({ "metadata": { "annotations": annotations }, "spec": { "initContainers": init } });
        assert_eq!(mechanism(&pod), expected, "{pod}");
        let over =
            json!({ "metadata": pod["metadata"], "spec": pod["spec"], "status": { "phase": "Succeeded" } });
        assert_eq!(mechanism(&over), None);
    }

    #[test]
    fn who_redirects_a_pod() {
        let (redirect, kept) =
            (Some(r#"{"v":1,"redirect":{}}"#), Some(r#"{"v":1,"skip":"InitContainerPresent"}"#));
        let injected = Some(r#"{"initContainers":["istio-init"],"containers":["istio-proxy"]}"#);
        check(None, None, &["setup"], None);
        check(None, injected, &["istio-init"], Some(Mechanism::InitContainer));
        check(
            None,
            Some(r#"{"initContainers":["istio-validation"]}"#),
            &["istio-validation"],
            Some(Mechanism::Cni),
        );
        check(None, Some("{}"), &[], Some(Mechanism::None));
        check(redirect, injected, &["istio-validation"], Some(Mechanism::Cni));
        check(kept, injected, &["istio-init"], Some(Mechanism::Kept));
        check(kept, None, &[], None);
        check(
            Some(r#"{"v":1,"skip":"NamespaceExcluded"}"#),
            injected,
            &["istio-init"],
            Some(Mechanism::InitContainer),
        );
        check(Some("?"), injected, &["istio-init"], Some(Mechanism::InitContainer));
    }
}
