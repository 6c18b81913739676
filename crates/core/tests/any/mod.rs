//! Any settings that knobs could have read, and any rules that the vocabulary can say, for laws.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use millrace_core::rules::{
    Chain, ConnectionState, Family, Match, Place, Protocol, Rule, RuleSet, Table, Verdict,
};
use millrace_core::settings::{
    Dns, Families, Inbound, Interface, Mode, Outbound, OwnerGroups, PortRange, Profile, Settings,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The configuration of every law: the same seed for everybody, 10 000 cases, more by `MILLRACE_CASES`.
pub fn law() -> ProptestConfig {
    let cases = std::env::var("MILLRACE_CASES").ok().and_then(|number| number.parse().ok()).unwrap_or(10_000);
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(1337),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

pub fn families() -> impl Strategy<Value = Families> {
    prop_oneof![Just(Families::V4), Just(Families::Both)]
}

pub fn port() -> impl Strategy<Value = u16> {
    prop_oneof![1u16..100, Just(15020), Just(15053), 1u16..]
}

pub fn ports() -> impl Strategy<Value = PortRange> {
    let range = (any::<u16>(), any::<u16>())
        .prop_map(|(one, other)| PortRange::new(one.min(other), one.max(other)).expect("in order"));
    prop_oneof![4 => port().prop_map(PortRange::from), 1 => range]
}

pub fn net() -> impl Strategy<Value = IpNet> {
    prop_oneof![net_of(Family::V4), net_of(Family::V6)]
}

/// A range of at least one bit: one of none is no condition.
pub fn net_of(family: Family) -> BoxedStrategy<IpNet> {
    match family {
        Family::V4 => (any::<[u8; 4]>(), 1u8..=32)
            .prop_map(|(bytes, prefix)| Ipv4Net::new_assert(Ipv4Addr::from(bytes), prefix).trunc().into())
            .boxed(),
        Family::V6 => (any::<[u8; 16]>(), 1u8..=128)
            .prop_map(|(bytes, prefix)| Ipv6Net::new_assert(Ipv6Addr::from(bytes), prefix).trunc().into())
            .boxed(),
    }
}

pub fn interface() -> impl Strategy<Value = Interface> {
    "[a-z][a-z0-9_.-]{0,14}".prop_map(|name| Interface::new(&name).expect("a name"))
}

pub fn settings() -> impl Strategy<Value = Settings> {
    let wholes = (
        prop_oneof![4 => Just(Profile::Istio), 1 => Just(Profile::Asm114)],
        prop_oneof![2 => Just(Mode::Redirect), 1 => Just(Mode::Tproxy)],
        (port(), port(), port()),
        (8u8..=32, any::<[u8; 3]>()),
        any::<bool>(),
        (1u32.., 1u32..),
    );
    let lists = (
        vec(ports(), 0..6),
        vec(ports(), 0..6),
        vec(ports(), 0..4),
        vec(net(), 0..4),
        vec(interface(), 0..3),
        vec(interface(), 0..3),
    );
    let owners = (vec(any::<u32>(), 1..4), vec(any::<u32>(), 1..4), vec(any::<u32>(), 0..3), owner_groups());
    let traffic = (inbound(), outbound(), dns());
    (wholes, lists, owners, traffic).prop_map(|(wholes, lists, owners, traffic)| {
        let [a, b, c] = wholes.3.1;
        let loopback = Ipv4Net::new_assert(Ipv4Addr::new(127, a, b, c), wholes.3.0).trunc();
        let (include, exclude, _, ranges, excluded, rerouted) = lists;
        Settings {
            profile: wholes.0,
            mode: wholes.1,
            outbound_port: wholes.2.0,
            inbound_port: wholes.2.1,
            tunnel_port: wholes.2.2,
            proxy_uids: owners.0,
            proxy_gids: owners.1,
            inbound: traffic.0,
            outbound: traffic.1,
            exclude_outbound_ranges: ranges,
            include_outbound_ports: include,
            exclude_outbound_ports: exclude,
            exclude_interfaces: excluded,
            reroute_interfaces: rerouted,
            owner_groups: owners.3,
            exclude_uids: owners.2,
            dns: traffic.2,
            drop_invalid: wholes.4,
            loopback,
            tproxy_mark: wholes.5.0,
            tproxy_table: wholes.5.1,
        }
    })
}

fn inbound() -> impl Strategy<Value = Inbound> {
    prop_oneof![
        4 => vec(ports(), 0..6).prop_map(Inbound::AllExcept),
        2 => vec(ports(), 1..6).prop_map(Inbound::Only),
        1 => Just(Inbound::Nothing),
    ]
}

fn outbound() -> impl Strategy<Value = Outbound> {
    prop_oneof![
        3 => Just(Outbound::All),
        2 => vec(net(), 1..5).prop_map(Outbound::Only),
        1 => Just(Outbound::Nothing),
    ]
}

fn owner_groups() -> impl Strategy<Value = OwnerGroups> {
    prop_oneof![
        3 => vec(any::<u32>(), 0..4).prop_map(OwnerGroups::AllExcept),
        1 => vec(any::<u32>(), 1..=OwnerGroups::MOST).prop_map(OwnerGroups::Only),
    ]
}

fn dns() -> impl Strategy<Value = Dns> {
    let address =
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from),];
    prop_oneof![2 => Just(Dns::Off), 1 => Just(Dns::All), 1 => vec(address, 1..4).prop_map(Dns::Servers)]
}

