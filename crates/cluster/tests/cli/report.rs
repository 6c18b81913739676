//! `millrace report`: what is in the file, of a cluster where much is wrong, on both servers; and what is not: secrets.

use crate::cluster::{Cluster, condition, on_each};
use crate::kubelet::Kubelet;
use crate::program::{Said, command, golden, run};
use flate2::read::GzDecoder;
use millrace_rig::apiserver::{Apiserver, asked};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const HOME: &str = "millrace-system";
const NODE: &str = "reported";
/// What must be in no report.
const SECRET: &str = "HuNtEr2HuNtEr2HuNtEr2";

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("millrace-report-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn names(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    fn to(&self) -> String {
        format!("--to={}", self.0.display())
    }

    /// The one report in it.
    fn report(&self) -> BTreeMap<String, String> {
        let names = self.names();
        let [one] = names.as_slice() else { panic!("one file is there: {names:?}") };
        assert_eq!(one.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
        let whole = unpacked(&std::fs::read(one).expect("a file"));
        std::fs::remove_file(one).expect("it goes");
        whole
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The members of an archive, without the folder that all are in.
fn unpacked(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(bytes));
    let mut names = Vec::new();
    let mut members = BTreeMap::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a name").display().to_string();
        let (folder, name) = path.split_once('/').expect("all are in a folder");
        assert!(folder.starts_with("millrace-report-2"), "{folder}");
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        names.push(name.to_owned());
        members.insert(name.to_owned(), text);
    }
    assert!(names.is_sorted(), "{names:?}");
    members
}

#[track_caller]
fn has(report: &BTreeMap<String, String>, name: &str, words: &[&str]) {
    let Some(text) = report.get(name) else { panic!("no {name}: {:?}", report.keys()) };
    words.iter().for_each(|word| assert!(text.contains(word), "{name} has no {word}:\n{text}"));
}

fn index(report: &BTreeMap<String, String>) -> Value {
    serde_json::from_str(&report["index.json"]).expect("the index is JSON")
}

fn unread(report: &BTreeMap<String, String>) -> String {
    index(report)["unread"].as_array().expect("a list").iter().map(|why| format!("{why}\n")).collect()
}

/// What of ours a cluster has, and a user's pod, with a secret wherever there may be one.
fn objects() -> Vec<Value> {
    let ours = json!({ "app.kubernetes.io/managed-by": "millrace-controller", "app.kubernetes.io/name": "millrace" });
    let hiding = json!({ "kubectl.kubernetes.io/last-applied-configuration": SECRET });
    let labels = json!({ "app.kubernetes.io/name": "millrace", "app.kubernetes.io/component": "agent" });
    let named =
        |name: &str| json!({ "name": name, "namespace": HOME, "labels": ours, "annotations": hiding });
    let agent = json!({ "name": "agent", "image": "r.example/millrace:0.1.0", "env": [{ "name": "HTTPS_PROXY", "value": SECRET }] });
    let app = json!({ "name": "app", "image": "x", "args": [SECRET], "env": [{ "name": "PASSWORD", "value": SECRET }] });
    vec![
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE, "annotations": hiding } }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": named("millrace-agent-kubeadm"),
            "data": { "config.toml": format!("password = \"{SECRET}\"\nagentTimeout = 10\n") } }),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": named("millrace-webhook"), "stringData": { "tls.key": SECRET } }),
        json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": named("millrace-agent-kubeadm"), "spec": {
            "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels }, "spec": { "containers": [agent],
                "nodeSelector": { "nowhere": "yes" } } } } }),
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web", "namespace": "shop", "annotations": {
                "sidecar.istio.io/status": r#"{"initContainers":["istio-init"]}"#, "example.com/key": SECRET } },
            "spec": { "nodeName": NODE, "containers": [app, { "name": "istio-proxy", "image": "x" }] } }),
        json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "name": "told", "namespace": "shop" }, "type": "Warning",
            "reason": "RedirectionFailed", "message": format!("cannot ask: Authorization: Bearer {SECRET}"), "count": 3,
            "involvedObject": { "kind": "Pod", "namespace": "shop", "name": "web" }, "source": { "component": "millrace-agent" } }),
    ]
}

