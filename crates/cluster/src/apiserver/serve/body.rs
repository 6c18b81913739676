//! PURE: bodies in the form of protobuf, of the few kinds that kubectl makes without a manifest: `kubectl create namespace`,
//! `kubectl drain` and the like send no JSON.
//!
//! A message is read by a table of field numbers, those of Kubernetes' generated.proto; a field that is not in it is refused, never
//! dropped.

use serde_json::{Map, Value};

/// How a field of a message is read: its number, its name, and what it is.
type Field = (u64, &'static str, Form);

#[derive(Clone, Copy)]
enum Form {
    Text,
    Texts,
    /// Bytes that JSON has in base64.
    Bytes,
    Number,
    Truth,
    Message(&'static [Field]),
    Messages(&'static [Field]),
    /// Entries of key and value.
    Map(&'static Form),
}

use Form::{Bytes, Message, Messages, Number, Text, Texts, Truth};

const TIME: &[Field] = &[(1, "seconds", Number), (2, "nanos", Number)];
const OWNER: &[Field] = &[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Truth),
    (7, "blockOwnerDeletion", Truth),
];
const METADATA: &[Field] = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (4, "selfLink", Text),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Number),
    // The server's own; a client that made the object sends it empty.
    (8, "creationTimestamp", Message(TIME)),
    (11, "labels", Form::Map(&Text)),
    (12, "annotations", Form::Map(&Text)),
    (13, "ownerReferences", Messages(OWNER)),
    (14, "finalizers", Texts),
];
const NAMESPACE: &[Field] = &[
    (1, "metadata", Message(METADATA)),
    (2, "spec", Message(&[(1, "finalizers", Texts)])),
    (3, "status", Message(&[(1, "phase", Text)])),
];
const CONFIG_MAP: &[Field] = &[
    (1, "metadata", Message(METADATA)),
    (2, "data", Form::Map(&Text)),
    (3, "binaryData", Form::Map(&Bytes)),
    (4, "immutable", Truth),
];
const SECRET: &[Field] = &[
    (1, "metadata", Message(METADATA)),
    (2, "data", Form::Map(&Bytes)),
    (3, "type", Text),
    (4, "stringData", Form::Map(&Text)),
    (5, "immutable", Truth),
];
const ACCOUNT: &[Field] = &[(1, "metadata", Message(METADATA)), (4, "automountServiceAccountToken", Truth)];
const DELETE: &[Field] = &[
    (1, "gracePeriodSeconds", Number),
    (2, "preconditions", Message(&[(1, "uid", Text), (2, "resourceVersion", Text)])),
    (3, "orphanDependents", Truth),
    (4, "propagationPolicy", Text),
    (5, "dryRun", Texts),
];
const EVICTION: &[Field] = &[(1, "metadata", Message(METADATA)), (2, "deleteOptions", Message(DELETE))];

const KINDS: &[(&str, &[Field])] = &[
    ("Namespace", NAMESPACE),
    ("ConfigMap", CONFIG_MAP),
    ("Secret", SECRET),
    ("ServiceAccount", ACCOUNT),
    ("DeleteOptions", DELETE),
    ("Eviction", EVICTION),
];

/// Reads `k8s\0` and a `runtime.Unknown`; the error says what is not known here.
pub(super) fn read(bytes: &[u8]) -> Result<Value, String> {
    let rest = bytes.strip_prefix(b"k8s\0").ok_or("it does not begin with k8s\\0")?;
    let unknown: &[Field] = &[
        (1, "type", Message(&[(1, "apiVersion", Text), (2, "kind", Text)])),
        (2, "raw", Bytes),
        (3, "e", Text),
        (4, "c", Text),
    ];
    let envelope = message(rest, unknown)?;
    let kind = envelope["type"]["kind"].as_str().unwrap_or_default();
    let fields = KINDS.iter().find(|(known, _)| *known == kind).map(|(_, fields)| *fields);
    let fields = fields.ok_or_else(|| format!("a {kind:?} is not read from protobuf"))?;
    let raw: k8s_openapi::ByteString = serde_json::from_value(envelope["raw"].clone())
        .unwrap_or_else(|_| k8s_openapi::ByteString(Vec::new()));
    let mut object = message(&raw.0, fields)?;
    object["apiVersion"] = envelope["type"]["apiVersion"].clone();
    object["kind"] = kind.into();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("creationTimestamp");
        metadata.retain(|_, value| *value != "" && *value != 0);
    }
    Ok(object)
}

