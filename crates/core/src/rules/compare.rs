//! What was planned against what is there.
//!
//! Order counts, and so does what others have put among our rules; what they do elsewhere is theirs (M11).

use super::origin::is_telling;
use super::{Chain, Content, Observed, ObservedRule, Place, Rule, RuleSet, Verdict};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;

/// The differences, in the order in which a packet meets them.
pub fn compare(expected: &RuleSet, observed: &Observed) -> Drift {
    let mut places = BTreeSet::new();
    places.extend(expected.iter().map(|(place, _)| place));
    places.extend(observed.chains.keys());
    let mut findings = Vec::new();
    for place in places {
        let found = observed.chains.get(&place).map_or(&[][..], Vec::as_slice);
        if place.chain.is_hook() {
            Compared::new(expected.rules(place), found).hook(place, &mut findings);
        } else if !expected.has(place) {
            findings.push(Finding { place, kind: Kind::StrayChain { rules: found.len() } });
        } else if !observed.chains.contains_key(&place) {
            findings.push(Finding { place, kind: Kind::MissingChain { rules: expected.rules(place).len() } });
        } else {
            Compared::new(expected.rules(place), found).own(place, &mut findings);
        }
    }
    Drift { findings }
}

/// How the rules there differ from those planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Each difference, and each remark.
    pub findings: Vec<Finding>,
}

impl Drift {
    /// Whether our chains and our rules in hooks are exactly as planned. Remarks about others' rules do not count.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.weight() == Weight::Remark)
    }

    /// Whether every planned rule is there and in order, whatever else is. This is what CHECK asks.
    pub fn is_intact(&self) -> bool {
        self.findings.iter().all(|finding| finding.weight() != Weight::Broken)
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: Kind,
}

/// What differs. Positions are those of `--line-numbers`, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Kind {
    /// A planned chain is not there, nor then its `rules`.
    MissingChain { rules: usize },
    /// The rule planned as number `at` is not there.
    Missing { at: usize, rule: Rule },
    /// The rule is there as number `at`, but before or after one it should follow or precede.
    Misplaced { at: usize, rule: Rule },
    /// A planned rule is there once more as number `at`.
    Repeated { at: usize, rule: Rule },
    /// Among ours is a rule `at` that was not planned; in a hook, one that leads to a chain of ours or that only a
    /// redirection would say.
    Unplanned { at: usize, rule: Rule },
    /// Among ours is a rule `at` that is none of ours and that the model cannot say.
    Unreadable { at: usize, text: String },
    /// A chain of ours that was not planned, with `rules` in it.
    StrayChain { rules: usize },
    /// In a hook, a rule of others stands before ours and may decide first.
    Ahead { at: usize, text: String },
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Worth naming, not ours to mend.
    Remark,
    /// Something is there that we did not put there.
    Added,
    /// Something we put there is missing or changed.
    Broken,
}

impl Finding {
    /// How much it weighs.
    pub fn weight(&self) -> Weight {
        match self.kind {
            Kind::MissingChain { .. } | Kind::Missing { .. } | Kind::Misplaced { .. } => Weight::Broken,
            Kind::Repeated { .. }
            | Kind::Unplanned { .. }
            | Kind::Unreadable { .. }
            | Kind::StrayChain { .. } => Weight::Added,
            Kind::Ahead { .. } => Weight::Remark,
        }
    }
}

impl fmt::Display for Drift {
    /// One finding a line; `as planned` if there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.findings.is_empty() {
            return f.write_str("as planned");
        }
        for (index, finding) in self.findings.iter().enumerate() {
            write!(f, "{}{finding}", if index > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        match &self.kind {
            Kind::MissingChain { rules } => write!(f, "the chain is missing, and with it {}", count(*rules)),
            Kind::Missing { at, rule } => write!(f, "missing, planned as rule {at}: {rule}"),
            Kind::Misplaced { at, rule } => write!(f, "rule {at} is out of order: {rule}"),
            Kind::Repeated { at, rule } => write!(f, "rule {at} is there twice: {rule}"),
            Kind::Unplanned { at, rule } => write!(f, "rule {at} was not planned: {rule}"),
            Kind::Unreadable { at, text } => write!(f, "rule {at} is not ours: {text}"),
            Kind::StrayChain { rules } => write!(f, "the chain was not planned; it holds {}", count(*rules)),
            Kind::Ahead { at, text } => write!(f, "rule {at}, not ours, stands before ours: {text}"),
        }
    }
}

fn count(rules: usize) -> String {
    if rules == 1 { "1 rule".to_owned() } else { format!("{rules} rules") }
}

/// Which rule found is which rule expected.
struct Compared<'a> {
    expected: &'a [Rule],
    found: &'a [ObservedRule],
    /// For each rule expected, where it was found.
    pairs: Vec<Option<usize>>,
    /// Which of the rules found are paired.
    paired: Vec<bool>,
}