fn set_up(cluster: &Cluster) {
    clean_up(cluster);
    for namespace in [HOME, "shop"] {
        cluster.kubectl(&["create", "namespace", namespace], "");
    }
    cluster.create(&json!({ "apiVersion": "v1", "kind": "List", "items": objects() }));
    cluster.run(&["enable"]);
    let failing = json!([{ "name": NODE, "code": "MR2104", "reason": "the chain is another's", "since": "2026-01-01T00:00:00Z" }]);
    let ready = condition("Ready", "False", "Degraded", "0 of 1 nodes serve");
    cluster.report("Degraded", "Serving", json!({ "failingNodes": failing, "conditions": [ready] }));
}

fn clean_up(cluster: &Cluster) {
    let gone = |args: &[&str]| {
        drop(cluster.kubectl(&[&["delete", "--ignore-not-found", "--wait=false"], args].concat(), ""))
    };
    gone(&["node", NODE]);
    gone(&["meshcninode", NODE]);
    gone(&[
        "-n",
        HOME,
        "configmap/millrace-agent-kubeadm",
        "secret/millrace-webhook",
        "daemonset/millrace-agent-kubeadm",
    ]);
    gone(&["-n", HOME, "pods", "--all", "--force", "--grace-period=0"]);
    gone(&["-n", "shop", "event/told"]);
    gone(&["-n", "shop", "pod/web", "--force", "--grace-period=0"]);
}

#[test]
fn a_report_of_a_broken_cluster_has_what_a_helper_needs() {
    on_each("cli::a_report_of_a_broken_cluster_has_what_a_helper_needs", broken_on);
}

fn broken_on(cluster: &Cluster) {
    set_up(cluster);
    let folder = Folder::new("broken");
    let said = cluster.run(&["report", "shop/web", &folder.to()]);
    // That no agent is there to be asked about the pod is among what could not be read.
    assert_eq!(said.status, Some(1), "{}{}", said.out, said.err);
    let file = said.out.lines().next().expect("it says where");
    assert!(Path::new(file).exists() && said.out.contains("README.txt says what is wrong"), "{}", said.out);
    let report = folder.report();
    has(
        &report,
        "README.txt",
        &[
            "Degraded",
            NODE,
            "MR2104",
            "shop/web",
            "What `millrace check` finds",
            "MR5011",
            "millrace explain",
        ],
    );
    has(&report, "findings/check.json", &["\"categories\""]);
    has(&report, "findings/drift.txt", &["odd"]);
    has(&report, "mesh/meshcni.yaml", &["kind: MeshCNI", "phase: Degraded"]);
    has(&report, "mesh/nodes.yaml", &["[]"]);
    has(&report, "cluster/nodes.yaml", &[&format!("name: {NODE}")]);
    has(&report, "cluster/namespaces.yaml", &["name: shop"]);
    has(&report, "cluster/pods-by-mechanism.yaml", &["shop:", "nobody: 1"]);
    has(&report, "cluster/versions.yaml", &["millrace: ", "kubernetes: v1"]);
    has(&report, &format!("objects/ConfigMap/{HOME}/millrace-agent-kubeadm.yaml"), &["agentTimeout = 10"]);
    has(
        &report,
        &format!("objects/DaemonSet/{HOME}/millrace-agent-kubeadm.yaml"),
        &["kind: DaemonSet", "HTTPS_PROXY", "<redacted>"],
    );
    has(&report, "objects/CustomResourceDefinition/meshcnis.millrace.dev.yaml", &["v1alpha1"]);
    has(&report, "events/events.txt", &["RedirectionFailed", "Pod shop/web", "<redacted>"]);
    has(&report, "pods/shop/web/pod.yaml", &["name: istio-proxy", "name: PASSWORD"]);
    has(&report, "pods/shop/web/explain.txt", &["shop/web: ", "conditions"]);
    has(&report, "pods/shop/web/verify.txt", &["shop/web: "]);
    assert!(unread(&report).contains("why shop/web"), "{}", unread(&report));
    let index = index(&report);
    assert_eq!((&index["complete"], &index["by"]["program"]), (&json!(false), &json!("millrace")));
    assert!(index["members"].as_array().expect("a list").len() == report.len() - 2, "all but the two pages");
    for (name, text) in &report {
        assert!(!text.contains(SECRET), "{name}: {text}");
        assert!(!name.contains("Secret"), "{name}");
    }
    let web = cluster.done(&["get", "pod", "web", "-n", "shop", "-o", "name"], "");
    assert!(web.contains("pod/web"), "nothing is changed");
    let said = cluster.run(&["report", "--lang=zh", "-o", "json", &folder.to()]);
    let value: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}{}", said.out, said.err));
    let report = folder.report();
    assert_eq!(value["members"], report.len());
    has(&report, "README.txt", &["Millrace 报告", "集群状态"]);
    assert!(!report.keys().any(|name| name.starts_with("pods/")), "none was asked about");
    clean_up(cluster);
}

