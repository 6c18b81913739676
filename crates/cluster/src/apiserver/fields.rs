//! PURE: sets of fields, as `managedFields` keeps them (the format FieldsV1): who owns what, and what a change touches.

use super::shape::{List, Shape};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A set of places in an object, as a tree. A step is `f:NAME`, `k:{KEYS}` or `v:VALUE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// Whether this place itself is in the set.
    here: bool,
    below: BTreeMap<String, Fields>,
}

/// What one version of an object changed of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) changed: Fields,
    pub(crate) removed: Fields,
}

/// What the server sets itself, and nobody owns.
const NOBODYS: [&str; 10] = [
    "f:name",
    "f:namespace",
    "f:uid",
    "f:resourceVersion",
    "f:generation",
    "f:creationTimestamp",
    "f:deletionTimestamp",
    "f:deletionGracePeriodSeconds",
    "f:managedFields",
    "f:selfLink",
];

impl Fields {
    fn leaf() -> Fields {
        Fields { here: true, below: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.here && self.below.is_empty()
    }

    /// What one owns who applies `value`.
    pub(crate) fn of(value: &Value, shape: &Shape) -> Fields {
        match (value, &shape.list) {
            (Value::Object(map), _) if !shape.atomic && !map.is_empty() => {
                let below = map.iter().map(|(name, value)| {
                    let mut fields = Fields::of(value, shape.field(name));
                    fields.here |= value.is_object() && !shape.has(name) && fields.below.is_empty();
                    (format!("f:{name}"), fields)
                });
                Fields { here: false, below: below.collect() }
            }
            (Value::Array(items), List::Map(keys)) if !items.is_empty() => {
                let below = items.iter().map(|item| {
                    (key_of(item, keys), Fields { here: true, ..Fields::of(item, shape.item()) })
                });
                Fields { here: false, below: below.collect() }
            }
            (Value::Array(items), List::Set) if !items.is_empty() => Fields {
                here: false,
                below: items.iter().map(|item| (value_of(item), Fields::leaf())).collect(),
            },
            _ => Fields::leaf(),
        }
    }

    /// Takes out what the server sets itself.
    pub(crate) fn ownable(mut self) -> Fields {
        self.below.retain(|step, _| step != "f:apiVersion" && step != "f:kind");
        if let Some(metadata) = self.below.get_mut("f:metadata") {
            metadata.here = false;
            metadata.below.retain(|step, _| !NOBODYS.contains(&step.as_str()));
            if metadata.below.is_empty() {
                self.below.remove("f:metadata");
            }
        }
        self.here = false;
        self
    }

    pub(crate) fn union(mut self, other: &Fields) -> Fields {
        self.here |= other.here;
        for (step, fields) in &other.below {
            let mine = self.below.remove(step).unwrap_or_default();
            self.below.insert(step.clone(), mine.union(fields));
        }
        self
    }

    /// What is in this set and not in the other.
    pub(crate) fn minus(&self, other: &Fields) -> Fields {
        let below = self.below.iter().filter_map(|(step, fields)| {
            let left = other.below.get(step).map_or_else(|| fields.clone(), |other| fields.minus(other));
            (!left.is_empty()).then(|| (step.clone(), left))
        });
        Fields { here: self.here && !other.here, below: below.collect() }
    }

    /// What is in both.
    pub(crate) fn common(&self, other: &Fields) -> Fields {
        let below = self.below.iter().filter_map(|(step, fields)| {
            let both = fields.common(other.below.get(step)?);
            (!both.is_empty()).then(|| (step.clone(), both))
        });
        Fields { here: self.here && other.here, below: below.collect() }
    }

    /// Without everything at and below the places of the other.
    pub(crate) fn without_below(&self, other: &Fields) -> Fields {
        let below = self.below.iter().filter_map(|(step, fields)| {
            let left = match other.below.get(step) {
                None => fields.clone(),
                Some(other) if other.here => return None,
                Some(other) => fields.without_below(other),
            };
            (!left.is_empty()).then(|| (step.clone(), left))
        });
        Fields { here: self.here, below: below.collect() }
    }

    /// Each place in words, as conflicts name it: `.spec.containers[name="app"].image`.
    pub(crate) fn places(&self) -> Vec<String> {
        let mut places = Vec::new();
        self.gather("", &mut places);
        places
    }

    fn gather(&self, path: &str, places: &mut Vec<String>) {
        if self.here {
            places.push(path.to_owned());
        }
        for (step, fields) in &self.below {
            fields.gather(&format!("{path}{}", words(step)), places);
        }
    }

    /// Reads FieldsV1. Steps that are unknown here are kept as they are.
    pub(crate) fn read(value: &Value) -> Fields {
        let Some(map) = value.as_object() else { return Fields::default() };
        let mut fields = Fields { here: map.is_empty() || map.contains_key("."), below: BTreeMap::new() };
        fields.below = map
            .iter()
            .filter(|(step, _)| *step != ".")
            .map(|(step, value)| (step.clone(), Fields::read(value)))
            .collect();
        fields
    }

    /// Writes FieldsV1.
    pub(crate) fn write(&self) -> Value {
        let mut map = Map::new();
        if self.here && !self.below.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        map.extend(self.below.iter().map(|(step, fields)| (step.clone(), fields.write())));
        Value::Object(map)
    }

    /// Takes the places of this set out of `value`, unless `kept` has something there too. Whether nothing of it is left.
    pub(crate) fn remove_from(&self, value: &mut Value, shape: &Shape, kept: &Fields) -> bool {
        match (value, &shape.list) {
            (Value::Object(map), _) if !self.below.is_empty() => {
                for (step, fields) in &self.below {
                    let Some(name) = step.strip_prefix("f:") else { continue };
                    let Some(value) = map.get_mut(name) else { continue };
                    if fields.goes(value, shape.field(name), kept.below.get(step)) {
                        map.shift_remove(name);
                    }
                }
                map.is_empty()
            }
            (Value::Array(items), List::Map(keys)) => {
                items.retain_mut(|item| {
                    let step = key_of(item, keys);
                    let fields = self.below.get(&step);
                    !fields.is_some_and(|fields| fields.goes(item, shape.item(), kept.below.get(&step)))
                });
                items.is_empty()
            }
            (Value::Array(items), List::Set) => {
                items.retain(|item| {
                    let step = value_of(item);
                    !self.below.contains_key(&step) || kept.below.contains_key(&step)
                });
                items.is_empty()
            }
            _ => self.here,
        }
    }

    fn goes(&self, value: &mut Value, shape: &Shape, kept: Option<&Fields>) -> bool {
        match kept {
            None if self.here => true,
            None => self.remove_from(value, shape, &Fields::default()),
            Some(kept) => {
                self.remove_from(value, shape, kept);
                false
            }
        }
    }
}

/// What `new` has changed of `old`.
pub(crate) fn compare(old: &Value, new: &Value, shape: &Shape) -> Changes {
    match (old, new, &shape.list) {
        (Value::Object(old), Value::Object(new), _) if !shape.atomic => {
            let step = |name: &String| format!("f:{name}");
            let old: Vec<_> =
                old.iter().map(|(name, value)| (step(name), value, shape.field(name))).collect();
            let new: Vec<_> =
                new.iter().map(|(name, value)| (step(name), value, shape.field(name))).collect();
            pairwise(&old, &new)
        }
        (Value::Array(old), Value::Array(new), List::Map(keys)) => {
            let steps = |items: &'_ [Value]| items.iter().map(|item| key_of(item, keys)).collect::<Vec<_>>();
            let with = |steps: Vec<String>, items| -> Vec<_> {
                let pairs = steps.into_iter().zip::<std::slice::Iter<'_, Value>>(items);
                pairs.map(|(step, item)| (step, item, shape.item())).collect()
            };
            pairwise(&with(steps(old), old.iter()), &with(steps(new), new.iter()))
        }
        (Value::Array(old), Value::Array(new), List::Set) => {
            let leaves = |items: &[Value]| Fields {
                here: false,
                below: items.iter().map(|item| (value_of(item), Fields::leaf())).collect(),
            };
            let (old, new) = (leaves(old), leaves(new));
            Changes { changed: new.minus(&old), removed: old.minus(&new) }
        }
        _ if old == new => Changes::default(),
        _ => Changes { changed: Fields::leaf(), removed: Fields::default() },
    }
}

fn pairwise(old: &[(String, &Value, &Shape)], new: &[(String, &Value, &Shape)]) -> Changes {
    let before: BTreeMap<&str, &Value> = old.iter().map(|(step, value, _)| (step.as_str(), *value)).collect();
    let mut changes = Changes::default();
    for (step, value, shape) in new {
        let found = match before.get(step.as_str()) {
            Some(old) => compare(old, value, shape),
            None => {
                Changes { changed: Fields { here: true, ..Fields::of(value, shape) }, ..Changes::default() }
            }
        };
        if !found.changed.is_empty() {
            changes.changed.below.insert(step.clone(), found.changed);
        }
        if !found.removed.is_empty() {
            changes.removed.below.insert(step.clone(), found.removed);
        }
    }
    for (step, value, shape) in old {
        if !new.iter().any(|(other, ..)| other == step) {
            changes.removed.below.insert(step.clone(), Fields { here: true, ..Fields::of(value, shape) });
        }
    }
    changes
}

/// The step to an item of a list by keys.
pub(crate) fn key_of(item: &Value, keys: &[(String, Option<String>)]) -> String {
    let mut named = BTreeMap::new();
    for (key, default) in keys {
        let default = default.as_ref().map_or(Value::Null, |default| Value::from(default.as_str()));
        named.insert(key.as_str(), item.get(key).cloned().unwrap_or(default));
    }
    named.retain(|_, value| !value.is_null());
    format!("k:{}", serde_json::to_string(&named).unwrap_or_default())
}

fn value_of(item: &Value) -> String {
    format!("v:{item}")
}

fn words(step: &str) -> String {
    if let Some(name) = step.strip_prefix("f:") {
        return format!(".{name}");
    }
    let keys = step.strip_prefix("k:").and_then(|keys| serde_json::from_str::<Map<String, Value>>(keys).ok());
    match keys {
        Some(keys) => {
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        None => format!("[={}]", step.strip_prefix("v:").unwrap_or(step)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(containers: &Value) -> Value {
        json!({"spec": {"containers": containers}, "metadata": {"name": "a", "labels": {"x": "y"}}})
    }

    fn check(old: &Value, new: &Value, changed: &[&str], removed: &[&str]) {
        let changes = compare(old, new, &Shape::built_in("Pod"));
        assert_eq!(changes.changed.places(), changed);
        assert_eq!(changes.removed.places(), removed);
    }

    #[test]
    fn what_changed() {
        let one = pod(&json!([{"name": "app", "image": "1"}]));
        check(&one, &one, &[], &[]);
        let two = pod(&json!([{"name": "app", "image": "2"}]));
        check(&one, &two, &[".spec.containers[name=\"app\"].image"], &[]);
        let more = pod(&json!([{"name": "b"}, {"name": "app", "image": "1"}]));
        let added = [".spec.containers[name=\"b\"]", ".spec.containers[name=\"b\"].name"];
        check(&one, &more, &added, &[]);
        check(&more, &one, &[], &added);
    }

    #[test]
    fn sets_are_written_and_read() {
        let shape = Shape::built_in("Pod");
        let fields =
            Fields::of(&pod(&json!([{"name": "app", "ports": [{"containerPort": 80}]}])), &shape).ownable();
        let written = fields.write();
        let key = "k:{\"containerPort\":80,\"protocol\":\"TCP\"}";
        let ports = json!({key: {".": {}, "f:containerPort": {}}});
        let container = json!({".": {}, "f:name": {}, "f:ports": ports});
        let spec = json!({"f:containers": {"k:{\"name\":\"app\"}": container}});
        assert_eq!(written, json!({"f:metadata": {"f:labels": {"f:x": {}}}, "f:spec": spec}));
        assert_eq!(Fields::read(&written), fields);
        assert!(fields.minus(&fields).is_empty());
        assert_eq!(fields.common(&fields), fields);
        assert_eq!(Fields::default().union(&fields), fields);
    }

    #[test]
    fn what_nobody_keeps_is_removed() {
        let shape = Shape::built_in("Pod");
        let mut value = pod(&json!([{"name": "app", "image": "1"}, {"name": "b", "image": "1"}]));
        let gone = Fields::of(&value, &shape).ownable();
        let kept = Fields::of(&pod(&json!([{"name": "b"}])), &shape).ownable();
        gone.minus(&kept).remove_from(&mut value, &shape, &kept);
        let expected =
            json!({"spec": {"containers": [{"name": "b"}]}, "metadata": {"name": "a", "labels": {"x": "y"}}});
        assert_eq!(value, expected);
    }
}
