//! The agent without a single capability: root's files are enough for all it does but the audit, its node's report included.
//!
//! So it is also taken off the node again. Only the runtime, which is not ours, keeps its privileges.

use crate::node::{LIST, Node, publish, rules};
use crate::pod::{Kind, Pod};
use crate::{ACCOUNT, credentials, scene};
use millrace_rig::apiserver::Apiserver;
use millrace_rig::net::Namespace;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

#[test]
fn an_agent_without_capabilities_does_all_but_audit_and_leaves_without_a_trace() {
    let Some(api) = scene("an_agent_without_capabilities_does_all_but_audit_and_leaves_without_a_trace")
    else {
        return;
    };
    let mut node = Node::new("zero", &credentials(&api), "60s").without_capabilities();
    let before = files(node.folder());
    let mut pods = vec![Pod::new(Kind::UnstampedUnknown, "zero")];
    publish(&api, &mut pods, "node1");
    may_report(&api);

    node.start_agent();
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.agent())).expect("the agent runs");
    for none in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(status.contains(&format!("\n{none}:\t0000000000000000\n")), "{none}:\n{status}");
    }
    assert!(status.contains("\nUid:\t0\t0\t0\t0\n") && status.contains("\nNoNewPrivs:\t1\n"), "{status}");

    let (runtime, namespace) = (node.runtime(), Namespace::new());
    let started = runtime.call("ADD", &pods[0], 0, &namespace);
    assert!(started.code == 0 && started.redirected, "{started:?}\n{}", node.logs());

    // Somebody who knows nothing of us.
    let list = node.folder().join("net.d/10-test.conflist");
    std::fs::write(&list, LIST).expect("it is ours");
    node.until_listed("our entry is back", |text| text.contains("millrace-cni"));
    node.until("the agent is ready again", |node| node.is_ready(node.agent()));
    node.until("the call is recorded", |node| {
        node.millrace(&["why", "mesh/zero"], &[("--flight-dir", "data"), ("--state-dir", "nowhere")]).0
    });

    let asked = ["get", "meshcninode", "node1", "-o", "jsonpath={.status.serving} {.status.chain.file}"];
    node.until("the node is reported", |_| api.kubectl(&asked, "").stdout == b"true 10-test.conflist");

    let serving = files(node.folder());
    node.end_agent(Signal::TERM);
    let left = files(node.folder());
    assert!(
        serving == left && left != before,
        "the end of an agent is not its uninstallation: {:?}",
        left.keys()
    );
    assert!(rules(&namespace) > 0, "the pod stays redirected");

    let gone = runtime.call("DEL", &pods[0], 0, &namespace);
    assert_eq!(gone.code, 0, "{gone:?}");
    std::fs::create_dir(node.folder().join("results")).expect("it is ours");
    let places = [
        ("--conf-dir", "net.d"),
        ("--bin-dir", "bin"),
        ("--state-dir", "run"),
        ("--data-dir", "data"),
        ("--results-dir", "results"),
    ];
    let (clean, proof) = node.millrace(&["agent", "uninstall", "--reload-wait", "0"], &places);
    assert!(clean && proof.ends_with("this node is clean\n"), "{proof}");
    assert!(
        files(node.folder()) == before,
        "not every byte is back: {:?}\n{proof}",
        files(node.folder()).keys()
    );
}

/// The definitions are there, and the agent's account may write its node's report.
fn may_report(api: &Apiserver) {
    let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crd.yaml");
    api.done(&["apply", "--validate=false", "-f", definitions], "");
    api.done(&["wait", "--for=condition=Established", "--timeout=120s", "-f", definitions], "");
    api.done(
        &["create", "-f", "-"],
        r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}}"#,
    );
    let reports = "--resource=meshcninodes.millrace.dev,meshcninodes.millrace.dev/status";
    api.done(&["create", "clusterrole", "report", "--verb=create,patch", reports], "");
    let account = format!("--serviceaccount=default:{ACCOUNT}");
    api.done(&["create", "clusterrolebinding", "report", "--clusterrole=report", &account], "");
    api.allow(&format!("system:serviceaccount:default:{ACCOUNT}"), "get", "nodes");
}

type Files = BTreeMap<String, (u32, u32, Vec<u8>)>;

/// What the runtime reads: the lists and the plugins, with modes and owners.
fn files(node: &Path) -> Files {
    let mut found = Files::new();
    for part in ["net.d", "bin"] {
        for entry in std::fs::read_dir(node.join(part)).expect("it is there").flatten() {
            let file = entry.metadata().expect("nobody else is here");
            let bytes = std::fs::read(entry.path()).expect("it is a file");
            let name = format!("{part}/{}", entry.file_name().to_string_lossy());
            found.insert(name, (file.permissions().mode(), file.uid(), bytes));
        }
    }
    found
}