#[test]
fn who_may_not_look_gets_a_report_that_says_so() {
    let Some(cluster) = Cluster::real("cli::who_may_not_look_gets_a_report_that_says_so") else { return };
    set_up(&cluster);
    let folder = Folder::new("stranger");
    let stranger = cluster.api().user("report-eve", &["others"]);
    let said = cluster.run_as(&stranger, &["report", "-n", "shop", &folder.to()]);
    assert_eq!(said.status, Some(1), "{}{}", said.out, said.err);
    assert!(said.err.contains("cannot list nodes"), "{}", said.err);
    let report = folder.report();
    let unread = unread(&report);
    for words in [
        "cannot read MeshCNI default",
        "cannot list pods",
        "cannot list events",
        "cannot list daemonsets in millrace-system",
        "MR1105",
    ] {
        assert!(unread.contains(words), "{words}: {unread}");
    }
    has(&report, "README.txt", &["Could not be read", "there is no MeshCNI, or it could not be read"]);
    // Rights where the controller is are used, though there are none elsewhere.
    let role = r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"looks","namespace":"millrace-system"},
        "rules":[{"apiGroups":["apps"],"resources":["daemonsets"],"verbs":["list"]}]}"#;
    cluster.done(&["apply", "-f", "-"], role);
    cluster.done(&["create", "rolebinding", "looks", "-n", HOME, "--role=looks", "--user=report-eve"], "");
    crate::cluster::until("the right counts", || {
        let asked = ["auth", "can-i", "list", "daemonsets.apps", "-n", HOME, "--as=report-eve"];
        cluster.kubectl(&asked, "").status.success()
    });
    cluster.run_as(&stranger, &["report", &folder.to()]);
    has(
        &folder.report(),
        &format!("objects/DaemonSet/{HOME}/millrace-agent-kubeadm.yaml"),
        &["kind: DaemonSet"],
    );
    cluster.kubectl(&["delete", "role/looks", "rolebinding/looks", "-n", HOME], "");
    clean_up(&cluster);
}

#[test]
fn nothing_is_changed_and_no_secret_is_listed() {
    let Some(api) = Apiserver::strict("cli::nothing_is_changed_and_no_secret_is_listed") else { return };
    api.done(&["create", "namespace", HOME], "");
    let key = format!("--from-literal=tls.key={SECRET}");
    api.done(&["create", "secret", "generic", "millrace-webhook", "-n", HOME, &key], "");
    let folder = Folder::new("asked");
    let mut command = command(&["report", "-A", &folder.to()]);
    let all = api.user("report-all", &["system:masters"]);
    let said: Said = command.env("KUBECONFIG", all).output().expect("millrace runs").into();
    // Nothing is installed, which is among what it says.
    assert!(said.status == Some(1) && said.err.contains("MR1103"), "{}{}", said.out, said.err);
    let report = folder.report();
    assert!(report.values().all(|text| !text.contains(SECRET)));
    let asked = asked::by(&api, "report-all");
    assert!(asked.len() > 20, "{asked:?}");
    for one in asked {
        let reads = matches!(one.verb.as_str(), "get" | "list");
        // Of pods one dry run, of which nothing stays.
        let asks =
            one.verb == "create" && (one.resource.starts_with("selfsubject") || one.resource == "pods");
        let dates = one.verb == "get" && one.name == "millrace-webhook";
        assert!((reads || asks) && (one.resource != "secrets" || dates), "{one:?}");
    }
    assert_eq!(api.done(&["get", "pods", "-A", "-o", "name"], ""), "");
}