fn message(mut bytes: &[u8], fields: &[Field]) -> Result<Value, String> {
    let mut object = Map::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes)?;
        let (_, name, form) = fields
            .iter()
            .find(|(known, ..)| *known == tag >> 3)
            .ok_or_else(|| format!("field {} is not known", tag >> 3))?;
        let value = match tag & 7 {
            0 => Value::from(number(&mut bytes)?),
            2 => {
                let length = usize::try_from(number(&mut bytes)?).unwrap_or(usize::MAX);
                let inside = bytes.get(..length).ok_or("it ends too early")?;
                bytes = &bytes[length..];
                of(inside, *form)?
            }
            other => return Err(format!("wire type {other} is not known")),
        };
        let value = if matches!(form, Truth) { Value::from(value == 1) } else { value };
        match form {
            Texts | Messages(_) => match object.entry(*name).or_insert_with(|| Value::Array(Vec::new())) {
                Value::Array(items) => items.push(value),
                _ => return Err(format!("{name} is no list")),
            },
            Form::Map(_) => {
                let entries = object.entry(*name).or_insert_with(|| Value::Object(Map::new()));
                let key = value["key"].as_str().unwrap_or_default().to_owned();
                entries[key] = value["value"].clone();
            }
            _ => drop(object.insert((*name).to_owned(), value)),
        }
    }
    Ok(Value::Object(object))
}

fn of(bytes: &[u8], form: Form) -> Result<Value, String> {
    match form {
        Text | Texts => Ok(String::from_utf8_lossy(bytes).into_owned().into()),
        Bytes => {
            serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())).map_err(|cause| cause.to_string())
        }
        Message(fields) | Messages(fields) => message(bytes, fields),
        Form::Map(value) => {
            let mut entry = message(bytes, &[(1, "key", Text), (2, "value", *value)])?;
            if entry.get("value").is_none() {
                entry["value"] = "".into();
            }
            Ok(entry)
        }
        Number | Truth => Err("a number was expected".to_owned()),
    }
}

/// A varint.
fn number(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or("it ends too early")?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a number is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A field of bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[(number << 3) | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn check(kind: &str, raw: &[u8], expected: Result<Value, &str>) {
        let meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        let bytes =
            [b"k8s\0".to_vec(), field(1, &meta), field(2, raw), field(3, b""), field(4, b"")].concat();
        assert_eq!(read(&bytes), expected.map_err(str::to_owned));
    }

    #[test]
    fn the_kinds_that_kubectl_makes() {
        let labels = field(11, &[field(1, b"a"), field(2, b"b")].concat());
        let metadata = field(1, &[field(1, b"x"), field(2, b""), field(8, b""), labels].concat());
        let object =
            json!({"metadata": {"name": "x", "labels": {"a": "b"}}, "apiVersion": "v1", "kind": "Namespace"});
        check("Namespace", &metadata, Ok(object));
        let data = field(2, &[field(1, b"k"), field(2, b"v")].concat());
        let object = json!({"data": {"k": "dg=="}, "apiVersion": "v1", "kind": "Secret"});
        check("Secret", &data, Ok(object));
        check(
            "DeleteOptions",
            &[8, 30],
            Ok(json!({"gracePeriodSeconds": 30, "apiVersion": "v1", "kind": "DeleteOptions"})),
        );
        check("Pod", b"", Err("a \"Pod\" is not read from protobuf"));
        check("Namespace", &field(9, b""), Err("field 9 is not known"));
        check("Namespace", &[10, 5], Err("it ends too early"));
    }
}
