//! Who holds which field of an object, and what of it is ours: `managedFields` read, for server-side apply. PURE.
//!
//! An apply names everything its manager wants, for what it leaves out it gives up. So what we applied before is applied
//! again, with the change on top. A change is a merge patch (RFC 7386) of the specification: null takes a field out.

use serde_json::{Map, Value, json};

/// What is applied: what `ours` hold of `live` already, and `wanted` on top.
pub(super) fn body(live: &Value, wanted: &Map<String, Value>, ours: impl Fn(&str) -> bool) -> Value {
    let mut spec = Value::Object(Map::new());
    for entry in managers(live).filter(|entry| ours(name(entry))) {
        lay(&mut spec, held_of(&entry["fieldsV1"]["f:spec"], &live["spec"]));
    }
    json_patch::merge(&mut spec, &Value::Object(wanted.clone()));
    json!({
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "MeshCNI",
        "metadata": { "name": super::NAME },
        "spec": spec,
    })
}

/// What of `wanted` the object has otherwise, because others hold it too: each entry or field with its holder.
pub(super) fn held(object: &Value, wanted: &Map<String, Value>) -> Vec<(String, String)> {
    let mut held = Vec::new();
    find(object, &Value::Object(wanted.clone()), &object["spec"], &mut Vec::new(), &mut held);
    held
}

fn find(
    object: &Value,
    wanted: &Value,
    found: &Value,
    steps: &mut Vec<String>,
    held: &mut Vec<(String, String)>,
) {
    let shown = |steps: &[String]| format!(".spec.{}", steps.join("."));
    match wanted {
        Value::Null if !found.is_null() => {
            held.extend(holders(object, steps, None).map(|who| (shown(steps), who.to_owned())));
        }
        Value::Array(wanted) => {
            for entry in list(found).iter().filter(|entry| !wanted.contains(entry)) {
                let holders = holders(object, steps, Some(format!("v:{entry}")));
                held.extend(holders.map(|who| (format!("{}[{entry}]", shown(steps)), who.to_owned())));
            }
        }
        Value::Object(wanted) => {
            for (field, value) in wanted {
                steps.push(field.clone());
                find(object, value, &found[field], steps, held);
                steps.pop();
            }
        }
        _ => {}
    }
}

/// Whose the field at `steps` is, or an entry of the list there.
fn holders<'a>(
    object: &'a Value,
    steps: &'a [String],
    entry: Option<String>,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let holds = move |manager: &&Value| {
        let spec = &manager["fieldsV1"]["f:spec"];
        let field = steps.iter().fold(spec, |at, step| &at[format!("f:{step}")]);
        entry.as_ref().map_or(!field.is_null(), |entry| field.get(entry).is_some())
    };
    managers(object).filter(holds).map(name)
}

/// Whether a specification has what is wanted; the order of a set does not count.
pub(super) fn is_as(spec: &Value, wanted: &Map<String, Value>) -> bool {
    wanted.iter().all(|(field, value)| match (value, &spec[field]) {
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len() && wanted.iter().all(|entry| found.contains(entry))
        }
        (Value::Object(wanted), found) => is_as(found, wanted),
        (wanted, found) => wanted == found,
    })
}

/// The merge patch that makes `after` of `before`.
pub(super) fn between(before: &Value, after: &Value) -> Map<String, Value> {
    let (was, now) = (before.as_object().cloned().unwrap_or_default(), after.as_object());
    let now = now.cloned().unwrap_or_default();
    let gone = was.keys().filter(|key| !now.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = now.iter().filter(|(key, value)| was.get(*key) != Some(value)).map(|(key, value)| {
        let value = match (was.get(key), value) {
            (Some(was @ Value::Object(_)), Value::Object(_)) => Value::Object(between(was, value)),
            _ => value.clone(),
        };
        (key.clone(), value)
    });
    gone.chain(changed).collect()
}

fn managers(object: &Value) -> impl Iterator<Item = &Value> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries.filter(|entry| entry["subresource"].as_str().unwrap_or_default().is_empty())
}

