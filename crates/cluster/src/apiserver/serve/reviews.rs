//! PURE: questions that are answered and not kept. On loopback everybody may do everything, and the answers say so.

use crate::apiserver::path::Objects;
use serde_json::{Value, json};

/// What answers a question that is posted to `target`.
pub(super) fn find(target: &Objects) -> Option<fn(Value) -> Value> {
    match (target.group.as_str(), target.plural.as_str()) {
        ("authentication.k8s.io", "tokenreviews") => Some(token),
        ("authorization.k8s.io", "selfsubjectaccessreviews" | "subjectaccessreviews") => Some(access),
        ("authorization.k8s.io", "selfsubjectrulesreviews") => Some(rules),
        _ => None,
    }
}

/// No token was given out here, so none is known.
fn token(mut review: Value) -> Value {
    if review.is_object() {
        review["status"] = json!({"authenticated": false, "error": "this server gives out no tokens"});
    }
    review
}

fn access(mut review: Value) -> Value {
    if review.is_object() {
        review["status"] =
            json!({"allowed": true, "reason": "everybody on this machine may do everything here"});
    }
    review
}

fn rules(mut review: Value) -> Value {
    if review.is_object() {
        let every = json!(["*"]);
        let resources = json!([{"verbs": every, "apiGroups": every, "resources": every}]);
        let others = json!([{"verbs": every, "nonResourceURLs": every}]);
        review["status"] =
            json!({"resourceRules": resources, "nonResourceRules": others, "incomplete": false});
    }
    review
}
