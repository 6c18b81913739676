//! PURE: the rules of a schema, in CEL: which are taken, and what of an object they refuse.

use super::{below, is_own, named};
use crate::apiserver::cel::{self, Expression};
use crate::apiserver::refusal::Fault;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where a schema has them.
const RULES: &str = "x-kubernetes-validations";
/// What a rule may be about; the second only where there was an object before.
const VARIABLES: [&str; 2] = ["self", "oldSelf"];
/// What may be said of one.
const KNOWN: [&str; 5] = ["rule", "message", "messageExpression", "fieldPath", "reason"];
/// How what it refuses may be called.
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// All expressions of a schema, by their text.
pub(super) type Expressions = BTreeMap<String, Result<Expression, String>>;

/// Reads all expressions of a schema.
pub(super) fn read(schema: &Value) -> Expressions {
    let mut found = Expressions::new();
    gather(schema, &mut found);
    found
}

fn gather(schema: &Value, found: &mut Expressions) {
    for rule in of(schema) {
        for text in [&rule["rule"], &rule["messageExpression"]].into_iter().filter_map(Value::as_str) {
            found.entry(text.to_owned()).or_insert_with(|| Expression::read(text, &VARIABLES));
        }
    }
    inside(schema).for_each(|(_, schema)| gather(schema, found));
}

fn of(schema: &Value) -> impl Iterator<Item = &Value> {
    schema[RULES].as_array().into_iter().flatten()
}

/// The schemas of what is inside, each with its place.
fn inside(schema: &Value) -> impl Iterator<Item = (String, &Value)> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let properties = properties.map(|(name, schema)| (format!("properties[{name}]"), schema));
    let rest = ["items", "additionalProperties"].map(|name| (name.to_owned(), &schema[name]));
    properties.chain(rest.into_iter().filter(|(_, schema)| schema.is_object()))
}

/// What is wrong with the rules of a schema, which is at `path` of its definition.
pub(super) fn complaints(schema: &Value, path: &str, expressions: &Expressions) -> Vec<Fault> {
    let mut faults = Vec::new();
    complain(schema, path, true, expressions, &mut faults);
    faults
}

/// `correlated` tells whether it is known which part of the object before is the same one.
fn complain(
    schema: &Value,
    path: &str,
    correlated: bool,
    expressions: &Expressions,
    faults: &mut Vec<Fault>,
) {
    for (at, rule) in of(schema).enumerate() {
        faults.extend(wrong(rule, &format!("{path}.{RULES}[{at}]"), correlated, expressions));
    }
    for junctor in ["allOf", "anyOf", "oneOf", "not"] {
        let branches =
            schema[junctor].as_array().map_or(std::slice::from_ref(&schema[junctor]), Vec::as_slice);
        if branches.iter().any(|branch| branch.to_string().contains(RULES)) {
            let why = "must be empty to be structural";
            faults.push(Fault::forbidden(format!("{path}.{junctor}.{RULES}"), why));
        }
    }
    for (place, schema_inside) in inside(schema) {
        let by_key = place != "items" || schema["x-kubernetes-list-type"] == "map";
        let whole = schema["x-kubernetes-map-type"] == "atomic";
        let correlated = correlated && by_key && !whole;
        complain(schema_inside, &format!("{path}.{place}"), correlated, expressions, faults);
    }
}

fn wrong(rule: &Value, path: &str, correlated: bool, expressions: &Expressions) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, value) in rule.as_object().into_iter().flatten() {
        if !KNOWN.contains(&name.as_str()) && *value != json!(false) {
            let why = "this server does not support it";
            faults.push(Fault::invalid(format!("{path}.{name}"), value, why));
        }
    }
    if rule["rule"].as_str().is_none_or(|text| text.trim().is_empty()) {
        faults.push(Fault::required(format!("{path}.rule"), "rule is not specified"));
    }
    for field in ["rule", "messageExpression"] {
        let text = rule[field].as_str().filter(|text| !text.trim().is_empty());
        match text.and_then(|text| expressions.get(text)) {
            Some(Err(why)) => faults.push(Fault::invalid(format!("{path}.{field}"), &rule[field], why)),
            Some(Ok(expression)) if expression.mentions("oldSelf") && !correlated => {
                let why = "oldSelf cannot be used on the uncorrelatable portion of the schema";
                faults.push(Fault::invalid(format!("{path}.{field}"), &rule[field], why));
            }
            _ => {}
        }
    }
    if let Some(reason) = rule["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
        let known: Vec<String> = REASONS.iter().map(|known| format!("\"{known}\"")).collect();
        faults.push(Fault::unsupported(format!("{path}.reason"), &reason.into(), &known));
    }
    if let Some(place) = rule["fieldPath"].as_str().filter(|place| !is_plain(place)) {
        let why = "this server supports paths of plain names, as in .spec.mode";
        faults.push(Fault::invalid(format!("{path}.fieldPath"), &place.into(), why));
    }
    faults
}