fn name(entry: &Value) -> &str {
    entry["manager"].as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The values that `fields` (of the form FieldsV1) names in `live`; null where it names none.
fn held_of(fields: &Value, live: &Value) -> Value {
    let Some(named) = fields.as_object() else { return Value::Null };
    let below: Vec<(&String, &Value)> = named.iter().filter(|(key, _)| *key != ".").collect();
    match live {
        _ if below.is_empty() => live.clone(),
        Value::Array(entries) => {
            let is_held = |entry: &&Value| named.contains_key(&format!("v:{entry}"));
            Value::Array(entries.iter().filter(is_held).cloned().collect())
        }
        Value::Object(_) => {
            let fields = below.into_iter().filter_map(|(key, below)| {
                let field = key.strip_prefix("f:")?;
                let value = held_of(below, live.get(field)?);
                Some((field.to_owned(), value))
            });
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// Lays `over` on `under`: objects field by field, lists together.
fn lay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(under), Value::Array(over)) => {
            let new: Vec<Value> = over.into_iter().filter(|entry| !under.contains(entry)).collect();
            under.extend(new);
        }
        (_, Value::Null) => {}
        (under, over) => *under = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Value {
        json!({
            "metadata": { "managedFields": [
                { "manager": "ours:alice", "operation": "Apply", "fieldsV1": { "f:spec": {
                    "f:mode": {}, "f:excludeNamespaces": { ".": {}, "v:\"a\"": {}, "v:\"b\"": {} } } } },
                { "manager": "kubectl", "operation": "Apply", "fieldsV1": { "f:spec": {
                    "f:excludeNamespaces": { "v:\"b\"": {}, "v:\"c\"": {} }, "f:rollout": { "f:paused": {} } } } },
                { "manager": "ours:bob", "operation": "Apply", "fieldsV1": { "f:spec": { "f:audit": { ".": {}, "f:policy": {} } } } },
                { "manager": "ours:status", "subresource": "status", "fieldsV1": { "f:spec": { "f:rollout": {} } } },
            ] },
            "spec": { "mode": "CNI", "excludeNamespaces": ["a", "b", "c"], "rollout": { "paused": true },
                "audit": { "policy": "Report", "periodSeconds": 300 } },
        })
    }

    fn check(live: &Value, wanted: Value, expected: Value) {
        let Value::Object(wanted) = wanted else { panic!("fields are wanted") };
        assert_eq!(body(live, &wanted, |name| name.starts_with("ours"))["spec"], expected);
    }

    #[test]
    fn what_is_ours_is_applied_again() {
        let ours =
            json!({ "mode": "Disabled", "excludeNamespaces": ["a", "b"], "audit": { "policy": "Report" } });
        check(&live(), json!({ "mode": "Disabled" }), ours);
        check(&Value::Null, json!({ "mode": "CNI" }), json!({ "mode": "CNI" }));
    }

    #[test]
    fn what_lies_between_is_a_merge_patch() {
        let before = json!({ "mode": "CNI", "install": { "image": "a:2", "list": "x" }, "same": { "a": 1 } });
        let after = json!({ "mode": "CNI", "install": { "list": "y" }, "same": { "a": 1 }, "new": [1] });
        let patch = between(&before, &after);
        assert_eq!(
            Value::Object(patch.clone()),
            json!({ "install": { "image": null, "list": "y" }, "new": [1] })
        );
        let mut made = before.clone();
        json_patch::merge(&mut made, &Value::Object(patch.clone()));
        assert_eq!(made, after);
        assert!(is_as(&after, &patch) && !is_as(&before, &patch) && between(&after, &after).is_empty());
        check(
            &live(),
            json!({ "audit": { "policy": null } }),
            json!({ "audit": {}, "excludeNamespaces": ["a", "b"], "mode": "CNI" }),
        );
        let taken = json!({ "rollout": { "paused": null } });
        let held = held(&live(), taken.as_object().unwrap());
        assert_eq!(held, [(".spec.rollout.paused".to_owned(), "kubectl".to_owned())]);
    }

    #[test]
    fn what_others_hold_is_named() {
        let wanted = json!({ "excludeNamespaces": ["a"], "mode": "CNI" });
        let wanted = wanted.as_object().unwrap();
        let expected = [("b", "ours:alice"), ("b", "kubectl"), ("c", "kubectl")];
        let expected =
            expected.map(|(entry, who)| (format!(".spec.excludeNamespaces[\"{entry}\"]"), who.to_owned()));
        assert_eq!(held(&live(), wanted), expected);
        assert!(!is_as(&live()["spec"], wanted));
        let same = json!({ "excludeNamespaces": ["c", "a", "b"] });
        assert!(is_as(&live()["spec"], same.as_object().unwrap()));
    }
}
