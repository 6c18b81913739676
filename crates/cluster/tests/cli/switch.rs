//! `millrace enable`, `disable`, `exclude`: what they write, whose fields they leave alone, and how they wait.

use crate::cluster::{Cluster, condition, on_each};
use crate::program::{Said, command, golden};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};

fn check(said: &Said, status: i32, out: &str) {
    assert_eq!((said.status, said.out.as_str()), (Some(status), out), "{}", said.err);
}

/// Standard error of a command that could not do its work.
fn refused(said: &Said) -> &str {
    assert_eq!((said.status, said.out.as_str()), (Some(2), ""), "{}", said.err);
    &said.err
}

#[test]
fn the_switch_is_an_edit_of_the_meshcni() {
    on_each("cli::the_switch_is_an_edit_of_the_meshcni", the_switch_is_an_edit_of_the_meshcni_on);
}

fn the_switch_is_an_edit_of_the_meshcni_on(cluster: &Cluster) {
    let tried = cluster.run(&["enable", "--exclude", "kube-system,legacy", "--dry-run=server", "--diff"]);
    assert_eq!(tried.status, Some(0), "{}", tried.err);
    assert!(
        tried.out.starts_with("meshcni.millrace.dev/default created (server dry run)\n"),
        "{}",
        tried.out
    );
    assert!(tried.out.contains("\n+mode: CNI\n") && tried.out.contains("\n+- legacy\n"), "{}", tried.out);
    let none = cluster.kubectl(&["get", "meshcni", "default"], "");
    assert!(!none.status.success(), "a dry run makes nothing");

    let said = cluster.run(&["enable", "--exclude", "kube-system,legacy"]);
    let made = "meshcni.millrace.dev/default created\n  mode: CNI\n  excludeNamespaces: + kube-system, legacy\n\
                next: millrace status --watch\n";
    check(&said, 0, made);
    check(&cluster.run(&["enable"]), 0, "meshcni.millrace.dev/default unchanged\n");
    let changed = "meshcni.millrace.dev/default changed\n  excludeNamespaces: + shop; - legacy\n\
                   next: millrace plan; millrace migrate\n";
    check(&cluster.run(&["exclude", "set", "kube-system", "shop"]), 0, changed);
    cluster.run(&["exclude", "add", "more,shop"]);
    cluster.run(&["exclude", "rm", "kube-system", "absent"]);
    assert_eq!(cluster.mesh()["spec"]["excludeNamespaces"], json!(["shop", "more"]));
    let said = cluster.run(&["disable", "--lang=zh"]);
    let zh = "meshcni.millrace.dev/default 已修改\n  mode: CNI → Disabled\n下一步: millrace status; millrace migrate\n";
    check(&said, 0, zh);
    let mesh = cluster.mesh();
    assert_eq!(
        (&mesh["spec"]["mode"], &mesh["spec"]["excludeNamespaces"]),
        (&json!("Disabled"), &json!(["shop", "more"]))
    );
    let managers = mesh["metadata"]["managedFields"].as_array().expect("fields are managed");
    let ours = managers.iter().filter(|one| one["operation"] == "Apply");
    assert!(
        ours.clone().count() > 0 && ours.clone().all(|one| one["manager"] == "millrace-cli"),
        "{managers:?}"
    );
    let said = cluster.run(&["disable", "--keep-agents", "-o", "json"]);
    let object: Value = serde_json::from_str(&said.out).expect("it is JSON");
    assert_eq!((&object["kind"], &object["spec"]["mode"]), (&json!("MeshCNI"), &json!("InitContainer")));
}

#[test]
fn what_others_applied_is_theirs() {
    on_each("cli::what_others_applied_is_theirs", what_others_applied_is_theirs_on);
}

fn what_others_applied_is_theirs_on(cluster: &Cluster) {
    let theirs = json!({ "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNI", "metadata": { "name": "default" },
        "spec": { "mode": "Disabled", "excludeNamespaces": ["a", "b"] } });
    let apply = ["apply", "--server-side", "--field-manager=gitops", "-f", "-"];
    cluster.done(&apply, &theirs.to_string());
    let said = cluster.run(&["enable"]);
    let expected = "millrace: cannot change MeshCNI default: .spec.mode was applied by gitops; change it there, or take it \
                    over with --force-conflicts (MR1104)\n";
    assert_eq!(refused(&said), expected);
    let said = cluster.run(&["exclude", "rm", "a"]);
    // A server that does not know the list for a set names the whole of it.
    let names =
        |text: &str| text.contains(".spec.excludeNamespaces") && text.contains(" was applied by gitops");
    assert!(names(refused(&said)), "{}", said.err);
    assert_eq!(cluster.mesh()["spec"]["mode"], "Disabled");
    assert_eq!(cluster.run(&["exclude", "add", "c", "--force-conflicts"]).status, Some(0));
    let said = cluster.run(&["exclude", "rm", "a", "--force-conflicts"]);
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert_eq!(cluster.run(&["enable", "--force-conflicts"]).status, Some(0));
    let spec = cluster.mesh()["spec"].clone();
    assert_eq!((&spec["mode"], &spec["excludeNamespaces"]), (&json!("CNI"), &json!(["b", "c"])));
}

