//! A pod while it is being changed: each step is noted as an operation of the patch, and nothing else can change. PURE.
//!
//! It knows where things are in a pod, and not why they are changed.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::{Map, Value, json};

/// The pod and the steps so far.
#[derive(Debug)]
pub(super) struct Edit {
    object: Value,
    steps: Vec<PatchOperation>,
}

/// What of a pod can be changed: its annotations and its init containers, each where it stands.
pub(crate) fn outline(object: &Value) -> Value {
    let part = |of: &Value, name: &str| match of.get(name) {
        Some(value) => Map::from_iter([(name.to_owned(), value.clone())]),
        None => Map::new(),
    };
    let mut outline = Map::new();
    if let Some(metadata) = object.get("metadata") {
        let stated =
            if metadata.is_object() { part(metadata, "annotations").into() } else { metadata.clone() };
        outline.insert("metadata".to_owned(), stated);
    }
    outline.insert("spec".to_owned(), part(&object["spec"], "initContainers").into());
    Value::Object(outline)
}

impl Edit {
    /// Nothing is changed yet.
    pub(super) fn new(object: &Value) -> Edit {
        Edit { object: outline(object), steps: Vec::new() }
    }

    /// Takes it that an annotation was never there.
    pub(super) fn forget(&mut self, name: &str) {
        if let Some(annotations) = self.object["metadata"]["annotations"].as_object_mut() {
            annotations.remove(name);
        }
    }

    /// The steps.
    pub(super) fn patch(self) -> Patch {
        Patch(self.steps)
    }

    /// An annotation as it is now.
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.object["metadata"]["annotations"][name].as_str()
    }

    /// Where the init container of that name stands.
    pub(super) fn init_container(&self, name: &str) -> Option<usize> {
        self.object["spec"]["initContainers"].as_array()?.iter().position(|one| one["name"] == name)
    }

    /// An init container as it is now.
    pub(super) fn init_container_at(&self, index: usize) -> &Value {
        &self.object["spec"]["initContainers"][index]
    }

    /// Sets an annotation, or takes it off.
    pub(super) fn annotate(&mut self, name: &str, text: Option<&str>) {
        let held = &self.object["metadata"]["annotations"];
        if held.get(name).and_then(Value::as_str) == text && (text.is_some() || held.get(name).is_none()) {
            return;
        }
        let annotated = held.is_object();
        match text {
            None => self.remove(&["metadata", "annotations", name]),
            Some(text) if annotated => self.set(&["metadata", "annotations", name], json!(text)),
            Some(text) if self.object["metadata"].is_object() => {
                self.set(&["metadata", "annotations"], json!({ name: text }));
            }
            Some(text) => self.set(&["metadata"], json!({ "annotations": { name: text } })),
        }
    }

    /// Sets a field of an init container, which changes nothing if it is that already.
    pub(super) fn set_of_init_container(&mut self, index: usize, field: &str, value: Value) {
        if self.init_container_at(index).get(field) != Some(&value) {
            self.set(&["spec", "initContainers", &index.to_string(), field], value);
        }
    }

    /// Takes an init container out.
    pub(super) fn remove_init_container(&mut self, index: usize) {
        self.remove(&["spec", "initContainers", &index.to_string()]);
    }

    fn set(&mut self, path: &[&str], value: Value) {
        let path = PointerBuf::from_tokens(path.iter().copied());
        let step = match path.resolve(&self.object) {
            Ok(_) => PatchOperation::Replace(ReplaceOperation { path, value }),
            Err(_) => PatchOperation::Add(AddOperation { path, value }),
        };
        self.step(step);
    }

    fn remove(&mut self, path: &[&str]) {
        self.step(PatchOperation::Remove(RemoveOperation {
            path: PointerBuf::from_tokens(path.iter().copied()),
        }));
    }

    fn step(&mut self, step: PatchOperation) {
        let done = json_patch::patch(&mut self.object, std::slice::from_ref(&step));
        done.expect("a step names only what was found in this very object");
        self.steps.push(step);
    }
}
