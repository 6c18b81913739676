//! Where Millrace's rules differ from the field's, and that they do: one test for each line of `docs/deviations.md`,
//! named after the bug it mends.

use millrace_core::dialect::text;
use millrace_core::rules::plan::{ROUTE_PREFERENCE, plan};
use millrace_core::rules::trace::{Outcome, Owner, Packet, Path, State, trace};
use millrace_core::rules::{Family, Protocol, Route};
use millrace_core::settings::{Dns, Families, Inbound, Interface, Mode, Outbound, Settings};
use std::path::Path as FilePath;

const INBOUND: Outcome = Outcome::Redirected { port: 15006 };
const OUTBOUND: Outcome = Outcome::Redirected { port: 15001 };
const TPROXIED: Outcome = Outcome::Tproxied { port: 15006 };

/// A TCP packet from the pod to a port of its own address.
fn self_call(uid: u32, gid: u32, port: u16) -> Packet {
    Packet {
        path: Path::Sent,
        interface: Interface::lo(),
        protocol: Some(Protocol::Tcp),
        source: "10.1.0.7".parse().expect("an address"),
        destination: "10.1.0.7".parse().expect("an address"),
        source_port: 40000,
        destination_port: port,
        owner: Some(Owner { uid, gid }),
        mark: 0,
        connection_mark: 0,
        state: State::New,
    }
}

/// A TCP packet that came in by `interface`.
fn received(interface: &str, destination: &str, port: u16) -> Packet {
    Packet {
        path: Path::Received,
        interface: name(interface),
        source: "192.0.2.9".parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        owner: None,
        ..self_call(0, 0, port)
    }
}

fn name(interface: &str) -> Interface {
    Interface::new(interface).expect("a name")
}

fn tproxy() -> Settings {
    Settings { mode: Mode::Tproxy, ..Settings::default() }
}

fn check(settings: &Settings, packet: &Packet, outcome: Outcome) {
    let rules = plan(settings, Families::Both).rules;
    assert_eq!(trace(&rules, packet).outcome, outcome, "{packet:?}\n{}", text::write(&rules, Family::V4));
}

#[test]
fn a2_a_pod_with_two_families_gets_rules_for_both() {
    let rules = plan(&Settings::default(), Families::Both).rules;
    assert_eq!(rules.family(Family::V6).len(), rules.family(Family::V4).len());
}

#[test]
fn a3_every_proxy_uid_gets_its_self_calls_captured() {
    let settings = Settings { proxy_uids: vec![1337, 0], ..Settings::default() };
    for uid in [1337, 0] {
        check(&settings, &self_call(uid, 4242, 80), INBOUND);
    }
    check(&settings, &self_call(1000, 1000, 80), Outcome::Direct);
}

#[test]
fn a3_a_proxy_known_by_its_group_gets_its_self_calls_captured() {
    let settings = Settings { proxy_gids: vec![1337, 1338], ..Settings::default() };
    check(&settings, &self_call(0, 1338, 80), INBOUND);
    check(&tproxy(), &self_call(0, 1337, 80), INBOUND);
    check(&tproxy(), &self_call(1000, 1000, 80), Outcome::Direct);
}

#[test]
fn a3_with_borrowed_addresses_the_hop_to_the_application_is_not_captured_again() {
    let settings = tproxy();
    let client = "192.0.2.9".parse().expect("an address");
    let hop = Packet { source: client, mark: settings.tproxy_mark, ..self_call(0, 1337, 80) };
    check(&settings, &hop, Outcome::Direct);
}

#[test]
fn a4_the_tunnel_port_is_left_alone_under_tproxy() {
    check(&tproxy(), &received("eth0", "10.1.0.7", 15008), Outcome::Direct);
    check(&tproxy(), &received("eth0", "10.1.0.7", 80), TPROXIED);
    let listed = Settings { inbound: Inbound::Only(vec![15008.into(), 80.into()]), ..tproxy() };
    check(&listed, &received("eth0", "10.1.0.7", 15008), Outcome::Direct);
}

#[test]
fn a5_a_virtual_machine_is_not_taken_for_a_client_under_tproxy() {
    let settings = Settings { reroute_interfaces: vec![name("tap0")], ..tproxy() };
    check(&settings, &received("tap0", "192.0.2.1", 80), OUTBOUND);
    check(&settings, &received("eth0", "10.1.0.7", 80), TPROXIED);
}

