//! Webhooks: asked in their order, asked again when others changed the object after them, and obeyed.

use crate::asked::{json, namespace, own, refused, servers};
use k8s_openapi::ByteString;
use millrace_rig::embedded::{Embedded, Server};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A server of webhooks on loopback, and what it was asked.
struct Hooks {
    port: u16,
    /// Base64 of PEM.
    authority: Value,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hooks {
    fn start() -> Hooks {
        let key = KeyPair::generate().expect("keys can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("it is well-formed").pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("keys can be made");
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])
            .expect("it is well-formed")
            .signed_by(&key, &issuer)
            .expect("it is well-formed");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("it is well-formed");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config =
            config.with_safe_default_protocol_versions().expect("it is well-formed").with_no_client_auth();
        let config = config.with_single_cert(vec![leaf.der().clone()], key).expect("it is well-formed");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("it is well-formed");
        listener.set_nonblocking(true).expect("it is well-formed");
        let port = listener.local_addr().expect("it is well-formed").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (acceptor, seen) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&asked));
        // It goes with the test's process.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("it is well-formed");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("it is well-formed");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(converse(acceptor.clone(), stream, Arc::clone(&seen)));
                }
            });
        });
        let authority = serde_json::to_value(ByteString(authority.into_bytes())).expect("it is well-formed");
        Hooks { port, authority, asked }
    }

    /// A configuration of one webhook for what is created in `namespace`.
    fn configuration(&self, kind: &str, name: &str, path: &str, namespace: &str, resource: &str) -> Value {
        let url = format!("https://127.0.0.1:{}{path}", self.port);
        let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": [resource]});
        let mut hook = json!({
            "name": format!("{name}.test.dev"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": url, "caBundle": self.authority}, "rules": [rule], "timeoutSeconds": 30,
            "objectSelector": {"matchLabels": {"test": namespace}},
        });
        if kind.starts_with("Mutating") {
            hook["reinvocationPolicy"] = "IfNeeded".into();
        }
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": [hook]})
    }
}

