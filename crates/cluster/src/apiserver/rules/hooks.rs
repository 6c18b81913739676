//! PURE: what is wrong with a configuration of webhooks. One that is taken is one that can be asked.

use crate::apiserver::conditions;
use crate::apiserver::names::{Naming, complaint};
use crate::apiserver::refusal::Fault;
use serde_json::Value;
use std::collections::BTreeSet;

/// Fields with a closed set of values, which all have a default where they are in place.
const CHOICES: [(&str, &[&str]); 3] = [
    ("failurePolicy", &["Fail", "Ignore"]),
    ("matchPolicy", &["Equivalent", "Exact"]),
    ("reinvocationPolicy", &["IfNeeded", "Never"]),
];

/// What is wrong with it.
pub(super) fn faults(configuration: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for (at, hook) in configuration["webhooks"].as_array().into_iter().flatten().enumerate() {
        let path = format!("webhooks[{at}]");
        let name = hook["name"].as_str().unwrap_or_default();
        if name.split('.').count() < 3 || complaint(Naming::Subdomain, name).is_some() {
            let why = "should be a domain with at least three segments separated by dots";
            faults.push(Fault::invalid(format!("{path}.name"), &name.into(), why));
        } else if !names.insert(name) {
            faults.push(Fault::duplicate(format!("{path}.name"), &name.into()));
        }
        faults.extend(manners(hook, &path));
        faults.extend(selectors(hook, &path));
        faults.extend(conditions::faults(&hook["matchConditions"], &format!("{path}.matchConditions")));
        faults.extend(place(&hook["clientConfig"], &format!("{path}.clientConfig")));
        for (nth, rule) in hook["rules"].as_array().into_iter().flatten().enumerate() {
            for field in ["operations", "apiGroups", "apiVersions", "resources"] {
                if rule[field].as_array().is_none_or(Vec::is_empty) {
                    faults.push(Fault::required(format!("{path}.rules[{nth}].{field}"), ""));
                }
            }
        }
    }
    faults
}

/// How it wants to be asked.
fn manners(hook: &Value, path: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut choose = |field: &str, value: &str, known: &[&str]| {
        if !known.contains(&value) {
            let known: Vec<String> = known.iter().map(|known| format!("\"{known}\"")).collect();
            faults.push(Fault::unsupported(format!("{path}.{field}"), &value.into(), &known));
        }
    };
    for (field, known) in CHOICES {
        if let Some(value) = hook[field].as_str() {
            choose(field, value, known);
        }
    }
    choose("sideEffects", hook["sideEffects"].as_str().unwrap_or_default(), &["None", "NoneOnDryRun"]);
    if hook["timeoutSeconds"].as_i64().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        faults.push(Fault::invalid(format!("{path}.timeoutSeconds"), &hook["timeoutSeconds"], why));
    }
    if hook["admissionReviewVersions"].as_array().is_none_or(Vec::is_empty) {
        let why = "must specify one of v1, v1beta1";
        faults.push(Fault::required(format!("{path}.admissionReviewVersions"), why));
    }
    faults
}

fn selectors(hook: &Value, path: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for which in ["namespaceSelector", "objectSelector"] {
        let expressions = hook[which]["matchExpressions"].as_array().into_iter().flatten();
        for (at, expression) in expressions.enumerate() {
            let path = format!("{path}.{which}.matchExpressions[{at}]");
            let empty = expression["values"].as_array().is_none_or(Vec::is_empty);
            match expression["operator"].as_str() {
                Some("In" | "NotIn") if empty => {
                    let why = "must be specified when `operator` is 'In' or 'NotIn'";
                    faults.push(Fault::required(format!("{path}.values"), why));
                }
                Some("Exists" | "DoesNotExist") if !empty => {
                    let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    faults.push(Fault::forbidden(format!("{path}.values"), why));
                }
                Some("In" | "NotIn" | "Exists" | "DoesNotExist") => {}
                _ => {
                    let why = "not a valid selector operator";
                    faults.push(Fault::invalid(format!("{path}.operator"), &expression["operator"], why));
                }
            }
        }
    }
    faults
}

fn place(config: &Value, path: &str) -> Option<Fault> {
    let url = config["url"].as_str();
    if url.is_some() == config["service"].is_object() {
        return Some(Fault::required(path, "exactly one of url or service is required"));
    }
    let wrong = url.filter(|url| !url.starts_with("https://"))?;
    let why = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
    Some(Fault::invalid(format!("{path}.url"), &wrong.into(), why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(change: &Value, expected: &[&str]) {
        let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
        let mut hook = json!({"name": "a.b.c", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                              "clientConfig": {"url": "https://h/"}, "rules": [rule]});
        json_patch::merge(&mut hook, change);
        let found = faults(&json!({"webhooks": [hook]}));
        assert_eq!(found.into_iter().map(|fault| fault.field).collect::<Vec<_>>(), expected, "{change}");
    }

    #[test]
    fn each_field_is_judged() {
        check(&json!({}), &[]);
        check(&json!({"name": "a.b"}), &["webhooks[0].name"]);
        check(&json!({"failurePolicy": "Maybe"}), &["webhooks[0].failurePolicy"]);
        check(&json!({"sideEffects": "Some"}), &["webhooks[0].sideEffects"]);
        check(&json!({"timeoutSeconds": 31}), &["webhooks[0].timeoutSeconds"]);
        check(&json!({"admissionReviewVersions": []}), &["webhooks[0].admissionReviewVersions"]);
        check(&json!({"clientConfig": {"service": {}}}), &["webhooks[0].clientConfig"]);
        check(&json!({"clientConfig": {"url": "http://h/"}}), &["webhooks[0].clientConfig.url"]);
        check(
            &json!({"rules": [{}]}),
            &[
                "webhooks[0].rules[0].operations",
                "webhooks[0].rules[0].apiGroups",
                "webhooks[0].rules[0].apiVersions",
                "webhooks[0].rules[0].resources",
            ],
        );
        let selector = |operator: &str, values: Value| json!({"objectSelector": {"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}});
        check(&selector("In", json!(["b"])), &[]);
        check(&selector("In", json!([])), &["webhooks[0].objectSelector.matchExpressions[0].values"]);
        check(&selector("Exists", json!(["b"])), &["webhooks[0].objectSelector.matchExpressions[0].values"]);
        check(&selector("Near", json!([])), &["webhooks[0].objectSelector.matchExpressions[0].operator"]);
        let twice = json!({"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                           "clientConfig": {"url": "https://h/"}});
        let found = faults(&json!({"webhooks": [twice, twice]}));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].field, "webhooks[1].name");
    }
}
