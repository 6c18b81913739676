//! PURE: the words of an admission review: the question, and what an answer means.

use super::Operation;
use super::choose::Subject;
use crate::apiserver::draft;
use crate::apiserver::refusal::Refusal;
use crate::apiserver::registry::Kind;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

/// An `AdmissionReview` of v1, in the form that objects are kept in.
pub(super) fn question(subject: &Subject<'_>) -> Value {
    let asked = subject.asked;
    let kind = &asked.served.kind;
    let identity = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let resource = json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
    let (operation, options) = match subject.operation {
        Operation::Create => ("CREATE", "CreateOptions"),
        Operation::Update => ("UPDATE", "UpdateOptions"),
        Operation::Delete => ("DELETE", "DeleteOptions"),
    };
    let named =
        [subject.new, subject.before].into_iter().find_map(|object| object["metadata"]["name"].as_str());
    let mut request = json!({
        "uid": asked.seed.uid, "kind": identity, "resource": resource,
        "requestKind": {"group": asked.served.group, "version": asked.served.version, "kind": kind.kind},
        "requestResource": {"group": asked.served.group, "version": asked.served.version, "resource": kind.plural},
        "name": named.unwrap_or_default(), "namespace": asked.namespace, "operation": operation,
        "userInfo": {"username": asked.user, "groups": ["system:masters", "system:authenticated"]},
        "object": subject.new, "oldObject": subject.before, "dryRun": asked.dry_run,
        "options": {"kind": options, "apiVersion": "meta.k8s.io/v1", "fieldManager": asked.manager},
    });
    if !asked.subresource.is_empty() {
        request["subResource"] = asked.subresource.as_str().into();
        request["requestSubResource"] = asked.subresource.as_str().into();
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
}

/// The response of an answer to this question.
pub(super) fn checked(question: &Value, mut answer: Value) -> Result<Value, String> {
    let invalid = |why: &str| Err(format!("received invalid webhook response: {why}"));
    if answer["apiVersion"] != question["apiVersion"] || answer["kind"] != question["kind"] {
        return invalid("expected an AdmissionReview of admission.k8s.io/v1");
    }
    let response = answer["response"].take();
    if response["uid"] != question["request"]["uid"] {
        return invalid("response.uid is not that of the request");
    }
    if !response["allowed"].is_boolean() {
        return invalid("response.allowed is missing");
    }
    Ok(response)
}

/// The response, if it allows what was asked about.
pub(super) fn allowed(hook: &str, response: Value, warnings: &mut Vec<String>) -> Result<Value, Refusal> {
    let said = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let said: Vec<String> = said.map(str::to_owned).filter(|said| !warnings.contains(said)).collect();
    warnings.extend(said);
    if response["allowed"] == true {
        return Ok(response);
    }
    let status = &response["status"];
    let why = [&status["message"], &status["reason"]].into_iter().find_map(Value::as_str);
    let why = why.map_or_else(|| " without explanation".to_owned(), |why| format!(": {why}"));
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    let words = format!("admission webhook \"{hook}\" denied the request{why}");
    let mut refusal = Refusal::new(code.unwrap_or(400), "", words);
    refusal.reason = status["reason"].as_str().unwrap_or_default().to_owned().into();
    Err(refusal)
}

/// The object as the response changes it.
pub(super) fn patched(hook: &str, response: &Value, object: &Value) -> Result<Option<Value>, Refusal> {
    let Some(encoded) = response.get("patch").filter(|patch| !patch.is_null()) else { return Ok(None) };
    let failed = |cause: String| inapplicable(hook, &cause);
    if response["patchType"] != "JSONPatch" {
        return Err(failed("patchType is not JSONPatch".to_owned()));
    }
    let ByteString(bytes) =
        serde_json::from_value(encoded.clone()).map_err(|cause| failed(cause.to_string()))?;
    let patch: json_patch::Patch =
        serde_json::from_slice(&bytes).map_err(|cause| failed(cause.to_string()))?;
    let mut new = object.clone();
    json_patch::patch(&mut new, &patch).map_err(|cause| failed(cause.to_string()))?;
    Ok(Some(new))
}

/// The patched object as its kind is kept: what it has not is dropped without a word, as nobody wrote that.
pub(super) fn completed(hook: &str, kind: &Kind, object: Value) -> Result<Value, Refusal> {
    draft::complete(kind, object, &mut Vec::new()).map_err(|cause| inapplicable(hook, &cause))
}

fn inapplicable(hook: &str, cause: &str) -> Refusal {
    let words =
        format!("Internal error occurred: the patch of webhook \"{hook}\" cannot be applied: {cause}");
    Refusal::new(500, "InternalError", words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(response: &Value, expected: Result<(), (u16, &str)>) {
        let mut warnings = Vec::new();
        let found = allowed("h", response.clone(), &mut warnings);
        let expected = expected.map_err(|(code, words)| (code, words.to_owned()));
        assert_eq!(found.map(drop).map_err(|refusal| (refusal.code, refusal.message)), expected);
    }

    #[test]
    fn answers() {
        check(&json!({"allowed": true}), Ok(()));
        let denied = json!({"allowed": false, "status": {"message": "no", "code": 403}});
        check(&denied, Err((403, "admission webhook \"h\" denied the request: no")));
        let silent = "admission webhook \"h\" denied the request without explanation";
        check(&json!({"allowed": false}), Err((400, silent)));
    }

    #[test]
    fn patches() {
        let patch = ByteString(br#"[{"op":"add","path":"/a","value":1}]"#.to_vec());
        let response = json!({"patch": patch, "patchType": "JSONPatch"});
        assert_eq!(patched("h", &response, &json!({})), Ok(Some(json!({"a": 1}))));
        assert_eq!(patched("h", &json!({}), &json!({})), Ok(None));
        assert_eq!(patched("h", &json!({"patch": "x"}), &json!({})).unwrap_err().code, 500);
    }

    #[test]
    fn questions_are_answered_by_their_uid() {
        let question = json!({"kind": "K", "apiVersion": "v", "request": {"uid": "1"}});
        let answer =
            |uid: &str| json!({"kind": "K", "apiVersion": "v", "response": {"uid": uid, "allowed": true}});
        assert!(checked(&question, answer("1")).is_ok());
        assert!(checked(&question, answer("2")).is_err());
    }
}
