//! Whose fields of an object are: what others than the controller set there, out of `managedFields`. PURE.

use kube::api::DynamicObject;
use serde_json::Value;
use std::collections::BTreeSet;

/// Who writes what nobody wished: defaults, and what becomes of an object.
const SERVERS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "millrace-apiserver"];
/// The most fields that are named.
const MOST: usize = 100;

/// The fields that others than `ours` set, and `ours` does not; each with its owner.
pub(super) fn foreign(object: &DynamicObject, ours: &str) -> Vec<(String, String)> {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let of = |entry: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        let mut found = BTreeSet::new();
        entry.fields_v1.iter().for_each(|fields| walk("", &fields.0, &mut found));
        found
    };
    let by = |manager: &Option<String>| manager.clone().unwrap_or_default();
    let held: BTreeSet<String> =
        entries.iter().filter(|entry| by(&entry.manager) == ours).flat_map(of).collect();
    let others = entries.iter().filter(|entry| {
        let manager = by(&entry.manager);
        manager != ours
            && !SERVERS.contains(&manager.as_str())
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    });
    let fields = others.flat_map(|entry| of(entry).into_iter().map(|field| (field, by(&entry.manager))));
    let fields = fields.filter(|(field, _)| !held.contains(field) && !field.starts_with("status"));
    fields.take(MOST).collect()
}

/// The leaves of a set of fields, as `kubectl explain` writes paths.
fn walk(path: &str, fields: &Value, found: &mut BTreeSet<String>) {
    let below: Vec<(&String, &Value)> =
        fields.as_object().into_iter().flatten().filter(|(key, _)| key.as_str() != ".").collect();
    if below.is_empty() && !path.is_empty() {
        found.insert(path.to_owned());
    }
    for (key, fields) in below {
        let path = match key.split_once(':') {
            Some(("f", name)) if path.is_empty() => name.to_owned(),
            Some(("f", name)) => format!("{path}.{name}"),
            Some((_, chosen)) => format!("{path}[{chosen}]"),
            None => path.to_owned(),
        };
        walk(&path, fields, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_set_is_told_with_who_did() {
        let entry = |manager: &str, fields: Value| json!({ "manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields });
        let spec = |name: &str| json!({ "f:spec": { ".": {}, format!("f:{name}"): {} } });
        let object = json!({ "metadata": { "name": "x", "managedFields": [
            entry("us", json!({ "f:spec": { "f:a": {}, "f:list": { "k:{\"name\":\"n\"}": { ".": {}, "f:image": {} } } } })),
            entry("alice", spec("a")),
            entry("bob", spec("b")),
            entry("bob", json!({ "f:spec": { "f:list": { "k:{\"name\":\"m\"}": { ".": {}, "f:image": {} } } } })),
            entry("kube-controller-manager", spec("c")),
            entry("carol", json!({ "f:status": { "f:x": {} } })),
        ] } });
        let object = serde_json::from_value(object).expect("it is an object");
        let pair = |field: &str, owner: &str| (field.to_owned(), owner.to_owned());
        assert_eq!(
            foreign(&object, "us"),
            [pair("spec.b", "bob"), pair("spec.list[{\"name\":\"m\"}].image", "bob")]
        );
    }
}