/// Whether a path is made of `.name` alone.
fn is_plain(path: &str) -> bool {
    let plain = |name: &str| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    path.strip_prefix('.').is_some_and(|names| names.split('.').all(plain))
}

/// What of `value`, which was `old`, the rules refuse.
pub(super) fn judge(
    (value, old): (&Value, Option<&Value>),
    schema: &Value,
    path: &str,
    root: bool,
    expressions: &Expressions,
    faults: &mut Vec<Fault>,
) {
    // A rule is about what is there.
    if value.is_null() {
        return;
    }
    let old = old.filter(|old| !old.is_null());
    faults.extend(of(schema).filter_map(|rule| refused(rule, (value, old), schema, path, root, expressions)));
    match value {
        Value::Object(map) => {
            for (name, value) in map.iter().filter(|(name, _)| !is_own(name, root)) {
                let rest = Some(&schema["additionalProperties"]);
                let known = schema["properties"].get(name).or(rest).filter(|schema| schema.is_object());
                if let Some(schema) = known {
                    let both = (value, old.and_then(|old| old.get(name)));
                    judge(both, schema, &below(path, name), false, expressions, faults);
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let before = old.and_then(|old| same(item, old, schema));
                judge((item, before), &schema["items"], &format!("{path}[{at}]"), false, expressions, faults);
            }
        }
        _ => {}
    }
}

/// The item of a list before that has the same keys.
fn same<'a>(item: &Value, old: &'a Value, schema: &Value) -> Option<&'a Value> {
    let keys = schema["x-kubernetes-list-map-keys"].as_array().filter(|keys| !keys.is_empty())?;
    let alike =
        |other: &&Value| keys.iter().filter_map(Value::as_str).all(|key| item.get(key) == other.get(key));
    old.as_array()?.iter().find(alike)
}

fn refused(
    rule: &Value,
    (value, old): (&Value, Option<&Value>),
    schema: &Value,
    path: &str,
    root: bool,
    expressions: &Expressions,
) -> Option<Fault> {
    let text = rule["rule"].as_str().unwrap_or_default();
    // One that cannot be read was refused when the definition was written.
    let expression = expressions.get(text)?.as_ref().ok()?;
    if old.is_none() && expression.mentions("oldSelf") {
        return None;
    }
    let variables: Vec<_> = [("self", Some(value)), ("oldSelf", old)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, cel::value(&visible(value?, root), schema))))
        .collect();
    let said = match expression.holds(&variables) {
        Ok(true) => return None,
        Ok(false) => message(rule, &variables, expressions),
        Err(cause) => {
            format!("the rule cannot be evaluated: {cause}: {}", message(rule, &variables, expressions))
        }
    };
    let place = rule["fieldPath"].as_str().unwrap_or_default();
    let field = named(format!("{path}{place}").trim_start_matches('.'));
    // Of what may be large the type is named.
    let shown = if value.is_object() || value.is_array() { &schema["type"] } else { value };
    Some(match rule["reason"].as_str() {
        Some("FieldValueRequired") => Fault::required(field, &said),
        Some("FieldValueForbidden") => Fault::forbidden(field, &said),
        Some("FieldValueDuplicate") => Fault::duplicate(field, shown),
        _ => Fault::invalid(field, shown, &said),
    })
}

/// What a rule at the root sees of an object's metadata: the name alone.
fn visible(value: &Value, root: bool) -> Value {
    let mut value = value.clone();
    if root && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| ["name", "generateName"].contains(&name.as_str()));
    }
    value
}

