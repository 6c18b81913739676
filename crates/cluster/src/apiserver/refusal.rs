//! PURE: what a request is refused with: the `Status` object of `meta/v1`, as Kubernetes words it.
//!
//! Clients act on code and reason, people read the message: neither is ever left out.

use serde_json::{Value, json};
use std::borrow::Cow;

/// A refused request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) code: u16,
    /// The word clients switch on; of a closed set, but for those that webhooks give.
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
    details: Box<Value>,
}

/// What a request was about, as messages name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) group: &'a str,
    /// The plural, or for objects that are invalid the kind.
    pub(crate) resource: &'a str,
    pub(crate) name: &'a str,
}

/// One thing that is wrong with an object: which field, how, and in which words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) field: String,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn required(field: impl Into<String>, why: &str) -> Fault {
        Fault::new(field, "FieldValueRequired", format!("Required value{}", more(why)))
    }

    pub(crate) fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Fault {
        Fault::new(field, "FieldValueInvalid", format!("Invalid value: {}{}", shown(value), more(why)))
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Fault {
        Fault::new(field, "FieldValueDuplicate", format!("Duplicate value: {}", shown(value)))
    }

    pub(crate) fn unsupported(field: impl Into<String>, value: &Value, known: &[String]) -> Fault {
        let known = known.join(", ");
        let message = format!("Unsupported value: {}: supported values: {known}", shown(value));
        Fault::new(field, "FieldValueNotSupported", message)
    }

    pub(crate) fn forbidden(field: impl Into<String>, why: &str) -> Fault {
        Fault::new(field, "FieldValueForbidden", format!("Forbidden{}", more(why)))
    }

    fn new(field: impl Into<String>, reason: &'static str, message: String) -> Fault {
        Fault { field: field.into(), reason, message }
    }
}

fn more(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(": {why}") }
}

/// Go's `%q` for words, JSON for everything else.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => serde_json::to_string(value).unwrap_or_default(),
        value => value.to_string(),
    }
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { code, reason: reason.into(), message: message.into(), details: Box::new(Value::Null) }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "BadRequest", message)
    }

    pub(crate) fn not_found(about: About<'_>) -> Refusal {
        let message = format!("{} \"{}\" not found", qualified(about), about.name);
        Refusal::new(404, "NotFound", message).about(about, &[])
    }

    /// No such path.
    pub(crate) fn nowhere() -> Refusal {
        Refusal::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub(crate) fn exists(about: About<'_>) -> Refusal {
        let message = format!("{} \"{}\" already exists", qualified(about), about.name);
        Refusal::new(409, "AlreadyExists", message).about(about, &[])
    }

    pub(crate) fn conflict(about: About<'_>, why: &str) -> Refusal {
        let message =
            format!("Operation cannot be fulfilled on {} \"{}\": {why}", qualified(about), about.name);
        Refusal::new(409, "Conflict", message).about(about, &[])
    }

    /// Somebody changed the object since it was read.
    pub(crate) fn stale(about: About<'_>) -> Refusal {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Refusal::conflict(about, why)
    }

    /// An apply that would change what others own.
    pub(crate) fn owned(message: String, faults: &[(String, String)]) -> Refusal {
        let causes = faults.iter().map(
            |(field, message)| json!({"reason": "FieldManagerConflict", "message": message, "field": field}),
        );
        let mut refusal = Refusal::new(409, "Conflict", message);
        *refusal.details = json!({"causes": causes.collect::<Vec<_>>()});
        refusal
    }

    pub(crate) fn invalid(about: About<'_>, faults: &[Fault]) -> Refusal {
        let words: Vec<String> =
            faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
        let words = if words.len() == 1 { words.concat() } else { format!("[{}]", words.join(", ")) };
        let message = format!("{} \"{}\" is invalid: {words}", qualified(about), about.name);
        Refusal::new(422, "Invalid", message).about(about, faults)
    }

    pub(crate) fn forbidden(about: About<'_>, why: &str) -> Refusal {
        let message = format!("{} \"{}\" is forbidden: {why}", qualified(about), about.name);
        Refusal::new(403, "Forbidden", message).about(about, &[])
    }

    pub(crate) fn expired(message: impl Into<String>) -> Refusal {
        Refusal::new(410, "Expired", message)
    }

    pub(crate) fn too_many(message: impl Into<String>) -> Refusal {
        let mut refusal = Refusal::new(429, "TooManyRequests", message);
        *refusal.details = json!({"retryAfterSeconds": 1});
        refusal
    }

    /// Adds a cause that says more to a program than the message does.
    pub(crate) fn because(mut self, reason: &str, message: &str) -> Refusal {
        let cause = json!({"reason": reason, "message": message});
        if !self.details.is_object() {
            *self.details = json!({});
        }
        match self.details.get_mut("causes").and_then(Value::as_array_mut) {
            Some(causes) => causes.push(cause),
            None => self.details["causes"] = json!([cause]),
        }
        self
    }

    fn about(mut self, about: About<'_>, faults: &[Fault]) -> Refusal {
        let mut details = json!({"name": about.name, "kind": about.resource});
        if !about.group.is_empty() {
            details["group"] = about.group.into();
        }
        if !faults.is_empty() {
            let causes = faults
                .iter()
                .map(|fault| json!({"reason": fault.reason, "message": fault.message, "field": fault.field}));
            details["causes"] = causes.collect();
        }
        *self.details = details;
        self
    }

    /// The `Status` object that tells it.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason,
        });
        if !self.details.is_null() {
            status["details"] = (*self.details).clone();
        }
        status["code"] = self.code.into();
        status
    }
}

fn qualified(about: About<'_>) -> String {
    if about.group.is_empty() {
        about.resource.to_owned()
    } else {
        format!("{}.{}", about.resource, about.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(refusal: &Refusal, code: u16, message: &str) {
        assert_eq!((refusal.code, refusal.message.as_str()), (code, message));
        let status = refusal.status();
        assert_eq!(status["code"], json!(code));
        assert_eq!(status["reason"], *refusal.reason);
    }

    #[test]
    fn messages_are_those_of_kubernetes() {
        let pod = About { group: "", resource: "pods", name: "a" };
        check(&Refusal::not_found(pod), 404, "pods \"a\" not found");
        let deployment = About { group: "apps", resource: "deployments", name: "a" };
        check(&Refusal::exists(deployment), 409, "deployments.apps \"a\" already exists");
        let kind = About { resource: "Deployment", ..deployment };
        let faults = [
            Fault::required("spec.selector", ""),
            Fault::unsupported("spec.x", &json!("b"), &["\"c\"".to_owned()]),
        ];
        let message = "Deployment.apps \"a\" is invalid: [spec.selector: Required value, \
                       spec.x: Unsupported value: \"b\": supported values: \"c\"]";
        check(&Refusal::invalid(kind, &faults), 422, message);
    }
}
