//! The kernel's answers to rules found.
//!
//! Everything in the three tables is read: ours, what the node's own tools wrote, what nobody knows. What cannot be
//! said in our vocabulary is kept as foreign, with the names of its expressions.

use crate::dialect::dump::{self, ChainFound, Dump, RuleFound};
use crate::dialect::expressions::meaning::meaning;
use crate::dialect::hooks::number;
use crate::rules::{Chain, Content, Family, ForeignChain, Observed, ObservedRule, Place, Table, Verdict};
use std::collections::BTreeMap;

pub use crate::dialect::dump::Error;

/// The requests whose answers [`read`] wants, one after the other, each answered in full before the next is sent.
pub fn requests() -> Vec<Vec<u8>> {
    dump::requests(&[number(Family::V4), number(Family::V6)], None)
}

/// Reads all answers to [`requests`], one behind the other.
pub fn read(answers: &[u8]) -> Result<Observed, Error> {
    let dump = Dump::read(answers)?;
    let mut observed = Observed { generation: dump.generation, ..Observed::default() };
    let mut foreign: BTreeMap<(Family, Table, String), usize> = BTreeMap::new();
    for ChainFound { family, table, name } in &dump.chains {
        let Some((family, table)) = table_of(*family, table) else { continue };
        match chain_in(table, name) {
            Some(chain) => drop(observed.chains.entry(Place { family, table, chain }).or_default()),
            None => drop(foreign.entry((family, table, text(name))).or_default()),
        }
    }
    for found in &dump.rules {
        let Some((family, table)) = table_of(found.family, found.table) else { continue };
        let rule = rule(family, found);
        let Some(chain) = chain_in(table, found.chain) else {
            *foreign.entry((family, table, text(found.chain))).or_default() += 1;
            if let Some(chain) = jump(&rule.content).filter(|chain| !chain.is_hook()) {
                observed.held.insert(Place { family, table, chain });
            }
            continue;
        };
        observed.chains.entry(Place { family, table, chain }).or_default().push(rule);
    }
    let foreign = foreign.into_iter();
    observed.foreign_chains =
        foreign.map(|((family, table, name), rules)| ForeignChain { family, table, name, rules }).collect();
    Ok(observed)
}

fn rule(family: Family, found: &RuleFound<'_>) -> ObservedRule {
    let content = match meaning(&found.expressions, Some(family), chain_of) {
        Some(meaning) => Content::Known(meaning.rule),
        None => found.foreign(),
    };
    let (packets, bytes) = found.counted();
    ObservedRule { handle: found.handle, packets, bytes, content }
}

/// The chain of ours that a rule leads to.
fn jump(content: &Content) -> Option<Chain> {
    match content {
        Content::Known(rule) => match rule.verdict() {
            Verdict::Jump(chain) => Some(chain),
            _ => None,
        },
        Content::Foreign { jump, .. } => jump.as_deref().and_then(Chain::from_name),
    }
}

fn table_of(family: u8, table: &[u8]) -> Option<(Family, Table)> {
    let family = [Family::V4, Family::V6].into_iter().find(|known| number(*known) == family)?;
    Some((family, Table::from_name(std::str::from_utf8(table).ok()?)?))
}

fn chain_of(name: &[u8]) -> Option<Chain> {
    Chain::from_name(std::str::from_utf8(name).ok()?)
}

/// A chain of this table; one with the name of a hook that the table does not have is somebody's own.
fn chain_in(table: Table, name: &[u8]) -> Option<Chain> {
    chain_of(name).filter(|chain| !chain.is_hook() || table.hooks().contains(chain))
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
