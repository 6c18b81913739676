//! PURE: OpenAPI version 2 in the form of protobuf (`openapi.v2.Document` of gnostic): the few messages that kubectl looks at.

use serde_json::Value;

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A field of length-delimited bytes.
    pub(super) fn raw(&mut self, field: u32, bytes: &[u8]) -> &mut Message {
        self.number((field << 3) | 2);
        self.number(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn text(&mut self, field: u32, text: &str) -> &mut Message {
        self.raw(field, text.as_bytes())
    }

    pub(super) fn message(&mut self, field: u32, message: &Message) -> &mut Message {
        self.raw(field, &message.0)
    }

    fn number(&mut self, mut number: u32) {
        while number >= 0x80 {
            self.0.push((number as u8 & 0x7f) | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// A name and what it names: `NamedSchema`, `NamedPathItem`, `NamedAny`.
pub(super) fn named(name: &str, value: &Message) -> Message {
    let mut message = Message::default();
    message.text(1, name).message(2, value);
    message
}

/// An extension: `Any` with the YAML of its value, of which JSON is a part.
fn extension(name: &str, value: &Value) -> Message {
    let mut any = Message::default();
    any.text(2, &value.to_string());
    named(name, &any)
}

/// A `NamedPathItem` whose patch takes these parameters of the query.
pub(super) fn path(path: &str, identity: &Value, parameters: &[&str]) -> Message {
    let mut operation = Message::default();
    for name in parameters {
        // ParametersItem.parameter -> Parameter.non_body_parameter -> query_parameter_sub_schema.
        let (mut query, mut kind, mut parameter, mut item) =
            (Message::default(), Message::default(), Message::default(), Message::default());
        query.text(2, "query").text(4, name).text(6, "string");
        kind.message(3, &query);
        parameter.message(2, &kind);
        item.message(1, &parameter);
        operation.message(8, &item);
    }
    operation.message(13, &extension("x-kubernetes-group-version-kind", identity));
    let mut item = Message::default();
    item.message(8, &operation);
    named(path, &item)
}

/// A `Schema`.
pub(super) fn schema(schema: &Value) -> Message {
    let mut message = Message::default();
    let text = |name: &str| schema[name].as_str().unwrap_or_default();
    if !text("description").is_empty() {
        message.text(4, text("description"));
    }
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        message.text(19, required);
    }
    if schema["additionalProperties"].is_object() {
        let mut item = Message::default();
        item.message(1, &self::schema(&schema["additionalProperties"]));
        message.message(21, &item);
    }
    if !text("type").is_empty() {
        let mut item = Message::default();
        item.text(1, text("type"));
        message.message(22, &item);
    }
    if schema["items"].is_object() {
        let mut item = Message::default();
        item.message(1, &self::schema(&schema["items"]));
        message.message(23, &item);
    }
    let properties = schema["properties"].as_object();
    if let Some(properties) = properties {
        let mut all = Message::default();
        for (name, property) in properties {
            all.message(1, &named(name, &self::schema(property)));
        }
        message.message(25, &all);
    }
    for (name, value) in schema.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")) {
        message.message(31, &extension(name, value));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: &Value, expected: &[u8]) {
        assert_eq!(schema(value).bytes(), expected);
    }

    #[test]
    fn fields_have_their_numbers() {
        check(&json!({"description": "d"}), &[0x22, 1, b'd']);
        check(&json!({"type": "string"}), &[0xb2, 1, 8, 0x0a, 6, b's', b't', b'r', b'i', b'n', b'g']);
        let mut long = Message::default();
        long.text(1, &"a".repeat(300));
        assert_eq!(long.bytes()[..3], [0x0a, 0xac, 2]);
    }
}
