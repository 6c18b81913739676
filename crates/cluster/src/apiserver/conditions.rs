//! PURE: the conditions under which a webhook wants to be asked, in CEL: which are taken, and whether they hold.

use super::cel::{self, Expression};
use super::names;
use super::refusal::Fault;
use serde_json::Value;
use std::collections::BTreeSet;

/// What a condition may be about.
const VARIABLES: [&str; 3] = ["object", "oldObject", "request"];
/// The most of one webhook, as on a real server.
const MOST: usize = 64;

/// What is wrong with the conditions, which are at `path` of their configuration.
pub(crate) fn faults(conditions: &Value, path: &str) -> Vec<Fault> {
    let conditions = conditions.as_array().map_or(&[][..], Vec::as_slice);
    let mut faults = Vec::new();
    if conditions.len() > MOST {
        let why = format!("must have at most {MOST} items");
        faults.push(Fault::invalid(path, &conditions.len().into(), &why));
    }
    let mut seen = BTreeSet::new();
    for (at, condition) in conditions.iter().enumerate() {
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        let (name, expression) = (text("name"), text("expression"));
        let named = format!("{path}[{at}].name");
        match names::qualified(name) {
            _ if name.is_empty() => faults.push(Fault::required(named, "")),
            Some(why) => faults.push(Fault::invalid(named, &name.into(), &why)),
            None if !seen.insert(name) => faults.push(Fault::duplicate(named, &name.into())),
            None => {}
        }
        let place = format!("{path}[{at}].expression");
        if expression.trim().is_empty() {
            faults.push(Fault::required(place, ""));
        } else if let Err(why) = Expression::read(expression, &VARIABLES) {
            faults.push(Fault::invalid(place, &expression.into(), &why));
        }
    }
    faults
}

/// Whether all of them hold; one that does not outweighs one that cannot be told.
pub(crate) fn hold(
    conditions: &Value,
    object: &Value,
    before: &Value,
    request: &Value,
) -> Result<bool, String> {
    let whole = |json: &Value| cel::value(json, &Value::Null);
    let variables = [("object", whole(object)), ("oldObject", whole(before)), ("request", whole(request))];
    let mut failed = None;
    for condition in conditions.as_array().into_iter().flatten() {
        let told = Expression::read(condition["expression"].as_str().unwrap_or_default(), &VARIABLES);
        match told.and_then(|expression| expression.holds(&variables)) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(cause) => {
                failed.get_or_insert(format!(
                    "match condition {} cannot be evaluated: {cause}",
                    condition["name"]
                ));
            }
        }
    }
    failed.map_or(Ok(true), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(expressions: &[&str], expected: Result<bool, &str>) {
        let named = |(at, expression)| json!({"name": format!("c{at}"), "expression": expression});
        let conditions: Value = expressions.iter().enumerate().map(named).collect();
        assert_eq!(faults(&conditions, "c"), [], "{conditions}");
        let object = json!({"metadata": {"labels": {"a.dev/b": "c"}}});
        let found = hold(&conditions, &object, &Value::Null, &json!({"operation": "CREATE"}));
        assert_eq!(found, expected.map_err(str::to_owned), "{conditions}");
    }

    #[test]
    fn all_must_hold() {
        check(&[], Ok(true));
        check(&["'a.dev/b' in object.metadata.labels", "oldObject == null"], Ok(true));
        check(&["request.operation == 'CREATE'", "object.metadata.labels['a.dev/b'] != 'c'"], Ok(false));
        let failing = "object.spec.x == 1";
        check(&[failing], Err("match condition \"c0\" cannot be evaluated: No such key: spec"));
        check(&[failing, "false"], Ok(false));
    }

    #[track_caller]
    fn refuse(conditions: &Value, expected: &str) {
        let found = faults(conditions, "c");
        assert_eq!(found.len(), 1, "{found:?}");
        let told = format!("{}: {}", found[0].field, found[0].message);
        assert!(told.starts_with(expected), "{told}");
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused() {
        let one = |name: &str, expression: &str| json!({"name": name, "expression": expression});
        refuse(&json!([one("", "true")]), "c[0].name: Required value");
        refuse(&json!([one("a b", "true")]), "c[0].name: Invalid value: \"a b\"");
        refuse(&json!([one("a", "true"), one("a", "true")]), "c[1].name: Duplicate value: \"a\"");
        refuse(&json!([one("a", "")]), "c[0].expression: Required value");
        refuse(
            &json!([one("a", "object.")]),
            "c[0].expression: Invalid value: \"object.\": compilation failed: ",
        );
        let authorizer = "authorizer.group('').resource('pods').check('get').allowed()";
        refuse(&json!([one("a", authorizer)]), &format!("c[0].expression: Invalid value: \"{authorizer}\""));
    }
}