async fn converse(acceptor: TlsAcceptor, stream: tokio::net::TcpStream, asked: Arc<Mutex<Vec<String>>>) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let mut piece = [0; 4096];
        let Ok(read @ 1..) = stream.read(&mut piece).await else { return };
        bytes.extend_from_slice(&piece[..read]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap_or("0");
        if bytes.len() >= end + 4 + length.trim().parse::<usize>().expect("it is well-formed") {
            break (head, bytes[end + 4..].to_vec());
        }
    };
    let path =
        head.split_whitespace().nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    let review: Value = serde_json::from_slice(&body).expect("it is well-formed");
    asked
        .lock()
        .expect("nobody panics with it")
        .push(format!("{path} {}", review["request"]["operation"].as_str().expect("it is well-formed")));
    if path == "/silent" {
        return std::future::pending().await;
    }
    let answer = answer(&path, &review["request"]).to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    let _ = stream.write_all(format!("{head}{answer}").as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// `/add/x` counts in the annotation x how often it was asked; `/saw` notes in one what it saw of the last container;
/// `/container` adds one; `/image` gives images; `/deny` denies; `/broken` answers something else.
fn answer(path: &str, request: &Value) -> Value {
    let mut response = json!({"uid": request["uid"], "allowed": path != "/deny"});
    let object = &request["object"];
    let containers = object["spec"]["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let patch = match path {
        "/deny" => {
            response["status"] = json!({"message": "not here", "code": 403, "reason": "Forbidden"});
            return reviewed(response);
        }
        "/broken" => return reviewed(json!({"uid": "another", "allowed": true})),
        "/container" => vec![json!({"op": "add", "path": "/spec/containers/-", "value": {"name": "side"}})],
        "/image" => (0..containers.len())
            .map(|at| json!({"op": "add", "path": format!("/spec/containers/{at}/image"), "value": "i"}))
            .collect(),
        "/saw" => {
            let last =
                containers.last().map(|last| last["terminationMessagePath"].as_str().unwrap_or("nothing"));
            annotate(object, "saw", last.unwrap_or("no container"))
        }
        _ => {
            let name = path.trim_start_matches("/add/");
            let held = object["metadata"]["annotations"][name].as_str();
            let count = held.and_then(|count| count.parse::<u32>().ok()).unwrap_or(0) + 1;
            response["warnings"] = json!(["take care"]);
            annotate(object, name, &count.to_string())
        }
    };
    let patch = ByteString(json!(patch).to_string().into_bytes());
    response["patch"] = serde_json::to_value(patch).expect("it is well-formed");
    response["patchType"] = "JSONPatch".into();
    reviewed(response)
}

fn reviewed(response: Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

fn annotate(object: &Value, name: &str, value: &str) -> Vec<Value> {
    let mut patch = Vec::new();
    if object["metadata"]["annotations"].is_null() {
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    patch.push(json!({"op": "add", "path": format!("/metadata/annotations/{name}"), "value": value}));
    patch
}

/// How a request is made that is retried until a server that learns of webhooks by a watch of its own has learned.
const CREATE: [&str; 4] = ["create", "--validate=false", "-f", "-"];

/// Waits until creating the object, as a dry run, says `word`.
fn until_told(server: &Server, object: &Value, word: &str) {
    let dry_run: Vec<&str> = CREATE.iter().copied().chain(["--dry-run=server", "-o", "json"]).collect();
    millrace_rig::wait::until(&format!("{word} is told"), std::time::Duration::from_secs(60), || {
        let output = server.kubectl(&dry_run, &object.to_string());
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        let said = said.concat();
        if said.contains(word) { Ok(()) } else { Err(said) }
    });
}

#[test]
fn webhooks_change_again_and_refuse() {
    for server in servers("apiserver::webhooks_change_again_and_refuse") {
        let (hooks, namespace) = (Hooks::start(), namespace(&server));
        let stem = own("hook");
        let create = ["create", "--validate=false", "-f", "-"];
        let (first, second, last) = (format!("{stem}-a"), format!("{stem}-b"), format!("{stem}-v"));
        let mutating = "MutatingWebhookConfiguration";
        for (name, path) in [(&first, "/add/a"), (&second, "/add/b")] {
            json(&server, &create, &hooks.configuration(mutating, name, path, &namespace, "pods"));
        }
        let validating = "ValidatingWebhookConfiguration";
        json(&server, &create, &hooks.configuration(validating, &last, "/deny", &namespace, "configmaps"));
        let object = |kind: &str, name: &str, label: &str| {
            json!({"apiVersion": "v1", "kind": kind,
                   "metadata": {"name": name, "namespace": namespace, "labels": {"test": label}}})
        };
        // The real server learns of webhooks by a watch of its own.
        millrace_rig::wait::until("the webhooks are known", std::time::Duration::from_secs(60), || {
            let map = object("ConfigMap", &own("m"), &namespace).to_string();
            let output = server.kubectl(&create, &map);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let denied = format!("admission webhook \"{last}.test.dev\" denied the request: not here");
            if said.contains(&denied) { Ok(()) } else { Err(said) }
        });
        let mut pod = object("Pod", "p", &namespace);
        pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}]});
        hooks.asked.lock().unwrap().clear();
        let made = json(&server, &create, &pod);
        let asked = hooks.asked.lock().unwrap().join(", ");
        assert_eq!(asked, "/add/a CREATE, /add/b CREATE, /add/a CREATE, /add/b CREATE", "{}", server.name());
        let annotations = &made["metadata"]["annotations"];
        assert_eq!((&annotations["a"], &annotations["b"]), (&json!("2"), &json!("2")), "{}", server.name());
        // Nobody is asked about what is not selected.
        json(&server, &create, &object("ConfigMap", "free", "other"));
        for (kind, name) in [(mutating, &first), (mutating, &second), (validating, &last)] {
            server.done(&["delete", kind, name], "");
        }
    }
}

#[test]
fn a_webhook_that_fails_fails_the_request_unless_it_may() {
    for server in servers("apiserver::a_webhook_that_fails_fails_the_request_unless_it_may") {
        let (hooks, namespace) = (Hooks::start(), namespace(&server));
        let name = own("down");
        let mut config =
            hooks.configuration("ValidatingWebhookConfiguration", &name, "/x", &namespace, "secrets");
        // Nobody listens there.
        config["webhooks"][0]["clientConfig"]["url"] = "https://127.0.0.1:1/".into();
        let create = ["create", "--validate=false", "-f", "-"];
        json(&server, &create, &config);
        let secret = |label: &str| {
            json!({"apiVersion": "v1", "kind": "Secret",
                   "metadata": {"name": own("s"), "namespace": namespace, "labels": {"test": label}}})
        };
        millrace_rig::wait::until("the webhook is known", std::time::Duration::from_secs(60), || {
            let output = server.kubectl(&create, &secret(&namespace).to_string());
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if said.contains(&format!("failed calling webhook \"{name}.test.dev\"")) {
                Ok(())
            } else {
                Err(said)
            }
        });
        let ignore =
            json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]).to_string();
        let kind = "validatingwebhookconfiguration";
        server.done(&["patch", kind, &name, "--type=json", "-p", &ignore], "");
        millrace_rig::wait::until("the webhook may fail", std::time::Duration::from_secs(60), || {
            let output = server.kubectl(&create, &secret(&namespace).to_string());
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(said) }
        });
        let strange =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "A", "namespace": namespace}});
        assert!(refused(&server, &create, &strange).contains("Invalid"));
        server.done(&["delete", kind, &name], "");
    }
}

