//! PURE: what objects, namespaces and labels may be called, by RFC 1123 and the label rules of Kubernetes.

use super::refusal::Fault;
use serde_json::{Map, Value};

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
                     end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                         must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const PATH: &str = "may not contain '/' or '%', and may not be '.' or '..'";

/// Which names a kind takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// At most 63 characters: namespaces and services.
    Label,
    /// At most 253 characters, with dots: nearly everything.
    Subdomain,
    /// Whatever can stand in a path: roles and their bindings.
    Path,
}

/// What is wrong with `name`, if anything.
pub(crate) fn complaint(naming: Naming, name: &str) -> Option<String> {
    match naming {
        Naming::Label if name.len() > 63 => Some("must be no more than 63 characters".to_owned()),
        Naming::Label if !is_label(name) => Some(LABEL.to_owned()),
        Naming::Subdomain if name.len() > 253 => Some("must be no more than 253 characters".to_owned()),
        Naming::Subdomain if !name.split('.').all(is_label) => Some(SUBDOMAIN.to_owned()),
        Naming::Path if name.contains(['/', '%']) || name == "." || name == ".." => Some(PATH.to_owned()),
        _ => None,
    }
}

/// What is wrong with the labels and annotations of an object's metadata.
pub(crate) fn faults(metadata: &Map<String, Value>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (key, value) in entries(metadata, "labels") {
        if let Some(why) = qualified(key) {
            faults.push(Fault::invalid("metadata.labels", &Value::from(key.as_str()), &why));
        }
        if let Some(why) = label_value(value.as_str().unwrap_or_default()) {
            faults.push(Fault::invalid("metadata.labels", value, &why));
        }
    }
    let mut total = 0;
    for (key, value) in entries(metadata, "annotations") {
        total += key.len() + value.as_str().map_or(0, str::len);
        if let Some(why) = qualified(&key.to_lowercase()) {
            faults.push(Fault::invalid("metadata.annotations", &Value::from(key.as_str()), &why));
        }
    }
    if total > 256 << 10 {
        faults.push(Fault::forbidden("metadata.annotations", "must have at most 262144 bytes"));
    }
    faults
}

/// What is wrong with a label's key, or with any other qualified name.
pub(crate) fn qualified(key: &str) -> Option<String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if let Some(why) = prefix.and_then(|prefix| complaint(Naming::Subdomain, prefix)) {
        return Some(format!("prefix part {why}"));
    }
    if name.is_empty() || name.len() > 63 || !is_worded(name) {
        return Some(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
             alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
             '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
                .to_owned(),
        );
    }
    None
}

/// What is wrong with a label's value.
pub(crate) fn label_value(value: &str) -> Option<String> {
    if value.len() > 63 {
        return Some("must be no more than 63 characters".to_owned());
    }
    (!value.is_empty() && !is_worded(value)).then(|| {
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end \
         with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
         '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            .to_owned()
    })
}

fn entries<'a>(metadata: &'a Map<String, Value>, of: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    metadata.get(of).and_then(Value::as_object).into_iter().flatten()
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !text.is_empty()
        && text.bytes().all(|byte| inner(byte) || byte == b'-')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
}

fn is_worded(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes().all(|byte| inner(byte) || b"-_.".contains(&byte))
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(naming: Naming, name: &str, well: bool) {
        assert_eq!(complaint(naming, name).is_none(), well, "{name}");
    }

    #[test]
    fn names_by_the_rules() {
        check(Naming::Label, "a-1", true);
        check(Naming::Label, "a.b", false);
        check(Naming::Label, "-a", false);
        check(Naming::Label, &"a".repeat(64), false);
        check(Naming::Subdomain, "a.b-c.d", true);
        check(Naming::Subdomain, "a..b", false);
        check(Naming::Subdomain, "A", false);
        check(Naming::Subdomain, "", false);
        check(Naming::Path, "system:node", true);
        check(Naming::Path, "a/b", false);
        assert!(qualified("app.kubernetes.io/name").is_none());
        assert!(qualified("app/").is_some() && qualified("a b").is_some());
        assert!(label_value("").is_none() && label_value("a/b").is_some());
    }
}
