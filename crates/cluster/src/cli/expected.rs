//! By what a pod is to be redirected: its stamp, else what its own istio-init is told, else its annotations. PURE.
//!
//! It reads as the webhook and the plugin read, and has no opinion of its own.

use super::source;
use crate::facts::{self, Found};
use crate::mechanism::{Mechanism, mechanism};
use crate::webhook::init::{self, Told};
use crate::webhook::settings;
use millrace_core::complaint::Complaint;
use millrace_core::policy::INIT;
use millrace_core::settings::Settings;
use millrace_core::stamp::STAMP_ANNOTATION;
use serde_json::Value;

/// What is expected of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) settings: Settings,
    pub(crate) complaints: Vec<Complaint>,
    pub(crate) from: From,
    /// Who redirects it; nobody of a pod that is outside the mesh or over.
    pub(crate) mechanism: Option<Mechanism>,
    /// What its istio-init is told, where that counts.
    pub(crate) told: Option<Told>,
}

/// What the settings are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Stamp,
    Init,
    Pod,
}

impl From {
    /// In words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            From::Stamp => "its stamp",
            From::Init => "the arguments of its istio-init",
            From::Pod => "its annotations and its sidecar",
        }
    }
}

impl Expected {
    /// Whether its rules are somebody else's work: of its own istio-init, or of a chain that knows no stamp.
    pub(crate) fn is_stock(&self) -> bool {
        self.from != From::Stamp && self.mechanism.is_some()
    }
}

/// What is expected of `pod`, or of a pod template that stands alone.
pub(crate) fn of(pod: &Value, namespace: &str) -> Expected {
    let (known, complaints) = facts::pod(pod, namespace);
    let stamped = known.annotations.contains_key(STAMP_ANNOTATION);
    let mechanism = mechanism(pod);
    let (settings, complaints) = source::of_pod(&Found { pod: known, kind: "Pod".to_owned(), complaints });
    let redirects_itself = matches!(mechanism, Some(Mechanism::InitContainer | Mechanism::Kept));
    let told = redirects_itself.then(|| told(pod)).flatten();
    match told.as_ref().map(|told| settings::from_flags(&told.flags, &told.env)) {
        Some(Ok(flags)) => {
            let (settings, complaints) = (flags.settings, flags.complaints);
            Expected { settings, complaints, from: From::Init, mechanism, told }
        }
        _ => {
            let from = if stamped && !redirects_itself { From::Stamp } else { From::Pod };
            Expected { settings, complaints, from, mechanism, told: None }
        }
    }
}

fn told(pod: &Value) -> Option<Told> {
    let containers = pod["spec"]["initContainers"].as_array()?;
    init::told(containers.iter().find(|container| container["name"] == INIT)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::settings::Dns;
    use serde_json::json;

    fn pod(annotations: Value, init: Value) -> Value {
        json!({ "metadata": { "name": "web", "annotations": annotations },
            "spec": { "initContainers": [init], "containers": [{ "name": "app" }, { "name": "istio-proxy" }] } })
    }

    fn check(pod: &Value, from: From, stock: bool, port: u16) -> Expected {
        let expected = of(pod, "shop");
        assert_eq!(
            (expected.from, expected.is_stock(), expected.settings.outbound_port),
            (from, stock, port)
        );
        expected
    }

    #[test]
    fn the_stamp_counts_then_istio_init_then_annotations() {
        let status = json!({ "sidecar.istio.io/status": r#"{"initContainers":["istio-init"]}"# });
        let init = json!({ "name": "istio-init", "args": ["istio-iptables", "-p", "16001", "-u", "1337"],
            "env": [{ "name": "ISTIO_META_DNS_CAPTURE", "value": "true" }] });
        let told = check(&pod(status.clone(), init.clone()), From::Init, true, 16001);
        assert_eq!(told.settings.dns, Dns::All);
        let validation = json!({ "name": "istio-validation", "args": ["istio-iptables", "-p", "16001"] });
        check(&pod(status.clone(), validation.clone()), From::Pod, true, 15001);
        let stamp = r#"{"v":1,"redirect":{"outboundPort":"17001"}}"#;
        let stamped = json!({ "millrace.dev/redirect": stamp, "sidecar.istio.io/status": "{}" });
        check(&pod(stamped, validation), From::Stamp, false, 17001);
        let kept = json!({ "millrace.dev/redirect": r#"{"v":1,"skip":"NamespaceExcluded"}"#,
            "sidecar.istio.io/status": "{}" });
        check(&pod(kept, init), From::Init, true, 16001);
        check(&pod(json!({}), json!({ "name": "setup" })), From::Pod, false, 15001);
    }
}
