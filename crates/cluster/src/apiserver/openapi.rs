//! PURE: OpenAPI documents: which kinds there are and what their writes take, with the schemas of custom ones.
//!
//! Of built-in kinds only the name is described: kubectl then leaves validation to the server.

mod wire;

use super::registry::{Kind, Model, Registry, group_version};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use wire::Message;

/// `/openapi/v2` as JSON.
pub(crate) fn second(registry: &Registry) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for kind in registry.kinds() {
        let parameters: Vec<Value> =
            PARAMETERS.iter().map(|name| json!({"name": name, "in": "query", "type": "string"})).collect();
        let patch = json!({
            "parameters": parameters, "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": identity(kind),
        });
        paths.insert(path(kind), json!({"patch": patch}));
        if let Some(schema) = schema(kind) {
            definitions.insert(defined(kind), schema);
        }
    }
    json!({"swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions})
}

/// What writes take beside a body.
const PARAMETERS: [&str; 4] = ["dryRun", "fieldManager", "fieldValidation", "force"];

/// `/openapi/v2` in the form of protobuf, which kubectl asks for.
pub(crate) fn protobuf(registry: &Registry) -> Vec<u8> {
    let mut document = Message::default();
    document.text(1, "2.0");
    let mut about = Message::default();
    about.text(1, "Kubernetes").text(2, "v1");
    document.message(2, &about);
    let (mut paths, mut definitions) = (Message::default(), Message::default());
    for kind in registry.kinds() {
        paths.message(2, &wire::path(&path(kind), &identity(kind), &PARAMETERS));
        if let Some(schema) = schema(kind) {
            definitions.message(1, &wire::named(&defined(kind), &wire::schema(&schema)));
        }
    }
    document.message(8, &paths).message(9, &definitions);
    document.bytes()
}

/// `/openapi/v3`: where the document of each group and version is.
pub(crate) fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, versions) in registry.groups() {
        for version in versions {
            let path = tree(&group, &version);
            paths.insert(path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}")}));
        }
    }
    json!({"paths": paths})
}

/// `/openapi/v3/PATH`.
pub(crate) fn third(registry: &Registry, path: &str) -> Option<Value> {
    let groups = registry.groups();
    let mut all =
        groups.iter().flat_map(|(group, versions)| versions.iter().map(move |version| (group, version)));
    let (group, version) = all.find(|(group, version)| tree(group, version) == path)?;
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for kind in registry.serving(group, version) {
        let parameters: Vec<Value> = PARAMETERS
            .iter()
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
            .collect();
        let mut identity = identity(&kind);
        (identity["group"], identity["version"]) = (group.as_str().into(), version.as_str().into());
        let patch = json!({
            "parameters": parameters, "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": identity,
        });
        paths.insert(format!("/{path}/{}/{{name}}", place(&kind)), json!({"patch": patch}));
        let described = schema(&kind)
            .unwrap_or_else(|| json!({"type": "object", "x-kubernetes-group-version-kind": [identity]}));
        schemas.insert(defined(&kind), described);
    }
    Some(json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": schemas}}))
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": "v1"})
}

fn tree(group: &str, version: &str) -> String {
    let root = if group.is_empty() { "api" } else { "apis" };
    format!("{root}/{}", group_version(group, version))
}

fn place(kind: &Kind) -> String {
    if kind.namespaced { format!("namespaces/{{namespace}}/{}", kind.plural) } else { kind.plural.clone() }
}

fn path(kind: &Kind) -> String {
    format!("/{}/{}/{{name}}", tree(&kind.group, &kind.version), place(kind))
}

fn identity(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

/// The name of a definition: the group backwards, as in `dev.millrace.v1alpha1.MeshCNI`.
fn defined(kind: &Arc<Kind>) -> String {
    let mut steps: Vec<&str> = kind.group.split('.').rev().collect();
    steps.extend([kind.version.as_str(), kind.kind.as_str()]);
    steps.retain(|step| !step.is_empty());
    steps.join(".")
}

fn schema(kind: &Kind) -> Option<Value> {
    let Model::Structural(schema) = &kind.model else { return None };
    let mut schema = schema.text().clone();
    for (field, form, words) in [
        ("apiVersion", "string", "The group and version of this form of the object."),
        ("kind", "string", "The kind of the object."),
        ("metadata", "object", "Standard object's metadata."),
    ] {
        schema["properties"][field] = json!({"type": form, "description": words});
    }
    schema["x-kubernetes-group-version-kind"] = json!([identity(kind)]);
    Some(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(registry: &Registry, path: &str, expected: Option<&str>) {
        let document = third(registry, path);
        let found = document.as_ref().and_then(|document| document["paths"].as_object()?.keys().next());
        assert_eq!(found.map(String::as_str), expected);
    }

    #[test]
    fn documents_name_what_is_served() {
        let registry = Registry::new(std::iter::empty());
        let pods = "/api/v1/namespaces/{namespace}/pods/{name}";
        assert!(second(&registry)["paths"][pods]["patch"].is_object());
        assert_eq!(
            index(&registry)["paths"]["apis/apps/v1"]["serverRelativeURL"],
            "/openapi/v3/apis/apps/v1"
        );
        let lease = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}";
        check(&registry, "apis/coordination.k8s.io/v1", Some(lease));
        check(&registry, "apis/none/v1", None);
        assert!(protobuf(&registry).len() > 1000);
    }
}
