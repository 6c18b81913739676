//! Real packets against the rules, each way the rules get in: who answers is what the field's table says, what the
//! kernel counts is what `trace` says.

use crate::scene::{APP, BEYOND, INBOUND_SOURCE, LOOPBACK, OTHER, Scene, WEB, Way, pod};
use crate::{agree, runs};
use millrace_core::rules::Protocol;
use millrace_core::rules::trace::{Owner, Packet, Path, State};
use millrace_core::settings::{
    Dns, Families, Inbound, Interface, Mode, Outbound, OwnerGroups, PortRange, Profile, Settings,
};
use millrace_rig::net::lab::{GATEWAY, RESOLVER, SECOND_GATEWAY, WORLD};
use millrace_rig::net::probe::{self, Fate};
use millrace_rig::net::{Namespace, Who};
use std::net::{IpAddr, SocketAddr};

/// The mark of a transparent proxy's packets, by default.
const MARK: u32 = 1337;

/// A packet to send, by family, and who is to answer it.
pub(crate) struct Case {
    says: &'static str,
    from: From,
    to: fn(usize) -> SocketAddr,
    by: &'static str,
}

/// Where a packet comes from.
enum From {
    /// The pod, opened by somebody.
    Pod(Who),
    /// The pod, opened by somebody, from an address.
    PodAt(Who, fn(usize) -> IpAddr),
    /// The world, from an address of its own.
    World(fn(usize) -> IpAddr),
    /// The pod, from an address that is not its own and with the mark of its proxy (TPROXY).
    Borrowed(Who, fn(usize) -> IpAddr),
    /// The pod, by UDP.
    Datagram(Who),
}

const fn case(says: &'static str, from: From, to: fn(usize) -> SocketAddr, by: &'static str) -> Case {
    Case { says, from, to, by }
}

fn web(family: usize) -> SocketAddr {
    SocketAddr::new(WORLD[family], WEB)
}

pub(crate) fn app(family: usize) -> SocketAddr {
    SocketAddr::new(pod(family, false), APP)
}

fn resolver(family: usize) -> SocketAddr {
    SocketAddr::new(RESOLVER[family], 53)
}

/// A resolver that no setting names.
fn unlisted(family: usize) -> SocketAddr {
    SocketAddr::new(WORLD[family], 53)
}

fn gateway(family: usize) -> IpAddr {
    GATEWAY[family]
}

/// What holds whatever the settings.
const ALWAYS: &[Case] = &[
    case("the proxy goes out directly", From::Pod(Who::PROXY), web, "world"),
    case("a socket of the proxy's group is the proxy's", From::Pod(Who::ROOT_PROXY), web, "world"),
    case("the application reaches itself by its address", From::Pod(Who::APP), app, "app"),
    case(
        "the application reaches itself by loopback",
        From::Pod(Who::APP),
        |family| SocketAddr::new(LOOPBACK[family], APP),
        "app",
    ),
    case(
        "the proxy's hop to the application is not captured again",
        From::PodAt(Who::PROXY, |family| INBOUND_SOURCE[family]),
        app,
        "app",
    ),
    case(
        "the tunnel port is never captured",
        From::World(gateway),
        |family| SocketAddr::new(pod(family, false), 15008),
        "tunnel",
    ),
    case("datagrams are never captured", From::Datagram(Who::APP), web, "world"),
];

/// What the defaults add.
const DEFAULT: &[Case] = &[
    case("the application's connections go to the proxy", From::Pod(Who::APP), web, "outbound"),
    case("so do root's", From::Pod(Who::ROOT), web, "outbound"),
    case("what comes in goes to the proxy", From::World(gateway), app, "inbound"),
    case("the proxy's call to its own pod comes in", From::Pod(Who::PROXY), app, "inbound"),
    case(
        "an excluded port comes in directly",
        From::World(gateway),
        |family| SocketAddr::new(pod(family, false), 15020),
        "status",
    ),
    case(
        "an excluded port goes out directly",
        From::Pod(Who::APP),
        |family| SocketAddr::new(WORLD[family], 15020),
        "world",
    ),
];

/// As if there were no rules.
const UNTOUCHED: &[Case] = &[
    case("the application's connections go out directly", From::Pod(Who::APP), web, "world"),
    case("what comes in goes to the application", From::World(gateway), app, "app"),
    case("the proxy's call to its own pod goes to the application", From::Pod(Who::PROXY), app, "app"),
    case("a query goes to the resolver", From::Datagram(Who::APP), resolver, "resolver"),
    case("by TCP too", From::Pod(Who::APP), resolver, "resolver"),
];

