//! What the controller says on a node: its platform's label, the start-up taint, and whether it serves. PURE.
//!
//! No agent's token may write to nodes; what agents say is turned into this here. A taint keeps new pods away and touches no
//! running one. It is put on for what somebody said, never for silence, and never on half of the nodes: then more likely it is
//! us who are wrong.

use super::observed::{CONDITION, Node, PLATFORM_LABEL};
use super::targets::Target;
use crate::api::mesh::NodeTaint;
use crate::api::status::State;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An agent that is replaced, or restarted after a crash, is back by then.
const GRACE: SignedDuration = SignedDuration::from_secs(30);

/// What is to be written on one node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mark {
    /// The node.
    pub(crate) name: String,
    /// A merge patch of the node, if anything of it changes. Taints are a list, which is replaced whole: `taints` says how.
    pub(crate) labels: Option<Value>,
    /// Whether the taint is put on or taken off, if it changes.
    pub(crate) taint: Option<bool>,
    /// A strategic merge patch of the node's status, if it changes.
    pub(crate) condition: Option<Value>,
}

/// What is to be written on the nodes. `wanted` is whether agents are wanted at all.
pub(crate) fn marks(
    state: State,
    taint: &NodeTaint,
    targets: &[Target],
    nodes: &BTreeMap<String, Node>,
    now: Timestamp,
) -> Vec<Mark> {
    let here = matches!(state, State::Installing | State::Serving | State::Draining);
    let by_name: BTreeMap<&str, &Target> =
        targets.iter().map(|target| (target.name.as_str(), target)).collect();
    let lost = targets.iter().filter(|target| has_lost(target, now)).count();
    let trusted = lost * 2 <= targets.len();
    let mark = |(name, node): (&String, &Node)| {
        let target = by_name.get(name.as_str()).filter(|_| here).copied();
        let tainted = node.taints.contains(&taint.key);
        let lost = state == State::Serving && trusted && target.is_some_and(|target| has_lost(target, now));
        // Where pods redirect themselves there is nothing to wait for.
        let free = state != State::Serving || target.is_none_or(|target| target.serving);
        let taint = match tainted {
            _ if !taint.manage => None,
            true => free.then_some(false),
            false => lost.then_some(true),
        };
        let (labels, condition) = (labels(node, target), condition(node, target, now));
        let changes = labels.is_some() || taint.is_some() || condition.is_some();
        changes.then(|| Mark { name: name.clone(), labels, taint, condition })
    };
    nodes.iter().filter_map(mark).collect()
}

/// A node's taints with ours put on or taken off.
pub(crate) fn taints(found: &[Value], key: &str, on: bool) -> Vec<Value> {
    let ours = |taint: &&Value| taint["key"] == key && taint["effect"] == "NoSchedule";
    let mut taints: Vec<Value> = found.iter().filter(|taint| !ours(taint)).cloned().collect();
    if on {
        taints.push(json!({ "key": key, "effect": "NoSchedule" }));
    }
    taints
}

fn has_lost(target: &Target, now: Timestamp) -> bool {
    // A node's clock is its own: what it says to have begun long after now has not just begun either.
    let lasts = |since: Timestamp| now.duration_since(since).abs() > GRACE;
    let told =
        target.trouble.as_ref().is_some_and(|trouble| trouble.told && trouble.since.is_some_and(lasts));
    target.ready && !target.serving && told
}

/// Whether it may be over in a moment.
fn is_fresh(target: &Target, now: Timestamp) -> bool {
    let since = target.trouble.as_ref().and_then(|trouble| trouble.since);
    since.is_some_and(|since| now.duration_since(since) <= GRACE)
}

fn labels(node: &Node, target: Option<&Target>) -> Option<Value> {
    let wanted = target.map(|target| target.group.platform.name());
    let found = node.labels.get(PLATFORM_LABEL).map(String::as_str);
    (wanted != found).then(|| json!({ "metadata": { "labels": { PLATFORM_LABEL: wanted } } }))
}

