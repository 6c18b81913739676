//! The demo as a person runs it: whole, interrupted, killed, twice at once. After each, nothing of it may be left.

#[path = "demo/kept.rs"]
mod kept;

use kept::{KEPT, Kept, PATIENCE, demo, plugin, turn};
use millrace_rig::wait::until;
use rustix::process::Signal;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

#[test]
fn a_whole_run_verifies_every_pod_and_leaves_nothing() {
    let Some(_turn) = turn("a_whole_run_verifies_every_pod_and_leaves_nothing") else { return };
    let before = Left::now();
    let ran = demo(&[]).output().unwrap();
    let said = said(&ran);
    assert!(ran.status.success(), "{said}");
    assert_eq!(said.lines().last(), Some("demo: VERIFIED 8/8 pods"), "{said}");
    let justified = said.lines().filter(|line| *line == "  VERIFIED").count();
    assert_eq!(justified, 8, "each pod is justified above the count:\n{said}");
    assert!(said.contains("Chain ISTIO_INBOUND (1 references)"), "the vendor page's table:\n{said}");
    let given = said.matches("the injector gave it istio-init with NET_ADMIN and NET_RAW").count();
    assert_eq!((given, said.matches("which stays").count()), (7, 1), "{said}");
    the_tale_is_told(&said);
    assert_eq!(Left::now(), before, "{said}");
}

/// The walk through the switch, in its order: each line with a part of it.
const TALE: &[(&str, &str)] = &[
    ("cluster", "an API server in memory"),
    ("disable", "mode: Disabled"),
    ("phase", "Disabled (Absent)"),
    ("injector", "a pod gets istio-init with NET_ADMIN and NET_RAW, says a dry run"),
    ("enable", "millrace enable --exclude legacy"),
    ("phase", "Updating (Installing)"),
    ("node", "millrace-agent-kubeadm-"),
    ("chain", "10-demo.conflist is now: bridge, millrace-cni"),
    ("injector", "InjectorSynced True (Converting)"),
    ("phase", "Running (Serving): 1/1 nodes serve"),
    ("webhook", "turns istio-init into validation: a pod gets istio-validation without capabilities"),
    ("apply", "bookinfo"),
    ("walk", "8/8 pods are as they should be, the mesh's by the node's chain"),
    ("disable", "mode: CNI → Disabled"),
    ("phase", "Updating (Draining)"),
    ("injector", "InjectorSynced True (InitContainers)"),
    ("webhook", "leaves istio-init where it is: a pod gets istio-init with NET_ADMIN and NET_RAW"),
    ("migrate", "1/6 Deployment default/details-v1: restarted"),
    ("migrate", "no workload owes a restart any more"),
    ("phase", "Disabled (Absent)"),
    ("requests", "every one answered"),
    ("walk", "8/8 pods are as they should be, the mesh's by its own istio-init"),
    ("enable", "mode: Disabled → CNI"),
    ("chain", "10-demo.conflist is now: bridge, millrace-cni"),
    ("phase", "Running (Serving)"),
    ("migrate", "6/6 Deployment default/reviews-v3: restarted"),
    ("requests", "every one answered"),
    ("walk", "8/8 pods are as they should be, the mesh's by the node's chain"),
    (
        "protected",
        "19 starts of pods of the mesh: 12 behind rules of the chain, 7 behind those of istio-init, 0 unprotected",
    ),
];

/// Every line of the tale is there, in its order, with a time that never goes back; and each pod that was started is told with
/// what it started behind.
fn the_tale_is_told(said: &str) {
    let timed = said.lines().filter_map(|line| {
        let (name, rest) = line.split_once(' ')?;
        let (time, words) = rest.trim_start().split_once(" s  ")?;
        Some((name, time.parse::<f64>().ok()?, words))
    });
    let timed: Vec<(&str, f64, &str)> = timed.collect();
    assert!(timed.is_sorted_by_key(|(_, time, _)| *time), "{said}");
    let mut rest = timed.iter();
    for (name, part) in TALE {
        let told = rest.any(|(line, _, words)| line == name && words.contains(part));
        assert!(told, "{name} does not tell {part:?} in its turn:\n{said}");
    }
    let starts = timed.iter().filter(|(name, ..)| *name == "pod");
    let behind = |part: &str| starts.clone().filter(|(.., words)| words.ends_with(part)).count();
    let counts = [
        "rules by the node's chain, before its first process",
        "rules by its own istio-init, before its app",
        "outside the mesh, no rules",
    ];
    assert_eq!(counts.map(behind), [12, 7, 1], "{said}");
}

