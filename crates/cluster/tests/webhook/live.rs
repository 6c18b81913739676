//! The webhook as a real API server calls it: pods are created through it, its certificates change meanwhile, and it goes away.

use super::certs::{Certs, Step, make};
use super::serve::LIMITS;
use super::server::{Server, certs, names, now};
use super::wishes::{Excluded, Invalid, Wishes};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_rig::apiserver::Apiserver;
use millrace_rig::wait::until;
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
const STAMP: &str = "millrace.dev/redirect";

/// An API server that asks our webhook about every pod.
struct Scene {
    api: Apiserver,
    server: Server,
    generation: std::cell::Cell<u32>,
}

impl Scene {
    fn start(test: &str, certs: &Certs) -> Option<Scene> {
        let api = Apiserver::start(test)?;
        api.done(&["create", "namespace", "shop"], "");
        api.done(&["create", "namespace", "out"], "");
        let server = Server::start(certs, LIMITS);
        let scene = Scene { api, server, generation: 0.into() };
        scene.trust(certs);
        Some(scene)
    }

    /// Registers the webhook with this bundle, and returns when the API server goes by it: a pod of that generation's label is
    /// left out, which can be seen.
    fn trust(&self, certs: &Certs) {
        self.generation.set(self.generation.get() + 1);
        let label = format!("generation-{}", self.generation.get());
        self.register("zz-millrace", &self.server, certs, &label);
        let (mut labelled, plain) = (pod("regular", "probe"), pod("regular", "probe"));
        labelled["metadata"]["labels"][&label] = json!("");
        let stamped = |pod: &Value| {
            let (pod, said) = self.created(pod, &["--dry-run=server"]);
            assert!(pod.is_object(), "{said}");
            pod["metadata"]["annotations"][STAMP].is_string()
        };
        // It learns of it by a watch of its own, of which it tells nobody.
        until("the API server goes by the webhook's configuration", PATIENCE, || {
            let (left_out, asked) = (!stamped(&labelled), stamped(&plain));
            (left_out && asked)
                .then_some(())
                .ok_or(format!("{label}: left out {left_out}, asked about others {asked}"))
        });
    }