/// The cases of a pod whose DNS is captured, and of a family without rules.
pub(crate) fn only_ipv4() -> (&'static [&'static [Case]], &'static [&'static [Case]]) {
    (&[ALWAYS, DEFAULT, DNS], &[UNTOUCHED])
}

const NO_DNS: &[Case] = &[
    case("a query goes to the resolver", From::Datagram(Who::APP), resolver, "resolver"),
    case("by TCP it is a connection like any other", From::Pod(Who::APP), resolver, "outbound"),
];

const DNS: &[Case] = &[
    case("a query goes to the agent", From::Datagram(Who::APP), resolver, "agent"),
    case("by TCP too", From::Pod(Who::APP), resolver, "agent"),
    case("the agent's own query goes to the resolver", From::Datagram(Who::PROXY), resolver, "resolver"),
    case("by TCP too, the agent's own", From::Pod(Who::PROXY), resolver, "resolver"),
];

const ALL_RESOLVERS: &[Case] = &[
    case("a query to whatever resolver goes to the agent", From::Datagram(Who::APP), unlisted, "agent"),
    case("by TCP too", From::Pod(Who::APP), unlisted, "agent"),
];

const LISTED_RESOLVERS: &[Case] = &[
    case("a query to an unlisted resolver reaches it", From::Datagram(Who::APP), unlisted, "elsewhere"),
    case("by TCP it is a connection like any other", From::Pod(Who::APP), unlisted, "outbound"),
];

/// What only a transparent proxy does: its hop to the application with the client's address.
const BORROWED: &[Case] = &[case(
    "the hop with the client's address reaches the application",
    From::Borrowed(Who::ROOT_PROXY, |family| WORLD[family]),
    app,
    "app",
)];

const EXCLUDED: &[Case] = &[
    case("an excluded range is reached directly", From::Pod(Who::APP), resolver, "resolver"),
    case("the rest is not", From::Pod(Who::APP), web, "outbound"),
    case(
        "a port in an excluded range goes out directly",
        From::Pod(Who::APP),
        |family| SocketAddr::new(WORLD[family], OTHER),
        "world",
    ),
    case("a port in an excluded range comes in directly", From::World(gateway), app, "app"),
    case(
        "what goes out by an excluded interface does so directly",
        From::Pod(Who::APP),
        |family| SocketAddr::new(SECOND_GATEWAY[family], WEB),
        "second",
    ),
    case(
        "what comes in by an excluded interface does so directly",
        From::World(|family| SECOND_GATEWAY[family]),
        |family| SocketAddr::new(pod(family, true), 15006 + 14),
        "status",
    ),
];

const LISTED: &[Case] = &[
    case("a listed range goes to the proxy", From::Pod(Who::APP), web, "outbound"),
    case("an address outside it does not", From::Pod(Who::APP), resolver, "resolver"),
    case(
        "a listed port does, whatever its address",
        From::Pod(Who::APP),
        |family| SocketAddr::new(SECOND_GATEWAY[family], WEB),
        "outbound",
    ),
    case("a listed port comes in by the proxy", From::World(gateway), app, "inbound"),
    case(
        "one that is not listed comes in directly",
        From::World(gateway),
        |family| SocketAddr::new(pod(family, false), 15020),
        "status",
    ),
];

const OTHERS: Who = Who { uid: 2000, gid: 2000 };

const OWNERS: &[Case] = &[
    case("an excluded group goes out directly", From::Pod(Who::APP), web, "world"),
    case("an excluded user goes out directly", From::Pod(Who::ROOT), web, "world"),
    case("everybody else does not", From::Pod(OTHERS), web, "outbound"),
    case("an excluded group's queries go to the resolver", From::Datagram(Who::APP), resolver, "resolver"),
    case("everybody else's go to the agent", From::Datagram(OTHERS), resolver, "agent"),
];

const ONE_GROUP: &[Case] = &[
    case("the group goes to the proxy", From::Pod(Who::APP), web, "outbound"),
    case("everybody else goes out directly", From::Pod(OTHERS), web, "world"),
];

const REROUTED: &[Case] = &[
    case(
        "what a virtual machine sends goes to the proxy's way out",
        From::World(|family| SECOND_GATEWAY[family]),
        |family| SocketAddr::new(BEYOND[family], WEB),
        "outbound",
    ),
    case("what comes in elsewhere goes to the proxy's way in", From::World(gateway), app, "inbound"),
];