#[test]
fn what_a_killed_demo_leaves_the_next_one_sweeps() {
    let Some(_turn) = turn("what_a_killed_demo_leaves_the_next_one_sweeps") else { return };
    let before = Left::now();
    let mut kept = Kept::start(KEPT);
    let refused = demo(&[]).output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        why.contains(&format!("another millrace demo is running here (pid {})", kept.child.id())),
        "{why}"
    );
    let productpage = kept.word_after("nsenter --net=");
    assert_eq!(listed_by_iptables(&productpage), listed_by_us(&productpage));
    kept.signal(Signal::KILL);
    kept.end();
    until("the programs of a killed demo die with it", PATIENCE, || {
        let left = Left::now().processes;
        left.is_empty().then_some(()).ok_or_else(|| format!("{left:?}"))
    });
    assert!(
        !Left::now().namespaces.is_empty(),
        "namespaces cannot die with a process; this test tests nothing"
    );

    let ran = demo(&[]).output().unwrap();
    let said = said(&ran);
    assert_eq!(said.lines().last(), Some("demo: VERIFIED 8/8 pods"), "{said}");
    assert!(said.contains("what an earlier demo left: 0 processes, 9 network namespaces"), "{said}");
    assert_eq!(Left::now(), before);
}

#[test]
fn a_stock_kubectl_sees_the_pods_and_a_deleted_one_comes_back() {
    let test = "a_stock_kubectl_sees_the_pods_and_a_deleted_one_comes_back";
    let Some(_turn) = turn(test) else { return };
    if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
        return millrace_rig::absent::not_run(test, "kubectl", "apt-get install kubernetes-client");
    }
    let before = Left::now();
    let mut kept = Kept::start(KEPT);
    the_console_lets_in(&kept);
    let kubeconfig = kept.word_after("--kubeconfig ");
    let kubectl = |args: &[&str]| {
        let ran = Command::new("kubectl").arg("--kubeconfig").arg(&kubeconfig).args(args).output().unwrap();
        assert!(ran.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let pods = |selector: &str| {
        let listed = kubectl(&["get", "pods", "-A", "--no-headers", "-l", selector]);
        listed.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    let all: Vec<Vec<String>> = pods("app");
    assert_eq!(all.len(), 8, "{all:?}");
    let phase = ["get", "meshcni", "default", "-o", "jsonpath={.status.phase} {.spec.excludeNamespaces}"];
    assert_eq!(kubectl(&phase), r#"Running ["legacy"]"#);
    let agents = kubectl(&["get", "pods", "-n", "millrace-system", "--no-headers"]);
    assert!(agents.starts_with("millrace-agent-kubeadm-") && agents.contains("1/1"), "{agents}");
    for pod in &all {
        let ready = if pod[1].starts_with("visitor") { "1/1" } else { "2/2" };
        assert_eq!((pod[2].as_str(), pod[3].as_str()), (ready, "Running"), "{pod:?}");
    }
    let inits = "jsonpath={.items[*].spec.initContainers[*].name}";
    assert_eq!(kubectl(&["get", "pods", "-l", "app=ratings", "-o", inits]), "istio-validation");
    assert_eq!(kubectl(&["get", "pods", "-n", "legacy", "-o", inits]), "istio-init");

    let earlier: Vec<Vec<String>> = pods("app=ratings");
    kubectl(&["delete", "pod", &earlier[0][1], "--wait=true"]);
    until("another pod is ready in its place", PATIENCE, || {
        let now: Vec<Vec<String>> = pods("app=ratings");
        let ready = now.len() == 1 && now[0][1] != earlier[0][1] && now[0][2] == "2/2";
        ready.then_some(()).ok_or_else(|| format!("{now:?}"))
    });
    kept.signal(Signal::INT);
    assert_eq!(kept.end(), Some(0));
    assert_eq!(Left::now(), before);
}

#[test]
fn an_interrupted_demo_takes_everything_down() {
    let Some(_turn) = turn("an_interrupted_demo_takes_everything_down") else { return };
    let before = Left::now();
    for (when, signal, code) in [
        ("cluster ", Signal::TERM, 2),
        ("chain ", Signal::INT, 2),
        ("apply ", Signal::HUP, 2),
        ("ready ", Signal::HUP, 2),
        ("migrate ", Signal::INT, 2),
        (KEPT, Signal::INT, 0),
    ] {
        let mut demo = Kept::start(when);
        demo.signal(signal);
        assert_eq!(demo.end(), Some(code), "after {when:?}");
        assert_eq!(Left::now(), before, "after {when:?}");
    }
}

#[test]
fn pods_that_nobody_redirects_are_not_verified() {
    let Some(_turn) = turn("pods_that_nobody_redirects_are_not_verified") else { return };
    let before = Left::now();
    // The plugin, kept from knowing that these are pods, passes them all; its probes claim that all is well.
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("blindfolded");
    std::fs::create_dir_all(&directory).unwrap();
    let blindfolded = directory.join("millrace-cni");
    let script = format!("#!/bin/sh\n[ -z \"$CNI_COMMAND\" ] || CNI_ARGS= exec '{}'\n", plugin().display());
    std::fs::write(&blindfolded, script).unwrap();
    std::fs::set_permissions(&blindfolded, Permissions::from_mode(0o755)).unwrap();
    let ran = demo(&["--cni-bin", &blindfolded.to_string_lossy()]).output().unwrap();
    let said = said(&ran);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    // The visitor is one of them: of whom the plugin knew nothing, it told nothing.
    assert_eq!(said.lines().last(), Some("demo: FAILED 8/8 pods"), "{said}");
    assert!(said.contains("UNPROTECTED: 0 rules"), "{said}");
    assert!(said.contains("its program was reached past the proxy by 10.88.7."), "{said}");
    assert_eq!(Left::now(), before);
}

#[test]
fn what_is_missing_is_named() {
    let Some(_turn) = turn("what_is_missing_is_named") else { return };
    let ran = demo(&["--envoy", "/nowhere/envoy", "--cni-bin", "/nowhere/millrace-cni"]).output().unwrap();
    let why = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2));
    assert!(
        why.contains("Envoy (scripts/envoy installs it") && why.contains("millrace-cni (cargo build"),
        "{why}"
    );
}

fn said(ran: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&ran.stderr), String::from_utf8_lossy(&ran.stdout))
}

