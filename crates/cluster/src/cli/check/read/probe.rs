//! Whether the webhook answers, seen by a pod that is created as a server dry run: it carries a stamp that nobody gave it, which
//! our webhook takes away from every pod and nobody else does. Nothing is kept of it.

use crate::cli::check::facts::Probe;
use crate::cli::connect::Error;
use crate::cli::reader::Reader;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use millrace_core::stamp::STAMP_ANNOTATION;
use serde_json::json;

/// Where it would be: every cluster has it, and it is not one that the webhook leaves out.
const NAMESPACE: &str = "default";

impl Reader<'_> {
    /// Has a pod admitted.
    pub(super) async fn probe(&self) -> Probe {
        let api: Api<Pod> = Api::namespaced(self.connection.client.clone(), NAMESPACE);
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let asked = self.connection.ask("create a pod as a dry run", api.create(&params, &pod())).await;
        match asked {
            Ok(pod) if pod.annotations().contains_key(STAMP_ANNOTATION) => Probe::Passed,
            Ok(_) => Probe::Answered,
            // The API server's words for a webhook that it could not call (apiserver/pkg/admission/plugin/webhook).
            Err(Error::Other { why, .. }) if why.contains("failed calling webhook") => Probe::Failed(why),
            Err(error) => Probe::Unknown(error.to_string()),
        }
    }
}

/// A pod that asks for nothing: also the strictest Pod Security lets it in.
fn pod() -> Pod {
    let container = json!({
        "name": "check", "image": "none",
        "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "runAsNonRoot": true,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "resources": {
            "requests": { "cpu": "1m", "memory": "1Mi" }, "limits": { "cpu": "1m", "memory": "1Mi" }
        },
    });
    let pod = json!({
        "metadata": {
            "generateName": "millrace-check-", "namespace": NAMESPACE,
            "annotations": { STAMP_ANNOTATION: "millrace check" },
            "labels": { "sidecar.istio.io/inject": "false" },
        },
        "spec": { "containers": [container], "automountServiceAccountToken": false },
    });
    serde_json::from_value(pod).expect("it is a pod")
}
