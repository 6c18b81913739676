//! PURE: the one table of kinds: what is served, under which names, and how an object of each is read, merged and shown.
//!
//! The built-in rows are in `built_in`; those of CustomResourceDefinitions come and go with these.

pub(crate) mod built_in;
pub(crate) mod custom;
pub(crate) mod schema;

use super::names::Naming;
use super::refusal::About;
use super::shape::Shape;
use schema::Schema;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One kind.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) group: String,
    /// The version that is kept.
    pub(crate) version: String,
    /// Where else it is served: other versions, or for events another group.
    pub(crate) aliases: Vec<(String, String)>,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) namespaced: bool,
    pub(crate) short: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) naming: Naming,
    /// Whether status is written apart from the rest.
    pub(crate) status: bool,
    pub(crate) scale: bool,
    /// Whether its generation counts changes.
    pub(crate) generation: bool,
    /// What a field selector may ask for, beside name and namespace.
    pub(crate) fields: &'static [&'static str],
    pub(crate) shape: Shape,
    pub(crate) model: Model,
    pub(crate) columns: Vec<Column>,
}

/// How an object is read.
#[derive(Clone, Debug)]
pub(crate) enum Model {
    /// Through its type: what the type has not is dropped.
    Typed(fn(Value) -> Result<Value, String>),
    /// By the schema of its definition.
    Structural(Arc<Schema>),
}

/// A column that a definition asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) form: String,
    pub(crate) path: String,
    pub(crate) priority: i64,
    pub(crate) description: String,
}

/// A kind as one path serves it.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) kind: Arc<Kind>,
    pub(crate) group: String,
    pub(crate) version: String,
}

/// All kinds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    kinds: Vec<Arc<Kind>>,
    paths: BTreeMap<(String, String, String), Arc<Kind>>,
}

impl Kind {
    /// What its objects are kept under: `pods`, `deployments.apps`.
    pub(crate) fn id(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// How messages name one of it.
    pub(crate) fn about<'a>(&'a self, name: &'a str) -> About<'a> {
        About { group: &self.group, resource: &self.plural, name }
    }

    /// How messages about its content name one of it.
    pub(crate) fn about_kind<'a>(&'a self, name: &'a str) -> About<'a> {
        About { group: &self.group, resource: &self.kind, name }
    }

    /// `v1`, `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    pub(crate) fn is_custom(&self) -> bool {
        matches!(self.model, Model::Structural(_))
    }

    /// The fields that are kept beside each object to be selected by.
    pub(crate) fn selectable(&self) -> Vec<&'static str> {
        ["metadata.name", "metadata.namespace"].into_iter().chain(self.fields.iter().copied()).collect()
    }

    fn places(&self) -> impl Iterator<Item = (String, String)> {
        [(self.group.clone(), self.version.clone())].into_iter().chain(self.aliases.iter().cloned())
    }
}

impl Served {
    pub(crate) fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// Whether it is served as it is kept.
    pub(crate) fn is_stored(&self) -> bool {
        self.group == self.kind.group && self.version == self.kind.version
    }
}

/// `v1`, `apps/v1`.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

impl Registry {
    /// The built-in kinds, and those that these definitions make. A built-in one is never replaced.
    pub(crate) fn new<'a>(definitions: impl Iterator<Item = &'a Value>) -> Registry {
        let custom = definitions.flat_map(custom::kinds).map(Arc::new);
        let mut registry = Registry::default();
        for kind in built_in::kinds().into_iter().map(Arc::new).chain(custom) {
            for (group, version) in kind.places() {
                registry
                    .paths
                    .entry((group, version, kind.plural.clone()))
                    .or_insert_with(|| Arc::clone(&kind));
            }
            registry.kinds.push(kind);
        }
        registry
    }

    pub(crate) fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    /// What a path leads to.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Served> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        let kind = Arc::clone(self.paths.get(&key)?);
        Some(Served { kind, group: group.to_owned(), version: version.to_owned() })
    }

    /// The kind whose objects are kept under `id`.
    pub(crate) fn by_id(&self, id: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|kind| kind.id() == id)
    }

    /// The kind that an owner reference names.
    pub(crate) fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.kinds.iter().find(|known| known.group == group && known.kind == kind)
    }

    /// All that one group and version serves, in the order of the table.
    pub(crate) fn serving(&self, group: &str, version: &str) -> Vec<Arc<Kind>> {
        let here = (group.to_owned(), version.to_owned());
        self.kinds.iter().filter(|kind| kind.places().any(|place| place == here)).cloned().collect()
    }

    /// Groups with their versions, the preferred one first.
    pub(crate) fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for (group, version) in self.kinds.iter().flat_map(|kind| kind.places()) {
            match groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, versions)) if versions.contains(&version) => {}
                Some((_, versions)) => versions.push(version),
                None => groups.push((group, vec![version])),
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(registry: &Registry, path: (&str, &str, &str), expected: Option<&str>) {
        let found = registry.find(path.0, path.1, path.2).map(|served| served.kind.id());
        assert_eq!(found.as_deref(), expected, "{path:?}");
    }

    #[test]
    fn kinds_are_found() {
        let registry = Registry::new(std::iter::empty());
        check(&registry, ("", "v1", "pods"), Some("pods"));
        check(&registry, ("apps", "v1", "deployments"), Some("deployments.apps"));
        check(&registry, ("events.k8s.io", "v1", "events"), Some("events"));
        check(&registry, ("policy", "v1beta1", "poddisruptionbudgets"), Some("poddisruptionbudgets.policy"));
        check(&registry, ("apps", "v2", "deployments"), None);
        assert!(
            registry.groups().contains(&("policy".to_owned(), vec!["v1".to_owned(), "v1beta1".to_owned()]))
        );
    }
}
