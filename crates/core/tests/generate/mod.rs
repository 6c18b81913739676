//! Settings and packets for laws: few values of each kind, so that rules and packets meet often.

#![allow(dead_code, reason = "each test file uses a part of it")]

use ipnet::{IpNet, Ipv4Net};
use millrace_core::rules::trace::{Owner, Packet, Path, State};
use millrace_core::rules::{Family, Protocol};
use millrace_core::settings::{
    Dns, Families, Inbound, Interface, Mode, Outbound, OwnerGroups, PortRange, Profile, Settings,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use std::net::IpAddr;

/// Every law: the same seed for everybody, 10 000 cases, more by `MILLRACE_CASES`.
pub(crate) fn config() -> ProptestConfig {
    let cases = std::env::var("MILLRACE_CASES").ok().and_then(|number| number.parse().ok()).unwrap_or(10_000);
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(1337),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// The pod's own addresses.
pub(crate) const OWN: [&str; 2] = ["10.1.0.7", "fd00:1::7"];
const IDS: [u32; 6] = [0, 1000, 1001, 1337, 1338, u32::MAX];
const PORTS: [u16; 10] = [0, 22, 53, 80, 443, 8080, 15008, 15020, 15053, 65535];
const INTERFACES: [&str; 4] = ["eth0", "net1", "tap0", "lo"];
const ADDRESSES: [[&str; 6]; 2] = [
    ["10.1.0.7", "10.2.3.4", "192.0.2.1", "127.0.0.1", "127.0.0.53", "127.0.0.6"],
    ["fd00:1::7", "fd00:2::1", "2001:db8::1", "::1", "::6", "fd00:2::53"],
];
const RANGES: [&str; 12] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.2.3.4/16",
    "192.0.2.1/32",
    "127.0.0.0/8",
    "10.1.0.7/32",
    "::/0",
    "fd00::/8",
    "fd00:2::1/64",
    "2001:db8::1/128",
    "::1/128",
    "fd00:1::/64",
];

/// Settings of every kind.
pub(crate) fn settings() -> impl Strategy<Value = Settings> {
    let shape =
        (profile(), mode(), select(vec![15001, 16001]), select(vec![15006, 16006]), tunnel(), ids(), ids());
    let inbound = (inbound(), interfaces(), interfaces(), any::<bool>());
    let outbound = (outbound(), vec(range(), 0..3), vec(ports(), 0..3), vec(ports(), 0..3));
    let others =
        (groups(), vec(id(), 0..3), dns(), loopback(), select(vec![1337, 1, 77]), select(vec![133, 100]));
    (shape, inbound, outbound, others).prop_map(|(shape, inbound, outbound, others)| {
        let (profile, mode, outbound_port, inbound_port, tunnel_port, proxy_uids, proxy_gids) = shape;
        let (inbound, exclude_interfaces, reroute_interfaces, drop_invalid) = inbound;
        let (outbound, exclude_outbound_ranges, include_outbound_ports, exclude_outbound_ports) = outbound;
        let (owner_groups, exclude_uids, dns, loopback, tproxy_mark, tproxy_table) = others;
        Settings {
            profile,
            mode,
            outbound_port,
            inbound_port,
            tunnel_port,
            proxy_uids,
            proxy_gids,
            inbound,
            outbound,
            exclude_outbound_ranges,
            include_outbound_ports,
            exclude_outbound_ports,
            exclude_interfaces,
            reroute_interfaces,
            owner_groups,
            exclude_uids,
            dns,
            drop_invalid,
            loopback,
            tproxy_mark,
            tproxy_table,
        }
    })
}

/// Which families a pod has.
pub(crate) fn families() -> impl Strategy<Value = Families> {
    prop_oneof![Just(Families::V4), Just(Families::Both)]
}

/// One family.
pub(crate) fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

/// A packet of that family, sent or received, new or not.
pub(crate) fn packet(family: Family) -> impl Strategy<Value = Packet> {
    let path = prop_oneof![Just(Path::Sent), Just(Path::Received)];
    let protocol = prop_oneof![
        4 => Just(Some(Protocol::Tcp)),
        2 => Just(Some(Protocol::Udp)),
        1 => Just(None),
    ];
    let state = prop_oneof![
        4 => Just(State::New),
        1 => Just(State::Established),
        1 => Just(State::Related),
        1 => Just(State::Invalid),
    ];
    let ends = (address(family), address(family), port(), port());
    let owner = proptest::option::of((id(), id()).prop_map(|(uid, gid)| Owner { uid, gid }));
    (path, interface(), protocol, ends, owner, state).prop_map(
        |(path, interface, protocol, ends, owner, state)| {
            let (source, destination, source_port, destination_port) = ends;
            let owner = owner.filter(|_| path == Path::Sent);
            Packet {
                path,
                interface,
                protocol,
                source,
                destination,
                source_port,
                destination_port,
                owner,
                mark: 0,
                connection_mark: 0,
                state,
            }
        },
    )
}

/// The same packet, sent or received by an interface that is not `lo`.
pub(crate) fn outside(path: Path, packet: Packet) -> Packet {
    let owner = packet.owner.filter(|_| path == Path::Sent);
    let lo = packet.interface == Interface::lo();
    let interface = if lo { Interface::new("eth0").expect("a name") } else { packet.interface };
    Packet { path, interface, owner, ..packet }
}

/// The address that the proxy sends its inbound hop from.
pub(crate) fn proxy_source(family: Family) -> IpAddr {
    address_of(ADDRESSES[index(family)][if family == Family::V4 { 5 } else { 4 }])
}

fn index(family: Family) -> usize {
    usize::from(family == Family::V6)
}

fn address_of(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn profile() -> impl Strategy<Value = Profile> {
    prop_oneof![4 => Just(Profile::Istio), 1 => Just(Profile::Asm114)]
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![2 => Just(Mode::Redirect), 1 => Just(Mode::Tproxy)]
}

fn tunnel() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(15008), 1 => Just(16008)]
}

