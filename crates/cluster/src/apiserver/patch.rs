//! PURE: the four ways to change an object in part.

pub(crate) mod apply;
pub(crate) mod strategic;

use super::refusal::Refusal;
use super::shape::Shape;
use serde_json::Value;

/// The ways, by the content type that names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// A merge that knows which lists are maps.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl Form {
    /// Reads a content type.
    pub(crate) fn read(content_type: &str) -> Option<Form> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Some(Form::Json),
            "application/merge-patch+json" => Some(Form::Merge),
            "application/strategic-merge-patch+json" => Some(Form::Strategic),
            "application/apply-patch+yaml" => Some(Form::Apply),
            _ => None,
        }
    }
}

/// `object` as `patch` wants it. Applying needs to know of owners: that is [`apply::apply`].
pub(crate) fn patched(form: Form, object: &Value, patch: &Value, shape: &Shape) -> Result<Value, Refusal> {
    let mut object = object.clone();
    match form {
        Form::Json => {
            let patch: json_patch::Patch = serde_json::from_value(patch.clone())
                .map_err(|cause| Refusal::bad_request(format!("the patch is no JSON patch: {cause}")))?;
            json_patch::patch(&mut object, &patch).map_err(|cause| {
                let message =
                    format!("the server rejected our request due to an error in our request: {cause}");
                Refusal::new(422, "Invalid", message)
            })?;
        }
        Form::Merge if !patch.is_object() => {
            return Err(Refusal::bad_request("the patch is no JSON object"));
        }
        Form::Merge | Form::Apply => json_patch::merge(&mut object, patch),
        Form::Strategic => strategic::merge(&mut object, patch, shape)?,
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(form: Form, patch: &Value, expected: Option<&Value>) {
        let object = json!({"a": {"b": 1, "c": [1]}});
        let found = patched(form, &object, patch, &Shape::default());
        assert_eq!(found.as_ref().ok(), expected, "{patch}");
    }

    #[test]
    fn each_form() {
        let patch = json!([{"op": "replace", "path": "/a/b", "value": 2}]);
        check(Form::Json, &patch, Some(&json!({"a": {"b": 2, "c": [1]}})));
        check(Form::Json, &json!([{"op": "test", "path": "/a/b", "value": 2}]), None);
        check(Form::Json, &json!({"a": 1}), None);
        check(Form::Merge, &json!({"a": {"b": null, "c": [2]}}), Some(&json!({"a": {"c": [2]}})));
        check(Form::Merge, &json!([1]), None);
        check(Form::Strategic, &json!({"a": {"c": [2]}}), Some(&json!({"a": {"b": 1, "c": [2]}})));
        assert_eq!(Form::read("application/merge-patch+json; charset=utf-8"), Some(Form::Merge));
        assert_eq!(Form::read("application/json"), None);
    }
}