impl<'a> Compared<'a> {
    /// Equal rules are paired in the order in which they come.
    fn new(expected: &'a [Rule], found: &'a [ObservedRule]) -> Self {
        let mut known: HashMap<&Rule, VecDeque<usize>> = HashMap::new();
        for (at, rule) in found.iter().enumerate() {
            if let Content::Known(rule) = &rule.content {
                known.entry(rule).or_default().push_back(at);
            }
        }
        let pairs: Vec<Option<usize>> =
            expected.iter().map(|rule| known.get_mut(rule).and_then(VecDeque::pop_front)).collect();
        let mut paired = vec![false; found.len()];
        for &at in pairs.iter().flatten() {
            paired[at] = true;
        }
        Compared { expected, found, pairs, paired }
    }

    fn own(&self, place: Place, findings: &mut Vec<Finding>) {
        self.planned(place, findings);
        for (at, rule) in self.unpaired() {
            let kind = match &rule.content {
                Content::Known(rule) if self.expected.contains(rule) => {
                    Kind::Repeated { at, rule: rule.clone() }
                }
                Content::Known(rule) => Kind::Unplanned { at, rule: rule.clone() },
                Content::Foreign { text, .. } => Kind::Unreadable { at, text: text.clone() },
            };
            findings.push(Finding { place, kind });
        }
    }

    /// In a hook only the planned rules are ours, what leads into our chains, and what an earlier plan of ours left.
    fn hook(&self, place: Place, findings: &mut Vec<Finding>) {
        self.planned(place, findings);
        let last = self.pairs.iter().flatten().max();
        for (at, rule) in self.unpaired() {
            let ahead = last.is_some_and(|&last| at <= last);
            let kind = match &rule.content {
                Content::Known(rule) if self.expected.contains(rule) => {
                    Kind::Repeated { at, rule: rule.clone() }
                }
                Content::Known(rule) if leads_to_ours(rule) || is_telling(place, rule) => {
                    Kind::Unplanned { at, rule: rule.clone() }
                }
                Content::Known(rule) if ahead => Kind::Ahead { at, text: rule.to_string() },
                Content::Foreign { text, .. } if ahead => Kind::Ahead { at, text: text.clone() },
                Content::Known(_) | Content::Foreign { .. } => continue,
            };
            findings.push(Finding { place, kind });
        }
    }

    /// What is missing, and what is out of order: all outside the longest run of pairs that is in order.
    fn planned(&self, place: Place, findings: &mut Vec<Finding>) {
        let ordered = longest_rise(&self.pairs.iter().flatten().copied().collect::<Vec<_>>());
        for (index, (rule, pair)) in self.expected.iter().zip(&self.pairs).enumerate() {
            let rule = rule.clone();
            let kind = match pair {
                None => Kind::Missing { at: index + 1, rule },
                Some(at) if ordered.contains(at) => continue,
                Some(at) => Kind::Misplaced { at: at + 1, rule },
            };
            findings.push(Finding { place, kind });
        }
    }

    fn unpaired(&self) -> impl Iterator<Item = (usize, &'a ObservedRule)> {
        let numbered = (1..).zip(self.found).zip(&self.paired);
        numbered.filter(|(_, paired)| !**paired).map(|(numbered, _)| numbered)
    }
}

fn leads_to_ours(rule: &Rule) -> bool {
    matches!(rule.verdict(), Verdict::Jump(chain) if !Chain::is_hook(chain))
}

