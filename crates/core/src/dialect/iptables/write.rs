//! Rules to a transaction.
//!
//! A pod's first rules are written without looking: our chains are made with `NLM_F_EXCL`, so that where some are
//! there already the kernel refuses the whole and the caller looks first. Then what says already what it should is
//! left alone with its counters, the rest is replaced in its place.
//!
//! What a transaction costs is mostly the kernel's looking up of expressions by name, so a rule has as few as its
//! listing allows: no repeated protocol, whole bytes of a prefix compared without a mask, a range as one expression.

use crate::dialect::batch::{Act, At, Batch, Builder, Does, attribute, message};
use crate::dialect::expressions::phrases::{self, protocol_number};
use crate::dialect::expressions::{Expression, verdict};
use crate::dialect::hooks;
use crate::dialect::wire::{APPEND, CREATE, EXCL, Writer};
use crate::dialect::xtables::{self, Extension};
use crate::rules::removal::{Present, Removal};
use crate::rules::{Family, Match, Place, Protocol, Rule, RuleSet, Table, Verdict};
use std::ops::Range;

/// Makes the rules so, and what else `removal` names gone. The batch is empty if all is as it should be.
pub fn write(rules: &RuleSet, removal: &Removal) -> Batch {
    let mut appended = Vec::with_capacity(rules.len());
    let mut builder = Builder::begin(removal.generation, 24 + rules.len());
    for family in [Family::V4, Family::V6] {
        for table in Table::ALL {
            Draft { builder: &mut builder, appended: &mut appended, rules, removal, family, table }.write();
        }
    }
    builder.end()
}

/// What becomes of one table.
struct Draft<'a> {
    builder: &'a mut Builder,
    /// IPv4's rules that were appended, and where their messages lie: most of IPv6's say the same.
    appended: &'a mut Vec<(Place, Range<usize>)>,
    rules: &'a RuleSet,
    removal: &'a Removal,
    family: Family,
    table: Table,
}

impl<'a> Draft<'a> {
    fn write(&mut self) {
        let here = |place: &Place| place.family == self.family && place.table == self.table;
        let wanted = self.rules.iter().map(|(place, _)| place).filter(here);
        let wanted: Vec<Place> = wanted.filter(|place| self.changes(*place)).collect();
        if !wanted.is_empty() {
            self.make_table();
        }
        for &place in &wanted {
            self.make_chain(place);
        }
        for &place in &wanted {
            self.make_rules(place);
        }
        self.remove();
    }

    fn at(&self) -> At {
        At { family: hooks::family_name(self.family), table: self.table.name() }
    }

    fn present(&self, place: Place) -> Option<&'a Present> {
        self.removal.present.get(&place)
    }

    /// Whether what a place is to hold is not there yet.
    fn changes(&self, place: Place) -> bool {
        self.present(place).is_none_or(|present| !present.says(self.rules.rules(place)))
    }

    fn message(&mut self, act: Act, kind: u16, flags: u16) -> &mut Writer {
        self.builder.message(act, kind, flags, hooks::number(self.family))
    }

    fn make_table(&mut self) {
        let act = Act::Table { does: Does::Make, at: self.at() };
        let name = self.table.name();
        self.message(act, message::NEW_TABLE, CREATE).string(attribute::TABLE_NAME, name);
    }

    /// Our own chains are emptied rather than made again if they are there: others may jump to them.
    fn make_chain(&mut self, place: Place) {
        let (chain, table) = (place.chain, place.table);
        if !chain.is_hook() && self.present(place).is_some() {
            return self.empty(place);
        }
        let act = Act::Chain { does: Does::Make, at: self.at(), chain: chain.name() };
        let exclusive = if chain.is_hook() { 0 } else { EXCL };
        let w = self.message(act, message::NEW_CHAIN, CREATE | exclusive);
        w.string(attribute::CHAIN_TABLE, table.name());
        w.string(attribute::CHAIN_NAME, chain.name());
        hooks::write(w, table, chain);
    }

    fn empty(&mut self, place: Place) {
        let chain = place.chain.name();
        let act = Act::Chain { does: Does::Empty, at: self.at(), chain };
        self.at_chain(act, message::DEL_RULE, 0, chain);
    }

    /// Starts a message about rules of a chain.
    fn at_chain(&mut self, act: Act, kind: u16, flags: u16, chain: &str) -> &mut Writer {
        let table = self.table.name();
        let w = self.message(act, kind, flags);
        w.string(attribute::RULE_TABLE, table);
        w.string(attribute::RULE_CHAIN, chain);
        w
    }

    /// At a hook, new rules take the place of our old ones; the first go behind what is there.
    fn make_rules(&mut self, place: Place) {
        let (at, chain, family) = (self.at(), place.chain.name(), self.family);
        let present = self.present(place).filter(|_| place.chain.is_hook());
        let before = present.and_then(|present| present.rules.first()).map(|(handle, _)| *handle);
        let like = Place { family: Family::V4, ..place };
        let likes = self.appended.iter().position(|(place, _)| *place == like).filter(|_| before.is_none());
        for (number, rule) in (1..).zip(self.rules.rules(place)) {
            let act = Act::Rule { at, chain, number };
            if let Some(first) = likes
                && family != Family::V4
                && self.rules.rules(like).get(number - 1) == Some(rule)
                && is_of_any_family(rule)
            {
                self.builder.again(act, &self.appended[first + number - 1].1, hooks::number(family));
                continue;
            }
            let start = self.builder.end_of_last();
            let append = if before.is_some() { 0 } else { APPEND };
            let w = self.at_chain(act, message::NEW_RULE, CREATE | append, chain);
            if let Some(handle) = before {
                w.be64(attribute::RULE_POSITION, handle);
            }
            write_rule(w, family, rule);
            if before.is_none() {
                self.appended.push((place, start..self.builder.end_of_last()));
            }
        }
        if let Some(present) = present {
            self.delete(place, present);
        }
    }

    fn delete(&mut self, place: Place, present: &Present) {
        let (at, chain) = (self.at(), place.chain.name());
        for &(handle, _) in &present.rules {
            let act = Act::Remove { at, chain, handle };
            self.at_chain(act, message::DEL_RULE, 0, chain).be64(attribute::RULE_HANDLE, handle);
        }
    }

    /// Rules before chains: a chain that is jumped to cannot go.
    fn remove(&mut self) {
        let (family, table) = (self.family, self.table);
        let here = |place: &Place| place.family == family && place.table == table;
        let gone = |place: &Place| here(place) && !self.rules.has(*place);
        let gone: Vec<(Place, &Present)> = self
            .removal
            .present
            .iter()
            .filter(|(place, _)| gone(place))
            .map(|(place, present)| (*place, present))
            .collect();
        for &(place, present) in &gone {
            if place.chain.is_hook() {
                self.delete(place, present);
            } else if !present.rules.is_empty() {
                self.empty(place);
            }
        }
        for (place, present) in gone {
            if place.chain.is_hook() || present.held {
                continue;
            }
            let chain = place.chain.name();
            let act = Act::Chain { does: Does::Remove, at: self.at(), chain };
            let w = self.message(act, message::DEL_CHAIN, 0);
            w.string(attribute::CHAIN_TABLE, table.name());
            w.string(attribute::CHAIN_NAME, chain);
        }
    }
}

