//! The same decisions, rule for rule and each with its counter, in nf_tables' own words: one `inet` table for both families, native
//! expressions. What the two differ by is the price of being listed by `iptables -t nat -L`.

use crate::transaction::Transaction;
use millrace_core::dialect::expressions::{Expression, base, meta, verdict};
use millrace_core::dialect::wire::{APPEND, CREATE, Writer};
use millrace_core::rules::{Chain, Family, Match, Place, Protocol, Rule, RuleSet, Table, Verdict};
use std::net::IpAddr;

/// The batch for the `nat` part of `rules`; other tables would need another floor.
pub(crate) fn native(rules: &RuleSet) -> Vec<u8> {
    let place = |family, chain| Place { family, table: Table::Nat, chain };
    assert!(rules.iter().all(|(place, _)| place.table == Table::Nat), "the bench's settings need only nat");
    let chains: Vec<Chain> =
        Chain::ALL.into_iter().filter(|chain| rules.has(place(Family::V4, *chain))).collect();
    let mut batch = Transaction::default();
    batch.bound(0x10);
    batch.message(0, CREATE, |w| w.string(1, TABLE));
    for &chain in &chains {
        batch.chain(chain);
    }
    for &chain in &chains {
        let pair = [Family::V4, Family::V6].map(|family| rules.rules(place(family, chain)));
        assert_eq!(pair[0].len(), pair[1].len(), "the families' rules stand side by side");
        for (v4, v6) in pair[0].iter().zip(pair[1]) {
            if v4 == v6 {
                batch.planned(chain, None, v4);
            } else {
                batch.planned(chain, Some(2), v4);
                batch.planned(chain, Some(10), v6);
            }
        }
    }
    // Only the last message asks to be acknowledged, as in our own batches.
    batch.w.acknowledge();
    batch.bound(0x11);
    batch.w.finish()
}

const TABLE: &str = "bench";
/// `NFT_META_OIF`; `lo` has the index 1 in every namespace.
const OIF: u32 = 5;

impl Transaction {
    fn chain(&mut self, chain: Chain) {
        let hook = match chain {
            Chain::Prerouting => Some(0),
            Chain::Output => Some(3),
            _ => None,
        };
        self.message(3, CREATE, |w| {
            w.string(1, TABLE);
            w.string(3, chain.name());
            if let Some(hook) = hook {
                w.nest(4, |w| {
                    w.be32(1, hook);
                    w.attribute(2, &(-100_i32).to_be_bytes());
                });
                w.string(7, "nat");
            }
        });
    }

    fn planned(&mut self, chain: Chain, family: Option<u8>, rule: &Rule) {
        self.message(6, CREATE | APPEND, |w| {
            w.string(1, TABLE);
            w.string(2, chain.name());
            w.nest(4, |w| {
                if let Some(family) = family {
                    Expression::Meta { key: meta::NFPROTO, register: 1 }.write(w);
                    compare(w, false, &[family]);
                }
                rule.matches().iter().for_each(|condition| write_match(w, condition));
                // Witnessed traffic is part of what is promised, so the floor counts too.
                Expression::Counter { packets: 0, bytes: 0 }.write(w);
                write_verdict(w, rule.verdict());
            });
        });
    }
}

fn compare(w: &mut Writer, not: bool, value: &[u8]) {
    Expression::Compare { register: 1, not, value }.write(w);
}

fn write_match(w: &mut Writer, condition: &Match) {
    let fact = |w: &mut Writer, key| Expression::Meta { key, register: 1 }.write(w);
    match condition {
        Match::Protocol(protocol) => {
            fact(w, meta::L4PROTO);
            compare(w, false, &[if *protocol == Protocol::Tcp { 6 } else { 17 }]);
        }
        Match::Source { net, not } | Match::Destination { net, not } => {
            let destination = matches!(condition, Match::Destination { .. });
            let (offset, bytes) = match net.addr() {
                IpAddr::V4(address) => (12 + 4 * u32::from(destination), address.octets().to_vec()),
                IpAddr::V6(address) => (8 + 16 * u32::from(destination), address.octets().to_vec()),
            };
            assert_eq!(
                usize::from(net.prefix_len()),
                bytes.len() * 8,
                "the bench's settings name single addresses"
            );
            let length = if net.addr().is_ipv4() { 4 } else { 16 };
            Expression::Payload { base: base::NETWORK, offset, length, register: 1 }.write(w);
            compare(w, *not, &bytes);
        }
        Match::Out { interface, not } if interface.as_str() == "lo" => {
            fact(w, OIF);
            compare(w, *not, &1_u32.to_ne_bytes());
        }
        Match::DestinationPort { ports, not } if ports.is_single() => {
            Expression::Payload { base: base::TRANSPORT, offset: 2, length: 2, register: 1 }.write(w);
            compare(w, *not, &ports.first().to_be_bytes());
        }
        Match::Uid { id, not } => {
            fact(w, meta::SKUID);
            compare(w, *not, &id.to_ne_bytes());
        }
        Match::Gid { id, not } => {
            fact(w, meta::SKGID);
            compare(w, *not, &id.to_ne_bytes());
        }
        other => panic!("the bench's settings have no {other:?}"),
    }
}

fn write_verdict(w: &mut Writer, verdict: Verdict) {
    match verdict {
        Verdict::Return => Expression::Verdict { code: verdict::RETURN, chain: None }.write(w),
        Verdict::Jump(chain) => {
            Expression::Verdict { code: verdict::JUMP, chain: Some(chain.name().as_bytes()) }.write(w);
        }
        Verdict::Redirect(port) => {
            Expression::Value { register: 1, value: &port.to_be_bytes() }.write(w);
            Expression::Redirect { register: 1 }.write(w);
        }
        other => panic!("the bench's settings have no {other:?}"),
    }
}