/// The members of a longest increasing subsequence of distinct numbers (patience sorting).
fn longest_rise(numbers: &[usize]) -> BTreeSet<usize> {
    let mut tops: Vec<usize> = Vec::new();
    let mut before: HashMap<usize, usize> = HashMap::new();
    for &number in numbers {
        let pile = tops.partition_point(|&top| top < number);
        if let Some(&previous) = pile.checked_sub(1).and_then(|pile| tops.get(pile)) {
            before.insert(number, previous);
        }
        match tops.get_mut(pile) {
            Some(top) => *top = number,
            None => tops.push(number),
        }
    }
    std::iter::successors(tops.last().copied(), |number| before.get(number).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::plan::plan;
    use crate::rules::{Family, Match, Protocol, Table};
    use crate::settings::{Dns, Families, Mode, Profile, Settings};

    const OWN: Place = Place { family: Family::V4, table: Table::Nat, chain: Chain::IstioOutput };
    const HOOK: Place = Place { family: Family::V4, table: Table::Nat, chain: Chain::Output };

    /// Planned are the rules of `planned`, found those of `found`, one letter each; `?` is a rule nobody can read.
    fn check(place: Place, planned: &str, found: &str, findings: &[&str]) -> Drift {
        let mut expected = RuleSet::default();
        expected.declare(place);
        planned.chars().for_each(|letter| expected.push(place, rule(letter)));
        let mut observed = Observed::default();
        observed.chains.insert(place, found.chars().map(observe).collect());
        let drift = compare(&expected, &observed);
        let words: Vec<String> = drift.findings.iter().map(|finding| describe(&finding.kind)).collect();
        assert_eq!(words, findings, "{planned} against {found}: {drift}");
        drift
    }

    fn rule(letter: char) -> Rule {
        let port = u16::try_from(u32::from(letter)).expect("a small letter").into();
        let port = Match::DestinationPort { ports: port, not: false };
        let verdict = if letter.is_uppercase() { Verdict::Jump(Chain::IstioOutput) } else { Verdict::Return };
        Rule::new([Match::Protocol(Protocol::Tcp), port], verdict)
    }

    fn observe(letter: char) -> ObservedRule {
        let content = match letter {
            '?' => Content::Foreign { text: "?".to_owned(), jump: None },
            letter => Content::Known(rule(letter)),
        };
        ObservedRule { handle: 0, packets: 0, bytes: 0, content }
    }

    fn describe(kind: &Kind) -> String {
        match kind {
            Kind::MissingChain { .. } => "no chain".to_owned(),
            Kind::Missing { at, .. } => format!("missing {at}"),
            Kind::Misplaced { at, .. } => format!("misplaced {at}"),
            Kind::Repeated { at, .. } => format!("repeated {at}"),
            Kind::Unplanned { at, .. } => format!("unplanned {at}"),
            Kind::Unreadable { at, .. } => format!("unreadable {at}"),
            Kind::StrayChain { .. } => "stray chain".to_owned(),
            Kind::Ahead { at, .. } => format!("ahead {at}"),
        }
    }

    #[test]
    fn the_same_rules_are_clean() {
        assert!(check(OWN, "abc", "abc", &[]).is_clean());
        assert!(check(OWN, "", "", &[]).is_clean());
    }

    #[test]
    fn a_missing_rule_breaks_it() {
        assert!(!check(OWN, "abc", "ac", &["missing 2"]).is_intact());
    }

    #[test]
    fn a11_order_counts() {
        assert!(!check(OWN, "abcd", "dabc", &["misplaced 1"]).is_intact());
        assert!(!check(HOOK, "ab", "ba", &["misplaced 2"]).is_intact());
    }

    #[test]
    fn a11_a_rule_twice_is_noticed() {
        let drift = check(OWN, "abc", "abbc", &["repeated 3"]);
        assert!(drift.is_intact() && !drift.is_clean());
        check(HOOK, "a", "aa", &["repeated 2"]);
    }

    #[test]
    fn a11_rules_of_others_are_noticed_among_ours_and_before_ours() {
        let drift = check(OWN, "ab", "x?ab", &["unplanned 1", "unreadable 2"]);
        assert!(drift.is_intact() && !drift.is_clean());
        assert!(check(HOOK, "ab", "?ab", &["ahead 1"]).is_clean());
        assert!(check(HOOK, "ab", "axb?", &["ahead 2"]).is_clean());
        assert!(check(HOOK, "ab", "ab?x", &[]).is_clean());
    }

    #[test]
    fn a_jump_of_ours_that_was_not_planned_is_a_leftover() {
        assert!(!check(HOOK, "a", "aX", &["unplanned 2"]).is_clean());
    }

    #[test]
    fn what_an_earlier_plan_left_in_a_hook_is_noticed() {
        let asm = Settings { profile: Profile::Asm114, dns: Dns::All, ..Settings::default() };
        let tproxy = Settings { mode: Mode::Tproxy, ..Settings::default() };
        let expected = plan(&Settings::default(), Families::V4).rules;
        for (earlier, telling) in [(asm, 7), (tproxy, 4)] {
            let mut there = expected.clone();
            for (place, rules) in
                plan(&earlier, Families::V4).rules.iter().filter(|(at, _)| at.chain.is_hook())
            {
                let left = rules.iter().filter(|rule| !leads_to_ours(rule));
                left.for_each(|rule| there.push(place, rule.clone()));
            }
            let mut observed = Observed::default();
            for (place, rules) in there.iter() {
                let content = rules.iter().cloned().map(Content::Known);
                let rule = |content| ObservedRule { handle: 0, packets: 0, bytes: 0, content };
                observed.chains.insert(place, content.map(rule).collect());
            }
            let drift = compare(&expected, &observed);
            let unplanned = drift.findings.iter().filter(|one| matches!(one.kind, Kind::Unplanned { .. }));
            assert_eq!(unplanned.count(), telling, "{drift}");
            assert!(drift.is_intact() && !drift.is_clean());
        }
        let marked = Rule::new([], Verdict::RestoreMark);
        assert!(!is_telling(HOOK, &marked), "a rule of others");
    }

    #[test]
    fn chains_are_looked_for_in_both_directions() {
        let mut expected = RuleSet::default();
        expected.push(OWN, rule('a'));
        let drift = compare(&expected, &Observed::default());
        assert_eq!(drift.to_string(), "IPv4 nat ISTIO_OUTPUT: the chain is missing, and with it 1 rule");
        let mut observed = Observed::default();
        observed.chains.insert(OWN, Vec::new());
        let drift = compare(&RuleSet::default(), &observed);
        assert!(drift.is_intact() && !drift.is_clean(), "{drift}");
    }
}
