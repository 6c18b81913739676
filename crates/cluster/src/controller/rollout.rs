//! Which revision of the settings each group of nodes gets now: canaries first, nothing while paused, back when told. PURE.
//!
//! It knows nothing of objects; inside one group Kubernetes replaces agents itself, some at a time.

use super::targets::{Group, Target};
use std::collections::BTreeMap;

/// What decides about a rollout beside the nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// The revision that is wanted.
    pub(crate) wanted: i64,
    /// The one to go back to instead, if that was decided.
    pub(crate) back_to: Option<i64>,
    /// Whether everything stops where it is.
    pub(crate) paused: bool,
}

/// What a group gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// The revision.
    pub(crate) revision: i64,
    /// Whether agents that run are left alone, whatever they were started with.
    pub(crate) hold: bool,
}

/// What each group gets; `has` is what it has now. A group that is missing from the answer is not touched.
pub(crate) fn plan(
    groups: &[Group],
    targets: &[Target],
    has: &BTreeMap<Group, i64>,
    order: Order,
) -> BTreeMap<Group, Share> {
    let canaries: Vec<&Target> =
        targets.iter().filter(|target| target.group.canary && target.ready).collect();
    // Without a canary that is Ready there is nobody to learn from.
    let proved = canaries.iter().all(|target| target.updated);
    let share = |group: &Group| {
        let current = has.get(group).copied();
        if order.paused {
            return current.map(|revision| Share { revision, hold: true });
        }
        let wanted = order.back_to.unwrap_or(order.wanted);
        let first = group.canary || proved || order.back_to.is_some();
        let revision = if first { Some(wanted) } else { current };
        revision.map(|revision| Share { revision, hold: false })
    };
    groups.iter().filter_map(|group| Some((*group, share(group)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::platform::Platform;

    const REST: Group = Group { platform: Platform::Kubeadm, canary: false };
    const CANARY: Group = Group { platform: Platform::Kubeadm, canary: true };

    /// What canaries and the rest get, of which so many are updated, when they have these revisions.
    fn check(canaries: &[bool], has: &[(Group, i64)], order: Order, expected: &[(Group, i64, bool)]) {
        let target = |updated: &bool| Target {
            name: "n".to_owned(),
            group: CANARY,
            ready: true,
            serving: true,
            updated: *updated,
            trouble: None,
        };
        let targets: Vec<Target> = canaries.iter().map(target).collect();
        let groups = if canaries.is_empty() { vec![REST] } else { vec![REST, CANARY] };
        let plan = plan(&groups, &targets, &has.iter().copied().collect(), order);
        let found: Vec<_> =
            plan.into_iter().map(|(group, share)| (group, share.revision, share.hold)).collect();
        assert_eq!(found, expected, "{canaries:?} {has:?} {order:?}");
    }

    #[test]
    fn canaries_go_first_and_a_pause_stops_everything() {
        let to = |wanted| Order { wanted, back_to: None, paused: false };
        check(&[], &[], to(1), &[(REST, 1, false)]);
        check(&[], &[(REST, 1)], to(2), &[(REST, 2, false)]);
        check(&[false], &[], to(1), &[(CANARY, 1, false)]);
        check(&[true, false], &[(REST, 1), (CANARY, 1)], to(2), &[(REST, 1, false), (CANARY, 2, false)]);
        check(&[true, true], &[(REST, 1), (CANARY, 2)], to(2), &[(REST, 2, false), (CANARY, 2, false)]);
        let paused = Order { paused: true, ..to(2) };
        check(&[true], &[(REST, 1), (CANARY, 2)], paused, &[(REST, 1, true), (CANARY, 2, true)]);
        check(&[], &[], paused, &[]);
        let back = Order { back_to: Some(1), ..to(2) };
        check(&[false], &[(REST, 1), (CANARY, 2)], back, &[(REST, 1, false), (CANARY, 1, false)]);
    }
}