fn range(first: u16, last: u16) -> PortRange {
    PortRange::new(first, last).expect("a range")
}

fn net(text: &str) -> ipnet::IpNet {
    text.parse().expect("a range")
}

fn net1() -> Interface {
    Interface::new("net1").expect("a name")
}

fn excluded() -> Settings {
    Settings {
        exclude_outbound_ranges: vec![net("192.0.2.53/32"), net("2001:db8:2::53/128")],
        exclude_outbound_ports: vec![range(9000, 9999), 15020.into()],
        inbound: Inbound::AllExcept(vec![range(8000, 8999), 15090.into()]),
        exclude_interfaces: vec![net1()],
        ..Settings::default()
    }
}

fn listed() -> Settings {
    Settings {
        outbound: Outbound::Only(vec![net("192.0.2.0/28"), net("2001:db8:2::/124")]),
        include_outbound_ports: vec![WEB.into()],
        inbound: Inbound::Only(vec![range(8000, 8999)]),
        ..Settings::default()
    }
}

/// Every case, both families, every way; all that went otherwise is told at once.
fn check(name: &str, settings: &Settings, cases: &[&[Case]]) {
    for way in Way::ALL {
        if runs(name, way.programs()) {
            let scene = Scene::new(way, settings);
            let wrong = play(&scene, way, cases);
            assert!(wrong.is_empty(), "{way:?}: {wrong:#?}");
        }
    }
}

fn play(scene: &Scene, way: Way, cases: &[&[Case]]) -> Vec<String> {
    [0, 1].map(|family| play_in(scene, way, family, cases)).concat()
}

/// Every case in one family; what went otherwise.
pub(crate) fn play_in(scene: &Scene, way: Way, family: usize, cases: &[&[Case]]) -> Vec<String> {
    let mut wrong = Vec::new();
    let rules = &scene.plan.rules;
    let mut before = scene.observed(way);
    for case in cases.iter().copied().flatten() {
        let to = (case.to)(family);
        let fate = send(scene, case, family, to);
        // Where a connection was meant to go survives its capture.
        if fate.by() != case.by || fate.meant().is_some_and(|meant| meant != to && case.by != "agent") {
            wrong.push(format!("{}: to {to}, by {} expected: {fate:?}", case.says, case.by));
        }
        let packet = packet(case, family, to);
        let after = scene.observed(way);
        let told = |what| format!("{}: to {to}: {what}", case.says);
        wrong.extend(agree::outcome(rules, &packet, fate.by()).err().map(told));
        wrong.extend(agree::counts(rules, &packet, &before, &after).into_iter().map(told));
        before = after;
    }
    wrong
}

fn send(scene: &Scene, case: &Case, family: usize, to: SocketAddr) -> Fate {
    let lab = &scene.lab;
    match case.from {
        From::Pod(who) => probe::tcp(&lab.pod, who, None, to),
        From::PodAt(who, from) => probe::tcp(&lab.pod, who, Some(from(family)), to),
        From::Borrowed(who, from) => probe::borrowed(&lab.pod, who, from(family), MARK, to),
        From::World(from) => probe::tcp(&lab.world, Who::ROOT, Some(from(family)), to),
        From::Datagram(who) => probe::udp(&lab.pod, who, None, to),
    }
}

/// The first packet of a case, as the pod's netfilter sees it.
fn packet(case: &Case, family: usize, to: SocketAddr) -> Packet {
    let own = |address: IpAddr| {
        address == LOOPBACK[family] || address == pod(family, false) || address == pod(family, true)
    };
    let second = [SECOND_GATEWAY[family], BEYOND[family], pod(family, true)].contains(&to.ip());
    let sent = !matches!(case.from, From::World(_));
    let interface = match (sent && own(to.ip()), second) {
        (true, _) => "lo",
        (false, true) => "net1",
        (false, false) => "eth0",
    };
    let source = match case.from {
        From::PodAt(_, from) | From::Borrowed(_, from) | From::World(from) => from(family),
        _ if own(to.ip()) => to.ip(),
        _ => pod(family, second),
    };
    let owner = match case.from {
        From::Pod(who) | From::PodAt(who, _) | From::Borrowed(who, _) | From::Datagram(who) => {
            Some(Owner { uid: who.uid, gid: who.gid })
        }
        From::World(_) => None,
    };
    Packet {
        path: if sent { Path::Sent } else { Path::Received },
        interface: Interface::new(interface).expect("a name"),
        protocol: Some(if matches!(case.from, From::Datagram(_)) { Protocol::Udp } else { Protocol::Tcp }),
        source,
        destination: to.ip(),
        // None of the rules' ports: the kernel takes one above 32768.
        source_port: 40_000,
        destination_port: to.port(),
        owner,
        mark: if matches!(case.from, From::Borrowed(..)) { MARK } else { 0 },
        connection_mark: 0,
        state: State::New,
    }
}

