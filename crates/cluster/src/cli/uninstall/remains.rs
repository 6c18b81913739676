//! What of Millrace is in a cluster, place by place, with the way to be rid of each; told from what was read. PURE.

use super::whose::{Whose, whose};
use crate::api::ours::DOMAIN;
use crate::args::output::Lang;
use crate::cli::findings::say;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What was found at the places that were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remains {
    /// Each place with what was found there.
    pub(super) places: Vec<(String, Vec<Left>)>,
}

/// One thing that is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// What, as in `Lease millrace-system/millrace-controller`.
    pub(super) what: String,
    /// How to be rid of it; nothing of what does nothing any more, or may stay.
    pub(super) way: Option<String>,
}

impl Remains {
    /// Adds a place.
    pub(super) fn at(&mut self, place: impl Into<String>, left: Vec<Left>) {
        self.places.push((place.into(), left));
    }

    /// Whether nothing is left that has to go.
    pub(super) fn is_clean(&self) -> bool {
        self.places.iter().flat_map(|(_, left)| left).all(|left| left.way.is_none())
    }

    /// For programs.
    pub(super) fn value(&self) -> Value {
        let left = |left: &Left| json!({ "what": left.what, "way": left.way, "clean": left.way.is_none() });
        let place = |(place, all): &(String, Vec<Left>)| json!({ "place": place, "found": all.iter().map(left).collect::<Vec<_>>() });
        json!({ "clean": self.is_clean(), "places": self.places.iter().map(place).collect::<Vec<_>>() })
    }
}

/// An object of ours, of which its kind and metadata are read.
pub(super) fn object(kind: &str, meta: &Value, lang: Lang) -> Left {
    let text = |field: &str| meta[field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let labels: BTreeMap<String, String> = serde_json::from_value(meta["labels"].clone()).unwrap_or_default();
    let there = if namespace.is_empty() { String::new() } else { format!(" -n {namespace}") };
    let delete = format!("kubectl delete {} {name}{there}", kind.to_lowercase());
    let way = match whose(kind, name, &labels) {
        Whose::Namespace => None,
        Whose::Controllers => {
            Some(say!(lang, "millrace uninstall, or {delete}", "millrace uninstall,或 {delete}"))
        }
        Whose::Nodes => Some(say!(
            lang,
            "a controller has to clear its nodes: millrace enable, then millrace uninstall",
            "需由控制器清理其节点:先执行 millrace enable,再执行 millrace uninstall"
        )),
        Whose::ByHand => Some(say!(
            lang,
            "it was applied by hand: clear its nodes (docs/install.md 7), then {delete}",
            "它是手动应用的:先清理其节点(docs/install.md 7),再 {delete}"
        )),
    };
    let shown = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
    Left { what: format!("{kind} {shown}"), way }
}

/// What a node has of us: labels and annotations, taints, conditions. `taint` is the key that was in use.
pub(super) fn node(node: &Value, taint: &str, lang: Lang) -> Vec<Left> {
    let name = node["metadata"]["name"].as_str().unwrap_or_default();
    let mut left = marks("node", "Node", &node["metadata"], lang);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let key = |taint: &Value| taint["key"].as_str().unwrap_or_default().to_owned();
    let taints = list(&node["spec"]["taints"]).iter().map(key).collect::<Vec<_>>();
    left.extend(taints.iter().filter(|key| is_ours(key) || *key == taint).map(|key| Left {
        what: say!(lang, "Node {name}: taint {key}", "Node {name}:污点 {key}"),
        way: Some(format!("kubectl taint node {name} {key}-")),
    }));
    let kinds = list(&node["status"]["conditions"]);
    let kinds = kinds.iter().filter_map(|condition| condition["type"].as_str()).filter(|kind| is_ours(kind));
    left.extend(kinds.map(|kind| Left {
        what: say!(lang, "Node {name}: condition {kind}", "Node {name}:状况 {kind}"),
        way: Some(format!("kubectl edit node {name} --subresource=status")),
    }));
    left
}

/// What a namespace has of us.
pub(super) fn namespace(namespace: &Value, lang: Lang) -> Vec<Left> {
    marks("namespace", "Namespace", &namespace["metadata"], lang)
}

/// Labels and annotations of ours.
fn marks(kind: &str, shown: &str, meta: &Value, lang: Lang) -> Vec<Left> {
    let name = meta["name"].as_str().unwrap_or_default();
    let mut left = Vec::new();
    for (field, word, chinese, verb) in
        [("labels", "label", "标签", "label"), ("annotations", "annotation", "注解", "annotate")]
    {
        for key in
            meta[field].as_object().into_iter().flatten().map(|(key, _)| key).filter(|key| is_ours(key))
        {
            left.push(Left {
                what: say!(lang, "{shown} {name}: {word} {key}", "{shown} {name}:{chinese} {key}"),
                way: Some(format!("kubectl {verb} {kind} {name} {key}-")),
            });
        }
    }
    left
}

/// Whether a key is of our domain, as all that we write on others' objects are.
fn is_ours(key: &str) -> bool {
    key.starts_with(DOMAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: &[Left], expected: &[(&str, Option<&str>)]) {
        let found: Vec<(&str, Option<&str>)> =
            found.iter().map(|left| (left.what.as_str(), left.way.as_deref())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_thing_that_is_left_has_its_way_out() {
        let marked = json!({
            "metadata": { "name": "n1", "labels": { "millrace.dev/platform": "k3s", "a": "b" } },
            "spec": { "taints": [{ "key": "other", "effect": "NoSchedule" }, { "key": "own/taint", "effect": "NoSchedule" }] },
            "status": { "conditions": [{ "type": "Ready" }, { "type": "millrace.dev/Serving" }] },
        });
        let left = node(&marked, "own/taint", Lang::En);
        check(
            &left,
            &[
                (
                    "Node n1: label millrace.dev/platform",
                    Some("kubectl label node n1 millrace.dev/platform-"),
                ),
                ("Node n1: taint own/taint", Some("kubectl taint node n1 own/taint-")),
                (
                    "Node n1: condition millrace.dev/Serving",
                    Some("kubectl edit node n1 --subresource=status"),
                ),
            ],
        );
        check(
            &node(&json!({ "metadata": { "name": "n2", "labels": { "a": "b" } } }), "own/taint", Lang::En),
            &[],
        );
        let annotated = json!({ "metadata": { "name": "shop", "annotations": { "millrace.dev/x": "1" } } });
        check(
            &namespace(&annotated, Lang::En),
            &[(
                "Namespace shop: annotation millrace.dev/x",
                Some("kubectl annotate namespace shop millrace.dev/x-"),
            )],
        );
        let said = node(&marked, "own/taint", Lang::Zh);
        assert_eq!(said[1].what, "Node n1:污点 own/taint");
        let mut remains = Remains::default();
        remains.at("Namespace", vec![object("Namespace", &json!({ "name": "millrace-system" }), Lang::En)]);
        assert!(remains.is_clean(), "a namespace may stay");
        remains.at("Node", left);
        assert!(!remains.is_clean());
    }
}
