//! PURE: what clients read first: groups, versions and kinds, and which version of Kubernetes this is like.

use super::registry::{Kind, Registry, group_version};
use serde_json::{Value, json};

/// The version whose API this is like; its types are those of k8s-openapi's feature.
const MINOR: &str = "33";
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Kinds that are asked, and not kept: group, version, plural, kind.
const REVIEWS: [(&str, &str, &str, &str); 4] = [
    ("authentication.k8s.io", "v1", "tokenreviews", "TokenReview"),
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    ("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview"),
];

/// `/version`.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.0+millrace"), "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
        "platform": "linux/amd64",
    })
}

/// `/api`.
pub(crate) fn core() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `/apis`.
pub(crate) fn groups(registry: &Registry) -> Value {
    let groups = all(registry).into_iter().map(|(name, versions)| one(&name, &versions));
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>()})
}

/// `/apis/GROUP`.
pub(crate) fn group(registry: &Registry, name: &str) -> Option<Value> {
    let (name, versions) = all(registry).into_iter().find(|(known, _)| known == name)?;
    let mut group = one(&name, &versions);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

fn all(registry: &Registry) -> Vec<(String, Vec<String>)> {
    let mut groups = registry.groups();
    groups.retain(|(name, _)| !name.is_empty());
    for (group, version, ..) in REVIEWS {
        if !groups.iter().any(|(known, _)| known == group) {
            groups.push((group.to_owned(), vec![version.to_owned()]));
        }
    }
    groups
}

fn one(name: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": group_version(name, version), "version": version}))
        .collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

/// `/api/v1`, `/apis/GROUP/VERSION`.
pub(crate) fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let kinds = registry.serving(group, version);
    let reviews = REVIEWS.iter().filter(|(known, also, ..)| (*known, *also) == (group, version));
    let reviews = reviews.map(|(_, _, plural, kind)| {
        json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": false, "kind": kind, "verbs": ["create"]})
    });
    let found: Vec<Value> = kinds.iter().flat_map(|kind| entries(kind)).chain(reviews).collect();
    let gv = group_version(group, version);
    let list =
        || json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": found});
    (!found.is_empty()).then(list)
}

fn entries(kind: &Kind) -> Vec<Value> {
    let mut entry = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind, "verbs": VERBS,
    });
    if !kind.short.is_empty() {
        entry["shortNames"] = kind.short.clone().into();
    }
    if !kind.categories.is_empty() {
        entry["categories"] = kind.categories.clone().into();
    }
    let part = |name: &str, of: &str, verbs: &[&str]| {
        json!({"name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced, "kind": of,
               "verbs": verbs})
    };
    let mut entries = vec![entry];
    let write = ["get", "patch", "update"];
    if kind.status {
        entries.push(part("status", &kind.kind, &write));
    }
    if kind.scale {
        let mut scale = part("scale", "Scale", &write);
        (scale["group"], scale["version"]) = ("autoscaling".into(), "v1".into());
        entries.push(scale);
    }
    match kind.id().as_str() {
        "pods" => {
            let mut eviction = part("eviction", "Eviction", &["create"]);
            (eviction["group"], eviction["version"]) = ("policy".into(), "v1".into());
            entries.extend([eviction, part("binding", "Binding", &["create"])]);
        }
        "namespaces" => entries.push(part("finalize", "Namespace", &["update"])),
        _ => {}
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(group: &str, version: &str, expected: &[&str]) {
        let registry = Registry::new(std::iter::empty());
        let list = resources(&registry, group, version).unwrap_or_default();
        let found: Vec<&str> = list["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["name"].as_str())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn kinds_are_listed() {
        check("coordination.k8s.io", "v1", &["leases"]);
        check("policy", "v1beta1", &["poddisruptionbudgets", "poddisruptionbudgets/status"]);
        check("authentication.k8s.io", "v1", &["tokenreviews"]);
        check("none", "v1", &[]);
        let registry = Registry::new(std::iter::empty());
        assert_eq!(group(&registry, "apps").unwrap()["preferredVersion"]["groupVersion"], "apps/v1");
        assert_eq!(group(&registry, ""), None);
    }
}
