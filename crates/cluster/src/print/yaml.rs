//! Writes trees as YAML for people: keys in the order of the tree, a comment where there is one to be said, and, for the
//! chart, conditions where two variants differ.
//!
//! What it writes of one variant reads back as the very same tree.

use super::comments;
use serde_json::Value;

/// A tree in which parts may be for one variant only.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// A scalar, or an empty list or map.
    Leaf(Value),
    /// A map.
    Map(Vec<Part>),
    /// A list.
    List(Vec<Part>),
}

/// One entry of a map or one item of a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// The key; of an item, what tells it from its neighbours.
    pub(crate) name: String,
    /// For whom it is.
    pub(crate) when: When,
    /// What it holds.
    pub(crate) node: Node,
}

/// For which variant a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// For both.
    Always,
    /// For the first only.
    First,
    /// For the second only.
    Second,
}

impl Node {
    /// A tree without variants.
    pub(crate) fn of(value: &Value) -> Node {
        Node::merge(value, value)
    }

    /// Both trees in one.
    pub(crate) fn merge(first: &Value, second: &Value) -> Node {
        match (first, second) {
            (Value::Object(a), Value::Object(b)) if !a.is_empty() && !b.is_empty() => {
                let a: Vec<_> = a.iter().map(|(key, value)| (key.clone(), value)).collect();
                let b: Vec<_> = b.iter().map(|(key, value)| (key.clone(), value)).collect();
                Node::Map(merge(&a, &b))
            }
            (Value::Array(a), Value::Array(b)) if !a.is_empty() && !b.is_empty() => {
                Node::List(merge(&named(a), &named(b)))
            }
            (_, second) => Node::Leaf(second.clone()),
        }
    }
}

/// The items of a list with what tells each from its neighbours, so that lists can be merged and items commented on.
pub(crate) fn named(items: &[Value]) -> Vec<(String, &Value)> {
    items.iter().enumerate().map(|(index, item)| (name(index, item), item)).collect()
}

fn name(index: usize, item: &Value) -> String {
    let word = |key: &str| item[key].as_str().map(str::to_owned);
    let words = |key: &str| {
        let words = item[key].as_array()?.iter().map(|word| word.as_str().unwrap_or_default());
        Some(words.collect::<Vec<_>>().join(","))
    };
    let rule = || Some(format!("{} {} {}", words("apiGroups")?, words("resources")?, words("verbs")?));
    let plain = || item.as_str().map(str::to_owned);
    word("name").or_else(rule).or_else(plain).unwrap_or_else(|| index.to_string())
}

fn merge(a: &[(String, &Value)], b: &[(String, &Value)]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = a;
    for (name, second) in b {
        let place = rest.iter().position(|(other, first)| other == name && alike(first, second));
        let Some(place) = place else {
            parts.push(Part { name: name.clone(), when: When::Second, node: Node::of(second) });
            continue;
        };
        parts.extend(rest[..place].iter().map(first_only));
        parts.push(Part { name: name.clone(), when: When::Always, node: Node::merge(rest[place].1, second) });
        rest = &rest[place + 1..];
    }
    parts.extend(rest.iter().map(first_only));
    parts
}

fn first_only((name, value): &(String, &Value)) -> Part {
    Part { name: name.clone(), when: When::First, node: Node::of(value) }
}

/// Whether two values can be one part: they are the same, or both have parts of their own.
fn alike(a: &Value, b: &Value) -> bool {
    a == b || (a.is_object() && b.is_object()) || (a.is_array() && b.is_array())
}

/// The conditions of the chart, of the first and of the second variant.
const CONDITIONS: [&str; 2] =
    ["{{- if ne .Values.profile \"audit\" }}", "{{- if eq .Values.profile \"audit\" }}"];
/// Where the chart's `nindent` wants the number that only the whole text shows.
pub(crate) const DEPTH: &str = "@DEPTH";
/// The same, for parts of the map that the line is in.
pub(crate) const SAME: &str = "@SAME";

/// The text of a tree; `path` is where comments begin to be looked up, such as the object's kind.
pub(crate) fn write(node: &Node, path: &str) -> String {
    let mut text = String::new();
    for line in lines(node, path) {
        let depth = line.len() - line.trim_start().len();
        let line = line.replace(DEPTH, &(depth + 2).to_string()).replace(SAME, &depth.to_string());
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// The text of anybody's object, which reads back as the very same object: nothing in it is for the chart.
pub(crate) fn document(object: &Value) -> String {
    let mut text = faithful(object).join("\n");
    text.push('\n');
    text
}

fn faithful(value: &Value) -> Vec<String> {
    let quoted = |text: &str| if plain(text) { text.to_owned() } else { Value::from(text).to_string() };
    let mut lines = Vec::new();
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let below = faithful(value);
                match value {
                    Value::Object(map) if !map.is_empty() => {
                        lines.push(format!("{}:", quoted(key)));
                        lines.extend(below.iter().map(|line| format!("  {line}")));
                    }
                    Value::Array(list) if !list.is_empty() => {
                        lines.push(format!("{}:", quoted(key)));
                        lines.extend(below);
                    }
                    _ => lines.push(format!("{}: {}", quoted(key), below.join(""))),
                }
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for item in list {
                let mut dash = "- ";
                for line in faithful(item) {
                    lines.push(format!("{dash}{line}"));
                    dash = "  ";
                }
            }
        }
        Value::String(text) => lines.push(quoted(text)),
        other => lines.push(other.to_string()),
    }
    lines
}