#[test]
fn a_log_that_is_too_long_is_cut_and_its_last_run_is_there() {
    let Some(cluster) = Cluster::real("cli::a_log_that_is_too_long_is_cut_and_its_last_run_is_there") else {
        return;
    };
    set_up(&cluster);
    let line = |number: usize| format!("line {number:06} password={SECRET} {}\n", "x".repeat(100));
    let log: String = (0..40_000).map(line).collect();
    let (length, last) = (log.len(), "line 039999 password=<redacted>");
    let why = |words: &[String]| {
        let known = words.get(1).is_some_and(|verb| verb == "why");
        let (status, out, err) = if known {
            (0, "2026 ADD eth0: redirected\n", "")
        } else {
            (2 << 8, "", "millrace: not allowed\n")
        };
        Output { status: ExitStatus::from_raw(status), stdout: out.into(), stderr: err.into() }
    };
    let kubelet = Kubelet::start(why, move || log.clone());
    runs(&cluster, &kubelet);
    let folder = Folder::new("logs");
    let said = cluster.run(&["report", "shop/web", &folder.to()]);
    let report = folder.report();
    for name in ["agent.log", "agent.previous.log"] {
        let name = format!("logs/{HOME}/agent-1/{name}");
        has(&report, &name, &[last]);
        assert!(report[&name].len() <= 2 << 20 && !report[&name].contains(SECRET), "{}", report[&name].len());
    }
    let all = index(&report)["members"].to_string();
    assert!(all.contains(" bytes\"") && length > 4 << 20, "{all}");
    has(
        &report,
        "README.txt",
        &["Cut, and what is there of it", &format!("logs/{HOME}/agent-1/agent.log: the last")],
    );
    has(
        &report,
        "pods/shop/web/why.txt",
        &["by exec into millrace-system/agent-1 on node reported", "ADD eth0: redirected"],
    );
    has(&report, "pods/shop/web/verify.txt", &["NOT LOOKED INTO", "not allowed"]);
    assert!(said.err.contains("verify shop/web: could not be looked into"), "{}", said.err);
    assert!(kubelet.last().iter().any(|word| word == "--no-probes"), "{:?}", kubelet.last());
    let other = cluster.run(&["report", "--node=elsewhere", &folder.to()]);
    assert!(other.err.contains("no pod of Millrace is on node elsewhere"), "{}", other.err);
    let report = folder.report();
    assert!(!report.keys().any(|name| name.starts_with("logs/")), "{:?}", report.keys());
    has(&report, "README.txt", &["--node NODE reads those of its agent"]);
    clean_up(&cluster);
}

/// An agent on the node of that kubelet, started again once, and the user's pod: both run.
fn runs(cluster: &Cluster, kubelet: &Kubelet) {
    let state = json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } });
    let status = |name: &str| {
        json!({ "phase": "Running", "containerStatuses": [{ "name": name, "image": "x", "imageID": "", "ready": true,
        "restartCount": 1, "containerID": "containerd://5eed", "state": state }] })
    };
    cluster.create(&json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "agent-1", "namespace": HOME, "labels": {
            "app.kubernetes.io/name": "millrace", "app.kubernetes.io/component": "agent" } },
        "spec": { "nodeName": NODE, "hostPID": true, "containers": [{ "name": "agent", "image": "x", "command": ["/millrace"],
            "securityContext": { "capabilities": { "add": ["SYS_ADMIN"] } } }] } }));
    let pod = |namespace: &str, name: &str| format!("/api/v1/namespaces/{namespace}/pods/{name}");
    for (path, status) in [
        (format!("/api/v1/nodes/{NODE}"), kubelet.node()),
        (pod(HOME, "agent-1"), status("agent")),
        (pod("shop", "web"), status("app")),
    ] {
        let mut object: Value =
            serde_json::from_str(&cluster.done(&["get", "--raw", &path], "")).expect("JSON");
        object["status"] = status;
        cluster.replace(&format!("{path}/status"), &object);
    }
}

