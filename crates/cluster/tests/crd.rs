//! The custom resources on real servers: an old one, which knows the schema alone, and one of today, which knows its rules.

#[path = "crd/wrong.rs"]
mod wrong;

use millrace_rig::apiserver::Apiserver;
use millrace_rig::embedded::{Api, Embedded, Server};
use millrace_rig::{crdserver, wait};
use serde_json::Value;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use wrong::By;

/// A new definition is served within a second or two, on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_wrong_object_is_refused_by_name_of_its_field() {
    let test = "a_wrong_object_is_refused_by_name_of_its_field";
    let (Some(old), Some(new)) = (served(Apiserver::start(test)), served(crdserver::start(test))) else {
        return;
    };
    for one in wrong::ALL {
        let object = object("default", one.spec);
        let refused =
            |api: &Apiserver| refusal(&api.kubectl(&["apply", "--dry-run=server", "-f", "-"], &object));
        check(one.spec, "a server of 1.20", refused(&old), (one.by == By::Schema).then_some(one.field));
        check(one.spec, "a server of today", refused(&new), (one.by != By::Check).then_some(one.field));
        let found = refusal(&print_config(&object));
        match one.by {
            // What is not even of the type has no fields; nobody asks `check` about it.
            By::Schema => {}
            By::Rule | By::Check => check(one.spec, "check", found, Some(one.field)),
        }
    }
    our_webhook_says_the_same(&old);
    let second = object("second", "{}");
    let refused = |api: &Apiserver| refusal(&api.kubectl(&["apply", "--dry-run=server", "-f", "-"], &second));
    check("second", "a server of 1.20", refused(&old), None);
    check("second", "a server of today", refused(&new), Some("there is one MeshCNI in a cluster"));
    check("second", "check", refusal(&print_config(&second)), Some("metadata.name"));
}

/// The server in memory evaluates rules as one of today does.
#[test]
fn the_server_in_memory_refuses_as_one_of_today_does() {
    let start = Embedded::start(env!("CARGO_BIN_EXE_millrace"), &["--no-controllers"]);
    let api = served(Some(Server::Embedded(start))).expect("it needs nothing");
    let refused =
        |object: &str| refusal(&Api::kubectl(&api, &["apply", "--dry-run=server", "-f", "-"], object));
    for one in wrong::ALL {
        let named = (one.by != By::Check).then_some(one.field);
        check(one.spec, "the server in memory", refused(&object("default", one.spec)), named);
    }
    let second = refused(&object("second", "{}"));
    check("second", "the server in memory", second, Some("there is one MeshCNI in a cluster"));
    // A rule that it cannot evaluate is refused with its definition, and by name.
    let file = std::fs::read_to_string(root().join("deploy/crd.yaml")).expect("it is ours");
    let rule = "\"self != 1338\"";
    assert!(file.contains(rule), "the definitions have changed");
    let other =
        Api::kubectl(&api, &["apply", "--validate=false", "-f", "-"], &file.replace(rule, "self.isSorted()"));
    check("a rule", "the server in memory", refusal(&other), Some("the function isSorted is not supported"));
}

/// By a controller's own webhook a server of 1.20 refuses what it would take; without it, it takes that again.
fn our_webhook_says_the_same(old: &Apiserver) {
    old.done(&["create", "namespace", "millrace-system"], "");
    let wrong = object("default", "{install: {image: 'No Image'}}");
    let dry_run = |object: &str| old.kubectl(&["apply", "--dry-run=server", "-f", "-"], object);
    let controller = Controller::start(old);
    // It learns of its configuration by a watch of its own, of which it tells nobody.
    wait::until("the API server asks the webhook", PATIENCE, || {
        refusal(&dry_run(&wrong)).map(drop).ok_or_else(|| controller.said(old))
    });
    for one in wrong::ALL {
        let found = refusal(&dry_run(&object("default", one.spec)));
        check(one.spec, "a server of 1.20 with our webhook", found, Some(one.field));
    }
    let found = refusal(&dry_run(&object("second", "{}")));
    check("second", "a server of 1.20 with our webhook", found, Some("metadata.name"));
    let doubtful = dry_run(&object("default", "{failurePolicy: Open}"));
    let said = String::from_utf8_lossy(&doubtful.stderr).into_owned();
    assert!(doubtful.status.success() && said.contains("MR1107 spec.failurePolicy"), "{said}");
    // Whoever is wrong already can be let go of: the webhook was away when this one came.
    drop(controller);
    old.done(&["apply", "-f", "-"], &wrong);
    let controller = Controller::start(old);
    let other = object("default", "{install: {image: 'No Image either'}}");
    wait::until("the API server asks the webhook again", PATIENCE, || {
        refusal(&dry_run(&other)).map(drop).ok_or_else(|| controller.said(old))
    });
    old.done(&["label", "meshcni", "default", "kept=yes"], "");
    drop(controller);
    let finalizers = r#"[{"op": "remove", "path": "/metadata/finalizers"}]"#;
    old.kubectl(&["patch", "meshcni", "default", "--type=json", "-p", finalizers], "");
    old.done(&["delete", "meshcni", "default", "--wait=true", "--timeout=60s"], "");
}

