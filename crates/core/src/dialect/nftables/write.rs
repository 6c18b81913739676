//! Rules to a transaction that makes our table, or makes it anew.

use super::families::{Reach, lines_of};
use super::{INET, TABLE, chain_name};
use crate::dialect::batch::{Act, At, Batch, Builder, Does, attribute, message};
use crate::dialect::expressions::phrases::{DESTINATION_PORT, compare, compare_port, header, load_port};
use crate::dialect::expressions::{Expression, REGISTER, ct, meta, verdict};
use crate::dialect::hooks;
use crate::dialect::wire::{APPEND, CREATE, EXCL, Writer};
use crate::rules::removal::Removal;
use crate::rules::{Chain, ConnectionState, Family, Match, Place, Rule, RuleSet, Table, Verdict};

const AT: At = At { family: "inet", table: TABLE };

/// Makes our table so. Without a look at what is there the kernel refuses it if the table is there; otherwise the
/// table is replaced, or removed if there are no rules. The batch is empty if all is as it should be.
pub fn write(rules: &RuleSet, removal: &Removal) -> Batch {
    let mut builder = Builder::begin(removal.generation, 16 + rules.len());
    let looked = removal.generation.is_some();
    if looked && removal.says(rules) {
        return builder.end();
    }
    if looked {
        table(&mut builder, Does::Make, message::NEW_TABLE, CREATE);
        table(&mut builder, Does::Remove, message::DEL_TABLE, 0);
    }
    if rules.is_empty() {
        return builder.end();
    }
    table(&mut builder, Does::Make, message::NEW_TABLE, if looked { CREATE } else { CREATE | EXCL });
    let chains = chains(rules);
    for &(table, chain) in &chains {
        make_chain(&mut builder, table, chain);
    }
    let reach = Reach::of_rules(rules);
    for &(table, chain) in &chains {
        let name = chain_name(table, chain);
        for (number, (family, rule)) in (1..).zip(lines_of(rules, &reach, table, chain)) {
            let mut draft = Draft { builder: &mut builder, table, name, number };
            draft.write(family, rule);
        }
    }
    builder.end()
}

/// The chains there are to be, in the order in which they are made and listed.
pub(super) fn chains(rules: &RuleSet) -> Vec<(Table, Chain)> {
    let all =
        Table::ALL.into_iter().flat_map(|table| Chain::ALL.into_iter().map(move |chain| (table, chain)));
    let has = |family, table, chain| rules.has(Place { family, table, chain });
    all.filter(|&(table, chain)| has(Family::V4, table, chain) || has(Family::V6, table, chain)).collect()
}

fn table(builder: &mut Builder, does: Does, kind: u16, flags: u16) {
    builder.message(Act::Table { does, at: AT }, kind, flags, INET).string(attribute::TABLE_NAME, TABLE);
}

fn make_chain(builder: &mut Builder, table: Table, chain: Chain) {
    let name = chain_name(table, chain);
    let act = Act::Chain { does: Does::Make, at: AT, chain: name };
    let w = builder.message(act, message::NEW_CHAIN, CREATE, INET);
    w.string(attribute::CHAIN_TABLE, TABLE);
    w.string(attribute::CHAIN_NAME, name);
    hooks::write(w, table, chain);
}

/// The rules of one chain.
struct Draft<'a> {
    builder: &'a mut Builder,
    table: Table,
    name: &'static str,
    number: usize,
}

impl Draft<'_> {
    /// One of our rules may be several of the kernel's.
    fn write(&mut self, family: Option<Family>, rule: &Rule) {
        let several = rule
            .matches()
            .iter()
            .position(|condition| matches!(condition, Match::DestinationPorts { not: false, .. }));
        if let Some(at) = several {
            return self.write_each(family, rule, at);
        }
        let verdict = rule.verdict();
        let (table, named) = (self.table, family.or_else(|| family_of(rule)));
        self.line(family, rule, |w| match verdict {
            Verdict::Jump(chain) => {
                let chain = Some(chain_name(table, chain).as_bytes());
                Expression::Verdict { code: verdict::JUMP, chain }.write(w);
            }
            other => write_verdict(w, named, other),
        });
        if matches!(verdict, Verdict::Tproxy { .. }) {
            // Without a listener nf_tables' `tproxy` lets the packet go on, past the proxy; xtables' drops it.
            self.line(family, rule, |w| Expression::Verdict { code: verdict::DROP, chain: None }.write(w));
        }
    }

    /// A choice of ports without a set is a rule for each.
    fn write_each(&mut self, family: Option<Family>, rule: &Rule, at: usize) {
        let Match::DestinationPorts { ports, .. } = &rule.matches()[at] else { return };
        for &ports in ports {
            let mut matches = rule.matches().to_vec();
            matches[at] = Match::DestinationPort { ports, not: false };
            self.write(family, &Rule::new(matches, rule.verdict()));
        }
    }

    fn line(&mut self, family: Option<Family>, rule: &Rule, does: impl FnOnce(&mut Writer)) {
        let act = Act::Rule { at: AT, chain: self.name, number: self.number };
        let w = self.builder.message(act, message::NEW_RULE, CREATE | APPEND, INET);
        w.string(attribute::RULE_TABLE, TABLE);
        w.string(attribute::RULE_CHAIN, self.name);
        w.nest(attribute::RULE_EXPRESSIONS, |w| {
            if let Some(family) = family.or_else(|| family_of(rule)) {
                load(w, meta::NFPROTO);
                compare(w, false, &[hooks::number(family)]);
            }
            write_matches(w, rule);
            Expression::Counter { packets: 0, bytes: 0 }.write(w);
            does(w);
        });
    }
}

