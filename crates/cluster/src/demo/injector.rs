//! The injector of the demo: a mutating webhook of its own, registered as Istio's is, that gives pods a sidecar and the privileged
//! `istio-init` which Istio gives them where it has no CNI.
//!
//! It knows nothing of what other webhooks make of that, keeps nothing and asks nobody. What it gave to which pod it says on
//! standard output.

use crate::args::DemoInjector;
use crate::cli::{Outcome, inject};
use crate::http;
use crate::telemetry::{self, Log};
use crate::webhook::answer::Answer;
use crate::webhook::certs::{Step, make};
use crate::webhook::review;
use crate::webhook::serve::LIMITS;
use crate::webhook::tls::TlsListener;
use anyhow::Context;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use json_patch::Patch;
use k8s_openapi::ByteString;
use millrace_host::files::{self, Like};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use tokio::sync::watch;

/// As Istio's own is called.
pub(crate) const NAME: &str = "istio-sidecar-injector";
/// The label of namespaces whose pods it is asked about.
pub(crate) const ENABLED: [&str; 2] = ["istio-injection", "enabled"];
/// Where reviews are posted to.
const PATH: &str = "/inject";
/// What an injector changes of a pod.
const CHANGED: [&str; 5] = [
    "/metadata/labels",
    "/metadata/annotations",
    "/spec/initContainers",
    "/spec/containers",
    "/spec/volumes",
];

/// Answers until it is told to stop.
pub(crate) fn run(args: &DemoInjector) -> anyhow::Result<Outcome> {
    telemetry::start(&Log::default(), |_| None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the injector's runtime")?.block_on(live(args))?;
    Ok(Outcome::Well)
}

async fn live(args: &DemoInjector) -> anyhow::Result<()> {
    let names = [args.listen.ip().to_string()];
    let certs = make::carry_out(Step::Start, None, &names, make::now())?;
    let served = watch::Sender::new(make::served(&certs)?);
    let listener = http::bind("--listen", args.listen)?;
    let folder = args.authority.parent().unwrap_or(Path::new("."));
    let text = certs.bundle();
    let staged = files::stage(folder, &mut text.as_bytes(), &Like::new(0o644), &mut |_| Ok(()))?;
    staged.put(&args.authority, &mut |_| Ok(()))?;
    let router = Router::new().route(PATH, post(admit));
    let listener = TlsListener::new(listener, served.subscribe());
    http::serve(listener, router, LIMITS, telemetry::stop()?).await;
    Ok(())
}

/// How an API server is told of it, as istiod's chart does.
pub(crate) fn configuration(address: SocketAddr, authority: &str) -> Value {
    let [label, enabled] = ENABLED;
    let bundle = ByteString(authority.as_bytes().to_vec());
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": NAME, "labels": { "app": "sidecar-injector", "istio.io/rev": "default" } },
        "webhooks": [{
            "name": "namespace.sidecar-injector.istio.io",
            "admissionReviewVersions": ["v1"],
            "clientConfig": { "url": format!("https://{address}{PATH}"), "caBundle": bundle },
            "failurePolicy": "Fail",
            "namespaceSelector": { "matchExpressions": [
                { "key": label, "operator": "In", "values": [enabled] }] },
            "objectSelector": { "matchExpressions": [
                { "key": "sidecar.istio.io/inject", "operator": "NotIn", "values": ["false"] }] },
            "reinvocationPolicy": "Never",
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
            }],
            "sideEffects": "None",
        }],
    })
}

