//! PURE: server-side apply, and who owns which field after any other write.

use crate::apiserver::fields::{self, Fields, key_of};
use crate::apiserver::refusal::Refusal;
use crate::apiserver::shape::{List, Shape};
use serde_json::{Map, Value, json};

/// Who writes, how, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manager<'a> {
    pub(crate) name: &'a str,
    /// `apiVersion` of what was written.
    pub(crate) version: &'a str,
    pub(crate) subresource: &'a str,
    /// RFC 3339.
    pub(crate) now: &'a str,
}

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq)]
struct Owner {
    name: String,
    applies: bool,
    version: String,
    subresource: String,
    time: String,
    fields: Fields,
}

impl Owner {
    fn is(&self, manager: Manager<'_>, applies: bool) -> bool {
        self.name == manager.name && self.applies == applies && self.subresource == manager.subresource
    }

    fn words(&self) -> String {
        let part = if self.subresource.is_empty() {
            String::new()
        } else {
            format!(" with subresource {:?}", self.subresource)
        };
        let how =
            if self.applies { String::new() } else { format!(" using {} at {}", self.version, self.time) };
        format!("{:?}{part}{how}", self.name)
    }

    fn of(manager: Manager<'_>, applies: bool, fields: Fields) -> Owner {
        Owner {
            name: manager.name.to_owned(),
            applies,
            version: manager.version.to_owned(),
            subresource: manager.subresource.to_owned(),
            time: manager.now.to_owned(),
            fields,
        }
    }
}

