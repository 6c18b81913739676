//! Which objects the controller would write, and how one that is there differs from that. PURE.
//!
//! It is made by the controller's own functions, of the revision that each group has: a rollout that is on its way is no drift.

use super::fields::foreign;
use crate::api::mesh::MeshCNI;
use crate::api::status::State;
use crate::cli::change::diff;
use crate::controller::children::{self, Endpoint, Home, Key, MANAGER, REVISION, Release};
use crate::controller::status::agents_wanted;
use crate::controller::targets::Group;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use std::collections::BTreeMap;

/// Our objects as they are, by their places.
pub(super) type Live = BTreeMap<Key, DynamicObject>;

/// How an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As the controller would write it, and nothing else in it.
    Same,
    /// It is not there.
    Missing,
    /// It is there and somebody else's.
    Foreign,
    /// It is there, ours, and not wanted.
    Surplus,
    /// Fields are another than they should be, or others set some; each line one field.
    Changed(Vec<String>),
}

/// What the controller would write now.
pub(super) fn wanted(
    home: &Home,
    mesh: &MeshCNI,
    revisions: &BTreeMap<i64, Release>,
    groups: &[Group],
    live: &Live,
    endpoint: Option<&Endpoint>,
) -> BTreeMap<Key, Value> {
    let mut trees = BTreeMap::new();
    let state = mesh.status.as_ref().and_then(|status| status.state).unwrap_or_default();
    if !agents_wanted(state) {
        return trees;
    }
    for group in groups {
        let place = Key {
            kind: "DaemonSet".to_owned(),
            namespace: home.namespace.clone(),
            name: children::name(*group),
        };
        let has = live.get(&place).and_then(|set| set.annotations().get(REVISION)?.parse().ok());
        let known = has.and_then(|revision| revisions.get_key_value(&revision));
        let Some((revision, release)) = known.or_else(|| revisions.iter().next_back()) else { continue };
        let all = children::objects(home, *group, release, *revision, mesh.spec.rollout.paused);
        trees.extend(all.into_iter().map(|tree| (children::key(&tree), tree)));
    }
    if let Some(endpoint) = endpoint.filter(|_| matches!(state, State::Serving | State::Draining)) {
        let tree = children::admission(home, &mesh.spec, endpoint);
        trees.insert(children::key(&tree), tree);
    }
    trees
}

/// How `live` stands, if `tried` is what the server would make of it were the controller to write.
pub(super) fn compare(live: &DynamicObject, tried: &DynamicObject) -> Standing {
    let mut lines = diff::lines(&bare(live), &bare(tried));
    lines.extend(foreign(tried, MANAGER).into_iter().map(|(field, owner)| format!("{field}: {owner}")));
    if lines.is_empty() { Standing::Same } else { Standing::Changed(lines) }
}

/// Without what a server says of an object itself.
fn bare(object: &DynamicObject) -> Value {
    let mut tree = serde_json::to_value(object).expect("an object that was read can be written");
    let map = tree.as_object_mut().expect("an object is a map");
    // The place tells what it is; an API server leaves it out of the objects of a list.
    ["apiVersion", "kind", "status"].iter().for_each(|name| drop(map.remove(*name)));
    if let Some(meta) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"]
        {
            meta.remove(name);
        }
        if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
            // The server counts in it how often the template changed.
            annotations.remove("deprecated.daemonset.template.generation");
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(live: Value, tried: Value, expected: &Standing) {
        let [live, tried] = [live, tried].map(|tree| serde_json::from_value(tree).expect("it is an object"));
        assert_eq!(&compare(&live, &tried), expected);
    }

    #[test]
    fn what_a_server_says_itself_is_no_change() {
        // As kube-apiserver lists one, and as it answers a dry run.
        let listed = |image: &str| {
            json!({ "metadata": { "name": "x", "resourceVersion": "7", "generation": 1, "managedFields": [],
                    "annotations": { "deprecated.daemonset.template.generation": "1" } },
                "spec": { "image": image }, "status": { "numberReady": 1 } })
        };
        let tried = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "name": "x", "resourceVersion": "8", "generation": 2, "managedFields": [{ "manager": MANAGER }],
                "annotations": { "deprecated.daemonset.template.generation": "2" } },
            "spec": { "image": "ours" } });
        check(listed("ours"), tried.clone(), &Standing::Same);
        check(listed("other"), tried, &Standing::Changed(vec!["spec.image: other → ours".to_owned()]));
    }
}