/// A controller's process, gone when dropped.
struct Controller(Child);

impl Controller {
    fn start(api: &Apiserver) -> Controller {
        let held = TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr()).expect("a port");
        let log = std::fs::File::create(api.folder().join("controller.log")).expect("the folder is ours");
        let mut command = millrace();
        command.args(["controller", "--metrics-address=none", "--lease-seconds=3", "--kubeconfig"]);
        command.arg(api.kubeconfig()).arg(format!("--webhook-address={held}"));
        command.arg(format!("--webhook-url=https://{held}/inject"));
        Controller(command.stdin(Stdio::null()).stderr(log).spawn().expect("millrace runs"))
    }

    fn said(&self, api: &Apiserver) -> String {
        std::fs::read_to_string(api.folder().join("controller.log")).unwrap_or_default()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_object_gets_its_defaults_and_is_shown_and_explained() {
    let test = "an_object_gets_its_defaults_and_is_shown_and_explained";
    let servers = [(true, Apiserver::start(test)), (false, crdserver::start(test))];
    for (is_old, api) in servers {
        let Some(api) = served(api) else { continue };
        api.done(&["apply", "-f", "-"], &object("default", "{}"));
        let got = get(&api);
        for (pointer, value) in [
            ("/spec/mode", "CNI".into()),
            ("/spec/excludeNamespaces", serde_json::json!(["kube-system", "istio-system"])),
            ("/spec/selection/minContainers", 2.into()),
            ("/spec/redirection/backend", "Auto".into()),
            ("/spec/rollout/maxUnavailable", 1.into()),
            ("/spec/audit/policy", "Off".into()),
            ("/spec/nodeTaint/key", "millrace.dev/not-ready".into()),
        ] {
            assert_eq!(got.pointer(pointer), Some(&value), "{pointer}");
        }
        assert_eq!(got.pointer("/spec/redirection/defaults/outboundPort"), None);
        let shown = api.done(&["get", "meshcni"], "");
        let head: Vec<&str> = shown.lines().next().unwrap_or_default().split_whitespace().collect();
        assert_eq!(head, ["NAME", "MODE", "PHASE", "READY", "NODES", "DEBT", "AGE"]);
        assert!(api.done(&["get", "mcni", "-o", "wide"], "").contains("MESSAGE"));
        let explained = api.done(&["explain", "meshcni.spec.rollout.maxUnavailable"], "");
        let text = explained.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.contains("How many nodes may have their agent replaced at once: a number of at least 1"),
            "{text}"
        );
        let all = api.done(&["explain", "meshcni", "--recursive"], "");
        assert!(all.contains("excludeOutboundIPRanges") && all.contains("progressDeadlineSeconds"), "{all}");
        // What the controller does with it is not the specification's.
        status_stands_apart(&api, &got);
        another_manager_owns_one_field(&api, is_old);
    }
}

/// Every field of the definitions says what it is.
#[test]
fn every_field_has_a_text() {
    let printed = millrace().args(["print", "crd"]).output().expect("millrace runs");
    let printed = String::from_utf8(printed.stdout).expect("text");
    let definitions: Vec<Value> = serde_saphyr::from_multiple(&printed).expect("it is YAML");
    let mut without = Vec::new();
    for definition in &definitions {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            untold(&schema["properties"][part], part, &mut without);
        }
    }
    assert!(definitions.len() == 2 && without.is_empty(), "without a text: {without:#?}");
}

fn untold(schema: &Value, path: &str, without: &mut Vec<String>) {
    if schema["description"].as_str().is_none_or(|text| text.len() < 5) {
        without.push(path.to_owned());
    }
    let properties =
        schema["properties"].as_object().into_iter().chain(schema["items"]["properties"].as_object());
    for (name, field) in properties.flatten() {
        untold(field, &format!("{path}.{name}"), without);
    }
}

