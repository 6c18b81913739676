//! PURE: a kind that is served in two places: from the form that is kept to the other, and back.
//!
//! Versions differ by name alone here; events are the exception, as `events.k8s.io` calls their fields otherwise.

use super::registry::Served;
use serde_json::{Map, Value};

/// The names of `v1`, and of `events.k8s.io/v1`.
const EVENT: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// What is kept, as `served` shows it.
pub(crate) fn shown(served: &Served, mut object: Value) -> Value {
    if !served.is_stored() {
        object["apiVersion"] = served.api_version().into();
        if served.group == "events.k8s.io" {
            rename(&mut object, |(kept, shown)| (kept, shown));
        }
    }
    object
}

/// What `served` was sent, as it is kept.
pub(crate) fn kept(served: &Served, mut object: Value) -> Value {
    if !served.is_stored() && object.is_object() {
        object["apiVersion"] = served.kind.api_version().into();
        if served.group == "events.k8s.io" {
            rename(&mut object, |(kept, shown)| (shown, kept));
        }
    }
    object
}

fn rename(
    object: &mut Value,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    let Some(map) = object.as_object_mut() else { return };
    let renamed: Map<String, Value> = std::mem::take(map)
        .into_iter()
        .map(|(name, value)| {
            let to = EVENT.into_iter().map(&direction).find(|(from, _)| *from == name);
            (to.map_or(name, |(_, to)| to.to_owned()), value)
        })
        .collect();
    *map = renamed;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::registry::Registry;
    use serde_json::json;

    fn check(path: (&str, &str, &str), sent: &Value, expected: &Value) {
        let served = Registry::new(std::iter::empty()).find(path.0, path.1, path.2).unwrap();
        let found = kept(&served, sent.clone());
        assert_eq!(&found, expected);
        assert_eq!(&shown(&served, found), sent);
    }

    #[test]
    fn there_and_back() {
        let sent = json!({"apiVersion": "events.k8s.io/v1", "note": "a", "regarding": {"kind": "Pod"}});
        let kept = json!({"apiVersion": "v1", "message": "a", "involvedObject": {"kind": "Pod"}});
        check(("events.k8s.io", "v1", "events"), &sent, &kept);
        check(("", "v1", "events"), &kept, &kept);
        let old = json!({"apiVersion": "policy/v1beta1"});
        check(("policy", "v1beta1", "poddisruptionbudgets"), &old, &json!({"apiVersion": "policy/v1"}));
    }
}
