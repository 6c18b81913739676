//! PURE: structural schemas of CustomResourceDefinitions: defaults, pruning, and what is wrong with an object.

mod rules;

use crate::apiserver::refusal::Fault;
use crate::apiserver::shape::{List, Shape};
use rules::Expressions;
use serde_json::{Map, Value};

/// A schema, as the definition has it.
#[derive(Debug)]
pub(crate) struct Schema {
    text: Value,
    expressions: Expressions,
}

/// The types of JSON that a schema can ask for.
const KNOWN_TYPES: [&str; 6] = ["object", "array", "string", "integer", "number", "boolean"];

impl Schema {
    pub(crate) fn read(schema: &Value) -> Schema {
        Schema { text: schema.clone(), expressions: rules::read(schema) }
    }

    /// How its objects are merged.
    pub(crate) fn shape(&self) -> Shape {
        shape(&self.text)
    }

    /// As it is written, for documents about it.
    pub(crate) fn text(&self) -> &Value {
        &self.text
    }

    /// What is wrong with the schema itself, which is at `path` of its definition.
    pub(crate) fn complaints(&self, path: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        complain(&self.text, path, &mut faults);
        faults.extend(rules::complaints(&self.text, path, &self.expressions));
        faults
    }

    /// Drops what it does not know, each place told in `dropped`, and fills in defaults. The object's own metadata is not its.
    pub(crate) fn settle(&self, object: &mut Value, dropped: &mut Vec<String>) {
        prune(object, &self.text, "", true, dropped);
        fill(object, &self.text);
    }

    /// What is wrong with an object that was `old`. Its rules are about objects that are otherwise well.
    pub(crate) fn faults(&self, object: &Value, old: Option<&Value>) -> Vec<Fault> {
        let mut faults = Vec::new();
        judge(object, &self.text, "", true, &mut faults);
        if faults.is_empty() {
            rules::judge((object, old), &self.text, "", true, &self.expressions, &mut faults);
        }
        faults
    }
}

fn complain(schema: &Value, path: &str, faults: &mut Vec<Fault>) {
    if let Some(unknown) = schema["type"].as_str().filter(|wanted| !KNOWN_TYPES.contains(wanted)) {
        let known: Vec<String> = KNOWN_TYPES.iter().map(|known| format!("\"{known}\"")).collect();
        faults.push(Fault::unsupported(format!("{path}.type"), &unknown.into(), &known));
    }
    if let Some(Err(cause)) = schema["pattern"].as_str().map(regex::Regex::new) {
        let why = format!("must be a valid regular expression, but isn't: {cause}");
        faults.push(Fault::invalid(format!("{path}.pattern"), &schema["pattern"], &why));
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        complain(schema, &format!("{path}.properties[{name}]"), faults);
    }
    for below in ["items", "additionalProperties"] {
        if schema[below].is_object() {
            complain(&schema[below], &format!("{path}.{below}"), faults);
        }
    }
}

fn shape(schema: &Value) -> Shape {
    if let Some(items) = schema.get("items") {
        let list = match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => List::Set,
            Some("map") => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                let keys = keys.filter_map(Value::as_str).map(|key| {
                    let default = items["properties"][key]["default"].as_str().map(str::to_owned);
                    (key.to_owned(), default)
                });
                List::Map(keys.collect())
            }
            _ => List::Atomic,
        };
        return Shape::of_list(shape(items), list);
    }
    let fields = schema["properties"].as_object().into_iter().flatten();
    let rest = schema.get("additionalProperties").filter(|rest| rest.is_object()).map(shape);
    let atomic = schema["x-kubernetes-map-type"] == "atomic";
    Shape::of_map(fields.map(|(name, schema)| (name.clone(), shape(schema))).collect(), rest, atomic)
}

/// What every object has at its root, whatever the schema says.
fn is_own(name: &str, root: bool) -> bool {
    root && ["apiVersion", "kind", "metadata"].contains(&name)
}

fn keeps_unknown(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
}

fn prune(value: &mut Value, schema: &Value, path: &str, root: bool, dropped: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let rest = &schema["additionalProperties"];
            map.retain(|name, _| {
                let known = is_own(name, root)
                    || schema["properties"].get(name).is_some()
                    || rest.is_object()
                    || rest == true
                    || keeps_unknown(schema)
                    || schema["x-kubernetes-embedded-resource"] == true && is_own(name, true);
                if !known {
                    dropped.push(below(path, name));
                }
                known
            });
            for (name, value) in map.iter_mut().filter(|(name, _)| !is_own(name, root)) {
                if let Some(schema) =
                    schema["properties"].get(name).or(Some(rest)).filter(|rest| rest.is_object())
                {
                    prune(value, schema, &below(path, name), false, dropped);
                }
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            for (at, item) in items.iter_mut().enumerate() {
                prune(item, &schema["items"], &format!("{path}[{at}]"), false, dropped);
            }
        }
        _ => {}
    }
}

