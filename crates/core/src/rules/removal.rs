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

    /// Whether what is there is exactly `rules`, chains included.
    pub fn says(&self, rules: &RuleSet) -> bool {
        let absent = rules.iter().any(|(place, _)| !self.present.contains_key(&place));
        let says =
            |(place, present): (&Place, &Present)| rules.has(*place) && present.says(rules.rules(*place));
        !absent && self.present.iter().all(says)
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

#[cfg(test)]
mod tests {
    use super::super::{Chain, Family, Match, ObservedRule, Protocol, Table};
    use super::*;

    fn place(chain: Chain) -> Place {
        Place { family: Family::V4, table: Table::Nat, chain }
    }

    fn tcp(verdict: Verdict) -> Rule {
        Rule::new([Match::Protocol(Protocol::Tcp)], verdict)
    }

    fn foreign(jump: Option<&str>) -> Content {
        Content::Foreign { text: "target LOG".to_owned(), jump: jump.map(str::to_owned) }
    }

    /// What is ours in one chain that holds `contents`, with handles from 1: the handles, and whether others hold it.
    #[track_caller]
    fn check(chain: Chain, contents: Vec<Content>, planned: &[Rule], expected: Option<(&[u64], bool)>) {
        let mut observed = Observed::default();
        let rule = |(handle, content)| ObservedRule { handle, packets: 0, bytes: 0, content };
        observed.chains.insert(place(chain), (1..).zip(contents).map(rule).collect());
        let hook = vec![rule((9, foreign(Some("ISTIO_REDIRECT"))))];
        observed.chains.insert(place(Chain::Postrouting), hook);
        let mut plan = RuleSet::default();
        for rule in planned {
            plan.push(place(chain), rule.clone());
        }
        let removal = removal(&observed, &plan);
        let found = removal.present.get(&place(chain)).map(|present| {
            (present.rules.iter().map(|(handle, _)| *handle).collect::<Vec<_>>(), present.held)
        });
        assert_eq!(found, expected.map(|(handles, held)| (handles.to_vec(), held)));
    }

    #[test]
    fn at_a_hook_jumps_to_our_chains_are_ours_whoever_made_them() {
        let jump = Content::Known(tcp(Verdict::Jump(Chain::IstioInbound)));
        check(Chain::Prerouting, vec![jump.clone(), foreign(None), jump], &[], Some((&[1, 3], false)));
    }

    #[test]
    fn at_a_hook_what_the_plan_says_is_ours_as_often_as_it_says_it() {
        let back = Content::Known(tcp(Verdict::Return));
        let other = Content::Known(tcp(Verdict::Drop));
        let contents = vec![other, back.clone(), back];
        check(Chain::Prerouting, contents.clone(), &[tcp(Verdict::Return)], Some((&[2], false)));
        check(Chain::Prerouting, contents, &[], None);
    }

    #[test]
    fn a_rule_that_cannot_be_read_stays_even_if_it_jumps_to_us() {
        check(Chain::Output, vec![foreign(Some("ISTIO_OUTPUT"))], &[], None);
    }

    #[test]
    fn a_chain_of_ours_is_ours_with_all_that_is_in_it_and_held_by_whoever_jumps_there() {
        check(Chain::IstioInbound, vec![foreign(None)], &[], Some((&[1], false)));
        check(Chain::IstioRedirect, vec![], &[], Some((&[], true)));
    }

    #[test]
    fn an_empty_chain_is_not_the_same_as_none() {
        let mut chain = RuleSet::default();
        chain.declare(place(Chain::IstioDrop));
        let mut observed = Observed::default();
        observed.chains.insert(place(Chain::IstioDrop), Vec::new());
        let removal = removal(&observed, &chain);
        assert!(removal.says(&chain));
        assert!(!removal.says(&RuleSet::default()));
        assert!(!Removal::default().says(&chain));
    }
}
