//! PURE: what a request makes of an object: drafts that are settled, judged and then written, or not.
//!
//! Time, identifiers and random letters are handed in.

pub(crate) mod delete;
mod settle;

use super::defaults;
use super::patch::apply::{self, Manager};
use super::patch::{self, Form};
use super::refusal::Refusal;
use super::registry::Served;
use super::store::Stored;
use super::views;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};
use std::sync::Arc;

pub(crate) use settle::{complete, judge, prepare, settle};

/// What only the world outside can give.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    pub(crate) now: Timestamp,
    pub(crate) uid: String,
    /// Five letters that make a generated name one of its own.
    pub(crate) letters: String,
}

/// What becomes of fields that nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Validation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// One request to write.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) served: Served,
    pub(crate) namespace: String,
    /// Empty where the object names itself.
    pub(crate) name: String,
    pub(crate) subresource: String,
    pub(crate) manager: String,
    /// Who asks, as webhooks are told.
    pub(crate) user: String,
    pub(crate) seed: Seed,
    pub(crate) validation: Validation,
    pub(crate) force: bool,
    pub(crate) dry_run: bool,
}

/// An object as it is to be written.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// What it replaces.
    pub(crate) old: Option<Arc<Stored>>,
    /// The same as an object; null where there is none.
    pub(crate) before: Value,
    pub(crate) new: Value,
    /// Up to where ownership is noted: what differs from this is the writer's.
    base: Value,
    /// Whether ownership came with an apply.
    applied: bool,
    pub(crate) warnings: Vec<String>,
}

impl Asked {
    /// The time, as objects have it.
    pub(crate) fn now(&self) -> String {
        written(self.seed.now)
    }

    fn manager<'a>(&'a self, now: &'a str, version: &'a str) -> Manager<'a> {
        let subresource = if self.subresource == "scale" { "" } else { &self.subresource };
        Manager { name: &self.manager, version, subresource, now }
    }
}

/// RFC 3339 in seconds.
pub(crate) fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A new object.
pub(crate) fn create(asked: &Asked, body: Value) -> Result<Draft, Refusal> {
    let mut new = recognised(asked, body)?;
    let metadata = metadata(&mut new)?;
    if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|version| !version.is_empty()) {
        return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let generated = metadata.get("generateName").and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
    if !asked.name.is_empty() && !name.is_empty() && asked.name != name {
        return Err(misnamed(name, &asked.name));
    }
    if name.is_empty() && !generated.is_empty() && asked.name.is_empty() {
        let room = 63 - asked.seed.letters.len();
        let stem = generated.get(..room).unwrap_or(&generated);
        metadata.insert("name".to_owned(), format!("{stem}{}", asked.seed.letters).into());
    }
    if !asked.name.is_empty() {
        metadata.insert("name".to_owned(), asked.name.as_str().into());
    }
    Ok(Draft {
        old: None,
        before: Value::Null,
        new: begun(asked, new)?,
        base: Value::Object(Map::new()),
        applied: false,
        warnings: Vec::new(),
    })
}

/// What every new object gets, and what it cannot bring along.
fn begun(asked: &Asked, mut new: Value) -> Result<Value, Refusal> {
    let kind = &asked.served.kind;
    let metadata = metadata(&mut new)?;
    for own in
        ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation", "resourceVersion"]
    {
        metadata.shift_remove(own);
    }
    place(asked, metadata)?;
    metadata.insert("uid".to_owned(), asked.seed.uid.as_str().into());
    metadata.insert("creationTimestamp".to_owned(), asked.now().into());
    if kind.generation {
        metadata.insert("generation".to_owned(), 1.into());
    }
    // A kubelet registers its node with its status.
    if kind.status && kind.kind != "Node" {
        new.as_object_mut().map(|new| new.shift_remove("status"));
    }
    defaults::begin(&kind.kind, &mut new);
    Ok(new)
}

fn place(asked: &Asked, metadata: &mut Map<String, Value>) -> Result<(), Refusal> {
    let named = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if !asked.served.kind.namespaced {
        metadata.shift_remove("namespace");
        return Ok(());
    }
    if !named.is_empty() && named != asked.namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Refusal::bad_request(why));
    }
    metadata.insert("namespace".to_owned(), asked.namespace.as_str().into());
    Ok(())
}

/// A whole object in place of another.
pub(crate) fn update(asked: &Asked, old: &Arc<Stored>, body: Value) -> Result<Draft, Refusal> {
    let mut new = recognised(asked, body)?;
    let metadata = metadata(&mut new)?;
    let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
    if !name.is_empty() && name != asked.name {
        return Err(misnamed(name, &asked.name));
    }
    place(asked, metadata)?;
    let version = metadata.get("resourceVersion").and_then(Value::as_str).unwrap_or_default();
    if version.is_empty() && asked.served.kind.is_custom() {
        let fault = super::refusal::Fault::invalid(
            "metadata.resourceVersion",
            &0.into(),
            "must be specified for an update",
        );
        return Err(Refusal::invalid(asked.served.kind.about(&asked.name), &[fault]));
    }
    replacing(asked, old, new)
}

