//! PURE: what a deletion makes of an object: gone at once, or marked until its finalizers, or its kubelet, are done.

use super::{Asked, written};
use crate::apiserver::refusal::Refusal;
use crate::apiserver::store::{FOREGROUND, ORPHAN, Stored};
use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

/// What a client says about a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Seconds.
    pub(crate) grace: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) uid: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) dry_run: bool,
}

/// What becomes of what the object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    /// It goes first.
    Foreground,
    /// It stays, without an owner.
    Orphan,
}

/// What becomes of the object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Deletion {
    /// It is taken away; this is its last state.
    Gone(Value),
    /// It stays, like this, until what holds it lets go.
    Marked(Value),
    /// It is marked already.
    Same(Value),
}

impl Options {
    /// Reads `DeleteOptions`, and what the query says in its place.
    pub(crate) fn read(body: &Value, query: impl Fn(&str) -> Option<String>) -> Result<Options, Refusal> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let propagation = text(&body["propagationPolicy"]).or_else(|| query("propagationPolicy"));
        let propagation = match propagation.as_deref() {
            None => None,
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                return Err(Refusal::bad_request(format!("propagationPolicy {other:?} is unknown")));
            }
        };
        let orphans = body["orphanDependents"]
            .as_bool()
            .map(|orphans| if orphans { Propagation::Orphan } else { Propagation::Background });
        let grace = query("gracePeriodSeconds").and_then(|seconds| seconds.parse().ok());
        Ok(Options {
            grace: body["gracePeriodSeconds"].as_i64().or(grace),
            propagation: propagation.or(orphans),
            uid: text(&body["preconditions"]["uid"]),
            revision: text(&body["preconditions"]["resourceVersion"]),
            dry_run: body["dryRun"] == json!(["All"]) || query("dryRun").as_deref() == Some("All"),
        })
    }
}

/// Decides what becomes of `old`.
pub(crate) fn delete(asked: &Asked, old: &Stored, options: &Options) -> Result<Deletion, Refusal> {
    let kind = &asked.served.kind;
    let about = kind.about(&asked.name);
    if let Some(uid) = options.uid.as_ref().filter(|uid| **uid != old.uid) {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.uid);
        return Err(Refusal::conflict(about, &why));
    }
    if let Some(revision) = options.revision.as_ref().filter(|wanted| **wanted != old.revision.to_string()) {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {revision}, ResourceVersion in object meta: {}",
            old.revision
        );
        return Err(Refusal::conflict(about, &why));
    }
    let before = old.value();
    let mut new = before.clone();
    finalize(&mut new, options.propagation);
    let is_marked = !before["metadata"]["deletionTimestamp"].is_null();
    let grace = grace(&kind.kind, &before, options);
    let held = kind.kind == "Namespace" && has_any(&new["spec"]["finalizers"]);
    if held {
        new["status"]["phase"] = "Terminating".into();
    }
    if grace == 0 && !has_any(&new["metadata"]["finalizers"]) && !held {
        return Ok(Deletion::Gone(new));
    }
    let sooner = before["metadata"]["deletionGracePeriodSeconds"].as_i64().is_none_or(|left| grace < left);
    if !is_marked || (sooner && kind.kind == "Pod") {
        let when = asked.seed.now + SignedDuration::from_secs(grace);
        new["metadata"]["deletionTimestamp"] = written(when).into();
        new["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        if kind.generation && !is_marked {
            let was = before["metadata"]["generation"].as_i64().unwrap_or(0);
            new["metadata"]["generation"] = (was + 1).into();
        }
    }
    Ok(if new == before { Deletion::Same(new) } else { Deletion::Marked(new) })
}

/// Whether an object that was just written has nothing left that holds it.
pub(crate) fn is_done(new: &Value) -> bool {
    let metadata = &new["metadata"];
    let waits = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) > 0;
    let held =
        has_any(&metadata["finalizers"]) || new["kind"] == "Namespace" && has_any(&new["spec"]["finalizers"]);
    metadata["deletionTimestamp"].is_string() && !waits && !held
}

/// Only a pod that a kubelet may be running is given time.
fn grace(kind: &str, pod: &Value, options: &Options) -> i64 {
    let bound = pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    let over = ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == *phase);
    if kind != "Pod" || !bound || over {
        return 0;
    }
    options.grace.or(pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30).max(0)
}

fn finalize(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let found = object["metadata"]["finalizers"].as_array();
    let mut finalizers: Vec<Value> = found.into_iter().flatten().cloned().collect();
    finalizers.retain(|name| name != FOREGROUND && name != ORPHAN);
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => finalizers.push(FOREGROUND.into()),
        Propagation::Orphan => finalizers.push(ORPHAN.into()),
    }
    if !finalizers.is_empty() || object["metadata"]["finalizers"].is_array() {
        object["metadata"]["finalizers"] = finalizers.into();
    }
}

fn has_any(list: &Value) -> bool {
    list.as_array().is_some_and(|list| !list.is_empty())
}