/// A condition that iptables can say in any chain; ports only with their protocol.
fn condition(family: Family) -> impl Strategy<Value = Vec<Match>> {
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    let state = prop_oneof![Just(ConnectionState::Invalid), Just(ConnectionState::RelatedOrEstablished)];
    let wide = (0u16..=u16::MAX, any::<u16>(), any::<bool>()).prop_map(|(one, other, not)| {
        // Every port would be no condition.
        let ports = PortRange::new(one.min(other).max(1), one.max(other).max(1)).expect("in order");
        (ports, not)
    });
    let several = (proptest::collection::btree_set(1u16.., 2..=7), any::<bool>());
    let port = prop_oneof![
        wide.clone().prop_map(|(ports, not)| Match::SourcePort { ports, not }),
        wide.prop_map(|(ports, not)| Match::DestinationPort { ports, not }),
        several.prop_map(|(ports, _)| Match::DestinationPorts {
            ports: ports.into_iter().map(PortRange::from).collect(),
            not: true
        }),
    ];
    prop_oneof![
        (net_of(family), any::<bool>()).prop_map(|(net, not)| vec![Match::Source { net, not }]),
        (net_of(family), any::<bool>()).prop_map(|(net, not)| vec![Match::Destination { net, not }]),
        (interface(), any::<bool>()).prop_map(|(interface, not)| vec![Match::In { interface, not }]),
        (interface(), any::<bool>()).prop_map(|(interface, not)| vec![Match::Out { interface, not }]),
        (protocol, proptest::option::of(port))
            .prop_map(|(protocol, port)| [Match::Protocol(protocol)].into_iter().chain(port).collect()),
        (any::<u32>(), any::<bool>()).prop_map(|(id, not)| vec![Match::Uid { id, not }]),
        (any::<u32>(), any::<bool>()).prop_map(|(id, not)| vec![Match::Gid { id, not }]),
        (any::<u32>(), any::<bool>()).prop_map(|(value, not)| vec![Match::Mark { value, not }]),
        (any::<u32>(), any::<bool>()).prop_map(|(value, not)| vec![Match::ConnectionMark { value, not }]),
        state.prop_map(|state| vec![Match::ConnectionState(state)]),
    ]
}

/// A rule of up to four conditions, no two of the same kind.
fn rule(family: Family) -> impl Strategy<Value = Rule> {
    let verdict = prop_oneof![
        Just(Verdict::Return),
        Just(Verdict::Accept),
        Just(Verdict::Drop),
        Just(Verdict::Jump(Chain::IstioRedirect)),
        (1u16..).prop_map(Verdict::Redirect),
        (1u16.., 1u32..).prop_map(|(port, mark)| Verdict::Tproxy { port, mark }),
        any::<u32>().prop_map(Verdict::SetMark),
        Just(Verdict::SaveMark),
        Just(Verdict::RestoreMark),
        (1u16..).prop_map(Verdict::Zone),
    ];
    (vec(condition(family), 0..4), verdict).prop_map(|(conditions, verdict)| {
        let mut matches: Vec<Match> = Vec::new();
        for condition in conditions.into_iter().flatten() {
            let kind = std::mem::discriminant(&condition);
            if matches.iter().all(|known| std::mem::discriminant(known) != kind) {
                matches.push(condition);
            }
        }
        let is_port = |condition: &Match| {
            matches!(
                condition,
                Match::DestinationPort { .. } | Match::DestinationPorts { .. } | Match::SourcePort { .. }
            )
        };
        // One condition on ports is enough for one rule: two of them side by side may be said as one.
        let first = matches.iter().position(is_port);
        let mut at = 0;
        matches.retain(|condition| {
            at += 1;
            !is_port(condition) || Some(at - 1) == first
        });
        Rule::new(matches, verdict)
    })
}

/// Rules as no plan would make them, but as the vocabulary allows.
pub fn rules() -> impl Strategy<Value = RuleSet> {
    let chain = prop_oneof![
        Just(Chain::Prerouting),
        Just(Chain::Output),
        Just(Chain::IstioInbound),
        Just(Chain::IstioOutput),
        Just(Chain::IstioRedirect),
    ];
    let place = (
        prop_oneof![Just(Family::V4), Just(Family::V6)],
        prop_oneof![Just(Table::Raw), Just(Table::Mangle), Just(Table::Nat)],
        chain,
    )
        .prop_map(|(family, table, chain)| Place { family, table, chain });
    let entry = place.prop_flat_map(|place| (Just(place), rule(place.family)));
    vec(entry, 0..12).prop_map(|entries| {
        let mut rules = RuleSet::default();
        for (place, rule) in entries {
            if matches!(rule.verdict(), Verdict::Jump(_)) {
                let target = Rule::new([], Verdict::Return);
                rules.push(Place { chain: Chain::IstioRedirect, ..place }, target);
            }
            rules.push(place, rule);
        }
        rules
    })
}