#[test]
fn a_report_replaces_nothing_and_its_place_is_tried_first() {
    let folder = Folder::new("place");
    let (config, asked) = deaf(&folder);
    let there = folder.0.join("mine.tar.gz");
    std::fs::write(&there, "mine").expect("a file");
    let refused = |to: &str, words: &str| {
        let said: Said = command(&["report", "--to", to])
            .env("KUBECONFIG", &config)
            .output()
            .expect("millrace runs")
            .into();
        assert!(said.status == Some(2) && said.err.contains(words), "{to}: {}", said.err);
    };
    refused(there.to_str().expect("a plain path"), "is there already, and nothing is overwritten");
    refused("/nowhere/r.tar.gz", "cannot make /nowhere/r.tar.gz: No such file or directory");
    refused("/proc/r.tar.gz", "cannot make /proc/r.tar.gz");
    assert_eq!(std::fs::read(&there).expect("a file"), b"mine");
    assert!(asked.try_recv().is_err(), "nobody is asked before");
}

#[test]
fn a_report_is_piped_on() {
    let cluster = Cluster::embedded(&[]);
    let mut piped = command(&["report", "--to=-"]);
    let output = piped.env("KUBECONFIG", cluster.kubeconfig()).output().expect("millrace runs");
    assert!(unpacked(&output.stdout).contains_key("README.txt"), "standard output is the archive alone");
}

/// The kubeconfig, in that folder, of a server that says its version and never answers anything else; each request that it hears is
/// told.
fn deaf(folder: &Folder) -> (PathBuf, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = [0; 4096];
            let count = stream.read(&mut head).unwrap_or_default();
            let asked = String::from_utf8_lossy(&head[..count]).lines().next().unwrap_or_default().to_owned();
            if asked.starts_with("GET /version") {
                let body = r#"{"major":"1","minor":"31","gitVersion":"v1.31.4","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#;
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
            } else {
                held.push(stream);
            }
            if tell.send(asked).is_err() {
                return;
            }
        }
    });
    let config = folder.0.join("config");
    let text = json!({ "apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{ "name": "c", "cluster": { "server": url } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }], "users": [{ "name": "u", "user": {} }] });
    std::fs::write(&config, text.to_string()).expect("a file");
    (config, told)
}

#[test]
fn what_is_gathered_when_the_time_is_over_is_written() {
    let folder = Folder::new("late");
    let (config, _asked) = deaf(&folder);
    let late = |more: &[&str]| -> Said {
        let mut report = command(
            &[&["report", "--to", folder.0.join("r.tar.gz").to_str().expect("a plain path")], more].concat(),
        );
        report.env("KUBECONFIG", &config).output().expect("millrace runs").into()
    };
    let said = late(&["--timeout=1s"]);
    assert_eq!(said.status, Some(1), "{}", said.err);
    assert!(
        said.err.contains("mesh: not all of it was gathered in time; see --timeout (1 s)"),
        "{}",
        said.err
    );
    std::fs::remove_file(&config).expect("it goes");
    let report = folder.report();
    has(&report, "README.txt", &["Kubernetes v1.31.4", "Could not be read"]);
    let said = late(&[]);
    assert!(said.status == Some(2) && folder.names().is_empty(), "{}", said.err);
}

#[test]
fn an_interrupted_report_leaves_nothing() {
    let folder = Folder::new("interrupted");
    let (config, asked) = deaf(&folder);
    for signal in [Signal::INT, Signal::TERM] {
        let mut report =
            command(&["report", "--to", folder.0.join("r.tar.gz").to_str().expect("a plain path")]);
        report.arg("--kubeconfig").arg(&config).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = report.spawn().expect("millrace runs");
        asked.recv_timeout(Duration::from_secs(60)).expect("it asks");
        asked.recv_timeout(Duration::from_secs(60)).expect("and gathers");
        kill_process(Pid::from_child(&child), signal).expect("it runs");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), said.as_ref()),
            (Some(130), "millrace: interrupted: nothing is written\n")
        );
        assert_eq!(folder.names(), std::slice::from_ref(&config));
    }
}

#[test]
fn golden_what_would_be_gathered_is_listed() {
    let mut all = String::new();
    for args in [
        &["report", "--dry-run"][..],
        &["report", "--dry-run", "deploy/web", "-n", "shop", "-o", "wide"],
        &["report", "--dry-run", "-A", "--lang=zh"],
    ] {
        let said = run(args);
        assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
        all.push_str(&format!("== millrace {}\n{}", args.join(" "), said.out));
    }
    golden("report-dry-run", &all);
    assert!(run(&["report", "--dry-run", "-o", "json"]).out.contains("\"sections\""));
}