/// A pod with one container, which has no image.
fn pod(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
           "metadata": {"name": own("p"), "namespace": namespace, "labels": {"test": namespace}},
           "spec": {"containers": [{"name": "c"}]}})
}

const MUTATING: &str = "MutatingWebhookConfiguration";

#[test]
fn what_one_adds_is_complete_for_the_next_and_judged_after_the_last() {
    for server in servers("apiserver::what_one_adds_is_complete_for_the_next_and_judged_after_the_last") {
        let (hooks, namespace) = (Hooks::start(), namespace(&server));
        let said = refused(&server, &CREATE, &pod(&namespace));
        assert!(said.contains("spec.containers[0].image: Required value"), "{}: {said}", server.name());
        let stem = own("whole");
        let names = ["-a", "-b", "-c"].map(|end| format!("{stem}{end}"));
        for (name, path) in names.iter().zip(["/container", "/image", "/saw"]) {
            let mut config = hooks.configuration(MUTATING, name, path, &namespace, "pods");
            config["webhooks"][0]["reinvocationPolicy"] = "Never".into();
            json(&server, &CREATE, &config);
        }
        until_told(&server, &pod(&namespace), "\"saw\"");
        let made = json(&server, &CREATE, &pod(&namespace));
        let containers = made["spec"]["containers"].as_array().expect("a pod has containers");
        let images: Vec<&Value> = containers.iter().map(|container| &container["image"]).collect();
        assert_eq!(images, ["i", "i"], "{}", server.name());
        assert_eq!(made["metadata"]["annotations"]["saw"], "/dev/termination-log", "{}", server.name());
        names.iter().for_each(|name| drop(server.done(&["delete", MUTATING, name], "")));
    }
}

#[test]
fn one_that_fails_and_may_is_asked_again_as_well() {
    for server in servers("apiserver::one_that_fails_and_may_is_asked_again_as_well") {
        let (hooks, namespace) = (Hooks::start(), namespace(&server));
        let stem = own("again");
        let [first, second] = ["-a", "-b"].map(|end| format!("{stem}{end}"));
        let mut broken = hooks.configuration(MUTATING, &first, "/broken", &namespace, "configmaps");
        broken["webhooks"][0]["failurePolicy"] = "Ignore".into();
        let mut once = hooks.configuration(MUTATING, &second, "/add/b", &namespace, "configmaps");
        once["webhooks"][0]["reinvocationPolicy"] = "Never".into();
        json(&server, &CREATE, &broken);
        json(&server, &CREATE, &once);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
                         "metadata": {"name": own("m"), "namespace": namespace, "labels": {"test": namespace}}});
        until_told(&server, &map, "\"b\": \"1\"");
        hooks.asked.lock().unwrap().clear();
        let made = json(&server, &CREATE, &map);
        let asked = hooks.asked.lock().unwrap().join(", ");
        assert_eq!(asked, "/broken CREATE, /add/b CREATE, /broken CREATE", "{}", server.name());
        assert_eq!(made["metadata"]["annotations"]["b"], "1", "{}", server.name());
        [first, second].iter().for_each(|name| drop(server.done(&["delete", MUTATING, name], "")));
    }
}

#[test]
fn a_silent_one_is_waited_for_as_long_as_it_says() {
    for server in servers("apiserver::a_silent_one_is_waited_for_as_long_as_it_says") {
        let (hooks, namespace) = (Hooks::start(), namespace(&server));
        let name = own("silent");
        let mut silent = hooks.configuration(MUTATING, &name, "/silent", &namespace, "configmaps");
        silent["webhooks"][0]["timeoutSeconds"] = 1.into();
        json(&server, &CREATE, &silent);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
                         "metadata": {"name": own("m"), "namespace": namespace, "labels": {"test": namespace}}});
        until_told(&server, &map, "context deadline exceeded");
        server.done(&["delete", MUTATING, &name], "");
    }
}

