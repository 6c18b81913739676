//! What the rules in a running pod's namespace are, against the plan: as planned, drifted, none, or somebody else's.
//!
//! Rules of others in hooks and in chains of their own are never a finding (M11).

use crate::rules::compare::{Drift, Finding as Difference, Kind, Weight, compare};
use crate::rules::removal::removal;
use crate::rules::{Chain, Content, Observed, Place, Plan, Route, Verdict};

/// Whose the rules are that a pod has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Ours, planned as today.
    Ours,
    /// Ours, planned by another release.
    OtherRelease,
    /// Nobody here knows.
    Unknown,
}

/// What a look at a pod's namespace has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// All is as planned.
    AsPlanned,
    /// Nothing redirects it.
    Bypass,
    /// It is redirected, but not as planned; how.
    Drift(String),
    /// Somebody else redirects it.
    Others,
    /// Rules of ours are there, but another release planned them.
    OtherRelease,
}

/// What a look has shown: `found` is what each backend sees, `missing` what routing lacks.
pub fn judge(plan: &Plan, found: &[&Observed], missing: &[Route], origin: Origin) -> State {
    let drifts: Vec<Vec<Difference>> =
        found.iter().map(|seen| drifting(compare(&plan.rules, seen))).collect();
    if missing.is_empty() && drifts.iter().any(Vec::is_empty) {
        return State::AsPlanned;
    }
    let is_there = |seen: &&Observed| !removal(seen, &plan.rules).is_empty();
    if !found.iter().any(is_there) || origin == Origin::Unknown && !found.iter().any(|seen| leads(seen)) {
        let redirected = found.iter().any(|seen| !seen.redirectors.is_empty());
        return if redirected { State::Others } else { State::Bypass };
    }
    match origin {
        Origin::Unknown => State::Others,
        Origin::OtherRelease => State::OtherRelease,
        Origin::Ours => {
            let least = drifts.into_iter().min_by_key(Vec::len).unwrap_or_default();
            State::Drift(words(&least, missing))
        }
    }
}

/// The differences that are ours to mend. What others have in hooks beside ours is theirs (M11), and a chain of ours that
/// nobody planned harms nobody.
fn drifting(drift: Drift) -> Vec<Difference> {
    let is_ours = |finding: &Difference| match (&finding.kind, finding.weight()) {
        (_, Weight::Broken) => true,
        (_, Weight::Remark) | (Kind::StrayChain { .. }, _) => false,
        (Kind::Unplanned { rule, .. }, _) if finding.place.chain.is_hook() => leads_to_ours(rule.verdict()),
        (_, Weight::Added) => true,
    };
    drift.findings.into_iter().filter(is_ours).collect()
}

/// Whether a hook leads into a chain with our names that says anything.
fn leads(seen: &Observed) -> bool {
    let hooks = seen.chains.iter().filter(|(place, _)| place.chain.is_hook());
    let mut jumps = hooks.flat_map(|(place, rules)| rules.iter().map(move |rule| (*place, rule)));
    jumps.any(|(place, rule)| {
        let chain = match &rule.content {
            Content::Known(rule) => match rule.verdict() {
                Verdict::Jump(chain) => Some(chain),
                _ => None,
            },
            Content::Foreign { jump, .. } => jump.as_deref().and_then(Chain::from_name),
        };
        let there = chain.and_then(|chain| seen.chains.get(&Place { chain, ..place }));
        there.is_some_and(|rules| !rules.is_empty())
    })
}

fn leads_to_ours(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Jump(chain) if !chain.is_hook())
}