    /// Has the API server ask a server about every pod without that label.
    fn register(&self, name: &str, server: &Server, certs: &Certs, label: &str) {
        // Injectors do not run twice, unless told to.
        let again = if name.ends_with("injector") { "Never" } else { "IfNeeded" };
        let webhook = json!({
            "name": "inject.millrace.dev", "failurePolicy": "Ignore", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "reinvocationPolicy": again, "timeoutSeconds": 30,
            "clientConfig": { "url": format!("https://{}/inject", server.address), "caBundle": STANDARD.encode(certs.bundle()) },
            "objectSelector": { "matchExpressions": [{ "key": label, "operator": "DoesNotExist" }] },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE", "UPDATE"] }] });
        let configuration = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": name }, "webhooks": [webhook] });
        self.api.done(&["apply", "-f", "-"], &configuration.to_string());
    }

    /// A pod as the API server stores it, and what kubectl says beside.
    fn created(&self, pod: &Value, flags: &[&str]) -> (Value, String) {
        let output =
            self.api.kubectl(&[&["create", "-o", "json", "-f", "-"], flags].concat(), &pod.to_string());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
    }
}

fn pod(file: &str, name: &str) -> Value {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/webhook").join(format!("{file}.yaml"));
    let text = std::fs::read_to_string(path).expect("the pod is there");
    let mut pod: Value = serde_saphyr::from_str(&text).expect("YAML");
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["namespace"] = json!("shop");
    pod
}

/// What an injector answers: parts of a pod that it injected are put into one that has no sidecar, and its own init container
/// back where it is not.
fn injected(review: &Value) -> Value {
    let asked = &review["request"];
    let mut response = json!({ "uid": asked["uid"], "allowed": true });
    let object = &asked["object"];
    let containers = object["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if asked["operation"] == "CREATE" && init(object) != "istio-init" {
        let example = pod("regular", "example");
        let status = &example["metadata"]["annotations"]["sidecar.istio.io/status"];
        let mut patch = vec![
            json!({ "op": "add", "path": "/spec/initContainers", "value": example["spec"]["initContainers"] }),
        ];
        if containers.iter().all(|one| one["name"] != "istio-proxy") {
            patch.push(json!({ "op": "add", "path": "/spec/containers/-", "value": example["spec"]["containers"][1] }));
            patch.push(json!({ "op": "add", "path": "/metadata/annotations", "value": example["metadata"]["annotations"] }));
        } else {
            patch.push(json!({ "op": "replace", "path": "/metadata/annotations/sidecar.istio.io~1status", "value": status }));
        }
        let patch = Value::from(patch);
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(patch.to_string()));
    }
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
}

fn init(pod: &Value) -> &str {
    pod["spec"]["initContainers"][0]["name"].as_str().unwrap_or_default()
}

#[test]
fn pods_are_created_through_it() {
    let certs = certs();
    let Some(scene) = Scene::start("webhook::live::pods_are_created_through_it", &certs) else { return };
    let (regular, said) = scene.created(&pod("regular", "regular"), &[]);
    assert_eq!((init(&regular), said.as_str()), ("istio-validation", ""), "{regular:#}");
    let context = &regular["spec"]["initContainers"][0]["securityContext"];
    assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }), "{regular:#}");
    let (clash, said) = scene.created(&pod("uid-clash", "clash"), &[]);
    assert!(said.starts_with("Warning: millrace: MR3001 IdentityClash: "), "{said}");
    assert_eq!(init(&clash), "istio-validation");
    let (kept, said) = scene.created(&pod("init-containers", "kept"), &[]);
    assert!(said.contains("InitContainersKept"), "{said}");
    assert_eq!(kept["spec"]["initContainers"][2]["name"], "istio-init");

    // A stamp is as it was made, whatever anybody writes there.
    let stamp = regular["metadata"]["annotations"][STAMP].as_str().expect("it is stamped");
    let forged = format!(r#"{STAMP}={{"v":1,"skip":"NotSidecar"}}"#);
    for change in [forged.as_str(), "millrace.dev/redirect-"] {
        let said = scene
            .api
            .kubectl(&["annotate", "--overwrite", "pod", "-n", "shop", "regular", change, "also=this"], "");
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains("ForgedStamp"), "{said}");
        let now = scene.api.done(&["get", "pod", "-n", "shop", "regular", "-o", "json"], "");
        let now: Value = serde_json::from_str(&now).expect("JSON");
        assert_eq!(now["metadata"]["annotations"][STAMP].as_str(), Some(stamp));
        scene.api.done(&["annotate", "pod", "-n", "shop", "regular", "also-"], "");
    }

    let excluded = vec!["out".to_owned()];
    scene.server.wishes.send_replace(Wishes {
        exclude_namespaces: excluded,
        excluded: Excluded::InitContainer,
        invalid_pods: Invalid::Deny,
        ..Wishes::default()
    });
    let (none, said) = scene.created(&pod("uid-clash", "refused"), &[]);
    assert!(
        none.is_null() && said.contains("denied the request: millrace: MR3001 IdentityClash: "),
        "{said}"
    );
    let mut out = pod("validation", "restored");
    out["metadata"]["namespace"] = json!("out");
    let (out, _) = scene.created(&out, &[]);
    assert_eq!(init(&out), "istio-init", "{out:#}");
}

