//! An object as an API server sends it, read in one go, and without what nobody here looks at. PURE.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::{Map, Value};
use std::fmt;

/// An object without the record of who wrote which field, which may be half of it.
#[derive(Clone, Debug)]
pub(super) struct Object(pub(super) Value);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object, D::Error> {
        Part::Whole.deserialize(from).map(Object)
    }
}

/// Which part of an object is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Metadata,
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = match (self, name.as_str()) {
                (Part::Whole, "metadata") => fields.next_value_seed(Part::Metadata)?,
                (Part::Metadata, "managedFields") => {
                    fields.next_value::<IgnoredAny>()?;
                    continue;
                }
                _ => fields.next_value()?,
            };
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::Object;
    use serde_json::{Value, json};

    fn check(sent: &Value, expected: &Value) {
        let read: Object = serde_json::from_str(&sent.to_string()).expect("it is an object");
        assert_eq!(&read.0, expected);
    }

    #[test]
    fn it_is_what_was_sent_but_for_who_wrote_it() {
        let fields = json!([{ "manager": "kubectl", "fieldsV1": { "f:spec": {} } }]);
        let whole = |metadata: Value| json!({ "kind": "X", "metadata": metadata, "spec": { "managedFields": [1, null] } });
        check(&whole(json!({ "name": "x", "managedFields": fields })), &whole(json!({ "name": "x" })));
        check(&whole(Value::Null), &whole(Value::Null));
        assert!(serde_json::from_str::<Object>("[]").is_err());
    }
}
