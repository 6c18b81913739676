//! PURE: label selectors and field selectors: read from a query or an object, and asked of labels and fields.

use super::refusal::Refusal;
use serde_json::Value;
use std::collections::BTreeMap;

/// The labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// What a label must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// Conditions on labels, all of which must hold; none is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<(String, Wanted)>);

/// Conditions on fields, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<(String, bool, String)>);

impl LabelSelector {
    /// Reads the form of a query: `a=b,c!=d,e in (f,g),h,!i`.
    pub(crate) fn read(text: &str) -> Result<LabelSelector, Refusal> {
        let parts = split(text);
        let read = parts.iter().map(|part| requirement(part.trim()));
        read.collect::<Option<Vec<_>>>().map(LabelSelector).ok_or_else(|| {
            Refusal::bad_request(format!("unable to parse requirement: {text:?} is no label selector"))
        })
    }

    /// Reads the form of an object: `matchLabels` and `matchExpressions`. `None` where an operator is unknown.
    pub(crate) fn of(selector: &Value) -> Option<LabelSelector> {
        let mut wanted = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            wanted.push((key.clone(), Wanted::In(vec![value.as_str()?.to_owned()])));
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
            let is = match expression.get("operator")?.as_str()? {
                "In" => Wanted::In(values),
                "NotIn" => Wanted::NotIn(values),
                "Exists" => Wanted::Exists,
                "DoesNotExist" => Wanted::Absent,
                _ => return None,
            };
            wanted.push((expression.get("key")?.as_str()?.to_owned(), is));
        }
        Some(LabelSelector(wanted))
    }

    /// A selector of plain labels, as services have; an empty one selects nothing and is `None`.
    pub(crate) fn of_map(labels: &Value) -> Option<LabelSelector> {
        let labels = labels.as_object().filter(|labels| !labels.is_empty())?;
        let wanted = labels.iter().map(|(key, value)| {
            (key.clone(), Wanted::In(vec![value.as_str().unwrap_or_default().to_owned()]))
        });
        Some(LabelSelector(wanted.collect()))
    }

    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(key, wanted)| match (wanted, labels.get(key)) {
            (Wanted::In(values), Some(value)) => values.contains(value),
            (Wanted::NotIn(values), Some(value)) => !values.contains(value),
            (Wanted::Exists, found) => found.is_some(),
            (Wanted::NotIn(_) | Wanted::Absent, None) => true,
            (Wanted::In(_), None) | (Wanted::Absent, Some(_)) => false,
        })
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.0.is_empty()
    }
}

impl FieldSelector {
    /// Reads `a.b=c,d!=e`; a field that is not among `known` is refused, as this kind cannot be asked for it.
    pub(crate) fn read(text: &str, known: &[&str]) -> Result<FieldSelector, Refusal> {
        let mut wanted = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (field, true, value)
            } else {
                let message = format!("invalid selector: '{text}'; can't understand '{part}'");
                return Err(Refusal::bad_request(message));
            };
            let field = field.trim();
            if !known.contains(&field) {
                return Err(Refusal::bad_request(format!("field label not supported: {field}")));
            }
            wanted.push((field.to_owned(), equal, value.trim().to_owned()));
        }
        Ok(FieldSelector(wanted))
    }

    /// Whether it holds where `get` tells a field's value.
    pub(crate) fn matches<'a>(&self, get: impl Fn(&str) -> &'a str) -> bool {
        self.0.iter().all(|(field, equal, value)| (get(field) == value) == *equal)
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.0.is_empty()
    }
}

/// At the commas that are not inside parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn requirement(part: &str) -> Option<(String, Wanted)> {
    let (key, wanted) = if let Some(key) = part.strip_prefix('!') {
        (key, Wanted::Absent)
    } else if let Some((key, value)) = part.split_once("!=") {
        (key, Wanted::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (key, Wanted::In(vec![value.trim().to_owned()]))
    } else if let Some((key, values)) = part.split_once(" notin") {
        (key, Wanted::NotIn(list(values)?))
    } else if let Some((key, values)) = part.split_once(" in") {
        (key, Wanted::In(list(values)?))
    } else {
        (part, Wanted::Exists)
    };
    let key = key.trim();
    super::names::qualified(key).is_none().then(|| (key.to_owned(), wanted))
}

fn list(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(selector: &str, labels: &[(&str, &str)], expected: Option<bool>) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let found = LabelSelector::read(selector).ok().map(|selector| selector.matches(&labels));
        assert_eq!(found, expected, "{selector}");
    }

    #[test]
    fn labels() {
        let labels = [("app", "web"), ("tier", "front")];
        check("", &labels, Some(true));
        check("app=web,tier==front", &labels, Some(true));
        check("app!=web", &labels, Some(false));
        check("none!=web", &labels, Some(true));
        check("app in (db, web),tier", &labels, Some(true));
        check("app notin (db),!none", &labels, Some(true));
        check("app notin (web)", &labels, Some(false));
        check("app in web", &labels, None);
        check("a b=c", &labels, None);
    }

    #[test]
    fn fields() {
        let known = ["metadata.name", "spec.nodeName"];
        let selector = FieldSelector::read("metadata.name=a,spec.nodeName!=n", &known).unwrap();
        assert!(selector.matches(|field| if field == "metadata.name" { "a" } else { "" }));
        assert!(!selector.matches(|field| if field == "metadata.name" { "a" } else { "n" }));
        assert_eq!(FieldSelector::read("x=a", &known).unwrap_err().message, "field label not supported: x");
    }

    #[test]
    fn of_objects() {
        let selector = json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]});
        assert!(LabelSelector::of(&selector).unwrap().matches(&Labels::new()));
        assert!(LabelSelector::of(&json!({"matchExpressions": [{"key": "a", "operator": "?"}]})).is_none());
    }
}
