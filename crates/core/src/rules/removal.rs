//! What of ours is in a network namespace already, so that it can be replaced or cleared.
//!
//! Ours are the chains with our names, the readable rules at hooks that jump to them, and rules at hooks that say
//! exactly what a planned one says, as often as the plan says it. Nothing else is ever named here (M11): not a rule
//! that cannot be read in full, even if it jumps to a chain of ours, and not a chain that others still jump to.

use super::{Content, Observed, Place, Rule, RuleSet, Verdict};
use std::collections::BTreeMap;

/// What is there, by place. Empty when nothing was looked at, which is how a pod's first rules are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// The ruleset's generation when it was looked at; what is done about it is void if that has changed.
    pub generation: Option<u32>,
    /// What is there of ours.
    pub present: BTreeMap<Place, Present>,
}

/// What is there of ours in one chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Our rules in order, by handle; in a chain of ours every rule, where `None` is one that cannot be read.
    pub rules: Vec<(u64, Option<Rule>)>,
    /// Whether rules of others jump here: the chain may be emptied, but not taken away.
    pub held: bool,
}

impl Present {
    /// Whether it is exactly these rules.
    pub fn says(&self, rules: &[Rule]) -> bool {
        self.rules.len() == rules.len()
            && self.rules.iter().zip(rules).all(|((_, is), wanted)| is.as_ref() == Some(wanted))
    }
}

impl Removal {
    /// Whether nothing of ours is there.
    pub fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    /// Whether what is there is exactly `rules`.
    pub fn says(&self, rules: &RuleSet) -> bool {
        let absent = rules.iter().any(|(place, _)| !self.present.contains_key(&place));
        !absent && self.present.iter().all(|(place, present)| present.says(rules.rules(*place)))
    }
}

/// Finds what is ours in `observed`, given what is, or was, `planned` for this namespace.
pub fn removal(observed: &Observed, planned: &RuleSet) -> Removal {
    let mut present = BTreeMap::new();
    for (&place, rules) in &observed.chains {
        if !place.chain.is_hook() {
            let rules = rules.iter().map(|rule| (rule.handle, rule.content.rule().cloned())).collect();
            let held = is_held(observed, place);
            present.insert(place, Present { rules, held });
            continue;
        }
        let mut wanted: Vec<&Rule> = planned.rules(place).iter().collect();
        let mut ours = Vec::new();
        for found in rules {
            let Some(rule) = found.content.rule() else { continue };
            let planned = wanted.iter().position(|wanted| *wanted == rule);
            if let Some(at) = planned {
                wanted.remove(at);
            }
            if planned.is_some() || jumps_to_ours(rule) {
                ours.push((found.handle, Some(rule.clone())));
            }
        }
        if !ours.is_empty() {
            present.insert(place, Present { rules: ours, held: false });
        }
    }
    Removal { generation: observed.generation, present }
}

fn jumps_to_ours(rule: &Rule) -> bool {
    matches!(rule.verdict(), Verdict::Jump(chain) if !chain.is_hook())
}

/// Whether a rule that stays jumps to this chain: one in a chain of others, or one at a hook that cannot be read.
fn is_held(observed: &Observed, place: Place) -> bool {
    let name = place.chain.name();
    let jumps =
        |content: &Content| matches!(content, Content::Foreign { jump: Some(jump), .. } if jump == name);
    let at_hooks = observed
        .chains
        .iter()
        .filter(|(at, _)| at.family == place.family && at.table == place.table && at.chain.is_hook());
    observed.held.contains(&place) || at_hooks.flat_map(|(_, rules)| rules).any(|rule| jumps(&rule.content))
}
