//! What differs between two specifications: in one line for each field, or line by line. PURE.

use crate::print::yaml;
use serde_json::Value;
use similar::TextDiff;

/// One line for each field that differs: `mode: InitContainer → CNI`, `excludeNamespaces: + a, b; - c`.
pub(crate) fn lines(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", before, after, &mut lines);
    lines
}

/// Line by line, as `diff -u`; empty if nothing differs.
pub(crate) fn unified(before: &Value, after: &Value) -> String {
    let text = |value: &Value| if value.is_null() { String::new() } else { yaml::document(value) };
    let (before, after) = (text(before), text(after));
    TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(3)
        .header("before", "after")
        .to_string()
}

fn compare(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Value::Object(_) | Value::Null, Value::Object(now)) => {
            let empty = serde_json::Map::new();
            let was = before.as_object().unwrap_or(&empty);
            let gone = was.keys().filter(|key| !now.contains_key(*key));
            for key in now.keys().chain(gone) {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let at = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                compare(&below, &at(was), &at(now), lines);
            }
        }
        (Value::Array(was), Value::Array(now)) => {
            let only = |these: &[Value], those: &[Value]| {
                let only: Vec<String> = these.iter().filter(|one| !those.contains(one)).map(word).collect();
                only.join(", ")
            };
            let (new, gone) = (only(now, was), only(was, now));
            let parts = [("+ ", new), ("- ", gone)];
            let parts: Vec<String> = parts
                .iter()
                .filter(|(_, names)| !names.is_empty())
                .map(|(sign, names)| format!("{sign}{names}"))
                .collect();
            if !parts.is_empty() {
                lines.push(format!("{path}: {}", parts.join("; ")));
            }
        }
        (Value::Null, _) => lines.push(format!("{path}: {}", word(after))),
        _ => lines.push(format!("{path}: {} → {}", word(before), word(after))),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "[]".to_owned(),
        Value::Array(list) => list.iter().map(word).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_and_lines() {
        let check =
            |before: Value, after: Value, expected: &[&str]| assert_eq!(lines(&before, &after), expected);
        let before =
            json!({ "mode": "CNI", "excludeNamespaces": ["a", "b"], "rollout": { "paused": false } });
        let after = json!({ "mode": "Disabled", "excludeNamespaces": ["b", "c"], "rollout": { "paused": false, "x": 1 } });
        check(
            before.clone(),
            after.clone(),
            &["mode: CNI → Disabled", "excludeNamespaces: + c; - a", "rollout.x: 1"],
        );
        check(
            Value::Null,
            json!({ "mode": "CNI", "excludeNamespaces": [] }),
            &["mode: CNI", "excludeNamespaces: []"],
        );
        check(before.clone(), before.clone(), &[]);
        let shown = unified(&before, &after);
        assert!(
            shown.starts_with("--- before\n+++ after\n") && shown.contains("\n-mode: CNI\n+mode: Disabled\n"),
            "{shown}"
        );
        assert_eq!(unified(&before, &before), "");
    }
}
