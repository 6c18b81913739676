//! What is counted of all pods that were started: whether each was protected before its first process. Pure.

use crate::demo::pods::Part;
use crate::demo::verdict::By;
use crate::demo::world::Protection;

/// The counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Pods of the mesh that were started behind rules of the node's chain.
    pub(crate) chain: usize,
    /// Those that were behind rules of their own init container.
    pub(crate) itself: usize,
    /// Those whose rules were missing, or others than planned.
    pub(crate) unprotected: usize,
}

impl Tally {
    /// Counts a pod that starts; says what it starts behind.
    pub(crate) fn started(&mut self, part: Part, found: &Protection) -> String {
        let Protection { by, rules, drift } = found;
        match (part, drift, by) {
            (Part::Outside, None, _) => "outside the mesh, no rules".to_owned(),
            (Part::Outside, Some(drift), _) => format!("outside the mesh, and has rules: {drift}"),
            (_, None, By::Chain) => {
                self.chain += 1;
                format!("{rules} rules by {by}, before its first process")
            }
            (_, None, By::Itself) => {
                self.itself += 1;
                format!("{rules} rules by {by}, before its app")
            }
            (_, None, By::Nobody) => {
                self.unprotected += 1;
                "UNPROTECTED: no rules are planned".to_owned()
            }
            (_, Some(drift), _) => {
                self.unprotected += 1;
                format!("UNPROTECTED: {rules} rules, and not those planned: {drift}")
            }
        }
    }

    /// Pods of the mesh that were started.
    pub(crate) fn all(&self) -> usize {
        self.chain + self.itself + self.unprotected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(part: Part, by: By, drift: Option<&str>, expected: &str, counts: (usize, usize, usize)) {
        let mut tally = Tally::default();
        let found = Protection { by, rules: 7, drift: drift.map(str::to_owned) };
        let words = tally.started(part, &found);
        assert!(words.contains(expected), "{words}");
        assert_eq!((tally.chain, tally.itself, tally.unprotected), counts);
    }

    #[test]
    fn a_pod_counts_by_what_it_starts_behind() {
        check(
            Part::Mesh,
            By::Chain,
            None,
            "7 rules by the node's chain, before its first process",
            (1, 0, 0),
        );
        check(Part::Excluded, By::Itself, None, "7 rules by its own istio-init, before its app", (0, 1, 0));
        check(Part::Mesh, By::Nobody, Some("one is missing"), "UNPROTECTED", (0, 0, 1));
        check(Part::Mesh, By::Chain, Some("one is missing"), "UNPROTECTED", (0, 0, 1));
        check(Part::Mesh, By::Nobody, None, "UNPROTECTED", (0, 0, 1));
        check(Part::Outside, By::Nobody, None, "no rules", (0, 0, 0));
    }
}