fn id() -> impl Strategy<Value = u32> {
    select(&IDS[..])
}

fn ids() -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![2 => Just(vec![1337]), 1 => vec(id(), 1..4)]
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![6 => select(&PORTS[..]), 1 => any::<u16>()]
}

fn ports() -> impl Strategy<Value = PortRange> {
    let range = (port(), port()).prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).expect("in order"));
    prop_oneof![4 => port().prop_map(PortRange::from), 1 => range]
}

fn inbound() -> impl Strategy<Value = Inbound> {
    prop_oneof![
        4 => vec(ports(), 0..4).prop_map(Inbound::AllExcept),
        2 => vec(ports(), 1..4).prop_map(Inbound::Only),
        1 => Just(Inbound::Nothing),
    ]
}

fn range() -> impl Strategy<Value = IpNet> {
    select(&RANGES[..]).prop_map(|text| text.parse().expect("a range"))
}

fn outbound() -> impl Strategy<Value = Outbound> {
    prop_oneof![
        4 => Just(Outbound::All),
        2 => vec(range(), 1..4).prop_map(Outbound::Only),
        1 => Just(Outbound::Nothing),
    ]
}

fn interface() -> impl Strategy<Value = Interface> {
    select(&INTERFACES[..]).prop_map(|name| Interface::new(name).expect("a name"))
}

/// Interfaces that somebody may name in settings; `lo` is not one of them.
fn interfaces() -> impl Strategy<Value = Vec<Interface>> {
    let name = select(&INTERFACES[1..3]).prop_map(|name| Interface::new(name).expect("a name"));
    prop_oneof![2 => Just(Vec::new()), 1 => vec(name, 1..3)]
}

fn groups() -> impl Strategy<Value = OwnerGroups> {
    prop_oneof![
        3 => Just(OwnerGroups::AllExcept(Vec::new())),
        1 => vec(id(), 1..3).prop_map(OwnerGroups::AllExcept),
        1 => vec(id(), 0..4).prop_map(OwnerGroups::Only),
    ]
}

fn address(family: Family) -> impl Strategy<Value = IpAddr> {
    select(&ADDRESSES[index(family)][..]).prop_map(address_of)
}

fn dns() -> impl Strategy<Value = Dns> {
    let server = prop_oneof![address(Family::V4), address(Family::V6)];
    prop_oneof![
        2 => Just(Dns::Off),
        1 => Just(Dns::All),
        1 => vec(server, 1..4).prop_map(Dns::Servers),
    ]
}

fn loopback() -> impl Strategy<Value = Ipv4Net> {
    let text = prop_oneof![4 => Just("127.0.0.1/32"), 1 => Just("127.0.0.0/8"), 1 => Just("127.0.0.0/30")];
    text.prop_map(|text| text.parse().expect("a range"))
}
