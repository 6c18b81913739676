//! The tree for Kustomize: a base, and an overlay for each platform and profile that patches what differs from it.
//!
//! Pure. Patches are computed from the very objects that `print manifests` prints, so an overlay cannot say anything else.

use super::objects::{Object, objects, plain};
use super::yaml::{self, Node};
use crate::args::print::{Platform, Profile};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Files by their path below the folder.
pub(crate) type Files = BTreeMap<String, String>;

/// What the base is.
const BASE: (Profile, Platform) = (Profile::Zero, Platform::Kubeadm);

/// The base and all overlays.
pub(crate) fn files() -> Files {
    let mut files = Files::new();
    let base = variant(BASE.0, BASE.1);
    let mut names = Vec::new();
    for (name, text) in by_file(&base) {
        names.push(Value::from(name.clone()));
        files.insert(format!("base/{name}"), text);
    }
    let head = "The agent without capabilities, on kubeadm's places. The overlays are for other platforms, and with -audit \
                for the audit profile.";
    files.insert("base/kustomization.yaml".to_owned(), kustomization(head, &json!({ "resources": names })));
    for platform in Platform::ALL {
        for profile in Profile::ALL {
            overlay(&base, profile, platform, &mut files);
        }
    }
    files
}

/// The folder of an overlay.
pub(crate) fn folder(profile: Profile, platform: Platform) -> String {
    match profile {
        Profile::Zero => format!("overlays/{}", platform.name()),
        Profile::Audit => format!("overlays/{}-audit", platform.name()),
    }
}

fn variant(profile: Profile, platform: Platform) -> Vec<Object> {
    objects(&plain(profile, platform, None), profile, platform)
}

fn overlay(base: &[Object], profile: Profile, platform: Platform, files: &mut Files) {
    let folder = folder(profile, platform);
    let same = |a: &Object, b: &Object| a.kind() == b.kind() && a.name() == b.name();
    let (mut added, mut patches) = (Vec::new(), Vec::new());
    for object in variant(profile, platform) {
        let Some(before) = base.iter().find(|other| same(other, &object)) else {
            added.push(object);
            continue;
        };
        let mut steps = Vec::new();
        diff(&before.tree, &object.tree, "", object.kind(), &mut steps);
        if !steps.is_empty() {
            let name = format!("{}.yaml", object.kind().to_lowercase());
            let head = comment("What differs from the base, as JSON patch.");
            files.insert(format!("{folder}/{name}"), head + &steps.concat());
            patches.push(json!({
                "path": name,
                "target": { "kind": object.kind(), "name": object.name() },
            }));
        }
    }
    let mut resources = vec![Value::from("../../base")];
    for (name, text) in by_file(&added) {
        resources.push(name.clone().into());
        files.insert(format!("{folder}/{name}"), text);
    }
    let mut tree = json!({ "resources": resources });
    if !patches.is_empty() {
        tree["patches"] = patches.into();
    }
    let head = format!("The {} profile on {}.", profile.name(), platform.name());
    files.insert(format!("{folder}/kustomization.yaml"), kustomization(&head, &tree));
}

/// The text of each file of `objects`.
pub(super) fn by_file(objects: &[Object]) -> Files {
    let mut files = Files::new();
    for object in objects {
        let text = files.entry(format!("{}.yaml", object.file)).or_insert_with(|| comment(super::MADE));
        if text.contains("kind: ") {
            text.push_str("---\n");
        }
        text.push_str(&yaml::write(&Node::of(&object.tree), &object.place()));
    }
    files
}

/// The file that lists the others.
pub(super) fn kustomization(head: &str, tree: &Value) -> String {
    let mut whole = json!({ "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization" });
    if let (Some(whole), Some(tree)) = (whole.as_object_mut(), tree.as_object()) {
        whole.extend(tree.clone());
    }
    comment(super::MADE) + &comment(head) + &yaml::write(&Node::of(&whole), "Kustomization")
}

fn comment(text: &str) -> String {
    format!("# {text}\n")
}

/// The steps of a JSON patch from one tree to the other; `place` is where comments are looked up.
fn diff(from: &Value, to: &Value, pointer: &str, place: &str, steps: &mut Vec<String>) {
    match (from, to) {
        _ if from == to => {}
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().filter(|key| !b.contains_key(*key)) {
                steps.push(format!("- op: remove\n  path: {}\n", quoted(&below(pointer, key))));
            }
            for (key, value) in b {
                let (pointer, place) = (below(pointer, key), format!("{place}/{key}"));
                match a.get(key) {
                    Some(before) => diff(before, value, &pointer, &place, steps),
                    None => steps.push(step("add", &pointer, &place, value)),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if names(a) == names(b) => {
            for (index, ((name, value), before)) in yaml::named(b).into_iter().zip(a).enumerate() {
                let pointer = below(pointer, &index.to_string());
                diff(before, value, &pointer, &format!("{place}/{name}"), steps);
            }
        }
        _ => steps.push(step("replace", pointer, place, to)),
    }
}

fn names(items: &[Value]) -> Vec<String> {
    yaml::named(items).into_iter().map(|(name, _)| name).collect()
}

/// One step, its value with the comments it has in the manifest.
fn step(op: &str, pointer: &str, place: &str, value: &Value) -> String {
    let node = Node::of(value);
    let mut text = format!("- op: {op}\n  path: {}\n", quoted(pointer));
    match (&node, value) {
        (Node::Leaf(_), Value::String(block)) if block.contains('\n') => {
            text.push_str("  value: |\n");
            block.lines().for_each(|line| text.push_str(&format!("    {line}\n")));
        }
        (Node::Leaf(_), _) => text.push_str(&format!("  value: {}", yaml::write(&node, place))),
        _ => {
            text.push_str("  value:\n");
            yaml::lines(&node, place).iter().for_each(|line| text.push_str(&format!("    {line}\n")));
        }
    }
    text
}

/// RFC 6901: a slash inside a name is written ~1.
fn below(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn quoted(pointer: &str) -> String {
    Value::from(pointer).to_string()
}
