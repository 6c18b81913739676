//! PURE: how the parts of an object are merged: which lists are maps by keys, which are sets, what is replaced whole.
//!
//! It serves strategic merge patches, server-side apply and the ownership of fields. What it does not know is merged as JSON is:
//! maps by field, lists whole.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// How one place of an object is merged, and what is below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shape {
    fields: BTreeMap<String, Shape>,
    /// Of fields that have no name of their own.
    rest: Option<Box<Shape>>,
    /// Of a list's items.
    item: Option<Box<Shape>>,
    pub(crate) list: List,
    /// A map that has one owner and is replaced whole.
    pub(crate) atomic: bool,
}

/// How a list is merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum List {
    /// Replaced whole.
    #[default]
    Atomic,
    /// Each item is there once.
    Set,
    /// By these fields, the first of which strategic merge patches use; a field that is left out has its default.
    Map(Vec<(String, Option<String>)>),
}

static OPEN: LazyLock<Shape> = LazyLock::new(Shape::default);

impl Shape {
    /// Of the field `name`.
    pub(crate) fn field(&self, name: &str) -> &Shape {
        self.fields.get(name).or(self.rest.as_deref()).unwrap_or(&OPEN)
    }

    /// Whether `name` is a field of its own, and no key that somebody made up.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Of a list's items.
    pub(crate) fn item(&self) -> &Shape {
        self.item.as_deref().unwrap_or(&OPEN)
    }

    /// Of a map with these fields, and others of the shape `rest`.
    pub(crate) fn of_map(fields: BTreeMap<String, Shape>, rest: Option<Shape>, atomic: bool) -> Shape {
        Shape { fields, rest: rest.map(Box::new), atomic, ..Shape::default() }
    }

    /// Of a list of such items.
    pub(crate) fn of_list(item: Shape, list: List) -> Shape {
        Shape { item: Some(Box::new(item)), list, ..Shape::default() }
    }

    /// With the metadata that every object has.
    pub(crate) fn of_object(mut self) -> Shape {
        self.fields.insert("metadata".to_owned(), named("Meta"));
        self
    }

    /// Of the built-in kind `kind`.
    pub(crate) fn built_in(kind: &str) -> Shape {
        named(kind).of_object()
    }
}

/// The built-in types that merge otherwise than by default. `a:T` is a field of type T, `a[k]` a list by key (`k~D`: its default is
/// D), `a[k]:T` one with items of type T, `a=set` and `a=atomic` what they say.
const TYPES: &[(&str, &[&str])] = &[
    ("Meta", &["finalizers=set", "ownerReferences[uid]"]),
    ("Pod", &["spec:PodSpec", "status:PodStatus"]),
    ("Template", &["metadata:Meta", "spec:PodSpec"]),
    (
        "PodSpec",
        &[
            "containers[name]:Container",
            "initContainers[name]:Container",
            "ephemeralContainers[name]:Container",
            "volumes[name]",
            "imagePullSecrets[name]",
            "hostAliases[ip]",
            "topologySpreadConstraints[topologyKey,whenUnsatisfiable]",
            "resourceClaims[name]",
            "schedulingGates[name]",
            "nodeSelector=atomic",
        ],
    ),
    (
        "Container",
        &[
            "env[name]",
            "ports[containerPort,protocol~TCP]",
            "volumeMounts[mountPath]",
            "volumeDevices[devicePath]",
        ],
    ),
    ("PodStatus", &["conditions[type]", "podIPs[ip]", "hostIPs=atomic"]),
    ("Conditions", &["conditions[type]"]),
    ("Workload", &["selector=atomic", "template:Template"]),
    ("Deployment", &["spec:Workload", "status:Conditions"]),
    ("ReplicaSet", &["spec:Workload", "status:Conditions"]),
    ("DaemonSet", &["spec:Workload", "status:Conditions"]),
    ("StatefulSet", &["spec:Workload", "status:Conditions"]),
    ("Job", &["spec:Workload", "status:Conditions"]),
    ("Node", &["status:NodeStatus"]),
    ("NodeStatus", &["conditions[type]", "addresses[type]"]),
    ("Namespace", &["status:Conditions"]),
    ("Service", &["spec:ServiceSpec", "status:Conditions"]),
    ("ServiceSpec", &["ports[port,protocol~TCP]", "selector=atomic"]),
    ("ServiceAccount", &["secrets[name]"]),
    ("PodDisruptionBudget", &["spec:Selecting", "status:Conditions"]),
    ("NetworkPolicy", &["spec:PodSelecting"]),
    ("Selecting", &["selector=atomic"]),
    ("PodSelecting", &["podSelector=atomic"]),
    ("MutatingWebhookConfiguration", &["webhooks[name]:Hook"]),
    ("ValidatingWebhookConfiguration", &["webhooks[name]:Hook"]),
    ("Hook", &["namespaceSelector=atomic", "objectSelector=atomic"]),
    ("CustomResourceDefinition", &["status:Conditions"]),
];

fn named(name: &str) -> Shape {
    let fields = TYPES.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, fields)| *fields);
    Shape::of_map(fields.iter().map(|field| one(field)).collect(), None, false)
}

fn one(text: &str) -> (String, Shape) {
    if let Some((field, how)) = text.split_once('=') {
        let list = if how == "set" { List::Set } else { List::Atomic };
        return (field.to_owned(), Shape { list, atomic: how == "atomic", ..Shape::default() });
    }
    let (head, of) = text.split_once(':').unwrap_or((text, ""));
    let shape = named(of);
    match head.split_once('[') {
        None => (head.to_owned(), shape),
        Some((field, keys)) => {
            let keys = keys.trim_end_matches(']').split(',').map(|key| match key.split_once('~') {
                Some((key, default)) => (key.to_owned(), Some(default.to_owned())),
                None => (key.to_owned(), None),
            });
            (field.to_owned(), Shape::of_list(shape, List::Map(keys.collect())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, path: &[&str], expected: &List) {
        let root = Shape::built_in(kind);
        let found = path
            .iter()
            .fold(&root, |shape, name| if *name == "*" { shape.item() } else { shape.field(name) });
        assert_eq!(&found.list, expected, "{kind} {path:?}");
    }

    #[test]
    fn the_table_is_read() {
        let by = |key: &str| List::Map(vec![(key.to_owned(), None)]);
        check("Pod", &["spec", "containers"], &by("name"));
        check("Deployment", &["spec", "template", "spec", "containers", "*", "env"], &by("name"));
        let ports = List::Map(vec![("containerPort".into(), None), ("protocol".into(), Some("TCP".into()))]);
        check("Pod", &["spec", "initContainers", "*", "ports"], &ports);
        check("Pod", &["spec", "tolerations"], &List::Atomic);
        check("ConfigMap", &["metadata", "finalizers"], &List::Set);
        assert!(Shape::built_in("Pod").field("spec").field("nodeSelector").atomic);
    }

    #[test]
    fn every_type_that_is_named_is_there() {
        for (_, fields) in TYPES {
            let named = fields.iter().filter_map(|field| field.split_once(':'));
            for (_, of) in named {
                assert!(TYPES.iter().any(|(known, _)| *known == of), "{of}");
            }
        }
    }
}