/// `live` as one wants it who applies `wanted`: what he no longer names goes, unless others own it.
pub(crate) fn apply(
    live: &Value,
    wanted: &Value,
    shape: &Shape,
    manager: Manager<'_>,
    force: bool,
) -> Result<Value, Refusal> {
    if wanted.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(Refusal::bad_request("metadata.managedFields must be nil"));
    }
    let mut owners = read(live);
    let wanted = without_nulls(wanted);
    let now = Fields::of(&wanted, shape).ownable();
    let before = owners.iter().find(|owner| owner.is(manager, true)).map(|owner| owner.fields.clone());
    let mut merged = live.clone();
    overlay(&mut merged, &wanted, shape);
    let others = owners.iter().filter(|owner| !owner.is(manager, true));
    let kept = others.fold(now.clone(), |all, owner| all.union(&owner.fields));
    if let Some(before) = before {
        before.minus(&kept).remove_from(&mut merged, shape, &kept);
    }
    let changes = fields::compare(live, &merged, shape);
    let changed = changes.changed.ownable();
    let mine = |owner: &Owner| owner.is(manager, true);
    let conflicts: Vec<(Owner, Fields)> = owners
        .iter()
        .filter(|owner| !mine(owner))
        .map(|owner| (owner.clone(), owner.fields.common(&changed)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    if !conflicts.is_empty() && !force {
        return Err(conflict(&conflicts));
    }
    for owner in owners.iter_mut().filter(|owner| !owner.is(manager, true)) {
        owner.fields = owner.fields.minus(&changed).without_below(&changes.removed);
    }
    let same = changed.is_empty() && changes.removed.is_empty();
    let unchanged = owners.iter().any(|owner| owner.is(manager, true) && owner.fields == now);
    if !(same && unchanged) {
        owners.retain(|owner| !owner.is(manager, true));
        owners.push(Owner::of(manager, true, now));
        write(&mut merged, owners);
    }
    Ok(merged)
}

/// Notes in `new` who owns what after `manager` wrote it over `old` by other means than apply.
pub(crate) fn note(old: &Value, new: &mut Value, shape: &Shape, manager: Manager<'_>) {
    let mut owners = read(if new.pointer("/metadata/managedFields").is_some() { new } else { old });
    let changes = fields::compare(old, new, shape);
    let changed = changes.changed.ownable();
    if changed.is_empty() && changes.removed.is_empty() {
        write(new, read(old));
        return;
    }
    for owner in &mut owners {
        let kept = owner.fields.without_below(&changes.removed);
        owner.fields = if owner.is(manager, false) { kept } else { kept.minus(&changed) };
    }
    if !changed.is_empty() {
        let mine = owners.iter().position(|owner| owner.is(manager, false)).map(|at| owners.remove(at));
        let fields = mine.map(|owner| owner.fields).unwrap_or_default().union(&changed);
        owners.push(Owner::of(manager, false, fields));
    }
    write(new, owners);
}

fn conflict(conflicts: &[(Owner, Fields)]) -> Refusal {
    let mut told: Vec<(String, Vec<String>)> =
        conflicts.iter().map(|(owner, fields)| (owner.words(), fields.places())).collect();
    told.sort();
    let places = told.iter().flat_map(|(who, places)| places.iter().map(move |place| (place, who)));
    let causes: Vec<(String, String)> =
        places.map(|(place, who)| (place.clone(), format!("conflict with {who}"))).collect();
    if let [(place, message)] = &causes[..] {
        return Refusal::owned(format!("Apply failed with 1 conflict: {message}: {place}"), &causes);
    }
    let mut words = Vec::new();
    for (who, places) in &told {
        words.push(format!("conflicts with {who}:"));
        words.extend(places.iter().map(|place| format!("- {place}")));
    }
    let words = format!("Apply failed with {} conflicts: {}", causes.len(), words.join("\n"));
    Refusal::owned(words, &causes)
}

/// Puts what is wanted over what is there.
fn overlay(live: &mut Value, wanted: &Value, shape: &Shape) {
    match (live, wanted, &shape.list) {
        (Value::Object(live), Value::Object(wanted), _) if !shape.atomic => {
            for (name, value) in wanted {
                match live.get_mut(name) {
                    Some(live) => overlay(live, value, shape.field(name)),
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(live), Value::Array(wanted), List::Map(keys)) => {
            for item in wanted {
                let key = key_of(item, keys);
                match live.iter_mut().find(|live| key_of(live, keys) == key) {
                    Some(live) => overlay(live, item, shape.item()),
                    None => live.push(item.clone()),
                }
            }
        }
        (Value::Array(live), Value::Array(wanted), List::Set) => {
            let new: Vec<Value> = wanted.iter().filter(|item| !live.contains(item)).cloned().collect();
            live.extend(new);
        }
        (live, wanted, _) => *live = wanted.clone(),
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        value => value.clone(),
    }
}

fn read(object: &Value) -> Vec<Owner> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let text =
        |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let owners = entries.into_iter().flatten().map(|entry| Owner {
        name: text(entry, "manager"),
        applies: text(entry, "operation") == "Apply",
        version: text(entry, "apiVersion"),
        subresource: text(entry, "subresource"),
        time: text(entry, "time"),
        fields: Fields::read(entry.get("fieldsV1").unwrap_or(&Value::Null)),
    });
    owners.collect()
}

fn write(object: &mut Value, owners: Vec<Owner>) {
    let entries = owners.into_iter().filter(|owner| !owner.fields.is_empty()).map(|owner| {
        let operation = if owner.applies { "Apply" } else { "Update" };
        let mut entry = json!({
            "apiVersion": owner.version, "fieldsType": "FieldsV1", "fieldsV1": owner.fields.write(),
            "manager": owner.name, "operation": operation, "time": owner.time,
        });
        if !owner.subresource.is_empty() {
            entry["subresource"] = owner.subresource.into();
        }
        entry
    });
    let entries: Vec<Value> = entries.collect();
    let Some(object) = object.as_object_mut() else { return };
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let Some(metadata) = metadata.as_object_mut() else { return };
    if entries.is_empty() {
        metadata.shift_remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), entries.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2020-01-01T00:00:00Z";

    fn by(name: &str) -> Manager<'_> {
        Manager { name, version: "v1", subresource: "", now: NOW }
    }

    fn data(value: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": value})
    }

    fn check(live: &Value, name: &str, wanted: &Value, force: bool, expected: Result<&Value, &str>) -> Value {
        let found = apply(live, &data(wanted), &Shape::built_in("ConfigMap"), by(name), force);
        let nothing = Value::Null;
        let words = found.as_ref().map(|object| object.get("data").unwrap_or(&nothing));
        assert_eq!(words.map_err(|refusal| refusal.message.as_str()), expected);
        found.unwrap_or_default()
    }

    #[test]
    fn owners_keep_what_they_apply() {
        let one =
            check(&json!({}), "one", &json!({"a": "1", "b": "1"}), false, Ok(&json!({"a": "1", "b": "1"})));
        let refused = "Apply failed with 1 conflict: conflict with \"one\": .data.a";
        check(&one, "two", &json!({"a": "2"}), false, Err(refused));
        let both = check(
            &one,
            "two",
            &json!({"a": "1", "c": "1"}),
            false,
            Ok(&json!({"a": "1", "b": "1", "c": "1"})),
        );
        let left = check(&both, "one", &json!({}), false, Ok(&json!({"a": "1", "c": "1"})));
        check(&left, "two", &json!({}), false, Ok(&json!({})));
        let forced = check(&both, "two", &json!({"a": "2"}), true, Ok(&json!({"a": "2", "b": "1"})));
        let refused = "Apply failed with 1 conflict: conflict with \"two\": .data.a";
        check(&forced, "one", &json!({"a": "1", "b": "1"}), false, Err(refused));
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let one = check(&json!({}), "one", &json!({"a": "1"}), false, Ok(&json!({"a": "1"})));
        let later = Manager { now: "2021-01-01T00:00:00Z", ..by("one") };
        let again =
            apply(&one, &data(&json!({"a": "1"})), &Shape::built_in("ConfigMap"), later, false).unwrap();
        assert_eq!(again, one);
    }

    #[test]
    fn an_update_takes_what_it_changes() {
        let one =
            check(&json!({}), "one", &json!({"a": "1", "b": "1"}), false, Ok(&json!({"a": "1", "b": "1"})));
        let mut new = one.clone();
        new["data"]["a"] = "2".into();
        note(&one, &mut new, &Shape::built_in("ConfigMap"), by("edit"));
        let refused =
            "Apply failed with 1 conflict: conflict with \"edit\" using v1 at 2020-01-01T00:00:00Z: .data.a";
        check(&new, "one", &json!({"a": "1", "b": "1"}), false, Err(refused));
        check(&new, "one", &json!({"a": "2"}), false, Ok(&json!({"a": "2"})));
    }

    #[test]
    fn items_go_by_their_keys() {
        let shape = Shape::built_in("Pod");
        let pod = |containers: Value| json!({"spec": {"containers": containers}});
        let first =
            apply(&json!({}), &pod(json!([{"name": "a", "image": "1"}])), &shape, by("one"), false).unwrap();
        let second =
            apply(&first, &pod(json!([{"name": "b", "image": "1"}])), &shape, by("two"), false).unwrap();
        let third = apply(&second, &pod(json!([])), &shape, by("one"), true).unwrap();
        assert_eq!(third["spec"]["containers"], json!([{"name": "b", "image": "1"}]));
    }
}
