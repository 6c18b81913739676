//! libcni's own cnitool: the caller of CHECK, GC and STATUS, with a list of version 1.1.0.

use super::chain::{self, calls};
use super::parts;
use super::rules::{assert_redirected, assert_untouched, inside, stamped};
use millrace_core::cni::entry::ANNOTATIONS;
use millrace_rig::node::{Node, outcome, run, text};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[test]
fn cnitool_calls_every_verb() {
    let Some((node, cnitool)) = start("cnitool_calls_every_verb") else { return };
    cnitool.run(&node, "status", "one", &stamped());
    let result = cnitool.run(&node, "add", "one", &stamped());
    assert_redirected(&node, "/run/netns/one");
    let given =
        &calls(&node, None).into_iter().find(|call| call.verb == "ADD").expect("the pod was added").config;
    let result: Value = serde_json::from_str(&result).expect("cnitool prints the result");
    assert_eq!(result, given["prevResult"], "the result was changed");

    cnitool.run(&node, "check", "one", &stamped());
    // A rule of others is no reason to fail; one of ours that is missing is.
    run(inside(&node, "/run/netns/one").args("iptables -t nat -A POSTROUTING -j ACCEPT".split(' ')));
    cnitool.run(&node, "check", "one", &stamped());
    run(inside(&node, "/run/netns/one").args(["iptables", "-t", "nat", "-F", "ISTIO_OUTPUT"]));
    let output = outcome(&mut cnitool.command(&node, "check", "one", &stamped()));
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(
        !output.status.success() && said.contains("ISTIO_OUTPUT"),
        "CHECK finds the chain emptied: {said}"
    );

    cnitool.run(&node, "del", "one", &stamped());
    cnitool.run(&node, "del", "one", &stamped());
    assert_eq!(records(&node), 0);
}

/// cnitool names no valid attachment: libcni deletes each it remembers, then calls GC.
#[test]
fn cnitool_collects_garbage() {
    let Some((node, cnitool)) = start("cnitool_collects_garbage") else { return };
    run(node.command("ip").args(["netns", "add", "two"]));
    cnitool.run(&node, "add", "one", &stamped());
    cnitool.run(&node, "add", "two", &Map::new());
    assert_untouched(&node, "/run/netns/two");
    cnitool.run(&node, "check", "two", &Map::new());
    assert!(records(&node) > 0);
    cnitool.run(&node, "gc", "one", &stamped());
    assert_eq!(records(&node), 0);
    let seen = |verb: &str| {
        calls(&node, None).iter().filter(|call| call.verb == verb && call.place == "behind").count()
    };
    assert_eq!((seen("DEL"), seen("GC")), (2, 1));
}

/// A node that starts again starts all of its pods at once.
#[test]
fn sixty_four_pods_at_once() {
    const PODS: usize = 64;
    let Some((node, cnitool)) = start("sixty_four_pods_at_once") else { return };
    let names: Vec<_> = (0..PODS).map(|number| format!("pod{number}")).collect();
    let batch: String = names.iter().map(|name| format!("netns add {name}\n")).collect();
    node.write("/run/batch", batch);
    run(node.command("ip").args(["-batch", "/run/batch"]));
    let start = |name: &String| {
        let mut command = cnitool.command(&node, "add", name, &stamped());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("util-linux has nsenter")
    };
    let running: Vec<_> = names.iter().map(start).collect();
    for child in running {
        let output = child.wait_with_output().expect("a child can be waited for");
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }
    assert_eq!(records(&node), PODS);
    names.iter().for_each(|name| assert_redirected(&node, &format!("/run/netns/{name}")));
}

struct Cnitool {
    path: PathBuf,
}

/// A node with a namespace `one`, and cnitool.
fn start(test: &'static str) -> Option<(Node, Cnitool)> {
    let mut parts = parts::of(test);
    let path = parts.cnitool();
    let plugins = parts.newer_plugins();
    if !parts.complete() {
        return None;
    }
    let node = Node::start();
    chain::lay(&node, "1.1.0", &plugins);
    run(node.command("ip").args(["netns", "add", "one"]));
    Some((node, Cnitool { path }))
}

impl Cnitool {
    fn command(&self, node: &Node, verb: &str, name: &str, annotations: &Map<String, Value>) -> Command {
        let mut command = node.command(&self.path);
        command.args([verb, chain::NETWORK, &format!("/run/netns/{name}")]);
        command.env("CNI_PATH", chain::BIN).env("NETCONFPATH", chain::LISTS);
        command.env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=bookinfo;K8S_POD_NAME={name}"));
        command.env("CAP_ARGS", json!({ANNOTATIONS: annotations}).to_string());
        command
    }

    fn run(&self, node: &Node, verb: &str, name: &str, annotations: &Map<String, Value>) -> String {
        run(&mut self.command(node, verb, name, annotations))
    }
}

/// cnitool makes up container ids, which all begin so.
fn records(node: &Node) -> usize {
    chain::records(node, "cnitool-").len()
}
