//! The built binary in namespaces that it, or an earlier release of it, has redirected before.

use crate::call::{Call, Node, Said, text};
use crate::lacks;
use millrace_core::rules::RuleSet;
use millrace_core::rules::plan::plan;
use millrace_core::settings::{Families, Interface, Mode, Settings};
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use millrace_host::backend;
use millrace_host::netns::NetNs;
use millrace_rig::net::Namespace;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

const TOOLS: [(&str, &str); 2] =
    [("nft", "apt-get install nftables"), ("iptables-nft", "apt-get install iptables")];

/// ADD for a pod with both families or one, by that backend.
fn add(node: &Node, pod: &Namespace, backend: &str, settings: &Settings, families: Families) -> Call {
    let mut config = node.config("1.0.0");
    config["backend"] = json!(backend);
    let mut call = node.call("ADD", &pod.path(), &config);
    let stamp = stamp::write(&Stamp::Redirect(Box::new(settings.clone())));
    let address = if families == Families::Both { "fd00::2/64" } else { "10.0.0.2/24" };
    let result = format!(r#"{{"cniVersion":"1.0.0","ips":[{{"address":"{address}"}}]}}"#);
    call.stdin = text(&config, Some(&result), Some(&json!({ STAMP_ANNOTATION: stamp })));
    call
}

/// As unlike the default as can be, with rules at hooks and with routes.
fn other() -> Settings {
    Settings {
        mode: Mode::Tproxy,
        drop_invalid: true,
        exclude_interfaces: vec![Interface::new("net1").expect("a name")],
        ..Settings::default()
    }
}

/// What each backend finds, others' rules included.
fn found(pod: &Namespace) -> Vec<RuleSet> {
    let found = backend::inspect(&NetNs::open(&pod.path()).expect("the pod lives")).expect("root may look");
    let known = found.iter().map(|(_, observed)| observed.known());
    known.filter(|rules| !rules.is_empty()).collect()
}

/// Rules at hooks that only the first plan has would decide before the second's.
#[test]
fn a_second_add_leaves_nothing_of_the_first_whatever_has_changed() {
    if lacks("a_second_add_leaves_nothing_of_the_first_whatever_has_changed", &TOOLS) {
        return;
    }
    for (before, after) in [
        ("iptables", "iptables"),
        ("iptables", "nftables"),
        ("nftables", "iptables"),
        ("nftables", "nftables"),
        ("iptables-text", "nftables"),
        ("nftables", "iptables-text"),
        ("iptables-text", "iptables-text"),
    ] {
        let (node, pod) = (Node::new(), Namespace::new());
        let run = |backend: &str, settings: &Settings, families: Families| {
            let said = add(&node, &pod, backend, settings, families).run();
            assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{before} {after}: {said:?}");
        };
        run(before, &other(), Families::Both);
        assert!(pod.sh("ip rule; ip -6 rule").contains("lookup 133"));
        run(after, &Settings::default(), Families::V4);
        assert_eq!(found(&pod), [plan(&Settings::default(), Families::V4).rules], "{before} {after}");
        let routing = pod.sh("ip rule; ip -6 rule; ip route show table all; ip addr show dev lo");
        assert!(!routing.contains("133") && !routing.contains("::6/128"), "{before} {after}: {routing}");
    }
}

/// A pod outlives the release that redirected it, and the next one may plan otherwise.
#[test]
fn check_does_not_measure_another_releases_rules_by_todays_plan() {
    if lacks("check_does_not_measure_another_releases_rules_by_todays_plan", &TOOLS) {
        return;
    }
    let (node, pod) = (Node::new(), Namespace::new());
    let call = add(&node, &pod, "iptables", &Settings::default(), Families::V4);
    call.run().ok();
    let check = call.with("CNI_COMMAND", "CHECK");
    pod.sh("iptables-nft -t nat -D ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN");
    assert_eq!(check.run().error("1.0.0").0, 101);
    let path = node.path("attachments").join("k8s-pod-network:c0ffee:eth0");
    let record = std::fs::read_to_string(&path).expect("ADD keeps a record");
    let mut record: Value = serde_json::from_str(&record).expect("a record is JSON");
    record["release"] = json!("0.0.1");
    std::fs::write(&path, record.to_string()).expect("a record can be written");
    let said = check.run();
    assert!(said.status == Some(0) && said.stderr.contains("release 0.0.1 planned them"), "{said:?}");
    pod.sh("nft delete table ip nat");
    assert_eq!(check.run().error("1.0.0").0, 101, "nothing at all is no other plan");
}

/// The binary where the iptables family of programs is not: on a mount of its own, /usr/sbin is empty.
fn without_programs(env: &[(String, String)], words: &[&str], input: &[u8]) -> Said {
    let script = r#"PATH=/usr/bin:/bin; mount -t tmpfs none /usr/sbin && exec "$0" "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_millrace-cni")]).args(words);
    command.env_clear().env("PATH", "/usr/bin:/bin").envs(env.iter().map(|(key, value)| (key, value)));
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("unshare(1) runs");
    child.stdin.take().expect("a pipe").write_all(input).expect("it reads its input, or fits the pipe");
    child.wait_with_output().expect("it ends").into()
}

/// Legacy tables are there, as after any `iptables-legacy -L`, but the program that shows them is not (M8).
#[test]
fn tables_of_a_program_that_is_gone_hide_nothing_and_fail_nothing() {
    let name = "tables_of_a_program_that_is_gone_hide_nothing_and_fail_nothing";
    if lacks(name, &[TOOLS[0], TOOLS[1], ("iptables-legacy", "apt-get install iptables")]) {
        return;
    }
    let (node, pod) = (Node::new(), Namespace::new());
    let call = add(&node, &pod, "iptables", &Settings::default(), Families::V4);
    call.run().ok();
    pod.sh("iptables-legacy -t nat -L >/dev/null");
    let check = call.with("CNI_COMMAND", "CHECK");
    let checked = without_programs(&check.env, &[], &check.stdin);
    assert_eq!((checked.status, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");

    let shown = without_programs(&[], &["inspect", "--pid", &pod.pid().to_string()], b"");
    assert!(shown.status == Some(0) && shown.stdout.contains("ISTIO_OUTPUT"), "{shown:?}");
    assert!(
        shown.stderr.contains("not shown: ") && shown.stderr.contains("iptables-legacy-save"),
        "{shown:?}"
    );

    let cleared = pod.within(|| without_programs(&[], &["init", "--cleanup-only"], b""));
    assert!(cleared.status == Some(0) && cleared.stderr.contains("iptables-legacy-save"), "{cleared:?}");
    assert_eq!(found(&pod), []);
}
