//! PURE: which node a pod may run on: readiness, selectors, affinity and taints.

use crate::apiserver::select::{LabelSelector, Labels};
use serde_json::{Value, json};

/// What every daemon's pod tolerates, as nodes need their daemons to become well.
const DAEMONS: [(&str, &str); 7] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ("node.kubernetes.io/network-unavailable", "NoSchedule"),
];

/// A daemon's pod with the tolerations that it gets.
pub(super) fn tolerant(mut spec: Value) -> Value {
    let found = spec["tolerations"].as_array();
    let mut tolerations: Vec<Value> = found.into_iter().flatten().cloned().collect();
    for (key, effect) in DAEMONS {
        tolerations.push(json!({"key": key, "operator": "Exists", "effect": effect}));
    }
    spec["tolerations"] = tolerations.into();
    spec
}

/// Whether a pod with this spec may be on this node, ready or not.
pub(super) fn fits(spec: &Value, node: &Value) -> bool {
    let labels = labels(node);
    let selected = LabelSelector::of(&json!({"matchLabels": spec["nodeSelector"]}));
    let terms = spec
        .pointer("/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms");
    let wanted = terms.and_then(Value::as_array).is_none_or(|terms| {
        terms.iter().any(|term| {
            let named = Labels::from([("metadata.name".to_owned(), name(node).to_owned())]);
            let fields = LabelSelector::of(&json!({"matchExpressions": term["matchFields"]}));
            LabelSelector::of(&numbers(term)).is_some_and(|selector| selector.matches(&labels))
                && fields.is_some_and(|selector| selector.matches(&named))
        })
    });
    selected.is_some_and(|selector| selector.matches(&labels)) && wanted && tolerates(spec, node)
}

/// Node selectors may compare numbers, which no label selector can: such a term is matched by no node here.
fn numbers(term: &Value) -> Value {
    json!({"matchExpressions": term["matchExpressions"]})
}

fn tolerates(spec: &Value, node: &Value) -> bool {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let tolerations = list(&spec["tolerations"]);
    let mut taints = list(&node["spec"]["taints"]);
    if node["spec"]["unschedulable"] == true {
        taints.push(json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}));
    }
    let hard = taints.iter().filter(|taint| taint["effect"] != "PreferNoSchedule");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    hard.into_iter().all(|taint| {
        tolerations.iter().any(|toleration| {
            let effect = text(&toleration["effect"]);
            let key = text(&toleration["key"]);
            let exists = toleration["operator"] == "Exists";
            (effect.is_empty() || taint["effect"] == effect.as_str())
                && (key.is_empty() && exists || taint["key"] == key.as_str())
                && (exists || text(&toleration["value"]) == text(&taint["value"]))
        })
    })
}

/// Whether a node says that it is ready.
pub(super) fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// The ready node for a pod that has the fewest; `load` tells how many a node has.
pub(super) fn choose<'a>(spec: &Value, nodes: &'a [Value], load: impl Fn(&str) -> usize) -> Option<&'a str> {
    let possible = nodes.iter().filter(|node| is_ready(node) && fits(spec, node)).map(name);
    possible.min_by_key(|name| (load(name), (*name).to_owned()))
}

pub(super) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn labels(object: &Value) -> Labels {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, taint: Option<&str>) -> Value {
        let taints: Vec<Value> =
            taint.into_iter().map(|key| json!({"key": key, "effect": "NoSchedule"})).collect();
        json!({"metadata": {"name": name, "labels": {"zone": name}}, "spec": {"taints": taints},
               "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    }

    fn check(spec: &Value, expected: Option<&str>) {
        let nodes = [node("a", Some("x")), node("b", None), node("c", None)];
        assert_eq!(choose(spec, &nodes, |name| usize::from(name == "b")), expected, "{spec}");
    }

    #[test]
    fn pods_find_nodes() {
        check(&json!({}), Some("c"));
        check(&json!({"nodeSelector": {"zone": "b"}}), Some("b"));
        check(&json!({"nodeSelector": {"zone": "a"}}), None);
        let tolerations = json!([{"key": "x", "operator": "Exists"}]);
        check(&json!({"nodeSelector": {"zone": "a"}, "tolerations": tolerations}), Some("a"));
        let expressions = json!([{"key": "zone", "operator": "NotIn", "values": ["c"]}]);
        let terms = json!({"nodeSelectorTerms": [{"matchExpressions": expressions}]});
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
        check(&json!({"affinity": affinity}), Some("b"));
    }
}
