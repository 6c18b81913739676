//! PURE: strategic merge patches: a merge that knows which lists are maps by a key, with the directives `$patch`, `$retainKeys`,
//! `$setElementOrder` and `$deleteFromPrimitiveList` that kubectl writes.

use crate::apiserver::refusal::Refusal;
use crate::apiserver::shape::{List, Shape};
use serde_json::{Map, Value};

const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Changes `object` as `patch` says.
pub(crate) fn merge(object: &mut Value, patch: &Value, shape: &Shape) -> Result<(), Refusal> {
    let (Some(object), Some(patch)) = (object.as_object_mut(), patch.as_object()) else {
        return Err(Refusal::bad_request("the patch is no JSON object"));
    };
    maps(object, patch, shape)
}

fn maps(object: &mut Map<String, Value>, patch: &Map<String, Value>, shape: &Shape) -> Result<(), Refusal> {
    match patch.get("$patch").and_then(Value::as_str) {
        None | Some("merge") => {}
        Some("replace") => object.clear(),
        Some("delete") => {
            object.clear();
            return Ok(());
        }
        Some(other) => {
            return Err(Refusal::bad_request(format!("unknown patch directive \"$patch\": \"{other}\"")));
        }
    }
    if let Some(kept) = patch.get("$retainKeys") {
        let kept = kept.as_array().ok_or_else(|| Refusal::bad_request("$retainKeys is no list"))?;
        object.retain(|name, _| kept.iter().any(|kept| kept == name.as_str()));
    }
    for (name, value) in patch {
        if let Some(name) = name.strip_prefix(DELETE) {
            let gone = value.as_array().map_or(&[][..], Vec::as_slice);
            if let Some(items) = object.get_mut(name).and_then(Value::as_array_mut) {
                items.retain(|item| !gone.contains(item));
            }
        } else if !name.starts_with('$') {
            field(object, name, value, patch.get(&format!("{ORDER}{name}")), shape.field(name))?;
        }
    }
    // An order alone, where nothing else of the list changes.
    for (name, order) in patch {
        if let Some(name) = name.strip_prefix(ORDER).filter(|name| !patch.contains_key(*name)) {
            field(object, name, &Value::Array(Vec::new()), Some(order), shape.field(name))?;
        }
    }
    Ok(())
}

fn field(
    object: &mut Map<String, Value>,
    name: &str,
    value: &Value,
    order: Option<&Value>,
    shape: &Shape,
) -> Result<(), Refusal> {
    match value {
        Value::Null => {
            object.shift_remove(name);
        }
        Value::Object(patch) => {
            if patch.get("$patch").is_some_and(|how| how == "delete") {
                object.shift_remove(name);
                return Ok(());
            }
            let current = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if !current.is_object() {
                *current = Value::Object(Map::new());
            }
            maps(current.as_object_mut().expect("it was just made one"), patch, shape)?;
        }
        Value::Array(patch) => {
            let current = match object.get_mut(name).map(Value::take) {
                Some(Value::Array(items)) => items,
                _ if patch.is_empty() && order.is_some() => return Ok(()),
                _ => Vec::new(),
            };
            let order = order.and_then(Value::as_array).map(Vec::as_slice);
            object.insert(name.to_owned(), Value::Array(lists(current, patch, order, shape)?));
        }
        value => {
            object.insert(name.to_owned(), value.clone());
        }
    }
    Ok(())
}

fn lists(
    current: Vec<Value>,
    patch: &[Value],
    order: Option<&[Value]>,
    shape: &Shape,
) -> Result<Vec<Value>, Refusal> {
    let replaces = patch.iter().any(|item| item.get("$patch").is_some_and(|how| how == "replace"));
    let key = match &shape.list {
        List::Map(keys) if !replaces => keys.first().map(|(key, _)| key.as_str()),
        List::Set if !replaces => None,
        _ => {
            let items = patch.iter().filter(|item| item.get("$patch").is_none());
            return items.map(|item| fresh(item, shape.item())).collect();
        }
    };
    let same = |one: &Value, other: &Value| match key {
        Some(key) => one.get(key).is_some() && one.get(key) == other.get(key),
        None => one == other,
    };
    let mut items = current.clone();
    for wanted in patch {
        if let Some(key) = key.filter(|key| wanted.get(*key).is_none()) {
            let message = format!("map: {wanted} does not contain declared merge key: {key}");
            return Err(Refusal::bad_request(message));
        }
        let at = items.iter().position(|item| same(item, wanted));
        match (at, wanted.get("$patch").is_some_and(|how| how == "delete")) {
            (Some(_), true) => items.retain(|item| !same(item, wanted)),
            (None, true) => {}
            (Some(at), false) if key.is_some() => merge(&mut items[at], wanted, shape.item())?,
            (Some(_), false) => {}
            (None, false) => items.push(fresh(wanted, shape.item())?),
        }
    }
    Ok(order.map_or(items.clone(), |order| sorted(items, order, &current, &same)))
}

