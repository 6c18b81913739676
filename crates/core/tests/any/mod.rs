//! Any rules that the vocabulary can say, with any numbers in them, for laws of dialects.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use millrace_core::dialect::expressions::{Expression, Order};
use millrace_core::rules::{
    Chain, ConnectionState, Family, Match, Place, Protocol, Rule, RuleSet, Table, Verdict,
};
use millrace_core::settings::{Interface, PortRange};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A range of at least one bit: one of none is no condition.
fn net_of(family: Family) -> BoxedStrategy<IpNet> {
    match family {
        Family::V4 => (any::<[u8; 4]>(), 1u8..=32)
            .prop_map(|(bytes, prefix)| Ipv4Net::new_assert(Ipv4Addr::from(bytes), prefix).trunc().into())
            .boxed(),
        Family::V6 => (any::<[u8; 16]>(), 1u8..=128)
            .prop_map(|(bytes, prefix)| Ipv6Net::new_assert(Ipv6Addr::from(bytes), prefix).trunc().into())
            .boxed(),
    }
}

fn interface() -> impl Strategy<Value = Interface> {
    "[a-z][a-z0-9_.-]{0,14}".prop_map(|name| Interface::new(&name).expect("a name"))
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
pub(crate) fn rules() -> impl Strategy<Value = RuleSet> {
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

/// The fields of any expression; see [`Fields::expression`].
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    kind: usize,
    numbers: [u32; 4],
    bytes: [Vec<u8>; 2],
    name: String,
    flag: bool,
}

pub(crate) fn fields() -> impl Strategy<Value = Fields> {
    let bytes = || vec(any::<u8>(), 1..=16);
    (0usize..KINDS, any::<[u32; 4]>(), [bytes(), bytes()], "[a-zA-Z_]{1,20}", any::<bool>())
        .prop_map(|(kind, numbers, bytes, name, flag)| Fields { kind, numbers, bytes, name, flag })
}

const KINDS: usize = 17;

impl Fields {
    /// The expression with these fields. No verdict register is loaded: that would be a verdict.
    pub(crate) fn expression(&self) -> Expression<'_> {
        let [a, b, c, d] = self.numbers;
        let (register, not) = (a.max(1), self.flag);
        let (value, other, name) = (self.bytes[0].as_slice(), self.bytes[1].as_slice(), self.name.as_bytes());
        match self.kind {
            0 => Expression::Meta { key: b, register },
            1 => Expression::SetMeta { key: b, register },
            2 => Expression::Payload { base: b, offset: c, length: d, register },
            3 => Expression::Compare { register, not, value },
            4 => Expression::Bound { register, is: if not { Order::Below } else { Order::AtLeast }, value },
            5 => Expression::Range { register, not, from: value, to: other },
            6 => Expression::Bitwise { from: register, to: b, mask: value, xor: other },
            7 => Expression::Value { register, value },
            8 => Expression::Verdict { code: -3, chain: Some(name) },
            9 => Expression::Counter { packets: u64::from(a) << 32 | u64::from(b), bytes: u64::from(c) },
            10 => Expression::Ct { key: b, register },
            11 => Expression::SetCt { key: b, register },
            12 => Expression::Redirect { register },
            13 => Expression::Tproxy { family: b, register },
            14 => Expression::Lookup { set: name, id: not.then_some(c), register, not },
            15 => Expression::Match { name, revision: b, info: value },
            _ => Expression::Target { name, revision: b, info: value },
        }
    }
}