/// What is there, changed in part; or what is to be there, where nothing is and it is applied.
pub(crate) fn patch(
    asked: &Asked,
    old: Option<&Arc<Stored>>,
    form: Form,
    body: &Value,
) -> Result<Draft, Refusal> {
    let kind = &asked.served.kind;
    if form == Form::Strategic && kind.is_custom() {
        let why = "the body of the request was in an unknown format - accepted media types include: \
                   application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        return Err(Refusal::new(415, "UnsupportedMediaType", why));
    }
    if form != Form::Apply {
        let Some(old) = old else { return Err(Refusal::not_found(kind.about(&asked.name))) };
        let shown = views::shown(&asked.served, old.value());
        let new = patch::patched(form, &shown, body, &kind.shape)?;
        return replacing(asked, old, views::kept(&asked.served, new));
    }
    let mut wanted = recognised(asked, body.clone())?;
    let metadata = metadata(&mut wanted)?;
    let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
    if !name.is_empty() && name != asked.name {
        return Err(misnamed(name, &asked.name));
    }
    metadata.insert("name".to_owned(), asked.name.as_str().into());
    place(asked, metadata)?;
    settle::known(asked, &mut wanted)?;
    let (now, version) = (asked.now(), asked.served.api_version());
    let manager = asked.manager(&now, &version);
    let nothing = Value::Object(Map::new());
    let before = old.map_or(nothing, |old| old.value());
    let merged = apply::apply(&before, &wanted, &kind.shape, manager, asked.force)?;
    let mut draft = match old {
        Some(old) => replacing(asked, old, merged)?,
        // An apply makes objects, and never parts of one that is not there.
        None if !asked.subresource.is_empty() => return Err(Refusal::not_found(kind.about(&asked.name))),
        None => Draft { new: begun(asked, merged)?, ..create(asked, wanted)? },
    };
    draft.applied = true;
    Ok(draft)
}

fn replacing(asked: &Asked, old: &Arc<Stored>, mut new: Value) -> Result<Draft, Refusal> {
    let kind = &asked.served.kind;
    let before = old.value();
    let is = metadata(&mut new)?;
    let version = is.get("resourceVersion").and_then(Value::as_str).unwrap_or_default();
    if !version.is_empty() && version != "0" && version != old.revision.to_string() {
        return Err(Refusal::stale(kind.about(&asked.name)));
    }
    if let Some(uid) = is.get("uid").and_then(Value::as_str).filter(|uid| !uid.is_empty() && *uid != old.uid)
    {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.uid);
        return Err(Refusal::conflict(kind.about(&asked.name), &why));
    }
    let was = before["metadata"].as_object().cloned().unwrap_or_default();
    for own in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "name",
        "namespace",
        "selfLink",
    ] {
        match was.get(own) {
            Some(value) => is.insert(own.to_owned(), value.clone()),
            None => is.shift_remove(own),
        };
    }
    if is.get("managedFields").is_none_or(Value::is_null)
        && let Some(fields) = was.get("managedFields")
    {
        is.insert("managedFields".to_owned(), fields.clone());
    }
    Ok(Draft {
        old: Some(Arc::clone(old)),
        base: before.clone(),
        before,
        new,
        applied: false,
        warnings: Vec::new(),
    })
}

/// The body in the form that is kept, if it is of the kind that the path is of.
fn recognised(asked: &Asked, mut body: Value) -> Result<Value, Refusal> {
    let Some(map) = body.as_object_mut() else {
        return Err(Refusal::bad_request("the object provided is no JSON object"));
    };
    let wanted = [("apiVersion", asked.served.api_version()), ("kind", asked.served.kind.kind.clone())];
    for (field, wanted) in wanted {
        let found = map.get(field).and_then(Value::as_str).unwrap_or_default();
        if !found.is_empty() && found != wanted {
            let message =
                format!("the {field} in the data ({found}) does not match the expected {field} ({wanted})");
            return Err(Refusal::bad_request(message));
        }
        map.insert(field.to_owned(), wanted.into());
    }
    Ok(views::kept(&asked.served, body))
}

fn metadata(object: &mut Value) -> Result<&mut Map<String, Value>, Refusal> {
    let map = object
        .as_object_mut()
        .ok_or_else(|| Refusal::bad_request("the object provided is no JSON object"))?;
    let metadata = map.entry("metadata").or_insert(Value::Null);
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut().ok_or_else(|| Refusal::bad_request("metadata is no JSON object"))
}

fn misnamed(found: &str, wanted: &str) -> Refusal {
    Refusal::bad_request(format!(
        "the name of the object ({found}) does not match the name on the URL ({wanted})"
    ))
}

#[cfg(test)]
mod tests;
