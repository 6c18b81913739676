//! The built binary redirecting real namespaces: stamped pods without an agent, ADD twice, CHECK, GC, Multus's auxiliary
//! chain, SIGKILL at any moment, many at once.

use crate::call::{Call, Node, previous, text};
use crate::lacks;
use millrace_core::ask::Answer;
use millrace_core::dialect::Backend;
use millrace_core::rules::compare::compare;
use millrace_core::rules::plan::plan;
use millrace_core::rules::{Observed, RuleSet};
use millrace_core::settings::{Families, Settings};
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use millrace_host::backend;
use millrace_host::netns::NetNs;
use millrace_rig::net::Namespace;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

fn stamp() -> String {
    stamp::write(&Stamp::Redirect(Box::default()))
}

fn stamped() -> Value {
    json!({ STAMP_ANNOTATION: stamp() })
}

fn call(node: &Node, verb: &str, pod: &Namespace, config: &Value) -> Call {
    let mut call = node.call(verb, &pod.path(), config);
    call.stdin = text(config, Some(&previous("1.0.0")), Some(&stamped()));
    call
}

fn add(node: &Node, pod: &Namespace) -> Call {
    call(node, "ADD", pod, &node.config("1.0.0"))
}

fn planned(families: Families) -> RuleSet {
    plan(&Settings::default(), families).rules
}

/// What the namespace holds in the default dialect.
fn found(pod: &Namespace) -> Observed {
    let netns = NetNs::open(&pod.path()).expect("the pod lives");
    let found = backend::inspect(&netns).expect("root may look");
    found
        .into_iter()
        .find(|(backend, _)| *backend == Backend::Iptables)
        .map(|(_, rules)| rules)
        .unwrap_or_default()
}

fn check(pod: &Namespace, families: Families) {
    let drift = compare(&planned(families), &found(pod));
    assert!(drift.is_clean(), "{drift}");
}

#[test]
fn a_stamped_pod_is_redirected_while_everything_is_down_and_twice_is_once() {
    if lacks("a_stamped_pod_is_redirected_while_everything_is_down_and_twice_is_once", &[]) {
        return;
    }
    let (node, pod) = (Node::new(), Namespace::new());
    for _ in 0..2 {
        assert_eq!(add(&node, &pod).run().ok(), format!("{}\n", previous("1.0.0")));
        check(&pod, Families::V4);
    }
    assert_eq!(node.records(), ["k8s-pod-network:c0ffee:eth0"]);
    for _ in 0..2 {
        assert_eq!(call(&node, "DEL", &pod, &node.config("1.0.0")).run().ok(), "");
        check(&pod, Families::V4);
    }
    assert_eq!(node.records(), Vec::<String>::new());
}

#[test]
fn the_runtimes_own_namespace_is_redirected_only_when_allowed() {
    if lacks("the_runtimes_own_namespace_is_redirected_only_when_allowed", &[]) {
        return;
    }
    let (node, pod) = (Node::new(), Namespace::new());
    let call = add(&node, &pod).with("CNI_NETNS", "/proc/self/ns/net");
    assert_eq!(pod.within(|| call.run()).error("1.0.0").0, 8);
    assert!(found(&pod).known().is_empty(), "nothing was touched");
    for value in ["1", "true", "TRUE"] {
        let call = call.clone().with("CNI_NETNS_OVERRIDE", value);
        pod.within(|| call.run()).ok();
        check(&pod, Families::V4);
    }
}

#[test]
fn the_agents_redirection_is_applied() {
    if lacks("the_agents_redirection_is_applied", &[]) {
        return;
    }
    let (node, pod) = (Node::new(), Namespace::new());
    let agent = node.agent(Answer::Decided(stamp()));
    let mut call = add(&node, &pod);
    call.stdin = text(&node.config("1.0.0"), Some(&previous("1.0.0")), None);
    call.run().ok();
    agent.join().unwrap();
    check(&pod, Families::V4);
}

