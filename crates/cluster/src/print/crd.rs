//! The CustomResourceDefinitions, made from the types in `api`.
//!
//! Pure.

use super::{MADE, yaml};
use crate::api::mesh::MeshCNI;
use crate::api::node::MeshCNINode;
use kube::CustomResourceExt;
use serde_json::Value;

/// Both definitions, as trees.
pub(crate) fn definitions() -> [Value; 2] {
    [MeshCNI::crd(), MeshCNINode::crd()].map(|crd| {
        let mut tree = serde_json::to_value(crd).expect("an API object has a tree");
        known_formats(&mut tree);
        let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status";
        without_defaults(tree.pointer_mut(status).expect("both have a status"));
        tree
    })
}

/// Both definitions, as the file that is applied.
pub(crate) fn file() -> String {
    let texts = definitions().map(|tree| yaml::write(&yaml::Node::of(&tree), "CustomResourceDefinition"));
    format!("# {MADE}\n{}", texts.join("---\n"))
}

/// Takes out a status's defaults: what a controller did not say it did not say. And servers of 1.20 take no empty text for one.
fn without_defaults(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    map.remove("default");
    let fields = map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
    fields.for_each(|(_, field)| without_defaults(field));
    map.get_mut("items").into_iter().for_each(without_defaults);
}

/// Takes out the formats that are Rust's alone: an API server warns of each that it does not know. And writes whole numbers as
/// everybody else does, who reads them and writes them again.
fn known_formats(tree: &mut Value) {
    match tree {
        Value::Object(map) => {
            map.retain(|key, value| key != "format" || !matches!(value.as_str(), Some("uint32" | "uint64")));
            map.values_mut().for_each(known_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(known_formats),
        Value::Number(number) => {
            let whole = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 1e15);
            if let Some(value) = whole.filter(|_| number.is_f64()) {
                *tree = Value::from(value as i64);
            }
        }
        _ => {}
    }
}