#[test]
fn certificates_change_while_pods_are_created_and_none_is_lost() {
    let first = certs();
    let test = "webhook::live::certificates_change_while_pods_are_created_and_none_is_lost";
    let Some(scene) = Scene::start(test, &first) else { return };
    let pods: Vec<Value> = (0..150).map(|number| pod("regular", &format!("web-{number}"))).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string();
    let made =
        |step, certs: &Certs| make::carry_out(step, Some(certs), &names(), now()).expect("certificates");
    std::thread::scope(|scope| {
        let creating = scope.spawn(|| scene.api.done(&["create", "-f", "-", "-o", "name"], &list));
        let mut held = first;
        let mut rounds = 0;
        while rounds < 2 || !creating.is_finished() {
            let added = made(Step::Add, &held);
            scene.trust(&added);
            let issued = made(Step::Issue, &added);
            scene.server.serve(&issued);
            held = made(Step::Drop, &issued);
            scene.trust(&held);
            rounds += 1;
        }
        assert_eq!(creating.join().expect("kubectl ran").lines().count(), 150);
    });
    let all = scene.api.done(&["get", "pods", "-n", "shop", "-o", "json"], "");
    let all: Value = serde_json::from_str(&all).expect("JSON");
    let left: Vec<&Value> =
        all["items"].as_array().into_iter().flatten().filter(|pod| init(pod) != "istio-validation").collect();
    assert!(left.is_empty(), "{} pods were created past the webhook: {:#}", left.len(), left[0]);
}

#[test]
fn without_it_pods_redirect_themselves() {
    let certs = certs();
    let Some(scene) = Scene::start("webhook::live::without_it_pods_redirect_themselves", &certs) else {
        return;
    };
    let Scene { api, server, generation } = scene;
    drop(server);
    let output = api.kubectl(&["create", "-o", "json", "-f", "-"], &pod("regular", "alone").to_string());
    let alone: Value = serde_json::from_slice(&output.stdout).expect("it is created all the same");
    assert_eq!((init(&alone), &alone["metadata"]["annotations"][STAMP]), ("istio-init", &Value::Null));
    assert_eq!(generation.get(), 1);
}

#[test]
fn an_injector_may_run_before_it_or_after_it() {
    let certs = certs();
    let Some(scene) = Scene::start("webhook::live::an_injector_may_run_before_it_or_after_it", &certs) else {
        return;
    };
    let answer = |Json(review): Json<Value>| async move { Json(injected(&review)) };
    let injector = Server::of(&certs, LIMITS, Some(Router::new().route("/inject", post(answer))));
    // The API server asks in the order of these names, and asks ours again when another has changed the pod since.
    // One that is behind ours and asked again itself has the last word: then the pod redirects itself (MR3103).
    let rounds = [
        ("aa-injector", "istio-validation"),
        ("aa-injector-again", "istio-validation"),
        ("zzz-injector", "istio-validation"),
        ("zzz-injector-again", "istio-init"),
    ];
    for (round, (name, expected)) in rounds.into_iter().enumerate() {
        scene.register(name, &injector, &certs, "never");
        let plain = pod("plain", &format!("web-{round}"));
        let created = until("the injector is asked", PATIENCE, || {
            let (pod, said) = scene.created(&plain, &["--dry-run=server"]);
            let is_injected = pod["spec"]["containers"].as_array().is_some_and(|all| all.len() == 2);
            is_injected.then_some(pod).ok_or(said)
        });
        assert_eq!(
            created["spec"]["initContainers"].as_array().map(Vec::len),
            Some(1),
            "{name}: {created:#}"
        );
        assert_eq!(init(&created), expected, "{name}: {created:#}");
        let stamp = created["metadata"]["annotations"][STAMP].as_str().unwrap_or_default();
        assert!(stamp.starts_with(r#"{"v":1,"redirect""#), "{name}: {created:#}");
        scene.api.done(&["delete", "mutatingwebhookconfiguration", name], "");
        until("the injector is no longer asked", PATIENCE, || {
            let (pod, said) = scene.created(&plain, &["--dry-run=server"]);
            let is_plain = pod["spec"]["containers"].as_array().is_some_and(|all| all.len() == 1);
            is_plain.then_some(()).ok_or(said)
        });
    }
}