fn message(rule: &Value, variables: &[(&str, ::cel::Value)], expressions: &Expressions) -> String {
    let made = rule["messageExpression"].as_str().and_then(|text| expressions.get(text));
    let made = made.and_then(|expression| expression.as_ref().ok()?.says(variables).ok());
    // As on a real server, one that fails gives way to the plain message.
    let made = made.filter(|said| !said.trim().is_empty() && !said.contains('\n'));
    let plain = rule["message"].as_str().map(str::to_owned);
    made.or(plain).unwrap_or_else(|| format!("failed rule: {}", rule["rule"].as_str().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::super::Schema;
    use super::*;

    fn ruled(mut schema: Value, rules: &Value) -> Value {
        schema[RULES] = rules.clone();
        json!({"type": "object", "properties": {"spec": schema}})
    }

    #[track_caller]
    fn told(faults: &[Fault]) -> Vec<String> {
        faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect()
    }

    #[track_caller]
    fn check(schema: Value, rule: &Value, (spec, old): (&Value, Option<&Value>), expected: &[&str]) {
        let schema = Schema::read(&ruled(schema, &json!([rule])));
        assert_eq!(told(&schema.complaints("s")), [] as [String; 0]);
        let old = old.map(|spec| json!({"spec": spec}));
        assert_eq!(told(&schema.faults(&json!({"spec": spec}), old.as_ref())), expected, "{rule}");
    }

    #[test]
    fn rules_refuse_in_their_own_words() {
        let number = || json!({"type": "integer"});
        let rule = json!({"rule": "self > 1", "message": "more than one"});
        check(number(), &rule, (&json!(2), None), &[]);
        check(number(), &rule, (&json!(1), None), &["spec: Invalid value: 1: more than one"]);
        check(
            number(),
            &json!({"rule": "self > 1"}),
            (&json!(1), None),
            &["spec: Invalid value: 1: failed rule: self > 1"],
        );
        let rule = json!({"rule": "self > 1", "message": "m", "messageExpression": "'not ' + string(self)"});
        check(number(), &rule, (&json!(1), None), &["spec: Invalid value: 1: not 1"]);
        let map = || json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        let rule =
            json!({"rule": "has(self.a)", "message": "m", "fieldPath": ".a", "reason": "FieldValueRequired"});
        check(map(), &rule, (&json!({}), None), &["spec.a: Required value: m"]);
        let rule = json!({"rule": "self.a > 1", "message": "m"});
        let failed = "spec: Invalid value: \"object\": the rule cannot be evaluated: No such key: a: m";
        check(map(), &rule, (&json!({}), None), &[failed]);
    }

    #[test]
    fn transitions_are_judged_where_something_was() {
        let rule = json!({"rule": "self == oldSelf", "message": "fixed"});
        let text = || json!({"type": "string"});
        check(text(), &rule, (&json!("a"), None), &[]);
        check(text(), &rule, (&json!("a"), Some(&json!("a"))), &[]);
        check(text(), &rule, (&json!("a"), Some(&json!("b"))), &["spec: Invalid value: \"a\": fixed"]);
        let mut item =
            json!({"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "string"}}});
        item["properties"]["v"][RULES] = json!([rule]);
        let list = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": item});
        let always = json!({"rule": "true"});
        let (one, two) = (json!({"k": "1", "v": "a"}), json!({"k": "2", "v": "b"}));
        check(list.clone(), &always, (&json!([two, one]), Some(&json!([one, two]))), &[]);
        let changed = json!([{"k": "2", "v": "c"}]);
        check(
            list,
            &always,
            (&changed, Some(&json!([one, two]))),
            &["spec[0].v: Invalid value: \"c\": fixed"],
        );
    }

    #[track_caller]
    fn refuse(schema: Value, expected: &str) {
        let found = told(&Schema::read(&schema).complaints("s"));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused_with_its_definition() {
        let of = |rule: Value| ruled(json!({"type": "string"}), &json!([rule]));
        let path = "s.properties[spec].x-kubernetes-validations[0]";
        refuse(
            of(json!({"rule": "self >"})),
            &format!("{path}.rule: Invalid value: \"self >\": compilation failed: "),
        );
        refuse(
            of(json!({"rule": "other"})),
            &format!("{path}.rule: Invalid value: \"other\": compilation failed: undeclared"),
        );
        refuse(of(json!({"rule": ""})), &format!("{path}.rule: Required value"));
        refuse(
            of(json!({"rule": "true", "optionalOldSelf": true})),
            &format!("{path}.optionalOldSelf: Invalid value: true"),
        );
        refuse(of(json!({"rule": "true", "reason": "Odd"})), &format!("{path}.reason: Unsupported value"));
        refuse(
            of(json!({"rule": "true", "fieldPath": "['a']"})),
            &format!("{path}.fieldPath: Invalid value"),
        );
        let mut list =
            json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}});
        list["properties"]["a"]["items"][RULES] = json!([{"rule": "self == oldSelf"}]);
        let path = "s.properties[a].items.x-kubernetes-validations[0].rule";
        refuse(list, &format!("{path}: Invalid value: \"self == oldSelf\": oldSelf cannot be used"));
        let nested = json!({"type": "string", "allOf": [{RULES: [{"rule": "true"}]}]});
        refuse(nested, "s.allOf.x-kubernetes-validations: Forbidden");
    }
}