fn fill(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(map) => {
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                let missing = match map.get(name) {
                    None => true,
                    // A null that may not be is the same as nothing.
                    Some(value) => value.is_null() && schema["nullable"] != true,
                };
                if missing && let Some(default) = schema.get("default") {
                    map.insert(name.clone(), default.clone());
                } else if missing {
                    map.shift_remove(name);
                }
                if let Some(value) = map.get_mut(name) {
                    fill(value, schema);
                }
            }
            let rest = &schema["additionalProperties"];
            if rest.is_object() {
                let known = &schema["properties"];
                map.iter_mut()
                    .filter(|(name, _)| known.get(name).is_none())
                    .for_each(|(_, value)| fill(value, rest));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, &schema["items"])),
        _ => {}
    }
}

fn judge(value: &Value, schema: &Value, path: &str, root: bool, faults: &mut Vec<Fault>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if let Some(why) = mistyped(value, schema) {
        faults.push(Fault::invalid(named(path), value, &why));
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        faults.push(Fault::unsupported(named(path), value, &allowed));
    }
    match value {
        Value::Object(map) => object(map, schema, path, root, faults),
        Value::Array(items) => list(items, schema, path, faults),
        Value::String(text) => string(text, value, schema, path, faults),
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            if schema["minimum"].as_f64().is_some_and(|least| number < least) {
                let why = format!(
                    "{} in body should be greater than or equal to {}",
                    named(path),
                    schema["minimum"]
                );
                faults.push(Fault::invalid(named(path), value, &why));
            }
            if schema["maximum"].as_f64().is_some_and(|most| number > most) {
                let why =
                    format!("{} in body should be less than or equal to {}", named(path), schema["maximum"]);
                faults.push(Fault::invalid(named(path), value, &why));
            }
        }
        _ => {}
    }
    for schema in schema["allOf"].as_array().into_iter().flatten() {
        judge(value, schema, path, root, faults);
    }
    alternatives(value, schema, path, faults);
}

fn alternatives(value: &Value, schema: &Value, path: &str, faults: &mut Vec<Fault>) {
    let fits = |schema: &&Value| {
        let mut found = Vec::new();
        judge(value, schema, path, false, &mut found);
        found.is_empty()
    };
    let count = |name: &str| schema[name].as_array().map(|all| all.iter().filter(fits).count());
    if count("anyOf") == Some(0) {
        let why = format!("{} in body must validate at least one schema (anyOf)", named(path));
        faults.push(Fault::invalid(named(path), value, &why));
    }
    if count("oneOf").is_some_and(|count| count != 1) {
        let why = format!("{} in body must validate one and only one schema (oneOf)", named(path));
        faults.push(Fault::invalid(named(path), value, &why));
    }
    if schema.get("not").filter(|not| not.is_object()).is_some_and(|not| fits(&not)) {
        let why = format!("{} in body must not validate the schema (not)", named(path));
        faults.push(Fault::invalid(named(path), value, &why));
    }
}

fn object(map: &Map<String, Value>, schema: &Value, path: &str, root: bool, faults: &mut Vec<Fault>) {
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !map.contains_key(name) && !is_own(name, root) {
            faults.push(Fault::required(below(path, name), ""));
        }
    }
    let count = map.len() as u64;
    if schema["maxProperties"].as_u64().is_some_and(|most| count > most) {
        let why = format!("must have at most {} items", schema["maxProperties"]);
        faults.push(Fault::invalid(named(path), &count.into(), &why));
    }
    for (name, value) in map.iter().filter(|(name, _)| !is_own(name, root)) {
        let rest = &schema["additionalProperties"];
        if let Some(schema) = schema["properties"].get(name).or(Some(rest)).filter(|rest| rest.is_object()) {
            judge(value, schema, &below(path, name), false, faults);
        }
    }
}

