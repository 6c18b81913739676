//! What is answered about a MeshCNI: refused with every field that is wrong, told what of it is doubtful, or let through. PURE.
//!
//! It says what `api::check` says, which a schema cannot say at all and a server before 1.25 cannot in part. Who does not touch
//! the specification is never refused: an object that is wrong already can still be labelled, let go of and deleted.

use super::review::{Asked, Error, read, responded};
use crate::api::check::{check, doubts};
use crate::api::mesh::MeshCNI;
use crate::codes::Code;
use millrace_core::complaint::Complaint;
use serde_json::{Value, json};

/// The most complaints of one answer; the last says how many there are beyond (M10).
const MOST: usize = 8;

/// What became of a MeshCNI, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is taken.
    Accepted,
    /// It is taken, with a warning.
    Doubted,
    /// It is refused.
    Refused,
}

/// The answer to a review, as it is sent.
pub(super) fn answer(body: &[u8]) -> Result<(Value, Verdict), Error> {
    let asked = read(body)?;
    let allowed = json!({ "uid": asked.uid, "allowed": true });
    if !is_about_a_specification(&asked) {
        return Ok((responded(allowed, &[]), Verdict::Accepted));
    }
    let mesh: MeshCNI = match serde_json::from_value(asked.object.clone()) {
        Ok(mesh) => mesh,
        // Its definition is of another version than we are, and no controller of ours could read it either.
        Err(error) => {
            let fix = "upgrade the definitions and the controller together";
            let complaint = Complaint::fatal("spec", "", format!("cannot be read: {error}"), fix);
            return Ok((refused(&asked, &[complaint]), Verdict::Refused));
        }
    };
    let complaints = check(mesh.metadata.name.as_deref().unwrap_or_default(), &mesh.spec);
    if !complaints.is_empty() {
        return Ok((refused(&asked, &complaints), Verdict::Refused));
    }
    let doubts = doubts(&mesh.spec);
    let words: Vec<String> =
        doubts.iter().map(|doubt| format!("{} {doubt}", Code::SpecDoubtful)).take(MOST).collect();
    let verdict = if words.is_empty() { Verdict::Accepted } else { Verdict::Doubted };
    Ok((responded(allowed, &words), verdict))
}

impl Verdict {
    /// Its name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::Doubted => "doubted",
            Verdict::Refused => "refused",
        }
    }
}

fn is_about_a_specification(asked: &Asked) -> bool {
    let is_ours = asked.kind["group"] == "millrace.dev" && asked.kind["kind"] == "MeshCNI";
    let leaves = !asked.object["metadata"]["deletionTimestamp"].is_null();
    is_ours
        && !leaves
        && match asked.operation.as_str() {
            "CREATE" => true,
            "UPDATE" => asked.object["spec"] != asked.old_object["spec"],
            _ => false,
        }
}

/// As an API server refuses what its schema refuses, with each field as a cause of its own.
fn refused(asked: &Asked, complaints: &[Complaint]) -> Value {
    let mut words: Vec<String> = complaints.iter().take(MOST).map(ToString::to_string).collect();
    if complaints.len() > MOST {
        words.push(format!("{} more; millrace print config -f FILE tells all", complaints.len() - MOST));
    }
    let code = Code::SpecRefused;
    let message = format!("millrace: {code} {}: {}", code.name(), words.join("; "));
    let cause = |complaint: &Complaint| {
        let message = format!("{:?}: {}; {}", complaint.value, complaint.problem, complaint.fix);
        json!({ "reason": "FieldValueInvalid", "field": complaint.what, "message": message })
    };
    let causes: Vec<Value> = complaints.iter().take(MOST).map(cause).collect();
    let details = json!({
        "group": "millrace.dev", "kind": "MeshCNI", "name": asked.object["metadata"]["name"], "causes": causes,
    });
    let status = json!({ "code": 422, "reason": "Invalid", "message": message, "details": details });
    responded(json!({ "uid": asked.uid, "allowed": false, "status": status }), &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on going from one specification to another, and the text of what is answered.
    fn check(before: Value, after: Value, verdict: Verdict, says: &str) {
        let object = |spec: &Value| json!({ "metadata": { "name": "default" }, "spec": spec });
        let old = if before.is_null() { Value::Null } else { object(&before) };
        let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "7", "kind": { "group": "millrace.dev", "version": "v1alpha1", "kind": "MeshCNI" },
            "operation": if old.is_null() { "CREATE" } else { "UPDATE" }, "object": object(&after), "oldObject": old } });
        let (answered, found) = answer(review.to_string().as_bytes()).expect("it is a review");
        assert_eq!(found, verdict, "{answered}");
        assert_eq!(answered["response"]["allowed"], verdict != Verdict::Refused, "{answered}");
        assert!(answered.to_string().contains(says), "{answered}");
    }

    #[test]
    fn a_specification_is_refused_by_its_fields() {
        let wrong = json!({ "install": { "image": "No Image" } });
        let cause = "\"field\":\"spec.install.image\"";
        check(Value::Null, json!({}), Verdict::Accepted, "\"uid\":\"7\"");
        check(Value::Null, wrong.clone(), Verdict::Refused, cause);
        check(json!({}), wrong.clone(), Verdict::Refused, "MR1101 SpecRefused: spec.install.image");
        check(json!({}), json!({ "mode": "Sideways" }), Verdict::Refused, "upgrade the definitions");
        // What was there before is nobody's fault who changes something else.
        check(wrong.clone(), wrong, Verdict::Accepted, "");
        let many: Vec<String> = (0..20).map(|count| format!("A{count}")).collect();
        check(
            Value::Null,
            json!({ "excludeNamespaces": many }),
            Verdict::Refused,
            "12 more; millrace print config",
        );
    }

    #[test]
    fn what_is_doubtful_is_taken_with_a_warning() {
        for (spec, field) in [
            (json!({ "failurePolicy": "Open" }), "spec.failurePolicy"),
            (json!({ "admission": { "failurePolicy": "Fail" } }), "spec.admission.failurePolicy"),
            (json!({ "rollout": { "maxUnavailable": "100%" } }), "spec.rollout.maxUnavailable"),
            (json!({ "install": { "nodeSelector": { "pool": "mesh" } } }), "spec.install.nodeSelector"),
            (
                json!({ "install": { "nodeSelector": { "pool": "a" } }, "rollout": { "canaryNodeSelector": { "pool": "b" } } }),
                "spec.rollout.canaryNodeSelector",
            ),
        ] {
            check(Value::Null, spec, Verdict::Doubted, &format!("millrace: MR1107 {field}: "));
        }
    }
}