fn condition(node: &Node, target: Option<&Target>, now: Timestamp) -> Option<Value> {
    let found = node.condition.as_ref();
    let Some(target) = target else {
        return found
            .map(|_| json!({ "status": { "conditions": [{ "$patch": "delete", "type": CONDITION }] } }));
    };
    let (status, reason, message) = match &target.trouble {
        Some(trouble) if !target.serving => ("False", trouble.code.to_string(), trouble.reason.clone()),
        _ => ("True", "Serving".to_owned(), "pods that start here are redirected".to_owned()),
    };
    if found.is_some_and(|(was, why, said)| was == status && *why == reason && *said == message) {
        return None;
    }
    // One whose agent is being replaced: everybody in a cluster watches its nodes, and an upgrade would write twice to each.
    if status == "False" && found.is_some_and(|(was, ..)| was == "True") && is_fresh(target, now) {
        return None;
    }
    let mut condition = json!({
        "type": CONDITION, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now,
    });
    if found.is_none_or(|(was, ..)| was != status) {
        condition["lastTransitionTime"] = json!(now);
    }
    Some(json!({ "status": { "conditions": [condition] } }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::platform::Platform;
    use crate::codes::Code;
    use crate::controller::targets::{Group, Trouble};

    fn target(name: &str, serving: bool, since: i64, told: bool) -> Target {
        let since = Timestamp::from_second(since).ok();
        let trouble = Trouble { code: Code::AgentNotReady, reason: "it says no".to_owned(), since, told };
        let group = Group { platform: Platform::K3s, canary: false };
        let trouble = (!serving).then_some(trouble);
        Target { name: name.to_owned(), group, ready: true, serving, updated: serving, trouble }
    }

    /// What becomes of the taints of the nodes a, b and c at 100 s.
    fn check(state: State, tainted: &[&str], targets: &[Target], expected: &[(&str, bool)]) {
        let node = |name: &str| Node {
            taints: tainted.iter().filter(|key| **key == name).map(|_| NodeTaint::default().key).collect(),
            ..Node::default()
        };
        let nodes = ["a", "b", "c"].map(|name| (name.to_owned(), node(name))).into();
        let now = Timestamp::from_second(100).expect("it is a moment");
        let marks = marks(state, &NodeTaint::default(), targets, &nodes, now);
        let found: Vec<_> = marks.iter().filter_map(|mark| Some((mark.name.as_str(), mark.taint?))).collect();
        assert_eq!(found, expected, "{state:?} {tainted:?}");
    }

    #[test]
    fn a_taint_follows_what_an_agent_says() {
        let [good, bad] = [target("a", true, 0, true), target("b", false, 0, true)];
        let rest = target("c", true, 0, true);
        let all = [good.clone(), bad.clone(), rest.clone()];
        check(State::Serving, &[], &all, &[("b", true)]);
        check(State::Serving, &["a", "b"], &all, &[("a", false)]);
        check(State::Installing, &["a", "b"], &all, &[("a", false), ("b", false)]);
        check(State::Draining, &["b"], &all, &[("b", false)]);
        check(State::Absent, &["c"], &[], &[("c", false)]);
        let silent = [good.clone(), target("b", false, 0, false), rest.clone()];
        check(State::Serving, &[], &silent, &[]);
        let fresh = [good, target("b", false, 80, true), rest];
        check(State::Serving, &[], &fresh, &[]);
        // Of a node whose clock is ahead: by as much as clocks differ, and by hours.
        let [near, far] = [120, 9000].map(|second| {
            [target("a", true, 0, true), target("b", false, second, true), target("c", true, 0, true)]
        });
        check(State::Serving, &[], &near, &[]);
        check(State::Serving, &[], &far, &[("b", true)]);
        let most = [target("a", false, 0, true), bad, target("c", true, 0, true)];
        check(State::Serving, &[], &most, &[]);
    }

    #[test]
    fn a_node_says_what_it_is_and_whether_it_serves() {
        let now = Timestamp::from_second(100).expect("it is a moment");
        let mut node = Node::default();
        let of = |node: &Node, targets: &[Target]| {
            let nodes = [("a".to_owned(), node.clone())].into();
            marks(State::Serving, &NodeTaint::default(), targets, &nodes, now)
        };
        let found = of(&node, &[target("a", true, 0, true)]);
        assert_eq!(found[0].labels, Some(json!({ "metadata": { "labels": { PLATFORM_LABEL: "k3s" } } })));
        let condition = &found[0].condition.as_ref().expect("it is new")["status"]["conditions"][0];
        assert_eq!(condition["status"], "True");
        node.labels.insert(PLATFORM_LABEL.to_owned(), "k3s".to_owned());
        let text = |key: &str| condition[key].as_str().expect("it is a text").to_owned();
        node.condition = Some((text("status"), text("reason"), text("message")));
        assert_eq!(of(&node, &[target("a", true, 0, true)]), []);
        assert_eq!(of(&node, &[target("a", false, 80, true)]), [], "its agent may be about to be back");
        let lost = of(&node, &[target("a", false, 0, true)]);
        let condition = &lost[0].condition.as_ref().expect("it is another")["status"]["conditions"][0];
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("MR2003")));
        let gone = of(&node, &[]);
        assert_eq!(gone[0].labels, Some(json!({ "metadata": { "labels": { PLATFORM_LABEL: null } } })));
        assert!(gone[0].condition.as_ref().expect("it goes").to_string().contains("delete"));
    }

    #[test]
    fn other_taints_stay_as_they_are() {
        let found =
            [json!({ "key": "x", "effect": "NoExecute" }), json!({ "key": "k", "effect": "NoSchedule" })];
        assert_eq!(taints(&found, "k", false), [found[0].clone()]);
        assert_eq!(taints(&found[..1], "k", true), found);
    }
}