#[test]
fn an_ipv6_address_in_the_result_brings_both_families() {
    if lacks("an_ipv6_address_in_the_result_brings_both_families", &[]) {
        return;
    }
    let (node, pod) = (Node::new(), Namespace::new());
    let result = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"},{"address":"fd00::2/64"}]}"#;
    let mut call = add(&node, &pod);
    call.stdin = text(&node.config("1.0.0"), Some(result), Some(&stamped()));
    call.run().ok();
    check(&pod, Families::Both);

    let checked = call.with("CNI_COMMAND", "CHECK");
    assert_eq!(checked.run().ok(), "");
    pod.sh("ip addr del ::6/128 dev lo");
    let (code, message) = checked.run().error("1.0.0");
    assert_eq!(code, 101, "{message}");
    assert!(message.contains("missing: address ::6/128 on lo"), "{message}");
}

/// EKS gives an IPv4 pod a way out by IPv6 and copies the interface, but not its address, into the result.
#[test]
fn ipv6_addresses_that_the_result_keeps_to_itself_bring_both_families() {
    if lacks("ipv6_addresses_that_the_result_keeps_to_itself_bring_both_families", &[]) {
        return;
    }
    let (node, pod) = (Node::new(), Namespace::new());
    pod.sh("ip link add v6if0 type bridge; ip link set v6if0 up; ip addr add fd00::ac:2/128 dev v6if0 nodad");
    add(&node, &pod).run().ok();
    check(&pod, Families::Both);
}

