//! `millrace verify` and `millrace trace` on live network namespaces, by the built program.

use millrace_core::dialect::{Backend, Choice};
use millrace_core::knobs;
use millrace_core::record::{Key, Record};
use millrace_core::rules::plan::plan;
use millrace_core::settings::{Families, Settings};
use millrace_core::stamp::{self, Stamp};
use millrace_host::backend;
use millrace_host::netns::NetNs;
use millrace_host::records::Records;
use millrace_rig::absent;
use millrace_rig::net::lab::{Lab, WORLD};
use millrace_rig::net::{self, Namespace};
use std::process::Command;

/// Whether the test `name` can run here; says why not otherwise.
fn runs(name: &str, programs: &[(&str, &str)]) -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    match net::missing(&[&net::NEEDS, programs].concat()) {
        Some((what, how)) => absent::not_run(name, what, how),
        None if !root => absent::not_run(name, "root", "sudo make test"),
        None => return true,
    }
    false
}

fn redirect(pod: &Namespace, settings: &Settings, choice: Choice) -> Backend {
    let netns = NetNs::open(&pod.path()).expect("the pod lives");
    backend::apply(&netns, &plan(settings, Families::Both), choice, None).expect("the kernel takes the rules")
}

/// Runs a command on the pod; its exit status and what it printed.
fn millrace(pod: &Namespace, command: &str, args: &str) -> (i32, String) {
    let pid = pod.pid().to_string();
    let mut millrace = Command::new(env!("CARGO_BIN_EXE_millrace"));
    let output = millrace.args([command, "--pid", &pid]).args(args.split_whitespace()).output();
    let output = output.expect("millrace runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = text(&output.stdout) + &text(&output.stderr);
    (output.status.code().expect("millrace ends by itself"), text)
}

#[test]
fn a_redirected_pod_is_verified_by_probes_of_both_families() {
    if !runs("a_redirected_pod_is_verified_by_probes_of_both_families", &[]) {
        return;
    }
    for backend in [Backend::Iptables, Backend::Nftables, Backend::Text] {
        let lab = Lab::new();
        redirect(&lab.pod, &Settings::default(), Choice::Only(backend));
        let (status, text) = millrace(&lab.pod, "verify", "--set profile=istio");
        assert_eq!(status, 0, "{text}");
        assert!(text.contains("none missing, none foreign") && text.ends_with("VERIFIED\n"), "{text}");
        for probe in ["outbound IPv4", "inbound IPv4", "outbound IPv6", "inbound IPv6"] {
            assert!(text.contains(&format!("probe     ✓ {probe}: ")), "{text}");
        }
        // The counters now hold the probes of the first run, and nobody else's; nftables counts the families together.
        let (_, again) = millrace(&lab.pod, "verify", "--set profile=istio --no-probes");
        let counted = match backend {
            Backend::Nftables => {
                "IPv4 and IPv6 ISTIO_REDIRECT: 2 connections to port 15001 before the probes"
            }
            _ => "IPv6 ISTIO_IN_REDIRECT: 1 connections to port 15006 before the probes",
        };
        assert!(again.contains(counted), "{again}");
    }
}

#[test]
fn a_pod_with_its_own_users_is_verified_as_its_own_users() {
    if !runs("a_pod_with_its_own_users_is_verified_as_its_own_users", &[]) {
        return;
    }
    let lab = Lab::around(Namespace::shifted());
    assert_eq!(redirect(&lab.pod, &Settings::default(), Choice::Auto), Backend::Nftables);
    let (status, text) = millrace(&lab.pod, "verify", "--set profile=istio");
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("✓ inbound IPv6: user 1337"), "{text}");
}

#[test]
fn probes_are_found_for_settings_of_every_kind() {
    if !runs("probes_are_found_for_settings_of_every_kind", &[]) {
        return;
    }
    for set in [
        "--set mode=TPROXY --set dropInvalid=true",
        "--set dnsCapture=all",
        "--set includeOutboundIPRanges=10.0.0.0/8,fd00::/8",
        "--set includeOutboundIPRanges= --set includeOutboundPorts=7000",
        "--set includeOwnerGroups=4000,4001 --set excludeOutboundUIDs=65534",
        "--set excludeOutboundPorts=80,443 --set proxyUIDs=1337,1338 --set excludeInterfaces=net1",
    ] {
        let lab = Lab::new();
        let items = set.split("--set ").filter_map(|item| item.trim().split_once('='));
        let (settings, complaints) = knobs::read(items);
        assert_eq!(complaints, []);
        redirect(&lab.pod, &settings, Choice::Auto);
        let (status, text) = millrace(&lab.pod, "verify", set);
        assert_eq!(status, 0, "{set}: {text}");
        assert_eq!(text.matches("probe     ✓").count(), 4, "{set}: {text}");
    }
}

