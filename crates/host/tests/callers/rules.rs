//! What a pod of these tests should hold and what it holds, as the node's own tools see it.

use millrace_core::dialect::{Backend, text};
use millrace_core::rules::compare::compare;
use millrace_core::rules::{Family, Plan, plan};
use millrace_core::settings::{Families, Settings};
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use millrace_host::backend;
use millrace_host::netns::NetNs;
use millrace_rig::node::{Node, outcome, run, text as text_of};
use serde_json::{Map, Value};

/// The page's command, behind its `nsenter`.
const LISTING: [&str; 8] = ["iptables", "-t", "nat", "-L", "-n", "-v", "--line-numbers", "-x"];

/// What the pods of these tests are stamped with: the defaults with a port of their own, so that nobody's default will do.
pub(crate) fn settings() -> Settings {
    Settings { exclude_outbound_ports: vec![15020.into(), 3306.into()], ..Settings::default() }
}

/// What an injector and our webhook leave on a pod of the mesh.
pub(crate) fn stamped() -> Map<String, Value> {
    let mut annotations = injected();
    annotations
        .insert(STAMP_ANNOTATION.to_owned(), stamp::write(&Stamp::Redirect(Box::new(settings()))).into());
    annotations
}

/// What an injector alone leaves on it.
pub(crate) fn injected() -> Map<String, Value> {
    let status =
        r#"{"initContainers":["istio-validation"],"containers":["istio-proxy"],"revision":"default"}"#;
    Map::from_iter([("sidecar.istio.io/status".to_owned(), status.into())])
}

/// What a kubelet leaves on any pod.
pub(crate) fn unrelated() -> Map<String, Value> {
    Map::from_iter([("kubernetes.io/config.source".to_owned(), "api".into())])
}

/// The namespace at that path of the node holds what is planned for [`settings`], no more and no less.
pub(crate) fn assert_redirected(node: &Node, netns: &str) {
    let planned = planned();
    for (family, save) in [(Family::V4, "iptables-save"), (Family::V6, "ip6tables-save")] {
        let saved = run(inside(node, netns).arg(save));
        let observed = text::read(&saved, family).unwrap_or_else(|why| panic!("{why}:\n{saved}"));
        let drift = compare(&planned.rules.family(family), &observed);
        assert!(drift.findings.is_empty(), "{drift}\n{saved}");
        assert!(observed.foreign_chains.is_empty(), "{saved}");
    }
    assert_addressed(node, netns);
}

/// The same for a pod with users of its own, where xtables' owner match is refused: it is in the nftables dialect.
pub(crate) fn assert_redirected_natively(node: &Node, netns: &str) {
    let seen_from_here = node.file(netns.strip_prefix("/var").unwrap_or(netns));
    let found =
        backend::inspect(&NetNs::open(&seen_from_here).expect("the pod runs")).expect("the kernel tells");
    let [(Backend::Nftables, observed)] = found.as_slice() else { panic!("{found:?}") };
    let drift = compare(&planned().rules, observed);
    assert!(drift.findings.is_empty(), "{drift}");
    let listed = run(inside(node, netns).args(["nft", "list", "ruleset"]));
    assert!(listed.contains("skuid 1337") && listed.contains("redirect to :15006"), "{listed}");
    assert_addressed(node, netns);
}

fn planned() -> Plan {
    plan::plan(&settings(), Families::Both)
}

fn assert_addressed(node: &Node, netns: &str) {
    let addresses = run(inside(node, netns).args(["ip", "-6", "address", "show", "dev", "lo"]));
    assert!(addresses.contains("inet6 ::6/128"), "the proxy's source address is there:\n{addresses}");
}

/// The namespace at that path of the node holds no rule, of anybody.
pub(crate) fn assert_untouched(node: &Node, netns: &str) {
    assert_eq!(run(inside(node, netns).args(["nft", "list", "ruleset"])), "");
}

/// A command in a network namespace of the node.
pub(crate) fn inside(node: &Node, netns: &str) -> std::process::Command {
    let mut command = node.command("nsenter");
    command.arg(format!("--net={netns}"));
    command
}

/// What the page says to do with a container's pid, and our own `inspect` with its id, must print the same.
pub(crate) fn assert_page_agrees(node: &Node, container: &str, pid: &str) {
    // Whoever is not the proxy and calls out is captured; nobody listens there, so it is told so at once.
    let call = "timeout 5 bash -c '</dev/tcp/198.51.100.7/80'";
    let refused = outcome(node.command("nsenter").args(["-t", pid, "-n", "sh", "-c", call]));
    assert!(text_of(&refused.stderr).contains("refused"), "{}", text_of(&refused.stderr));
    let page = run(node.command("nsenter").args(["-t", pid, "-n"]).args(LISTING));
    let counts =
        |line: &str| line.contains("redir ports 15001") && line.split_whitespace().nth(1) != Some("0");
    assert!(page.lines().any(counts), "the call was captured:\n{page}");
    let plugin = format!("{}/millrace-cni", super::chain::BIN);
    let ours = run(node.command(plugin).args(["inspect", container, "-o", "iptables"]));
    assert_eq!(ours.trim_end(), page.trim_end());
}