#[test]
fn multus_auxiliary_chain_redirects_by_the_namespaces_own_addresses() {
    if lacks("multus_auxiliary_chain_redirects_by_the_namespaces_own_addresses", &[]) {
        return;
    }
    for (address, families) in [("10.9.0.2/24", Families::V4), ("fd09::2/64", Families::Both)] {
        let (node, pod) = (Node::new(), Namespace::new());
        pod.sh(&format!(
            "ip link add br0 type bridge; ip link set br0 up; ip addr add {address} dev br0 $(case {address} in *:*) echo nodad;; esac)"
        ));
        let agent = node.agent(Answer::Decided(stamp()));
        let mut call = add(&node, &pod).with("CNI_IFNAME", "net1");
        // It sees neither interfaces nor addresses, and Multus hands over no annotations.
        call.stdin = text(&node.config("1.0.0"), Some(r#"{"cniVersion":"1.0.0"}"#), None);
        assert_eq!(call.run().ok(), "{\"cniVersion\":\"1.0.0\"}\n");
        agent.join().unwrap();
        check(&pod, families);
        // The default network's interface was attached too; once more changes nothing.
        let other = add(&node, &pod);
        other.run().ok();
        call.with("CNI_COMMAND", "DEL").run().ok();
        assert_eq!(node.records(), ["k8s-pod-network:c0ffee:eth0"]);
    }
}

#[test]
fn check_sees_what_is_missing_and_nothing_of_others() {
    if lacks(
        "check_sees_what_is_missing_and_nothing_of_others",
        &[("iptables-nft", "apt-get install iptables")],
    ) {
        return;
    }
    let (node, pod) = (Node::new(), Namespace::new());
    let config = node.config("1.0.0");
    let checked = || call(&node, "CHECK", &pod, &config).run();
    assert_eq!(checked().ok(), "", "no record");
    add(&node, &pod).run().ok();
    assert_eq!(checked().ok(), "");
    pod.sh("iptables-nft -t nat -N OTHERS; iptables-nft -t nat -A OUTPUT -p udp -j OTHERS; iptables-nft -t nat -I PREROUTING -p udp -j RETURN");
    assert_eq!(checked().ok(), "", "others' rules");
    pod.sh("iptables-nft -t nat -D ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN");
    let (code, message) = checked().error("1.0.0");
    assert_eq!(code, 101, "{message}");
    for word in ["default/reviews", "ISTIO_OUTPUT", "missing", "restart the pod"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    add(&node, &pod).run().ok();
    assert_eq!(checked().ok(), "", "mended");
    pod.sh("iptables-nft -t nat -F ISTIO_INBOUND");
    assert_eq!(checked().error("1.0.0").0, 101);
    call(&node, "DEL", &pod, &config).run().ok();
    assert_eq!(checked().ok(), "", "deleted");
}

#[test]
fn gc_drops_what_is_unlisted_of_this_network_and_without_a_namespace() {
    if lacks("gc_drops_what_is_unlisted_of_this_network_and_without_a_namespace", &[]) {
        return;
    }
    let node = Node::new();
    let pods: Vec<Namespace> = (0..4).map(|_| Namespace::new()).collect();
    for (number, pod) in pods.iter().enumerate() {
        let mut config = node.config("1.0.0");
        if number == 3 {
            config["name"] = json!("another");
        }
        call(&node, "ADD", pod, &config).with("CNI_CONTAINERID", &format!("c{number}")).run().ok();
    }
    let mut config = node.config("1.1.0");
    let collect = |config: &Value| {
        assert_eq!(node.call("GC", Path::new(""), config).run().ok(), "");
        let mut records = node.records();
        records.sort();
        records
    };
    let all =
        ["another:c3:eth0", "k8s-pod-network:c0:eth0", "k8s-pod-network:c1:eth0", "k8s-pod-network:c2:eth0"];
    assert_eq!(collect(&config), all, "nothing is known");
    config["cni.dev/valid-attachments"] = json!([]);
    assert_eq!(collect(&config), all, "every namespace is there");
    let [first, second, third, fourth]: [Namespace; 4] = pods.try_into().unwrap();
    drop((first, second, fourth));
    config["cni.dev/valid-attachments"] = json!([{ "containerID": "c1", "ifname": "eth0" }]);
    assert_eq!(collect(&config), ["another:c3:eth0", "k8s-pod-network:c1:eth0", "k8s-pod-network:c2:eth0"]);
    drop(third);
}

#[test]
fn sigkill_at_any_moment_leaves_all_or_nothing_and_a_later_add_succeeds() {
    if lacks("sigkill_at_any_moment_leaves_all_or_nothing_and_a_later_add_succeeds", &[]) {
        return;
    }
    let node = Node::new();
    let whole = {
        let pod = Namespace::new();
        let start = Instant::now();
        add(&node, &pod).run().ok();
        start.elapsed()
    };
    const STEPS: u32 = 60;
    for step in 0..=STEPS {
        let pod = Namespace::new();
        let call = add(&node, &pod);
        let mut child = call.spawn();
        let mut stdin = child.stdin.take().unwrap();
        if step > 0 {
            let _ = stdin.write_all(&call.stdin);
            drop(stdin);
        }
        match step {
            // It waits for its configuration: killed now, it can have done nothing.
            0 => {}
            STEPS => assert!(child.wait().unwrap().success()),
            // From before it reads to after it would have ended, by the clock of a run that may have been a slow one.
            _ => spin(whole * step * 2 / STEPS),
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let rules = found(&pod).known();
        let nothing = rules.is_empty();
        let all = compare(&planned(Families::V4), &found(&pod)).is_clean();
        match step {
            0 => assert!(nothing, "{rules:?}"),
            STEPS => assert!(all, "{rules:?}"),
            _ => assert!(nothing || all, "step {step}: {rules:?}"),
        }
        add(&node, &pod).run().ok();
        check(&pod, Families::V4);
    }
    assert!(node.records().iter().all(|name| name == "k8s-pod-network:c0ffee:eth0" || name.starts_with('.')));
}

/// Lets a moment pass without giving the processor away for longer than that.
fn spin(moment: Duration) {
    let start = Instant::now();
    while start.elapsed() < moment {
        std::hint::spin_loop();
    }
}

#[test]
fn sixty_four_at_once_all_succeed() {
    if lacks("sixty_four_at_once_all_succeed", &[]) {
        return;
    }
    let node = Node::new();
    let pods: Vec<Namespace> = (0..64).map(|_| Namespace::new()).collect();
    let children: Vec<_> = pods
        .iter()
        .enumerate()
        .map(|(number, pod)| {
            let call = add(&node, pod).with("CNI_CONTAINERID", &format!("c{number}"));
            let mut child = call.spawn();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(&call.stdin).unwrap();
            child
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    for pod in &pods {
        check(pod, Families::V4);
    }
    assert_eq!(node.records().len(), 64);
}
