//! What an API server asks of a webhook, and what it is answered: `AdmissionReview` of `admission.k8s.io/v1`. PURE.
//!
//! Only the wire: what becomes of a pod is `inject`'s.

use super::answer::{Answer, Outcome};
use super::inject::{Operation, Request, admit};
use super::wishes::Wishes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;

const VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Why a review cannot be answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// It is not JSON, or not of the right shape.
    Malformed(String),
    /// It is something else.
    Version(String),
    /// Nothing is asked in it.
    NoRequest,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read the admission review: ")?;
        match self {
            Error::Malformed(why) => write!(f, "{why}; an API server posts it as JSON"),
            Error::Version(what) => {
                write!(f, "it is {what:?}; register the webhook with admissionReviewVersions: [v1]")
            }
            Error::NoRequest => write!(f, "it has no request; an API server posts one"),
        }
    }
}

impl std::error::Error for Error {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Asked>,
}

/// What is asked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    pub(crate) uid: String,
    #[serde(default)]
    pub(super) kind: Value,
    #[serde(default)]
    sub_resource: String,
    #[serde(default)]
    pub(crate) namespace: String,
    pub(super) operation: String,
    #[serde(default)]
    pub(crate) dry_run: bool,
    #[serde(default)]
    pub(crate) object: Value,
    #[serde(default)]
    pub(super) old_object: Value,
}

/// The answer to a review, as it is sent, and its name in metrics.
pub(super) fn answer(body: &[u8], wishes: &Wishes) -> Result<(Value, Outcome), Error> {
    let asked = read(body)?;
    let answer = if is_pod(&asked.kind) { of_pod(&asked, wishes) } else { Answer::default() };
    let outcome = answer.outcome;
    Ok((written(&asked.uid, &answer), outcome))
}

/// Reads a review.
pub(crate) fn read(body: &[u8]) -> Result<Asked, Error> {
    let review: Review = serde_json::from_slice(body).map_err(|error| Error::Malformed(error.to_string()))?;
    if review.api_version != VERSION || review.kind != KIND {
        return Err(Error::Version(format!("{} {}", review.api_version, review.kind)));
    }
    review.request.ok_or(Error::NoRequest)
}

/// A review with what is answered, whose warnings are told as ours.
pub(super) fn responded(mut response: Value, warnings: &[String]) -> Value {
    let words: Vec<String> = warnings.iter().map(|line| format!("millrace: {line}")).collect();
    if !words.is_empty() {
        response["warnings"] = json!(words);
    }
    json!({ "apiVersion": VERSION, "kind": KIND, "response": response })
}

fn is_pod(kind: &Value) -> bool {
    kind["group"].as_str().is_none_or(str::is_empty) && kind["kind"] == "Pod"
}

fn of_pod(asked: &Asked, wishes: &Wishes) -> Answer {
    let operation = match (asked.operation.as_str(), asked.sub_resource.as_str()) {
        ("CREATE", "") => Operation::Create,
        // Also through a subresource: by pods/status annotations can be changed too.
        ("UPDATE", _) => Operation::Update { old: &asked.old_object },
        _ => return Answer::default(),
    };
    admit(&Request { operation, namespace: &asked.namespace, object: &asked.object }, wishes)
}

/// A review with an answer.
pub(crate) fn written(uid: &str, answer: &Answer) -> Value {
    let mut response = json!({ "uid": uid, "allowed": answer.refusal.is_none() });
    if let Some(refusal) = &answer.refusal {
        let message = format!("millrace: {refusal}");
        response["status"] = json!({ "code": 403, "reason": "Forbidden", "message": message });
    } else if !answer.patch.is_empty() {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(answer.patch.to_string()));
    }
    responded(response, &answer.words())
}

#[cfg(test)]
mod tests {
    use super::super::wishes::Invalid;
    use super::*;

    fn pod(user: u32) -> Value {
        json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "generateName": "web-", "annotations": { "sidecar.istio.io/status": "{}" } },
            "spec": { "containers": [
                { "name": "app", "securityContext": { "runAsUser": user } }, { "name": "istio-proxy" }] } })
    }

    fn review(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut review = json!({ "apiVersion": VERSION, "kind": KIND, "request": {
            "uid": "7", "kind": { "group": "", "version": "v1", "kind": "Pod" }, "operation": "CREATE",
            "namespace": "shop", "dryRun": true, "object": pod(1000), "oldObject": null } });
        change(&mut review);
        review.to_string().into_bytes()
    }

    /// The response; of the patch only the paths.
    fn check(change: impl FnOnce(&mut Value), expected: Value) {
        let wishes = Wishes { invalid_pods: Invalid::Deny, ..Wishes::default() };
        let (mut answer, _) = answer(&review(change), &wishes).expect("a review");
        assert_eq!((&answer["apiVersion"], &answer["kind"]), (&json!(VERSION), &json!(KIND)));
        let response = &mut answer["response"];
        if let Some(patch) = response["patch"].as_str() {
            let steps: Value =
                serde_json::from_slice(&STANDARD.decode(patch).expect("base64")).expect("JSON");
            response["patch"] =
                steps.as_array().expect("a list").iter().map(|step| step["path"].clone()).collect();
        } else {
            response.as_object_mut().expect("a map").retain(|_, value| !value.is_null());
        }
        assert_eq!(*response, expected);
    }

    #[test]
    fn every_question_has_its_answer() {
        let stamp = "/metadata/annotations/millrace.dev~1redirect";
        let allowed = json!({ "uid": "7", "allowed": true });
        check(|_| {}, json!({ "uid": "7", "allowed": true, "patchType": "JSONPatch", "patch": [stamp] }));
        check(|review| review["request"]["operation"] = json!("DELETE"), allowed.clone());
        check(|review| review["request"]["subResource"] = json!("eviction"), allowed.clone());
        check(|review| review["request"]["kind"]["kind"] = json!("Service"), allowed.clone());
        check(|review| review["request"]["object"] = Value::Null, allowed);
        let refused = "millrace: MR3001 IdentityClash: container app runAsUser: \"1337\": is the proxy's own user, so what it sends \
                       bypasses the mesh; run it as another user";
        check(
            |review| review["request"]["object"] = pod(1337),
            json!({ "uid": "7", "allowed": false, "status": { "code": 403, "reason": "Forbidden", "message": refused } }),
        );
        check(
            |review| {
                review["request"]["operation"] = json!("UPDATE");
                review["request"]["oldObject"] = pod(1000);
                review["request"]["object"]["metadata"]["annotations"]["millrace.dev/redirect"] = json!("{}");
            },
            json!({ "uid": "7", "allowed": true, "patchType": "JSONPatch", "patch": [stamp], "warnings": [
                "millrace: MR3008 ForgedStamp: somebody wrote the annotation millrace.dev/redirect, which is taken back; \
                 leave it to Millrace, which stamps every pod anew that is created"] }),
        );
    }

    #[test]
    fn what_is_no_review_is_told_so() {
        let error = |body: &[u8]| answer(body, &Wishes::default()).expect_err("no review").to_string();
        assert!(error(b"").starts_with("read the admission review: EOF"), "{}", error(b""));
        assert!(error(b"{\"request\":7}").contains("invalid type"));
        let old = review(|review| review["apiVersion"] = json!("admission.k8s.io/v1beta1"));
        assert!(error(&old).contains("register the webhook with admissionReviewVersions: [v1]"));
        assert!(error(&review(|review| review["request"] = Value::Null)).contains("it has no request"));
        assert!(
            error(&review(|review| drop(review["request"]["uid"].take()))).contains("invalid type: null")
        );
    }
}
