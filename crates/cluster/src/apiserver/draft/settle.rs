//! PURE: a draft brought into the form that is kept: read through its model, filled, its owners noted, and judged.

use super::{Asked, Draft, Validation};
use crate::apiserver::defaults;
use crate::apiserver::patch::apply;
use crate::apiserver::refusal::Refusal;
use crate::apiserver::registry::{Kind, Model};
use crate::apiserver::rules;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

/// What the writer of a status may change beside it, for the built-in kinds.
const BESIDE_STATUS: [&str; 3] = ["labels", "annotations", "finalizers"];

/// Makes the draft what is to be written, and judges it. Whether it changes anything.
pub(crate) fn settle(asked: &Asked, draft: &mut Draft) -> Result<bool, Refusal> {
    prepare(asked, draft)?;
    judge(asked, draft)
}

/// Brings the draft into the form in which it is admitted and written; again, after somebody changed `new`.
pub(crate) fn prepare(asked: &Asked, draft: &mut Draft) -> Result<(), Refusal> {
    let kind = &asked.served.kind;
    let mut dropped = Vec::new();
    draft.new = complete(kind, std::mem::take(&mut draft.new), &mut dropped).map_err(|cause| {
        let (kind, version) = (&kind.kind, &asked.served.version);
        Refusal::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {cause}"
        ))
    })?;
    unknown(asked, &dropped, &mut draft.warnings)?;
    separate(asked, draft);
    if draft.applied {
        draft.applied = false;
        draft.base = draft.new.clone();
    }
    let (now, version) = (asked.now(), asked.served.api_version());
    if !draft.before.is_null() {
        generation(kind, &draft.before, &mut draft.new);
    }
    apply::note(&draft.base, &mut draft.new, &kind.shape, asked.manager(&now, &version));
    Ok(())
}

/// An object read through its model, with what it leaves out; what the model has not is named in `dropped`.
pub(crate) fn complete(kind: &Kind, object: Value, dropped: &mut Vec<String>) -> Result<Value, String> {
    let mut object = read(kind, object, dropped)?;
    if !kind.is_custom() {
        defaults::fill(&kind.kind, &mut object);
    }
    Ok(object)
}

/// Refuses what is wrong with the draft. Whether it changes anything.
pub(crate) fn judge(asked: &Asked, draft: &Draft) -> Result<bool, Refusal> {
    let kind = &asked.served.kind;
    let faults = rules::faults(kind, &draft.new, (!draft.before.is_null()).then_some(&draft.before));
    if !faults.is_empty() {
        let name = draft.new["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Refusal::invalid(kind.about_kind(name), &faults));
    }
    Ok(draft.new != draft.before)
}

/// Refuses to apply what the kind has not: it would be owned, and not be there.
pub(super) fn known(asked: &Asked, wanted: &mut Value) -> Result<(), Refusal> {
    let kind = &asked.served.kind;
    let mut dropped = Vec::new();
    if !kind.is_custom() {
        defaults::quantities(wanted);
    }
    let read = read(kind, wanted.clone(), &mut dropped);
    let cause = match (read, dropped.first()) {
        (Err(cause), _) => cause,
        (Ok(_), Some(field)) => format!(".{field}: field not declared in schema"),
        (Ok(_), None) => return Ok(()),
    };
    let name =
        format!("{}/{}; {}, Kind={}", asked.namespace, asked.name, asked.served.api_version(), kind.kind);
    Err(Refusal::bad_request(format!("failed to create typed patch object ({name}): {cause}")))
}

fn read(kind: &Kind, mut object: Value, dropped: &mut Vec<String>) -> Result<Value, String> {
    match &kind.model {
        Model::Typed(read) => {
            // The types take no number for a quantity.
            defaults::quantities(&mut object);
            let settled = read(object.clone())?;
            lost(&object, &settled, "", dropped);
            Ok(settled)
        }
        Model::Structural(schema) => {
            let metadata = object["metadata"].take();
            let typed: ObjectMeta =
                serde_json::from_value(metadata.clone()).map_err(|cause| cause.to_string())?;
            let typed = serde_json::to_value(typed).map_err(|cause| cause.to_string())?;
            lost(&metadata, &typed, "metadata", dropped);
            object["metadata"] = typed;
            schema.settle(&mut object, dropped);
            Ok(object)
        }
    }
}

/// What was there before a type was asked, and is not any more.
fn lost(before: &Value, after: &Value, path: &str, dropped: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in before.iter().filter(|(_, value)| !value.is_null()) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match after.get(name) {
                    Some(after) => lost(value, after, &path, dropped),
                    None => dropped.push(path),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for (at, (before, after)) in before.iter().zip(after).enumerate() {
                lost(before, after, &format!("{path}[{at}]"), dropped);
            }
        }
        _ => {}
    }
}

fn unknown(asked: &Asked, dropped: &[String], warnings: &mut Vec<String>) -> Result<(), Refusal> {
    // Of a status that this path does not write nothing is kept anyway.
    let told = dropped.iter().map(|field| format!("unknown field \"{field}\""));
    match asked.validation {
        Validation::Strict if !dropped.is_empty() => {
            let told: Vec<String> = told.collect();
            Err(Refusal::bad_request(format!("strict decoding error: {}", told.join(", "))))
        }
        Validation::Warn => {
            warnings.extend(told.filter(|told| !warnings.contains(told)).collect::<Vec<_>>());
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The status is written through its own path, and all else through the other.
fn separate(asked: &Asked, draft: &mut Draft) {
    let kind = &asked.served.kind;
    if !kind.status || draft.before.is_null() {
        return;
    }
    let (before, new) = (&draft.before, &mut draft.new);
    if asked.subresource != "status" {
        keep(new, before, "status");
        return;
    }
    let mut whole = before.clone();
    keep(&mut whole, new, "status");
    let beside = if kind.is_custom() { &["managedFields"][..] } else { &BESIDE_STATUS[..] };
    for name in beside.iter().chain(&["managedFields"]) {
        if let (Some(whole), Some(new)) = (whole["metadata"].as_object_mut(), new["metadata"].as_object()) {
            put_or_remove(whole, new, name);
        }
    }
    *new = whole;
}

fn keep(object: &mut Value, of: &Value, name: &str) {
    if let (Some(object), Some(of)) = (object.as_object_mut(), of.as_object()) {
        put_or_remove(object, of, name);
    }
}

fn put_or_remove(map: &mut Map<String, Value>, of: &Map<String, Value>, name: &str) {
    match of.get(name) {
        Some(value) => map.insert(name.to_owned(), value.clone()),
        None => map.shift_remove(name),
    };
}

/// Counts one more where anything but metadata and status differs.
fn generation(kind: &Kind, before: &Value, new: &mut Value) {
    if !kind.generation {
        return;
    }
    let content = |object: &Value| -> Map<String, Value> {
        let fields = object.as_object().into_iter().flatten();
        let own = ["metadata", "apiVersion", "kind"];
        let apart = |name: &str| own.contains(&name) || name == "status" && kind.status;
        fields.filter(|(name, _)| !apart(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let was = before["metadata"]["generation"].as_i64().unwrap_or(0);
    // A deployment hands its annotations on to its replica sets, so they are content.
    let told =
        |object: &Value| (kind.kind == "Deployment").then(|| object["metadata"]["annotations"].clone());
    let same = content(before) == content(new) && told(before) == told(new);
    let is = if same { was } else { was + 1 };
    new["metadata"]["generation"] = is.into();
}