#[test]
fn a6_exclusions_hold_for_virtual_machines_too() {
    let settings = Settings {
        reroute_interfaces: vec![name("tap0")],
        exclude_outbound_ports: vec![6379.into()],
        exclude_outbound_ranges: vec!["10.9.0.0/16".parse().expect("a range")],
        ..Settings::default()
    };
    check(&settings, &received("tap0", "192.0.2.1", 6379), Outcome::Direct);
    check(&settings, &received("tap0", "10.9.1.1", 80), Outcome::Direct);
    check(&settings, &received("tap0", "192.0.2.1", 80), OUTBOUND);
}

#[test]
fn a6_included_ports_hold_for_virtual_machines_too() {
    let settings = Settings {
        reroute_interfaces: vec![name("tap0")],
        outbound: Outbound::Nothing,
        include_outbound_ports: vec![443.into()],
        ..Settings::default()
    };
    check(&settings, &received("tap0", "192.0.2.1", 443), OUTBOUND);
    check(&settings, &received("tap0", "192.0.2.1", 80), Outcome::Direct);
}

#[test]
fn a10_the_routing_rule_is_the_same_each_time() {
    let routes = plan(&tproxy(), Families::V4).routes;
    let rule = Route::Rule { family: Family::V4, mark: 1337, table: 133, preference: ROUTE_PREFERENCE };
    assert_eq!(routes, [rule, Route::LocalDefault { family: Family::V4, table: 133 }]);
}

#[test]
fn a14_a_proxy_known_by_its_group_may_ask_a_resolver_in_the_pod() {
    let settings = Settings { proxy_gids: vec![1337, 1338], dns: Dns::All, ..Settings::default() };
    for settings in [settings, Settings { dns: Dns::All, ..tproxy() }] {
        let gid = settings.proxy_gids[settings.proxy_gids.len() - 1];
        check(&settings, &self_call(0, gid, 53), Outcome::Direct);
        check(&settings, &self_call(0, gid, 80), INBOUND);
    }
}

#[test]
fn a14_an_excluded_port_is_left_alone_within_the_pod_under_tproxy_too() {
    let settings = Settings { exclude_outbound_ports: vec![6379.into()], ..Settings::default() };
    for settings in [settings.clone(), Settings { mode: Mode::Tproxy, ..settings }] {
        check(&settings, &self_call(1337, 1337, 6379), Outcome::Direct);
        check(&settings, &self_call(1337, 1337, 80), INBOUND);
    }
}

#[test]
fn a15_invalid_packets_are_dropped_on_every_interface_in_both_modes() {
    for mode in [Mode::Redirect, Mode::Tproxy] {
        let excluded = vec![name("net1")];
        let settings =
            Settings { mode, drop_invalid: true, exclude_interfaces: excluded, ..Settings::default() };
        for interface in ["eth0", "net1"] {
            let invalid = Packet { state: State::Invalid, ..received(interface, "10.1.0.7", 80) };
            check(&settings, &invalid, Outcome::Dropped);
        }
    }
}

#[test]
fn every_deviation_is_in_the_document_with_its_test() {
    let root = FilePath::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("the file is there");
    let document = read("../../docs/deviations.md");
    let tests = [
        "tests/deviations.rs",
        "tests/tools.rs",
        "src/rules/compare.rs",
        "src/knobs/of_pod.rs",
        "../host/tests/kernel/deviations.rs",
        "../host/tests/kernel/packets.rs",
    ];
    let tests = tests.map(read).concat();
    let names = tests.lines().filter_map(|line| line.trim().strip_prefix("fn a")?.strip_suffix("() {"));
    let names: Vec<String> =
        names.filter(|name| name.starts_with(char::is_numeric)).map(|name| format!("a{name}")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in &names {
        assert!(document.contains(&format!("`{name}`")), "docs/deviations.md does not name {name}");
    }
    let named =
        document.split('`').skip(1).step_by(2).filter(|word| word.starts_with('a') && word.contains('_'));
    for word in named {
        assert!(names.iter().any(|name| name == word), "docs/deviations.md names {word}, which is no test");
    }
    for letter in (1..=25).map(|number| format!("A{number}")) {
        let mut words = document.split(|other: char| !other.is_alphanumeric());
        assert!(words.any(|word| word == letter), "docs/deviations.md says nothing of {letter}");
    }
    let table: Vec<&str> = document.lines().skip_while(|line| !line.starts_with('|')).collect();
    let whole = table.iter().take_while(|line| line.starts_with('|')).count();
    let all = table.iter().filter(|line| line.starts_with('|')).count();
    assert_eq!(whole, all, "a line in the middle of the table ends it");
}