/// The first few, in words.
fn words(differences: &[Difference], missing: &[Route]) -> String {
    const SHOWN: usize = 5;
    let routes = missing.iter().map(|route| format!("missing: {route}"));
    let all: Vec<String> = differences.iter().map(ToString::to_string).chain(routes).collect();
    let more = all.len().saturating_sub(SHOWN);
    let shown = all.into_iter().take(SHOWN).collect::<Vec<_>>().join("; ");
    if more > 0 { format!("{shown}; and {more} more") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::plan::plan;
    use crate::rules::{Family, ForeignChain, ObservedRule, Rule, Table};
    use crate::settings::{Families, Mode, Settings};

    fn planned() -> Plan {
        plan(&Settings { mode: Mode::Tproxy, ..Settings::default() }, Families::V4)
    }

    fn observed(plan: &Plan) -> Observed {
        let mut seen = Observed::default();
        for (place, rules) in plan.rules.iter() {
            let known = rules.iter().map(|rule| line(Content::Known(rule.clone())));
            seen.chains.insert(place, known.collect());
        }
        seen
    }

    fn line(content: Content) -> ObservedRule {
        ObservedRule { handle: 1, packets: 0, bytes: 0, content }
    }

    fn foreign(jump: Option<&str>) -> ObservedRule {
        line(Content::Foreign { text: "meta cgroup 7".to_owned(), jump: jump.map(str::to_owned) })
    }

    fn nat(chain: Chain) -> Place {
        Place { family: Family::V4, table: Table::Nat, chain }
    }

    fn rules(seen: &mut Observed, chain: Chain) -> &mut Vec<ObservedRule> {
        seen.chains.get_mut(&nat(chain)).expect("it was planned")
    }

    /// What is judged of the planned rules after `change`, if they are ours, another release's, and nobody's we know.
    fn check(what: &str, expected: [&str; 3], change: impl Fn(&mut Observed)) {
        let plan = planned();
        let mut seen = observed(&plan);
        change(&mut seen);
        for (origin, expected) in
            [Origin::Ours, Origin::OtherRelease, Origin::Unknown].into_iter().zip(expected)
        {
            let state = judge(&plan, &[&seen], &[], origin);
            let name = match &state {
                State::AsPlanned => "planned",
                State::Bypass => "bypass",
                State::Drift(words) => words,
                State::Others => "others",
                State::OtherRelease => "release",
            };
            assert!(name.contains(expected), "{what}, {origin:?}: {state:?}, not {expected}");
        }
    }

    #[test]
    fn whole_rules_are_as_planned_whosoever_they_are() {
        let planned = ["planned"; 3];
        check("nothing", planned, |_| {});
        check("a rule of others behind ours", planned, |seen| rules(seen, Chain::Output).push(foreign(None)));
        check("a rule of others before ours", planned, |seen| {
            rules(seen, Chain::Output).insert(0, foreign(None))
        });
        check("a chain of others", planned, |seen| {
            let name = "DOCKER".to_owned();
            seen.foreign_chains.push(ForeignChain { family: Family::V4, table: Table::Nat, name, rules: 2 });
        });
        check("a chain of our name that nobody planned", planned, |seen| {
            seen.chains.insert(nat(Chain::IstioDrop), vec![]);
        });
    }

    #[test]
    fn each_way_to_break_them_is_named_if_they_are_ours_to_mend() {
        let drift = |words| [words, "release", "others"];
        check("a rule", drift("missing, planned as rule 1"), |seen| {
            drop(rules(seen, Chain::IstioOutput).remove(0))
        });
        check("an order", drift("out of order"), |seen| rules(seen, Chain::IstioOutput).rotate_left(1));
        check("a chain flushed", drift("missing, planned as rule 1"), |seen| {
            rules(seen, Chain::IstioRedirect).clear()
        });
        check("a chain", drift("the chain is missing"), |seen| {
            drop(seen.chains.remove(&nat(Chain::IstioRedirect)))
        });
        check("a rule among ours", drift("is not ours"), |seen| {
            rules(seen, Chain::IstioOutput).insert(0, foreign(None));
        });
        check("a way past", drift("was not planned"), |seen| {
            let all = line(Content::Known(Rule::new([], Verdict::Return)));
            rules(seen, Chain::IstioOutput).insert(0, all);
        });
        check("a jump twice", drift("is there twice"), |seen| {
            let jump = rules(seen, Chain::Output)[0].clone();
            rules(seen, Chain::Output).push(jump);
        });
    }

    #[test]
    fn nothing_at_all_is_a_bypass_whatever_is_recorded() {
        let bypass = ["bypass"; 3];
        check("no table", bypass, |seen| *seen = Observed::default());
        check("only others' rules", bypass, |seen| {
            seen.chains.retain(|place, _| place.chain.is_hook());
            for rules in seen.chains.values_mut() {
                *rules = vec![foreign(Some("DOCKER"))];
            }
        });
        assert_eq!(judge(&planned(), &[], &[], Origin::Ours), State::Bypass);
    }

    #[test]
    fn another_redirector_in_tables_of_its_own_is_left_to_it() {
        let others = |seen: &mut Observed| seen.redirectors = ["inet istio-proxy-nat".to_owned()].into();
        check("alone", ["others"; 3], |seen| {
            *seen = Observed::default();
            others(seen);
        });
        check("beside ours", ["planned"; 3], others);
        check("beside ours in part", ["missing, planned as rule 1", "release", "others"], |seen| {
            rules(seen, Chain::IstioRedirect).clear();
            others(seen);
        });
    }

    #[test]
    fn chains_that_no_hook_leads_to_are_nobodys_redirection() {
        let drift = "missing, planned as rule 1";
        check("unhooked", [drift, "release", "bypass"], |seen| {
            for (_, rules) in seen.chains.iter_mut().filter(|(place, _)| place.chain.is_hook()) {
                rules.clear();
            }
        });
        check("hooked in words we cannot read", [drift, "release", "others"], |seen| {
            for (_, rules) in seen.chains.iter_mut().filter(|(place, _)| place.chain.is_hook()) {
                rules.clear();
            }
            rules(seen, Chain::Output).push(foreign(Some("ISTIO_OUTPUT")));
        });
        check("emptied", [drift, "release", "bypass"], |seen| {
            for (_, rules) in seen.chains.iter_mut().filter(|(place, _)| !place.chain.is_hook()) {
                rules.clear();
            }
        });
    }

    #[test]
    fn routes_count_as_rules_do() {
        let plan = planned();
        let (seen, missing) = (observed(&plan), &plan.routes[..1]);
        let judged = |origin| judge(&plan, &[&seen], missing, origin);
        assert!(matches!(judged(Origin::Ours), State::Drift(words) if words.starts_with("missing: ")));
        assert_eq!(judged(Origin::Unknown), State::Others);
        assert_eq!(judge(&plan, &[&Observed::default()], missing, Origin::Ours), State::Bypass);
    }

    #[test]
    fn one_backend_that_has_them_is_enough() {
        let plan = planned();
        let (whole, none) = (observed(&plan), Observed::default());
        assert_eq!(judge(&plan, &[&none, &whole], &[], Origin::Unknown), State::AsPlanned);
    }
}