/// The family of the addresses that a rule names. `nft` reads them only behind the family's name.
pub(super) fn family_of(rule: &Rule) -> Option<Family> {
    rule.matches().iter().find_map(|condition| match condition {
        Match::Source { net, .. } | Match::Destination { net, .. } => {
            Some(if net.addr().is_ipv4() { Family::V4 } else { Family::V6 })
        }
        _ => None,
    })
}

fn write_matches(w: &mut Writer, rule: &Rule) {
    let mut loaded = None;
    for condition in rule.matches() {
        let key = match condition {
            Match::Uid { .. } => Some(meta::SKUID),
            Match::Gid { .. } => Some(meta::SKGID),
            Match::Mark { .. } => Some(meta::MARK),
            _ => None,
        };
        // The register keeps what was loaded for the condition before.
        if let Some(key) = key.filter(|_| key != loaded) {
            load(w, key);
        }
        loaded = key;
        write_match(w, condition);
    }
}

fn load(w: &mut Writer, key: u32) {
    Expression::Meta { key, register: REGISTER }.write(w);
}

fn write_match(w: &mut Writer, condition: &Match) {
    match condition {
        Match::Uid { id, not } | Match::Gid { id, not } => compare(w, *not, &id.to_ne_bytes()),
        Match::Mark { value, not } => compare(w, *not, &value.to_ne_bytes()),
        Match::ConnectionMark { value, not } => {
            Expression::Ct { key: ct::MARK, register: REGISTER }.write(w);
            compare(w, *not, &value.to_ne_bytes());
        }
        Match::ConnectionState(state) => {
            let mask = match state {
                ConnectionState::Invalid => ct::INVALID,
                ConnectionState::RelatedOrEstablished => ct::RELATED | ct::ESTABLISHED,
            };
            Expression::Ct { key: ct::STATE, register: REGISTER }.write(w);
            let mask = &mask.to_ne_bytes();
            Expression::Bitwise { from: REGISTER, to: REGISTER, mask, xor: &[0; 4] }.write(w);
            compare(w, true, &[0; 4]);
        }
        Match::DestinationPorts { ports, not } => {
            load_port(w, DESTINATION_PORT);
            for &ports in ports {
                compare_port(w, ports, *not);
            }
        }
        Match::Source { net, .. } | Match::Destination { net, .. } => {
            header(w, if net.addr().is_ipv4() { Family::V4 } else { Family::V6 }, condition);
        }
        _ => header(w, Family::V4, condition),
    }
}

fn write_verdict(w: &mut Writer, family: Option<Family>, verdict: Verdict) {
    let value = |w: &mut Writer, value: &[u8]| Expression::Value { register: REGISTER, value }.write(w);
    let set_mark = Expression::SetMeta { key: meta::MARK, register: REGISTER };
    let end = |w: &mut Writer, code: i32| Expression::Verdict { code, chain: None }.write(w);
    match verdict {
        Verdict::Return => end(w, verdict::RETURN),
        Verdict::Accept => end(w, verdict::ACCEPT),
        Verdict::Drop => end(w, verdict::DROP),
        Verdict::Jump(_) => {}
        Verdict::Redirect(port) => {
            value(w, &port.to_be_bytes());
            Expression::Redirect { register: REGISTER }.write(w);
        }
        Verdict::Tproxy { port, mark } => {
            value(w, &port.to_be_bytes());
            let family = family.map_or(0, |family| u32::from(hooks::number(family)));
            Expression::Tproxy { family, register: REGISTER }.write(w);
            value(w, &mark.to_ne_bytes());
            set_mark.write(w);
            end(w, verdict::ACCEPT);
        }
        Verdict::SetMark(mark) => {
            value(w, &mark.to_ne_bytes());
            set_mark.write(w);
        }
        Verdict::SaveMark => {
            load(w, meta::MARK);
            Expression::SetCt { key: ct::MARK, register: REGISTER }.write(w);
        }
        Verdict::RestoreMark => {
            Expression::Ct { key: ct::MARK, register: REGISTER }.write(w);
            set_mark.write(w);
        }
        Verdict::Zone(zone) => {
            value(w, &zone.to_ne_bytes());
            Expression::SetCt { key: ct::ZONE, register: REGISTER }.write(w);
        }
    }
}