/// An item that was not there: what the patch says of nothing, without its directives.
fn fresh(item: &Value, shape: &Shape) -> Result<Value, Refusal> {
    match item {
        Value::Object(patch) => {
            let mut made = Map::new();
            maps(&mut made, patch, shape)?;
            Ok(Value::Object(made))
        }
        item => Ok(item.clone()),
    }
}

/// The ordered ones in their order; those the patch does not know where they were before among them.
fn sorted(
    items: Vec<Value>,
    order: &[Value],
    before: &[Value],
    same: &dyn Fn(&Value, &Value) -> bool,
) -> Vec<Value> {
    let place = |item: &Value| order.iter().position(|wanted| same(item, wanted));
    let (mut ordered, others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(item).is_some());
    ordered.sort_by_key(|item| place(item));
    let was = |item: &Value| before.iter().position(|old| same(old, item));
    let (mut ordered, mut others) = (ordered.into_iter().peekable(), others.into_iter().peekable());
    let mut merged = Vec::new();
    while let (Some(one), Some(other)) = (ordered.peek(), others.peek()) {
        let first = matches!((was(one), was(other)), (Some(one), Some(other)) if one < other);
        merged.extend(if first { ordered.next() } else { others.next() });
    }
    merged.extend(ordered.chain(others));
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(object: &Value, patch: &Value, expected: &Value) {
        let mut found = json!({"spec": object});
        merge(&mut found, &json!({"spec": patch}), &Shape::built_in("Pod")).unwrap();
        assert_eq!(found, json!({"spec": expected}), "{patch}");
    }

    #[test]
    fn containers_by_name() {
        let two = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]});
        let patch = json!({"containers": [{"name": "b", "image": "2"}]});
        check(
            &two,
            &patch,
            &json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}),
        );
        let patch = json!({"containers": [{"name": "a", "$patch": "delete"}]});
        check(&two, &patch, &json!({"containers": [{"name": "b", "image": "1"}]}));
        let patch = json!({"containers": [{"$patch": "replace"}, {"name": "c"}]});
        check(&two, &patch, &json!({"containers": [{"name": "c"}]}));
        let order = json!([{"name": "c"}, {"name": "b"}]);
        let patch = json!({"$setElementOrder/containers": order, "containers": [{"name": "c"}]});
        let expected = json!([{"name": "a", "image": "1"}, {"name": "c"}, {"name": "b", "image": "1"}]);
        check(&two, &patch, &json!({"containers": expected}));
    }

    #[test]
    fn lists_without_keys_are_replaced_and_maps_merged() {
        let object = json!({"tolerations": [{"key": "a"}], "nodeSelector": {"a": "b", "c": "d"}});
        let patch = json!({"tolerations": [{"key": "b"}], "nodeSelector": {"a": null}});
        check(&object, &patch, &json!({"tolerations": [{"key": "b"}], "nodeSelector": {"c": "d"}}));
        let volume = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
        let patch = json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]});
        check(&volume, &patch, &json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}));
    }

    #[test]
    fn sets() {
        let mut object = json!({"metadata": {"finalizers": ["a", "b"]}});
        let patch =
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c", "b"]}});
        merge(&mut object, &patch, &Shape::built_in("Pod")).unwrap();
        assert_eq!(object, json!({"metadata": {"finalizers": ["b", "c"]}}));
    }

    #[test]
    fn an_item_without_its_key_is_refused() {
        let mut object = json!({"spec": {"containers": []}});
        let patch = json!({"spec": {"containers": [{"image": "1"}]}});
        let refusal = merge(&mut object, &patch, &Shape::built_in("Pod")).unwrap_err();
        assert_eq!(refusal.code, 400);
    }
}