#[test]
fn one_is_asked_about_the_namespaces_that_it_selects() {
    for server in servers("apiserver::one_is_asked_about_the_namespaces_that_it_selects") {
        let hooks = Hooks::start();
        let [inside, outside] = [namespace(&server), namespace(&server)];
        server.done(&["label", "namespace", &inside, &format!("inject={inside}")], "");
        let (validating, name) = ("ValidatingWebhookConfiguration", own("where"));
        let mut config = hooks.configuration(validating, &name, "/deny", &inside, "configmaps");
        let hook = config["webhooks"][0].as_object_mut().expect("a webhook is a map");
        hook.shift_remove("objectSelector");
        hook.insert("namespaceSelector".to_owned(), json!({"matchLabels": {"inject": inside}}));
        json(&server, &CREATE, &config);
        let map = |namespace: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": own("m"), "namespace": namespace}});
        until_told(&server, &map(&inside), "not here");
        json(&server, &CREATE, &map(&outside));
        server.done(&["delete", validating, &name], "");
    }
}

#[test]
fn a_configuration_that_cannot_be_asked_is_refused() {
    let hooks = Hooks::start();
    let expressed = |operator: &str, values: Value| json!({"objectSelector": {"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}});
    for server in servers("apiserver::a_configuration_that_cannot_be_asked_is_refused") {
        for (change, expected) in [
            (json!({"failurePolicy": "Maybe"}), "webhooks[0].failurePolicy: Unsupported value: \"Maybe\""),
            (json!({"matchPolicy": "Near"}), "webhooks[0].matchPolicy: Unsupported value: \"Near\""),
            (json!({"reinvocationPolicy": "Often"}), "webhooks[0].reinvocationPolicy: Unsupported value"),
            (json!({"timeoutSeconds": 31}), "the timeout value must be between 1 and 30 seconds"),
            (json!({"clientConfig": {"url": "http://h/"}}), "'https' is the only allowed URL scheme"),
            (expressed("Near", json!([])), "matchExpressions[0].operator: Invalid value: \"Near\""),
            (expressed("In", json!([])), "matchExpressions[0].values: Required value"),
            (expressed("Exists", json!(["b"])), "matchExpressions[0].values: Forbidden"),
        ] {
            let mut config = hooks.configuration(MUTATING, &own("wrong"), "/x", "none", "pods");
            let hook = config["webhooks"][0].as_object_mut().expect("a webhook is a map");
            hook.extend(change.as_object().expect("a map").clone());
            let said = refused(&server, &CREATE, &config);
            assert!(said.contains(expected), "{}: {said}", server.name());
        }
    }
}

/// A kube-apiserver of 1.20 knows no conditions and drops them.
#[test]
fn conditions_say_whether_one_is_asked() {
    let server = Server::Embedded(Embedded::start(env!("CARGO_BIN_EXE_millrace"), &["--no-controllers"]));
    let (hooks, namespace) = (Hooks::start(), namespace(&server));
    let (validating, name) = ("ValidatingWebhookConfiguration", own("when"));
    let config = |expression: &str, policy: &str| {
        let mut config = hooks.configuration(validating, &name, "/deny", &namespace, "configmaps");
        let hook = &mut config["webhooks"][0];
        hook["failurePolicy"] = policy.into();
        hook["matchConditions"] = json!([{"name": "when", "expression": expression}]);
        config
    };
    let map = |key: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {key: "x"},
               "metadata": {"name": own("m"), "namespace": namespace, "labels": {"test": namespace}}})
    };
    let replace = ["replace", "--validate=false", "-f", "-"];
    json(&server, &CREATE, &config("request.operation == 'CREATE' && !('free' in object.data)", "Fail"));
    assert!(refused(&server, &CREATE, &map("bound")).contains("not here"));
    json(&server, &CREATE, &map("free"));
    json(&server, &replace, &config("object.data.missing == 'x'", "Fail"));
    let said = refused(&server, &CREATE, &map("free"));
    let why = "(Forbidden)";
    assert!(said.contains(why) && said.contains("match condition \"when\" cannot be evaluated"), "{said}");
    json(&server, &replace, &config("object.data.missing == 'x'", "Ignore"));
    json(&server, &CREATE, &map("free"));
    let said = refused(&server, &replace, &config("object.data.", "Fail"));
    let place =
        "webhooks[0].matchConditions[0].expression: Invalid value: \"object.data.\": compilation failed";
    assert!(said.contains(place), "{said}");
}