fn list(items: &[Value], schema: &Value, path: &str, faults: &mut Vec<Fault>) {
    let count = items.len() as u64;
    if schema["maxItems"].as_u64().is_some_and(|most| count > most) {
        let why = format!("must have at most {} items", schema["maxItems"]);
        faults.push(Fault::invalid(named(path), &count.into(), &why));
    }
    if schema["minItems"].as_u64().is_some_and(|least| count < least) {
        let why = format!("{} in body should have at least {} items", named(path), schema["minItems"]);
        faults.push(Fault::invalid(named(path), &count.into(), &why));
    }
    let keys = schema["x-kubernetes-list-map-keys"].as_array().map_or(&[][..], Vec::as_slice);
    let is_set = schema["x-kubernetes-list-type"] == "set" || schema["uniqueItems"] == true;
    let alike = |one: &Value, other: &Value| {
        if keys.is_empty() {
            return is_set && one == other;
        }
        keys.iter().filter_map(Value::as_str).all(|key| one.get(key) == other.get(key))
    };
    for (at, item) in items.iter().enumerate() {
        let path = format!("{path}[{at}]");
        if items[..at].iter().any(|other| alike(other, item)) {
            faults.push(Fault::duplicate(path.clone(), item));
        }
        if schema["items"].is_object() {
            judge(item, &schema["items"], &path, false, faults);
        }
    }
}

fn string(text: &str, value: &Value, schema: &Value, path: &str, faults: &mut Vec<Fault>) {
    let length = text.chars().count() as u64;
    if schema["maxLength"].as_u64().is_some_and(|most| length > most) {
        let why = format!("{} in body should be at most {} chars long", named(path), schema["maxLength"]);
        faults.push(Fault::invalid(named(path), value, &why));
    }
    if schema["minLength"].as_u64().is_some_and(|least| length < least) {
        let why = format!("{} in body should be at least {} chars long", named(path), schema["minLength"]);
        faults.push(Fault::invalid(named(path), value, &why));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        // One that is no regular expression was refused when the definition was written.
        let fits = regex::Regex::new(pattern).map_or(true, |pattern| pattern.is_match(text));
        if !fits {
            let why = format!("{} in body should match '{pattern}'", named(path));
            faults.push(Fault::invalid(named(path), value, &why));
        }
    }
}

/// Why the value is of no type that the schema takes.
fn mistyped(value: &Value, schema: &Value) -> Option<String> {
    let found = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::Bool(_) => "boolean",
        Value::Null => "null",
    };
    if schema["x-kubernetes-int-or-string"] == true && ["integer", "string"].contains(&found) {
        return None;
    }
    let wanted = schema["type"].as_str().filter(|wanted| KNOWN_TYPES.contains(wanted))?;
    let fits = wanted == found || (wanted, found) == ("number", "integer");
    (!fits).then(|| format!("must be of type {wanted}: \"{found}\""))
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn named(path: &str) -> String {
    if path.is_empty() { "<nil>".to_owned() } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Schema {
        Schema::read(
            &json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["mode"], "properties": {
                "mode": {"type": "string", "enum": ["A", "B"]},
                "count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
                "names": {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "set",
                          "items": {"type": "string", "pattern": "^[a-z]+$"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "percent": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            }}}}),
        )
    }

    fn check(spec: &Value, settled: &Value, dropped: &[&str], faults: &[&str]) {
        let mut object = json!({"kind": "X", "spec": spec});
        let mut gone = Vec::new();
        schema().settle(&mut object, &mut gone);
        assert_eq!(&object["spec"], settled);
        assert_eq!(gone, dropped);
        let found: Vec<String> = schema()
            .faults(&object, None)
            .iter()
            .map(|fault| format!("{}: {}", fault.field, fault.message))
            .collect();
        assert_eq!(found, faults);
    }

    #[test]
    fn objects_are_settled_and_judged() {
        let full = json!({"mode": "A", "count": 3});
        check(&json!({"mode": "A"}), &full, &[], &[]);
        check(&json!({"mode": "A", "x": {"y": 1}}), &full, &["spec.x"], &[]);
        check(&json!({}), &json!({"count": 3}), &[], &["spec.mode: Required value"]);
        let wrong = json!({"mode": "C", "count": 0});
        let faults = [
            "spec.mode: Unsupported value: \"C\": supported values: \"A\", \"B\"",
            "spec.count: Invalid value: 0: spec.count in body should be greater than or equal to 1",
        ];
        check(&wrong, &wrong, &[], &faults);
        let wrong = json!({"mode": "A", "names": ["a", "B", "a"], "count": "x"});
        let faults = [
            "spec.names: Invalid value: 3: must have at most 2 items",
            "spec.names[1]: Invalid value: \"B\": spec.names[1] in body should match '^[a-z]+$'",
            "spec.names[2]: Duplicate value: \"a\"",
            "spec.count: Invalid value: \"x\": must be of type integer: \"string\"",
        ];
        check(&wrong, &wrong, &[], &faults);
        let free = json!({"mode": "A", "free": {"a": {"b": 1}}, "percent": "5%", "count": 1});
        check(&free, &free, &[], &[]);
    }
}