/// The vendor page's command on a running productpage.
fn listed_by_iptables(netns: &str) -> String {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={netns}")).args(["iptables", "-t", "nat", "-L", "-n", "-v"]);
    let ran = command.args(["--line-numbers", "-x"]).output().expect("nsenter is there");
    // What says that legacy tables exist as well goes to standard error.
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

fn listed_by_us(netns: &str) -> String {
    let ran = Command::new(plugin()).args(["inspect", "--netns", netns]).output();
    String::from_utf8_lossy(&ran.expect("the plugin is there").stdout).into_owned()
}

/// Whoever reads the address that was printed gets in, and nobody else.
fn the_console_lets_in(kept: &Kept) {
    let printed = kept.heard.iter().find_map(|line| line.strip_prefix("console: http://"));
    let (address, path) =
        printed.and_then(|url| url.split_once('/')).expect("the console's address is printed");
    for (path, status) in [(path, 200), ("", 401)] {
        let mut stream = TcpStream::connect(address).expect("the console listens");
        let request = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

/// What a demo could leave on a machine.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    namespaces: Vec<String>,
    processes: Vec<String>,
    links: Vec<String>,
    files: bool,
}

impl Left {
    fn now() -> Left {
        Left {
            namespaces: names("/run/netns")
                .into_iter()
                .filter(|name| name.starts_with("millrace-demo"))
                .collect(),
            processes: names("/proc").iter().filter_map(|pid| process(pid)).collect(),
            links: names("/sys/class/net").into_iter().filter(|name| name.starts_with("millrace")).collect(),
            files: Path::new("/run/millrace-demo").exists(),
        }
    }
}

fn names(directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The command line of a process that names the demo's directory, as all its programs' do. A zombie has none.
fn process(pid: &str) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    (line.contains("/run/millrace-demo/") && !line.contains("cargo")).then_some(line)
}
