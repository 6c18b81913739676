//! Two families in one table: which rules are for both, and which chains a family reaches.

use crate::rules::{Chain, Family, Place, Rule, RuleSet, Table, Verdict};

/// For which families something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    v4: bool,
    v6: bool,
}

impl Scope {
    pub(super) const BOTH: Scope = Scope { v4: true, v6: true };

    pub(super) fn of(family: Family) -> Scope {
        Scope { v4: family == Family::V4, v6: family == Family::V6 }
    }

    pub(super) fn families(self) -> impl Iterator<Item = Family> {
        [(self.v4, Family::V4), (self.v6, Family::V6)]
            .into_iter()
            .filter_map(|(is, family)| is.then_some(family))
    }

    fn join(&mut self, other: Scope) -> bool {
        let before = *self;
        *self = Scope { v4: self.v4 || other.v4, v6: self.v6 || other.v6 };
        *self != before
    }

    fn meet(self, other: Scope) -> Scope {
        Scope { v4: self.v4 && other.v4, v6: self.v6 && other.v6 }
    }
}

/// Which families' packets come to which chains of ours.
pub(super) struct Reach(Vec<((Table, Chain), Scope)>);

impl Reach {
    /// From all jumps there are: table, chain, the family if the rule is for one only, and the chain jumped to.
    pub(super) fn of(jumps: &[(Table, Chain, Option<Family>, Chain)]) -> Reach {
        let mut reach = Reach(Vec::new());
        loop {
            let mut grown = false;
            for &(table, from, family, to) in jumps {
                let here =
                    if from.is_hook() { Scope::BOTH } else { reach.scope(table, from).unwrap_or_default() };
                let scope = here.meet(family.map_or(Scope::BOTH, Scope::of));
                grown |= scope != Scope::default() && reach.add((table, to), scope);
            }
            if !grown {
                return reach;
            }
        }
    }

    pub(super) fn of_rules(rules: &RuleSet) -> Reach {
        let jumps = rules.iter().flat_map(|(place, rules)| {
            rules.iter().filter_map(move |rule| match rule.verdict() {
                Verdict::Jump(to) => Some((place.table, place.chain, Some(place.family), to)),
                _ => None,
            })
        });
        Reach::of(&jumps.collect::<Vec<_>>())
    }

    fn add(&mut self, at: (Table, Chain), scope: Scope) -> bool {
        match self.0.iter_mut().find(|(known, _)| *known == at) {
            Some((_, known)) => known.join(scope),
            None => {
                self.0.push((at, scope));
                true
            }
        }
    }

    fn scope(&self, table: Table, chain: Chain) -> Option<Scope> {
        self.0.iter().find_map(|(at, scope)| (*at == (table, chain)).then_some(*scope))
    }

    /// Whether anybody comes here.
    pub(super) fn is_known(&self, table: Table, chain: Chain) -> bool {
        self.scope(table, chain).is_some()
    }

    /// For whom a rule of this chain is that does not say it. A chain that nobody reaches is for both.
    pub(super) fn unsaid(&self, table: Table, chain: Chain) -> Scope {
        if chain.is_hook() { Scope::BOTH } else { self.scope(table, chain).unwrap_or(Scope::BOTH) }
    }
}

/// A line of a chain: a rule, and the family to name, if any.
pub(super) type Line<'a, T> = (Option<Family>, &'a T);

/// The lines of a chain: what is in both families' lists, once, if that can go unsaid.
pub(super) fn lines<'a, T: PartialEq>(v4: &'a [T], v6: &'a [T], unsaid: Scope) -> Vec<Line<'a, T>> {
    let mut lines = Vec::with_capacity(v4.len() + v6.len());
    let mut say = |scope: Scope, item: &'a T| {
        if scope == unsaid {
            lines.push((None, item));
        } else {
            lines.extend(scope.families().map(|family| (Some(family), item)));
        }
    };
    let (mut rest4, mut rest6) = (v4, v6);
    for item in common(v4, v6) {
        while let Some((first, rest)) = rest4.split_first() {
            rest4 = rest;
            if first == item {
                break;
            }
            say(Scope::of(Family::V4), first);
        }
        while let Some((first, rest)) = rest6.split_first() {
            rest6 = rest;
            if first == item {
                break;
            }
            say(Scope::of(Family::V6), first);
        }
        say(Scope::BOTH, item);
    }
    rest4.iter().for_each(|item| say(Scope::of(Family::V4), item));
    rest6.iter().for_each(|item| say(Scope::of(Family::V6), item));
    lines
}

/// The most comparisons worth saying a rule once: a pod's chains have a hundred rules. What somebody has filled with
/// a hundred thousand is told family by family.
const MOST_COMPARISONS: usize = 1 << 20;

/// A longest common subsequence, or none if it would take too long to find.
fn common<'a, T: PartialEq>(one: &'a [T], other: &[T]) -> Vec<&'a T> {
    if one.len().saturating_mul(other.len()) > MOST_COMPARISONS {
        return Vec::new();
    }
    let width = other.len() + 1;
    let mut longest = vec![0u16; (one.len() + 1) * width];
    for (i, a) in one.iter().enumerate().rev() {
        for (j, b) in other.iter().enumerate().rev() {
            longest[i * width + j] = if a == b {
                longest[(i + 1) * width + j + 1].saturating_add(1)
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut common = Vec::new();
    while i < one.len() && j < other.len() {
        if one[i] == other[j] {
            common.push(&one[i]);
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    common
}

/// The lines of a chain of planned rules. What names addresses names their family in any case.
pub(super) fn lines_of<'a>(
    rules: &'a RuleSet,
    reach: &Reach,
    table: Table,
    chain: Chain,
) -> Vec<Line<'a, Rule>> {
    let of = |family| rules.rules(Place { family, table, chain });
    lines(of(Family::V4), of(Family::V6), reach.unsaid(table, chain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(v4: &str, v6: &str, unsaid: Scope, expected: &str) {
        let (v4, v6): (Vec<char>, Vec<char>) = (v4.chars().collect(), v6.chars().collect());
        let told = lines(&v4, &v6, unsaid);
        let told: Vec<String> = told
            .into_iter()
            .map(|(family, item)| match family {
                None => item.to_string(),
                Some(Family::V4) => format!("4{item}"),
                Some(Family::V6) => format!("6{item}"),
            })
            .collect();
        assert_eq!(told.join(" "), expected);
    }

    #[test]
    fn what_both_families_have_is_said_once_and_each_keeps_its_order() {
        check("abc", "abc", Scope::BOTH, "a b c");
        check("axc", "ayc", Scope::BOTH, "a 4x 6y c");
        check("ab", "ba", Scope::BOTH, "4a b 6a");
        check("", "a", Scope::BOTH, "6a");
        check("aab", "ab", Scope::BOTH, "a 4a b");
    }

    #[test]
    fn what_would_take_too_long_to_compare_is_told_apart() {
        let many = vec!['a'; 2000];
        assert_eq!(lines(&many, &many, Scope::BOTH).len(), 4000);
    }

    #[test]
    fn a_chain_that_one_family_reaches_needs_no_word_for_it() {
        check("ab", "", Scope::of(Family::V4), "a b");
        check("ab", "a", Scope::of(Family::V4), "4a 6a b");
    }
}
