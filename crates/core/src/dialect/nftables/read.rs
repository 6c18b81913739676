//! The kernel's answers to rules found: each line of our table goes to the families it is for.

use super::families::{Reach, Scope};
use super::{INET, TABLE, chain_named};
use crate::dialect::dump::{self, ChainFound, Dump, Error, RuleFound};
use crate::dialect::expressions::meaning::{Meaning, meaning};
use crate::rules::{
    Chain, Content, Family, ForeignChain, Observed, ObservedRule, Place, Rule, Table, Verdict,
};
use std::collections::BTreeMap;

/// `NFPROTO_UNSPEC`: tables of every family.
const ANY: u8 = 0;
/// istio-cni with native nftables, and its istio-init, keep a sidecar's rules in `istio-proxy-nat`, `-mangle` and `-raw`.
const REDIRECTOR: &[u8] = b"istio-proxy-";
/// The base chains there. A table without one redirects nothing.
const HOOKED: [&[u8]; 2] = [b"prerouting", b"output"];

/// The requests whose answers [`read`] wants, one after the other, each answered in full before the next is sent.
pub fn requests() -> Vec<Vec<u8>> {
    dump::requests(&[ANY], Some(TABLE))
}

/// Reads all answers to [`requests`], one behind the other.
///
/// A rule for both families has one handle and one counter, and is shown with them in both.
pub fn read(answers: &[u8]) -> Result<Observed, Error> {
    let dump = Dump::read(answers)?;
    let mut reader = Reader::default();
    for chain in dump.chains.iter().filter(|chain| (chain.family, chain.table) == (INET, TABLE.as_bytes())) {
        match chain_named(chain.name) {
            Some(chain) => drop(reader.chains.entry(chain).or_default()),
            None => drop(reader.strangers.entry(chain.name).or_default()),
        }
    }
    for rule in dump.rules.iter().filter(|rule| (rule.family, rule.table) == (INET, TABLE.as_bytes())) {
        match chain_named(rule.chain) {
            Some(chain) => reader.chains.entry(chain).or_default().push(read_line(rule)),
            None => *reader.strangers.entry(rule.chain).or_default() += 1,
        }
    }
    let others = dump.chains.iter().filter(|chain| is_redirector(chain));
    let redirectors = others.map(|chain| format!("inet {}", String::from_utf8_lossy(chain.table))).collect();
    Ok(Observed { redirectors, ..reader.end(dump.generation) })
}

fn is_redirector(chain: &ChainFound<'_>) -> bool {
    chain.family == INET && chain.table.starts_with(REDIRECTOR) && HOOKED.contains(&chain.name)
}

/// Our table as found.
#[derive(Default)]
struct Reader<'a> {
    chains: BTreeMap<(Table, Chain), Vec<Line>>,
    strangers: BTreeMap<&'a [u8], usize>,
}

/// One of the kernel's rules.
struct Line {
    family: Option<Family>,
    rule: ObservedRule,
}

fn read_line(found: &RuleFound<'_>) -> Line {
    let (packets, bytes) = found.counted();
    let chain = |name: &[u8]| chain_named(name).map(|(_, chain)| chain);
    let (family, content) = match meaning(&found.expressions, None, chain) {
        Some(Meaning { family, rule }) => (family, Content::Known(rule)),
        None => (None, found.foreign()),
    };
    Line { family, rule: ObservedRule { handle: found.handle, packets, bytes, content } }
}

impl Reader<'_> {
    fn end(self, generation: Option<u32>) -> Observed {
        let mut observed = Observed { generation, ..Observed::default() };
        let reach = Reach::of(&self.jumps());
        for (&(table, chain), lines) in &self.chains {
            let unsaid = reach.unsaid(table, chain);
            let here = |family| Place { family, table, chain };
            if !chain.is_hook() && (lines.is_empty() || reach.is_known(table, chain)) {
                for family in unsaid.families() {
                    observed.chains.entry(here(family)).or_default();
                }
            }
            for line in whole(lines) {
                for family in line.family.map_or(unsaid, Scope::of).families() {
                    observed.chains.entry(here(family)).or_default().push(line.rule.clone());
                }
            }
        }
        // A stranger in our table is nobody's table's in particular.
        observed.foreign_chains = self
            .strangers
            .iter()
            .map(|(name, rules)| ForeignChain {
                family: Family::V4,
                table: Table::Nat,
                name: String::from_utf8_lossy(name).into_owned(),
                rules: *rules,
            })
            .collect();
        observed
    }

    fn jumps(&self) -> Vec<(Table, Chain, Option<Family>, Chain)> {
        let lines = self.chains.iter().flat_map(|(at, lines)| lines.iter().map(move |line| (at, line)));
        lines
            .filter_map(|(&(table, chain), line)| match &line.rule.content {
                Content::Known(rule) => match rule.verdict() {
                    Verdict::Jump(to) => Some((table, chain, line.family, to)),
                    _ => None,
                },
                Content::Foreign { jump, .. } => {
                    let (_, to) = chain_named(jump.as_deref()?.as_bytes())?;
                    Some((table, chain, None, to))
                }
            })
            .collect()
    }
}

/// The lines that are rules of ours: not the one that closes a `tproxy`.
fn whole(lines: &[Line]) -> Vec<&Line> {
    let mut whole: Vec<&Line> = Vec::with_capacity(lines.len());
    let mut open = false;
    for line in lines {
        let closes = open && whole.last().is_some_and(|before| closes(before, line));
        open = !closes && does(line, |verdict| matches!(verdict, Verdict::Tproxy { .. }));
        if !closes {
            whole.push(line);
        }
    }
    whole
}

fn does(line: &Line, what: impl Fn(Verdict) -> bool) -> bool {
    line.rule.content.rule().is_some_and(|rule| what(rule.verdict()))
}

fn closes(before: &Line, line: &Line) -> bool {
    let same = |one: &Rule, other: &Rule| one.matches() == other.matches();
    let (one, other) = (before.rule.content.rule(), line.rule.content.rule());
    before.family == line.family
        && does(line, |verdict| verdict == Verdict::Drop)
        && one.zip(other).is_some_and(|(one, other)| same(one, other))
}