fn status_stands_apart(api: &Apiserver, before: &Value) {
    let status = r#"{"status": {"phase": "Running", "nodes": {"desired": 2, "ready": 2, "summary": "2/2"}}}"#;
    let patch = ["patch", "meshcni", "default", "--subresource=status", "--type=merge", "-p"];
    api.done(&[&patch[..], &[status]].concat(), "");
    // By the other way it does not come in, and by this one the specification does not.
    api.done(
        &["patch", "meshcni", "default", "--type=merge", "-p", r#"{"status": {"phase": "Degraded"}}"#],
        "",
    );
    api.done(&[&patch[..], &[r#"{"spec": {"mode": "Disabled"}}"#]].concat(), "");
    let after = get(api);
    assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"]);
    assert_eq!((&after["status"]["phase"], &after["spec"]), (&"Running".into(), &before["spec"]));
    let shown = api.done(&["get", "meshcni"], "");
    assert!(shown.contains("Running") && shown.contains("2/2"), "{shown}");
    let wrong = api.kubectl(&[&patch[..], &[r#"{"status": {"phase": "Fine"}}"#]].concat(), "");
    check("a phase that is none", "its server", refusal(&wrong), Some("status.phase"));
}

fn another_manager_owns_one_field(api: &Apiserver, is_old: bool) {
    let apply = ["apply", "--server-side", "-f", "-", "--field-manager"];
    let whole = object("default", "{mode: CNI, excludeNamespaces: [kube-system, istio-system]}");
    api.done(&[&apply[..], &["first", "--force-conflicts"]].concat(), &whole);
    // A set has an owner for each item; a server of 1.20 knows no more than the whole list's.
    let names = if is_old { "" } else { ", excludeNamespaces: [own]" };
    let second = object("default", &format!("{{rollout: {{paused: true}}{names}}}"));
    api.done(&[&apply[..], &["second"]].concat(), &second);
    let got = get(api);
    assert_eq!((&got["spec"]["mode"], &got["spec"]["rollout"]["paused"]), (&"CNI".into(), &true.into()));
    let count = got["spec"]["excludeNamespaces"].as_array().map(Vec::len);
    assert_eq!(count, Some(if is_old { 2 } else { 3 }), "{got}");
    let other = api.kubectl(&[&apply[..], &["second"]].concat(), &object("default", "{mode: Disabled}"));
    check("another's field", "its server", refusal(&other), Some(".spec.mode"));
}

#[track_caller]
fn check(what: &str, by: &str, refused: Option<String>, names: Option<&str>) {
    match (&refused, names) {
        (None, None) => {}
        (Some(said), Some(name)) => assert!(said.contains(name), "{what}: {by} does not name {name}: {said}"),
        (Some(said), None) => panic!("{what}: {by} refuses it: {said}"),
        (None, Some(_)) => panic!("{what}: {by} takes it"),
    }
}

fn refusal(output: &Output) -> Option<String> {
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn object(name: &str, spec: &str) -> String {
    format!("apiVersion: millrace.dev/v1alpha1\nkind: MeshCNI\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn get(api: &Apiserver) -> Value {
    serde_json::from_str(&api.done(&["get", "meshcni", "default", "-o", "json"], "")).expect("JSON")
}

/// The server once it serves our resources.
fn served<A: Api>(api: Option<A>) -> Option<A> {
    let api = api?;
    let file = root().join("deploy/crd.yaml").into_os_string().into_string().expect("a plain path");
    // A server that does not know rules must not be asked for them by kubectl.
    api.done(&["apply", "--validate=false", "-f", &file], "");
    let both = ["crd/meshcnis.millrace.dev", "crd/meshcninodes.millrace.dev"];
    api.done(&[&["wait", "--for=condition=Established", "--timeout=120s"][..], &both].concat(), "");
    for definition in both {
        let found = api.done(&["get", definition, "-o", "jsonpath={.status.conditions[*].type}"], "");
        assert!(!found.contains("NonStructuralSchema"), "{found}");
    }
    // What kubectl reads of fields is published a moment later, without an event.
    wait::until("the schema is published", PATIENCE, || {
        let explained = api.kubectl(&["explain", "meshcni.spec.rollout"], "");
        refusal(&explained).map_or(Ok(()), Err)
    });
    Some(api)
}

fn print_config(object: &str) -> Output {
    let mut command = millrace();
    command.args(["print", "config", "-f", "-"]);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("millrace runs");
    child.stdin.take().expect("a pipe").write_all(object.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn millrace() -> Command {
    Command::new(env!("CARGO_BIN_EXE_millrace"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
