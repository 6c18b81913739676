//! Which workloads are restarted, in which waves, and whether a budget lets them. PURE.

use crate::cli::plan::Change;
use crate::cli::workload::is_ready;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A workload whose pods owe a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    /// Its kind.
    pub(super) kind: String,
    /// Its namespace.
    pub(super) namespace: String,
    /// Its name.
    pub(super) name: String,
    /// How many of its pods owe one.
    pub(super) pods: usize,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The workloads of the pods that owe a restart, in order; and the pods that nobody would start again.
pub(super) fn workloads(changes: &[Change]) -> (Vec<Workload>, Vec<String>) {
    let mut found: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    let mut bare = Vec::new();
    for change in changes {
        match &change.workload {
            Some((kind, name)) if matches!(kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet") => {
                *found.entry((&change.namespace, kind, name)).or_default() += 1;
            }
            _ => bare.push(format!("{}/{}", change.namespace, change.pod)),
        }
    }
    let workload = |((namespace, kind, name), pods): ((&str, &str, &str), usize)| Workload {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        pods,
    };
    (found.into_iter().map(workload).collect(), bare)
}

/// A workload, and the budgets that its pods are counted in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// The workload.
    pub(super) workload: Workload,
    /// The names of the budgets, in its namespace.
    pub(super) budgets: Vec<String>,
}

/// The next wave, taken out of those that are left: the first of them, `most` at most, no two of which share a budget.
pub(super) fn wave(left: &mut Vec<Counted>, most: usize) -> Vec<Workload> {
    let mut taken: BTreeSet<(String, String)> = BTreeSet::new();
    let mut wave = Vec::new();
    let mut rest = Vec::new();
    for one in left.drain(..) {
        let places = one.budgets.iter().map(|name| (one.workload.namespace.clone(), name.clone()));
        let places: Vec<_> = places.collect();
        if wave.len() < most && !places.iter().any(|place| taken.contains(place)) {
            taken.extend(places);
            wave.push(one.workload);
        } else {
            rest.push(one);
        }
    }
    *left = rest;
    wave
}

/// The budgets that cover the workload's pods. A selector with expressions is taken to cover them.
pub(super) fn covering<'a>(
    budgets: impl IntoIterator<Item = &'a PodDisruptionBudget>,
    workload: &Value,
) -> Vec<&'a PodDisruptionBudget> {
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    let covers = |budget: &&PodDisruptionBudget| {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| {
            let wanted = selector.match_labels.iter().flatten();
            wanted.into_iter().all(|(key, value)| labels[key].as_str() == Some(value))
        })
    };
    budgets.into_iter().filter(covers).collect()
}

/// A budget that covers the workload's pods and lets none of them go now.
pub(super) fn budget<'a>(
    budgets: impl IntoIterator<Item = &'a PodDisruptionBudget>,
    workload: &Value,
) -> Option<String> {
    let spent = |budget: &&PodDisruptionBudget| {
        budget.status.as_ref().is_some_and(|status| status.disruptions_allowed < 1)
    };
    covering(budgets, workload).into_iter().find(spent)?.metadata.name.clone()
}

/// Whether a workload was restarted and is not ready yet: it is waited for, and not restarted again.
pub(super) fn is_on_its_way(kind: &str, workload: &Value) -> bool {
    let restarted = &workload["spec"]["template"]["metadata"]["annotations"][RESTARTED];
    !restarted.is_null() && !is_ready(kind, workload)
}

/// The annotation of a pod template by which kubectl restarts, too.
pub(super) const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::Mechanism;
    use serde_json::json;

    fn change(pod: &str, workload: Option<(&str, &str)>) -> Change {
        Change {
            namespace: "shop".to_owned(),
            pod: pod.to_owned(),
            workload: workload.map(|(kind, name)| (kind.to_owned(), name.to_owned())),
            before: Mechanism::InitContainer,
            after: Mechanism::Cni,
        }
    }

    #[test]
    fn workloads_are_restarted_once_and_bare_pods_named() {
        let changes = [
            change("a-1", Some(("Deployment", "a"))),
            change("a-2", Some(("Deployment", "a"))),
            change("b-0", Some(("StatefulSet", "b"))),
            change("c", None),
            change("d", Some(("Job", "d"))),
        ];
        let (found, bare) = workloads(&changes);
        let shown: Vec<String> = found.iter().map(|one| format!("{one} {}", one.pods)).collect();
        assert_eq!(shown, ["Deployment shop/a 2", "StatefulSet shop/b 1"]);
        assert_eq!(bare, ["shop/c", "shop/d"]);
    }

    #[test]
    fn a_spent_budget_holds_its_workloads() {
        let workload = json!({ "spec": { "template": { "metadata": { "labels": { "app": "a" } } } } });
        let check = |app: &str, allowed: i32, expected: Option<&str>| {
            let budget: PodDisruptionBudget = serde_json::from_value(json!({
                "metadata": { "name": "b" }, "spec": { "selector": { "matchLabels": { "app": app } } },
                "status": { "currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": allowed, "expectedPods": 1 },
            }))
            .unwrap();
            assert_eq!(budget_of(&budget, &workload).as_deref(), expected);
        };
        check("a", 0, Some("b"));
        check("a", 1, None);
        check("other", 0, None);
    }

    fn budget_of(one: &PodDisruptionBudget, workload: &Value) -> Option<String> {
        budget([one], workload)
    }

    #[test]
    fn no_wave_has_two_workloads_of_one_budget() {
        let counted = |name: &str, budgets: &[&str]| Counted {
            workload: Workload {
                kind: "Deployment".to_owned(),
                namespace: "shop".to_owned(),
                name: name.to_owned(),
                pods: 1,
            },
            budgets: budgets.iter().map(|name| (*name).to_owned()).collect(),
        };
        let mut left = vec![
            counted("a", &[]),
            counted("b", &["x"]),
            counted("c", &["x", "y"]),
            counted("d", &["z"]),
            counted("e", &[]),
        ];
        let mut waves = Vec::new();
        while !left.is_empty() {
            let names: Vec<String> = wave(&mut left, 3).into_iter().map(|one| one.name).collect();
            waves.push(names.concat());
        }
        assert_eq!(waves, ["abd", "ce"]);
    }
}