#[test]
fn packets_meet_the_default_rules() {
    check("packets_meet_the_default_rules", &Settings::default(), &[ALWAYS, DEFAULT, NO_DNS]);
}

#[test]
fn packets_meet_dns_capture() {
    let settings = Settings { dns: Dns::All, ..Settings::default() };
    check("packets_meet_dns_capture", &settings, &[ALWAYS, DEFAULT, DNS, ALL_RESOLVERS]);
    let servers = RESOLVER.to_vec();
    let settings = Settings { dns: Dns::Servers(servers), ..Settings::default() };
    check("packets_meet_dns_capture", &settings, &[ALWAYS, DEFAULT, DNS, LISTED_RESOLVERS]);
}

#[test]
fn packets_meet_tproxy() {
    let settings = Settings { mode: Mode::Tproxy, ..Settings::default() };
    check("packets_meet_tproxy", &settings, &[ALWAYS, DEFAULT, NO_DNS, BORROWED]);
}

#[test]
fn packets_meet_lists_under_tproxy() {
    let settings = Settings { mode: Mode::Tproxy, ..listed() };
    check("packets_meet_lists_under_tproxy", &settings, &[ALWAYS, LISTED, BORROWED]);
}

#[test]
fn packets_meet_a_virtual_machines_interface_under_tproxy() {
    let settings = Settings { mode: Mode::Tproxy, reroute_interfaces: vec![net1()], ..Settings::default() };
    let cases = [ALWAYS, DEFAULT, REROUTED, BORROWED];
    check("packets_meet_a_virtual_machines_interface_under_tproxy", &settings, &cases);
}

#[test]
fn packets_meet_exclusions() {
    check("packets_meet_exclusions", &excluded(), &[ALWAYS, EXCLUDED]);
}

#[test]
fn packets_meet_lists() {
    check("packets_meet_lists", &listed(), &[ALWAYS, LISTED]);
}

#[test]
fn packets_that_are_not_invalid_meet_the_same_rules_where_those_are_dropped() {
    let settings = Settings { drop_invalid: true, ..Settings::default() };
    let name = "packets_that_are_not_invalid_meet_the_same_rules_where_those_are_dropped";
    check(name, &settings, &[ALWAYS, DEFAULT, NO_DNS]);
}

#[test]
fn packets_meet_owners() {
    let settings = Settings {
        owner_groups: OwnerGroups::AllExcept(vec![Who::APP.gid]),
        exclude_uids: vec![Who::ROOT.uid],
        dns: Dns::All,
        ..Settings::default()
    };
    check("packets_meet_owners", &settings, &[ALWAYS, OWNERS]);
    let settings = Settings { owner_groups: OwnerGroups::Only(vec![Who::APP.gid]), ..Settings::default() };
    check("packets_meet_owners", &settings, &[ALWAYS, ONE_GROUP]);
}

#[test]
fn packets_meet_a_virtual_machines_interface() {
    let settings = Settings { reroute_interfaces: vec![net1()], ..Settings::default() };
    check("packets_meet_a_virtual_machines_interface", &settings, &[ALWAYS, DEFAULT, REROUTED]);
}

#[test]
fn packets_meet_the_vendors_listing() {
    let settings = Settings { profile: Profile::Asm114, ..Settings::default() };
    check("packets_meet_the_vendors_listing", &settings, &[ALWAYS, DEFAULT, NO_DNS]);
}

/// A pod with `hostUsers: false`: xtables' owner match is refused there.
#[test]
fn a22_packets_meet_rules_in_a_namespace_of_another_user_namespace() {
    let name = "a22_packets_meet_rules_in_a_namespace_of_another_user_namespace";
    if !runs(name, &[]) {
        return;
    }
    let settings = Settings { dns: Dns::All, ..Settings::default() };
    let scene = Scene::around(Namespace::shifted(), Way::Nftables, &settings, Families::Both);
    let wrong = play(&scene, Way::Nftables, &[ALWAYS, DEFAULT, DNS]);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