/// Whether a rule's bytes do not depend on the family.
fn is_of_any_family(rule: &Rule) -> bool {
    let has_address =
        |condition: &Match| matches!(condition, Match::Source { .. } | Match::Destination { .. });
    !rule.matches().iter().any(has_address) && !matches!(rule.verdict(), Verdict::Redirect(_))
}

fn write_rule(w: &mut Writer, family: Family, rule: &Rule) {
    w.nest(attribute::RULE_EXPRESSIONS, |w| {
        for condition in rule.matches() {
            write_match(w, family, condition);
        }
        Expression::Counter { packets: 0, bytes: 0 }.write(w);
        write_verdict(w, family, rule.verdict());
    });
    if let Some(protocol) = told_to_extensions(rule) {
        // NFTA_RULE_COMPAT_PROTO, _FLAGS
        w.nest(attribute::RULE_COMPAT, |w| {
            w.be32(1, u32::from(protocol_number(protocol)));
            w.be32(2, 0);
        });
    }
}

/// Some extensions refuse to work without a protocol, and cannot see the expressions that compare it.
fn told_to_extensions(rule: &Rule) -> Option<Protocol> {
    let asks = matches!(rule.verdict(), Verdict::Tproxy { .. })
        || rule.matches().iter().any(|condition| matches!(condition, Match::DestinationPorts { .. }));
    let protocol = rule.matches().iter().find_map(|condition| match condition {
        Match::Protocol(protocol) => Some(*protocol),
        _ => None,
    });
    protocol.filter(|_| asks)
}

fn write_match(w: &mut Writer, family: Family, condition: &Match) {
    match condition {
        Match::Source { .. }
        | Match::Destination { .. }
        | Match::In { .. }
        | Match::Out { .. }
        | Match::Protocol(_)
        | Match::SourcePort { .. }
        | Match::DestinationPort { .. } => phrases::header(w, family, condition),
        Match::DestinationPorts { ports, not } => {
            write_extension(w, &xtables::destination_ports(ports, *not));
        }
        Match::Uid { id, not } => write_extension(w, &xtables::uid(*id, *not)),
        Match::Gid { id, not } => write_extension(w, &xtables::gid(*id, *not)),
        Match::Mark { value, not } => write_extension(w, &xtables::mark(*value, *not)),
        Match::ConnectionMark { value, not } => write_extension(w, &xtables::connection_mark(*value, *not)),
        Match::ConnectionState(state) => write_extension(w, &xtables::connection_state(*state)),
    }
}

fn write_extension(w: &mut Writer, extension: &Extension) {
    let &Extension { name, revision, .. } = extension;
    Expression::Match { name: name.as_bytes(), revision, info: extension.info() }.write(w);
}

fn write_verdict(w: &mut Writer, family: Family, verdict: Verdict) {
    let simple = |code: i32| Expression::Verdict { code, chain: None };
    let target = match verdict {
        Verdict::Return => return simple(verdict::RETURN).write(w),
        Verdict::Accept => return simple(verdict::ACCEPT).write(w),
        Verdict::Drop => return simple(verdict::DROP).write(w),
        Verdict::Jump(chain) => {
            let chain = Some(chain.name().as_bytes());
            return Expression::Verdict { code: verdict::JUMP, chain }.write(w);
        }
        Verdict::Redirect(port) => xtables::redirect(family, port),
        Verdict::Tproxy { port, mark } => xtables::tproxy(port, mark),
        Verdict::SetMark(mark) => xtables::set_mark(mark),
        Verdict::SaveMark => xtables::save_mark(),
        Verdict::RestoreMark => xtables::restore_mark(),
        Verdict::Zone(zone) => xtables::zone(zone),
    };
    let Extension { name, revision, .. } = target;
    Expression::Target { name: name.as_bytes(), revision, info: target.info() }.write(w);
}
