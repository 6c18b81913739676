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
use serde_json::Value;

/// What is expected of `pod`, or of a pod template that stands alone.
pub(super) fn of(pod: &Value, namespace: &str) -> (Settings, Vec<Complaint>) {
    let (known, complaints) = facts::pod(pod, namespace);
    let mechanism = mechanism(pod);
    let (settings, complaints) = source::of_pod(&Found { pod: known, kind: "Pod".to_owned(), complaints });
    let redirects_itself = matches!(mechanism, Some(Mechanism::InitContainer | Mechanism::Kept));
    let told = redirects_itself.then(|| told(pod)).flatten();
    match told.as_ref().map(|told| settings::from_flags(&told.flags, &told.env)) {
        Some(Ok(flags)) => (flags.settings, flags.complaints),
        _ => (settings, complaints),
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

    fn check(pod: &Value, port: u16) -> Settings {
        let (settings, _) = of(pod, "shop");
        assert_eq!(settings.outbound_port, port);
        settings
    }

    #[test]
    fn the_stamp_counts_then_istio_init_then_annotations() {
        let status = json!({ "sidecar.istio.io/status": r#"{"initContainers":["istio-init"]}"# });
        let init = json!({ "name": "istio-init", "args": ["istio-iptables", "-p", "16001", "-u", "1337"],
            "env": [{ "name": "ISTIO_META_DNS_CAPTURE", "value": "true" }] });
        assert_eq!(check(&pod(status.clone(), init.clone()), 16001).dns, Dns::All);
        let validation = json!({ "name": "istio-validation", "args": ["istio-iptables", "-p", "16001"] });
        check(&pod(status, validation.clone()), 15001);
        let stamp = r#"{"v":1,"redirect":{"outboundPort":"17001"}}"#;
        let stamped = json!({ "millrace.dev/redirect": stamp, "sidecar.istio.io/status": "{}" });
        check(&pod(stamped, validation), 17001);
        let kept = json!({ "millrace.dev/redirect": r#"{"v":1,"skip":"NamespaceExcluded"}"#,
            "sidecar.istio.io/status": "{}" });
        check(&pod(kept, init), 16001);
    }
}
