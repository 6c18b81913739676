//! PURE: what a URL's path asks for.

use std::borrow::Cow;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `/api`.
    Core,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    Resources(String, String),
    Objects(Objects),
    /// Everything outside these trees.
    Other(String),
}

/// Objects of one kind: all, those of a namespace, or one, or a part of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Objects {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    /// Empty where the path names none.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
}

/// Parts of a namespace that look like kinds in it.
const OF_NAMESPACE: [&str; 2] = ["status", "finalize"];

/// Reads a path.
pub(crate) fn read(path: &str) -> Target {
    let steps: Vec<Cow<'_, str>> = path.split('/').filter(|step| !step.is_empty()).map(decoded).collect();
    let steps: Vec<&str> = steps.iter().map(AsRef::as_ref).collect();
    match steps[..] {
        ["api"] => Target::Core,
        ["apis"] => Target::Groups,
        ["apis", group] => Target::Group(group.to_owned()),
        ["api", version] => Target::Resources(String::new(), version.to_owned()),
        ["apis", group, version] => Target::Resources(group.to_owned(), version.to_owned()),
        ["api", version, ref rest @ ..] => objects("", version, rest),
        ["apis", group, version, ref rest @ ..] => objects(group, version, rest),
        _ => Target::Other(path.to_owned()),
    }
}

fn objects(group: &str, version: &str, rest: &[&str]) -> Target {
    let (namespace, rest) = match rest {
        // Of the old form `/api/v1/watch/...` there is nothing: clients ask by the query since 2017.
        ["namespaces", _, part, ..] if OF_NAMESPACE.contains(part) => ("", rest),
        ["namespaces", namespace, _, ..] => (*namespace, &rest[2..]),
        _ => ("", rest),
    };
    let at = |place: usize| rest.get(place).copied().unwrap_or_default().to_owned();
    Target::Objects(Objects {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: at(0),
        namespace: namespace.to_owned(),
        name: at(1),
        subresource: rest.get(2..).unwrap_or_default().join("/"),
    })
}

/// Without its percents; what is no UTF-8 then is left as it was, and names nothing.
fn decoded(step: &str) -> Cow<'_, str> {
    if !step.contains('%') {
        return Cow::Borrowed(step);
    }
    let mut bytes = Vec::new();
    let mut rest = step.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(step), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: [&str; 6]) {
        let Target::Objects(found) = read(path) else { panic!("{path} is of objects") };
        let found =
            [&found.group, &found.version, &found.plural, &found.namespace, &found.name, &found.subresource];
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn paths() {
        check("/api/v1/pods", ["", "v1", "pods", "", "", ""]);
        check("/api/v1/namespaces/n/pods/p/status", ["", "v1", "pods", "n", "p", "status"]);
        check("/api/v1/namespaces/n", ["", "v1", "namespaces", "", "n", ""]);
        check("/api/v1/namespaces/n/finalize", ["", "v1", "namespaces", "", "n", "finalize"]);
        check("/apis/apps/v1/namespaces/n/deployments", ["apps", "v1", "deployments", "n", "", ""]);
        let role = ["rbac.authorization.k8s.io", "v1", "clusterroles", "", "system:node", ""];
        check("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode", role);
        assert_eq!(read("/apis/apps"), Target::Group("apps".to_owned()));
        assert_eq!(read("/version"), Target::Other("/version".to_owned()));
    }
}
