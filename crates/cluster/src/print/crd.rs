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
        tree
    })
}

/// Both definitions, as the file that is applied.
pub(crate) fn file() -> String {
    let texts = definitions().map(|tree| yaml::write(&yaml::Node::of(&tree), "CustomResourceDefinition"));
    format!("# {MADE}\n{}", texts.join("---\n"))
}

/// Takes out the formats that are Rust's alone: an API server warns of each that it does not know.
fn known_formats(tree: &mut Value) {
    match tree {
        Value::Object(map) => {
            map.retain(|key, value| key != "format" || !matches!(value.as_str(), Some("uint32" | "uint64")));
            map.values_mut().for_each(known_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(known_formats),
        _ => {}
    }
}