/// The lines of a tree, from the margin.
pub(crate) fn lines(node: &Node, path: &str) -> Vec<String> {
    let (parts, list) = match node {
        Node::Leaf(value) => return vec![scalar(value)],
        Node::Map(parts) => (parts, false),
        Node::List(parts) => (parts, true),
    };
    let mut lines = Vec::new();
    let mut open = When::Always;
    for part in parts {
        if open != part.when {
            lines.extend((open != When::Always).then(|| "{{- end }}".to_owned()));
            lines.extend(condition(part.when));
            open = part.when;
        }
        let path = format!("{path}/{}", part.name);
        lines.extend(comments::of(&path).map(|line| format!("# {line}")));
        if list {
            item(part, &path, &mut lines);
        } else {
            entry(part, &path, &mut lines);
        }
    }
    lines.extend((open != When::Always).then(|| "{{- end }}".to_owned()));
    lines
}

fn condition(when: When) -> Option<String> {
    match when {
        When::Always => None,
        When::First => Some(CONDITIONS[0].to_owned()),
        When::Second => Some(CONDITIONS[1].to_owned()),
    }
}

fn item(part: &Part, path: &str, lines: &mut Vec<String>) {
    let mut dash = "- ";
    for line in self::lines(&part.node, path) {
        lines.push(format!("{dash}{line}"));
        dash = "  ";
    }
}

fn entry(part: &Part, path: &str, lines: &mut Vec<String>) {
    let key = scalar(&Value::String(part.name.clone()));
    match &part.node {
        // Lines of the chart's own, with no key.
        Node::Leaf(Value::String(raw)) if part.name.starts_with("{{") => {
            lines.extend(raw.lines().map(str::to_owned));
        }
        Node::Leaf(Value::String(text)) if text.contains('\n') => {
            lines.push(format!("{key}: |"));
            let indented = |line: &str| if line.is_empty() { String::new() } else { format!("  {line}") };
            lines.extend(text.lines().map(indented));
        }
        Node::Leaf(value) => lines.push(format!("{key}: {}", scalar(value))),
        Node::Map(_) | Node::List(_) => {
            lines.push(format!("{key}:"));
            lines.extend(self::lines(&part.node, path).into_iter().map(|line| format!("  {line}")));
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if text.starts_with("{{") || plain(text) => text.clone(),
        // JSON's strings, numbers and words are YAML's as well.
        other => other.to_string(),
    }
}

/// Whether a string needs no quotes for any reader, also not for one of YAML 1.1 (`on`, `12:30`).
fn plain(text: &str) -> bool {
    const WORDS: [&str; 11] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"];
    let first = text.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '/');
    let rest = text.chars().all(|char| char.is_ascii_alphanumeric() || "-_./:@%=+".contains(char));
    first && rest && !text.ends_with(':') && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_reads_back() {
        let trees = [
            json!({ "a": "on", "b": "12:30", "c": "", "d": "x: y", "e": "#", "f": null, "g": true, "h": 7 }),
            json!({ "a": [], "b": {}, "c": [[1, 2], [{ "name": "x", "l": ["y"] }]], "d": "two\nlines\n" }),
            json!({ "10m": "10m", "1e3": "1e3", "0x1": "-1", "/p": "/p:q", "k:": "k:", "~": "~", "s": " s " }),
            json!([{ "name": "off", "v": "No" }, "a\"b", "ü", "{ x"]),
        ];
        for tree in trees {
            for text in [write(&Node::of(&tree), ""), document(&tree)] {
                let read: Value = serde_saphyr::from_str(&text).expect("YAML");
                assert_eq!(read, tree, "{text}");
            }
        }
    }

    #[test]
    fn anybodys_text_reads_back() {
        let texts = [
            "{{ .Values }}",
            "two\nlines",
            " a\n  b\n\n",
            "\ttab",
            "a # b",
            "- a",
            "é\u{85}\u{feff}",
            "\u{7}",
            "=",
            "<<",
        ];
        for text in texts {
            let tree = json!({ text: text, "list": [text, [text], { text: [text] }], "n": 1.5, "big": 12345678901234567890_u64 });
            let read: Value = serde_saphyr::from_str(&document(&tree)).expect("YAML");
            assert_eq!(read, tree, "{}", document(&tree));
        }
    }

    #[test]
    fn two_variants_are_one_text_with_conditions() {
        let first = json!({ "a": 1, "b": "x", "l": [{ "name": "p", "v": 1 }] });
        let second = json!({ "a": 1, "b": "y", "l": [{ "name": "p", "v": 1 }, { "name": "q" }], "z": true });
        let expected = "a: 1\n{{- if eq .Values.profile \"audit\" }}\nb: \"y\"\n{{- end }}\n\
                        {{- if ne .Values.profile \"audit\" }}\nb: x\n{{- end }}\nl:\n  - name: p\n    v: 1\n  \
                        {{- if eq .Values.profile \"audit\" }}\n  - name: q\n  {{- end }}\n\
                        {{- if eq .Values.profile \"audit\" }}\nz: true\n{{- end }}\n";
        assert_eq!(write(&Node::merge(&first, &second), ""), expected);
    }
}