#[test]
fn waiting_ends_when_the_controller_says_so() {
    on_each("cli::waiting_ends_when_the_controller_says_so", waiting_ends_when_the_controller_says_so_on);
}

fn waiting_ends_when_the_controller_says_so_on(cluster: &Cluster) {
    cluster.run(&["enable"]);
    cluster.report("Running", "Serving", json!({}));
    let said = cluster.run(&["enable", "--wait"]);
    check(&said, 0, "meshcni.millrace.dev/default unchanged\nRunning: 2 of 2 nodes serve\n");

    let mut waiting = cluster.start(&["disable", "--wait", "--timeout=2m"]);
    let mut lines = BufReader::new(waiting.stdout.take().expect("a pipe")).lines();
    let mut next = || lines.next().map(|line| line.expect("text"));
    assert_eq!(next().as_deref(), Some("meshcni.millrace.dev/default changed"));
    assert_eq!(next().as_deref(), Some("  mode: CNI → Disabled"));
    let debt =
        json!({ "workloads": { "cni": 3, "initContainer": 0, "none": 0, "restartDebt": 3, "drifted": 0 } });
    cluster.report("Updating", "Draining", debt);
    cluster.report("Disabled", "Absent", json!({}));
    assert_eq!(next().as_deref(), Some("Disabled: 2 of 2 nodes serve"));
    let mut errors = String::new();
    waiting.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("text");
    let status = waiting.wait().expect("it ends");
    assert!(status.success(), "{errors}");
    // Its first look may be of after both reports.
    let told = |line: &str| line == "Updating: 2 of 2 nodes serve (MR4005)";
    assert!(errors.lines().all(told), "a log has a line for each step: {errors}");

    cluster.run(&["enable"]);
    let stalled = json!({ "conditions": [condition("Stalled", "True", "ProgressDeadlineExceeded", "node n3 does not serve")] });
    cluster.report("Degraded", "Installing", stalled);
    let said = cluster.run(&["enable", "--wait"]);
    check(&said, 1, "meshcni.millrace.dev/default unchanged\nstalled: node n3 does not serve (MR4001)\n");
    cluster.run(&["exclude", "add", "x"]);
    let said = cluster.run(&["enable", "--wait", "--timeout=1s"]);
    let late =
        "not reached in time (1 s): no controller has looked at the change yet (MR4009 if it stays so)\n";
    check(&said, 1, &format!("meshcni.millrace.dev/default unchanged\n{late}"));
}

#[test]
fn an_interrupt_ends_the_waiting_alone() {
    on_each("cli::an_interrupt_ends_the_waiting_alone", an_interrupt_ends_the_waiting_alone_on);
}

fn an_interrupt_ends_the_waiting_alone_on(cluster: &Cluster) {
    let mut waiting = cluster.start(&["enable", "--wait"]);
    let mut lines = BufReader::new(waiting.stdout.take().expect("a pipe")).lines();
    let first = lines.next().expect("a line").expect("text");
    assert_eq!(first, "meshcni.millrace.dev/default created");
    let excluded = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("excludeNamespaces")));
    assert!(excluded.is_some(), "what changed is said before it waits");
    let pid = rustix::process::Pid::from_child(&waiting);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let last = lines.next().expect("a line").expect("text");
    assert_eq!(last, "interrupted: the change goes on; `millrace status --watch` shows how far it is");
    assert_eq!(waiting.wait().expect("it ends").code(), Some(130));
    assert_eq!(cluster.mesh()["spec"]["mode"], "CNI");
}

#[test]
fn golden_refusals() {
    let Some(cluster) = Cluster::real("cli::golden_refusals") else { return };
    let stranger = cluster.api().user("eve", &["others"]);
    let mut all = String::new();
    let mut say = |title: &str, said: &Said| {
        let text = refused(said).replace(&cluster.api().url(), "https://SERVER");
        all.push_str(&format!(
            "{title}: {}",
            text.replace(&cluster.api().folder().display().to_string(), "FOLDER")
        ));
    };
    say("forbidden", &cluster.run_as(&stranger, &["status"]));
    say("no such context", &cluster.run(&["status", "--context", "absent"]));
    say("no such file", &cluster.run(&["status", "--kubeconfig", "/nowhere/config"]));
    say(
        "no kubeconfig",
        &command(&["status"]).env("HOME", "/nowhere").output().expect("millrace runs").into(),
    );
    say("no such node", &cluster.run(&["nodes", "absent"]));
    cluster.done(&["delete", "crd", "meshcnis.millrace.dev"], "");
    say("no definition", &cluster.run(&["enable"]));
    golden("refusals", &all);
}