async fn admit(body: Bytes) -> Response {
    match answer(&body) {
        Ok((answer, given)) => {
            given.iter().for_each(|given| println!("{given}"));
            Json(answer).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error:#}\n")).into_response(),
    }
}

/// The answer to a review, and what was given to which pod, if it is to stay.
fn answer(body: &[u8]) -> anyhow::Result<(Value, Option<String>)> {
    let asked = review::read(body)?;
    let pod = injected(&asked.object, &asked.namespace)?;
    let patch = patch(&asked.object, &pod)?;
    let gives = !patch.is_empty() && !asked.dry_run;
    let given = gives.then(|| {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        format!("{}{}", lead(&asked.namespace, name), privileges(&pod))
    });
    Ok((review::written(&asked.uid, &Answer { patch, ..Answer::default() }), given))
}

/// A pod with a sidecar, if it takes one.
pub(crate) fn injected(pod: &Value, namespace: &str) -> anyhow::Result<Value> {
    let mut pod = pod.clone();
    inject::add_sidecar(&mut pod, namespace, &inject::template(None)?);
    Ok(pod)
}

fn patch(before: &Value, after: &Value) -> anyhow::Result<Patch> {
    let differs = |path: &&str| before.pointer(path) != after.pointer(path);
    // An `add` of a member that is there puts another in its place (RFC 6902, 4.1).
    let steps = CHANGED.into_iter().filter(differs);
    let steps = steps.map(|path| json!({ "op": "add", "path": path, "value": after.pointer(path) }));
    serde_json::from_value(steps.collect()).context("a patch of what a sidecar changes")
}

/// What it says it gave to a pod, of all it said.
pub(crate) fn given(said: &str, namespace: &str, name: &str) -> Option<String> {
    let lead = lead(namespace, name);
    said.lines().find_map(|line| line.strip_prefix(&lead)).map(str::to_owned)
}

fn lead(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}: ")
}

/// The init containers of a pod, each with the capabilities that it asks for.
pub(crate) fn privileges(pod: &Value) -> String {
    let containers = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    let each = containers.map(|container| {
        let added = container["securityContext"]["capabilities"]["add"].as_array().into_iter().flatten();
        let added: Vec<&str> = added.filter_map(Value::as_str).collect();
        let name = container["name"].as_str().unwrap_or_default();
        if added.is_empty() {
            format!("{name} without capabilities")
        } else {
            format!("{name} with {}", added.join(" and "))
        }
    });
    let each: Vec<String> = each.collect();
    if each.is_empty() { "no init container".to_owned() } else { each.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pod after its patch, and what is said.
    fn check(labels: &Value, dry_run: bool, expected: &str, said: Option<&str>) {
        let pod = json!({ "metadata": { "name": "web-1", "labels": labels },
                          "spec": { "containers": [{ "name": "web" }] } });
        let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "7", "operation": "CREATE", "namespace": "shop", "dryRun": dry_run, "object": pod } });
        let (answer, given) = answer(review.to_string().as_bytes()).unwrap();
        let mut patched = pod;
        if let Some(patch) = answer["response"].get("patch") {
            let ByteString(patch) = serde_json::from_value(patch.clone()).unwrap();
            json_patch::patch(&mut patched, &serde_json::from_slice::<Patch>(&patch).unwrap()).unwrap();
        }
        assert_eq!(privileges(&patched), expected);
        assert_eq!(given.as_deref(), said);
        assert_eq!(answer["response"]["allowed"], true);
    }

    #[test]
    fn a_pod_gets_a_sidecar_and_a_privileged_init_container() {
        let privileged = "istio-init with NET_ADMIN and NET_RAW";
        let said = format!("shop/web-1: {privileged}");
        check(&json!({ "app": "web" }), false, privileged, Some(&said));
        check(&json!(null), true, privileged, None);
        check(&json!({ "sidecar.istio.io/inject": "false" }), false, "no init container", None);
        assert_eq!(given(&format!("x\n{said}\n"), "shop", "web-1").as_deref(), Some(privileged));
        assert_eq!(given(&said, "shop", "web"), None);
    }

    #[test]
    fn what_is_no_review_is_told_so() {
        assert!(answer(b"{}").unwrap_err().to_string().contains("register the webhook with"));
    }

    #[test]
    fn it_is_registered_as_istios_is() {
        let found = configuration(([127, 0, 0, 1], 1).into(), "PEM");
        let hook = &found["webhooks"][0];
        assert_eq!(hook["clientConfig"], json!({ "url": "https://127.0.0.1:1/inject", "caBundle": "UEVN" }));
        assert_eq!(hook["namespaceSelector"]["matchExpressions"][0]["values"], json!(["enabled"]));
    }
}