#[test]
fn what_is_not_as_planned_is_named() {
    if !runs("what_is_not_as_planned_is_named", &[]) {
        return;
    }
    let lab = Lab::new();
    let (status, text) = millrace(&lab.pod, "verify", "--set profile=istio");
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("none holds rules of ours") && text.contains("the chain is missing"), "{text}");
    assert!(text.ends_with("NOT VERIFIED\n"), "{text}");
    redirect(&lab.pod, &Settings::default(), Choice::Only(Backend::Iptables));
    let (status, text) = millrace(&lab.pod, "verify", "--set excludeOutboundPorts=15020,3306");
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("missing, planned as rule 3: tcp, to port 3306: return"), "{text}");
    let (status, text) = millrace(&lab.pod, "verify", "--state-dir=/nonexistent");
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("say the settings by -f, --set or -- ARGUMENTS"), "{text}");
}

#[test]
fn rules_that_see_no_traffic_are_not_enough() {
    if !runs("rules_that_see_no_traffic_are_not_enough", &[("nft", "apt-get install nftables")]) {
        return;
    }
    let lab = Lab::new();
    redirect(&lab.pod, &Settings::default(), Choice::Only(Backend::Iptables));
    // Somebody else's table, before ours: every rule of ours is as planned, and nothing reaches them.
    lab.pod.sh("nft 'table inet other { chain early { type filter hook output priority -300; tcp dport 80 drop; }; }'");
    let (status, text) = millrace(&lab.pod, "verify", "--set profile=istio");
    assert!(status == 1 && text.contains("none missing, none foreign"), "{text}");
    assert!(text.contains("✗ outbound IPv4") && text.contains("✓ inbound IPv4"), "{text}");
}

#[test]
fn a_packet_is_followed_through_live_rules() {
    if !runs("a_packet_is_followed_through_live_rules", &[]) {
        return;
    }
    let lab = Lab::new();
    let to = format!("--to {}:80", WORLD[0]);
    let (status, text) = millrace(&lab.pod, "trace", &to);
    assert!(status == 2 && text.contains("has no rules at all"), "{text}");
    redirect(&lab.pod, &Settings::default(), Choice::Only(Backend::Iptables));
    let (status, text) = millrace(&lab.pod, "trace", &to);
    assert!(status == 0 && text.ends_with("outcome: redirected to port 15001\n"), "{text}");
}

#[test]
fn the_record_of_the_attachment_says_what_is_to_be_verified() {
    if !runs("the_record_of_the_attachment_says_what_is_to_be_verified", &[]) {
        return;
    }
    let lab = Lab::new();
    let settings = Settings { outbound_port: 16001, ..Settings::default() };
    let backend = redirect(&lab.pod, &settings, Choice::Auto);
    let state = std::env::temp_dir().join(format!("millrace-verify-{}", std::process::id()));
    std::fs::create_dir_all(&state).expect("a folder");
    let record = Record {
        key: Key { network: "n".to_owned(), container: "c".to_owned(), interface: "eth0".to_owned() },
        netns: lab.pod.path().to_str().expect("a plain path").to_owned(),
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        uid: None,
        stamp: stamp::write(&Stamp::Redirect(Box::new(settings))),
        families: Families::Both,
        backend,
        release: None,
    };
    Records::below(&state).keep(&record).expect("the record is kept");
    let (status, text) = millrace(&lab.pod, "verify", &format!("--state-dir {} -o json", state.display()));
    std::fs::remove_dir_all(&state).expect("the folder goes");
    assert_eq!(status, 0, "{text}");
    let report: serde_json::Value = serde_json::from_str(&text).expect("one JSON document");
    assert_eq!(report["settingsFrom"], "the record of shop/web, eth0");
    assert_eq!(report["verified"], true);
    assert_eq!(report["traffic"][0]["port"], 16001);
    let probes = report["probes"].as_array().expect("a list");
    assert!(probes.len() == 4 && probes.iter().all(|probe| probe["seen"] == true), "{text}");
}
