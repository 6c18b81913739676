//! PURE: the objects and what happened to them: a state machine of one revision counter. Values in, values and events out.
//!
//! An object is kept as the bytes that clients are sent, with beside it what selectors ask for. History is bounded, and who asks for
//! what was forgotten is told so.

use super::registry::Kind;
use super::select::{FieldSelector, LabelSelector, Labels};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// The finalizer of an object whose dependents go first.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object whose dependents stay.
pub(crate) const ORPHAN: &str = "orphan";

/// An object at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) revision: u64,
    pub(crate) uid: String,
    pub(crate) labels: Labels,
    /// The identifiers of its owners.
    pub(crate) owners: Vec<String>,
    /// Whether it is being deleted and waits for what it owns.
    pub(crate) leaving: bool,
    fields: Vec<(&'static str, String)>,
    /// JSON.
    pub(crate) bytes: Arc<[u8]>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Added,
    Modified,
    Deleted,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) what: What,
    pub(crate) object: Arc<Stored>,
    pub(crate) before: Option<Arc<Stored>>,
}

/// Why something was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It is not as it was when it was read.
    Changed,
    /// There may be no more objects.
    Full,
}

/// A revision that is no longer known; and the oldest that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgotten(pub(crate) u64);

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) objects: usize,
    /// Events of one kind.
    pub(crate) history: usize,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Store {
    bounds: Bounds,
    revision: u64,
    count: usize,
    shelves: HashMap<String, Shelf>,
    /// By the identifier of an owner: what it owns, as kind and key.
    dependents: HashMap<String, BTreeSet<(String, String)>>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// By `namespace/name`, in the order etcd has.
    objects: BTreeMap<String, Arc<Stored>>,
    history: VecDeque<Event>,
    /// The revision of the last event that was dropped.
    forgotten: u64,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Empty for all.
    pub(crate) namespace: String,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

impl Wanted {
    pub(crate) fn takes(&self, object: &Stored) -> bool {
        (self.namespace.is_empty() || self.namespace == object.namespace)
            && self.labels.matches(&object.labels)
            && self.fields.matches(|field| object.field(field))
    }

    pub(crate) fn is_selective(&self) -> bool {
        !(self.labels.is_everything() && self.fields.is_everything())
    }
}

impl Stored {
    /// The object.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("it was written by serde_json")
    }

    pub(crate) fn key(&self) -> String {
        key(&self.namespace, &self.name)
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        match name {
            "metadata.name" => &self.name,
            "metadata.namespace" => &self.namespace,
            name => self.fields.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value),
        }
    }

    fn read(kind: &Kind, object: &Value, revision: u64) -> Stored {
        let metadata = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
        let labels = metadata["labels"].as_object().into_iter().flatten();
        Stored {
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]),
            revision,
            uid: text(&metadata["uid"]),
            labels: labels.map(|(key, value)| (key.clone(), text(value))).collect(),
            owners: owners.map(|owner| text(&owner["uid"])).collect(),
            leaving: metadata["deletionTimestamp"].is_string() && waits(&metadata["finalizers"]),
            fields: kind.fields.iter().map(|field| (*field, plain(object, field))).collect(),
            bytes: serde_json::to_vec(object).unwrap_or_default().into(),
        }
    }
}

fn waits(finalizers: &Value) -> bool {
    let finalizers = finalizers.as_array().into_iter().flatten();
    finalizers.into_iter().any(|name| name == FOREGROUND || name == ORPHAN)
}

/// `namespace/name`, or the name alone.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

fn plain(object: &Value, field: &str) -> String {
    match field.split('.').try_fold(object, |value, name| value.get(name)) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(value) => value.to_string(),
    }
}

impl Store {
    pub(crate) fn new(bounds: Bounds) -> Store {
        // As in etcd nothing has revision 0, which clients take for "whatever is at hand".
        Store { bounds, revision: 1, count: 0, shelves: HashMap::new(), dependents: HashMap::new() }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, kind: &str, key: &str) -> Option<Arc<Stored>> {
        self.shelves.get(kind)?.objects.get(key).cloned()
    }

    /// Writes an object that is at revision `expected` now, 0 where there is none. Its revision is put into it.
    pub(crate) fn put(&mut self, kind: &Kind, mut object: Value, expected: u64) -> Result<Arc<Stored>, Lost> {
        let revision = self.revision + 1;
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        let stored = Arc::new(Stored::read(kind, &object, revision));
        let (id, key) = (kind.id(), stored.key());
        let before = self.get(&id, &key);
        if before.as_ref().map_or(0, |before| before.revision) != expected {
            return Err(Lost::Changed);
        }
        if before.is_none() && self.count >= self.bounds.objects {
            return Err(Lost::Full);
        }
        self.count += usize::from(before.is_none());
        let what = if before.is_some() { What::Modified } else { What::Added };
        self.shelves.entry(id.clone()).or_default().objects.insert(key, Arc::clone(&stored));
        self.happened(&id, Event { what, object: Arc::clone(&stored), before });
        Ok(stored)
    }

    /// Takes an object away that is at revision `expected`; `last` is what is told of it.
    pub(crate) fn remove(
        &mut self,
        kind: &Kind,
        mut last: Value,
        expected: u64,
    ) -> Result<Arc<Stored>, Lost> {
        let revision = self.revision + 1;
        last["metadata"]["resourceVersion"] = revision.to_string().into();
        let stored = Arc::new(Stored::read(kind, &last, revision));
        let (id, key) = (kind.id(), stored.key());
        let shelf = self.shelves.entry(id.clone()).or_default();
        if shelf.objects.get(&key).map_or(0, |found| found.revision) != expected || expected == 0 {
            return Err(Lost::Changed);
        }
        let before = shelf.objects.remove(&key);
        self.count -= 1;
        self.happened(&id, Event { what: What::Deleted, object: Arc::clone(&stored), before });
        Ok(stored)
    }

    fn happened(&mut self, id: &str, event: Event) {
        self.revision = event.object.revision;
        let entry = (id.to_owned(), event.object.key());
        for owner in event.before.iter().flat_map(|before| &before.owners) {
            if let Some(owned) = self.dependents.get_mut(owner) {
                owned.remove(&entry);
                if owned.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        if event.what != What::Deleted {
            for owner in &event.object.owners {
                self.dependents.entry(owner.clone()).or_default().insert(entry.clone());
            }
        }
        let shelf = self.shelves.entry(id.to_owned()).or_default();
        shelf.history.push_back(event);
        if shelf.history.len() > self.bounds.history
            && let Some(dropped) = shelf.history.pop_front()
        {
            shelf.forgotten = dropped.object.revision;
        }
    }

    /// What the object with this identifier owns, as kind and key.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<(String, String)> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// What is there now and wanted, in order, after the key `after`.
    pub(crate) fn list(&self, kind: &str, wanted: &Wanted, after: &str) -> Vec<Arc<Stored>> {
        let Some(shelf) = self.shelves.get(kind) else { return Vec::new() };
        select(&shelf.objects, wanted, after)
    }

    /// What was there and wanted at `revision`, by undoing what happened since.
    pub(crate) fn list_at(
        &self,
        kind: &str,
        wanted: &Wanted,
        after: &str,
        revision: u64,
    ) -> Result<Vec<Arc<Stored>>, Forgotten> {
        let since = self.since(kind, revision)?;
        if since.is_empty() {
            return Ok(self.list(kind, wanted, after));
        }
        let mut objects = self.shelves.get(kind).map(|shelf| shelf.objects.clone()).unwrap_or_default();
        for event in since.iter().rev() {
            match &event.before {
                Some(before) => objects.insert(before.key(), Arc::clone(before)),
                None => objects.remove(&event.object.key()),
            };
        }
        Ok(select(&objects, wanted, after))
    }

    /// What happened to objects of a kind after `revision`, oldest first.
    pub(crate) fn since(&self, kind: &str, revision: u64) -> Result<Vec<Event>, Forgotten> {
        let Some(shelf) = self.shelves.get(kind) else { return Ok(Vec::new()) };
        if revision < shelf.forgotten {
            return Err(Forgotten(shelf.forgotten));
        }
        let first = shelf.history.partition_point(|event| event.object.revision <= revision);
        Ok(shelf.history.range(first..).cloned().collect())
    }
}

fn select(objects: &BTreeMap<String, Arc<Stored>>, wanted: &Wanted, after: &str) -> Vec<Arc<Stored>> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let prefix = if wanted.namespace.is_empty() { String::new() } else { format!("{}/", wanted.namespace) };
    let start = if after > prefix.as_str() { Excluded(after) } else { Included(prefix.as_str()) };
    let range = objects.range::<str, _>((start, Unbounded));
    let within = range.take_while(|(key, _)| key.starts_with(&prefix));
    within.filter(|(_, object)| wanted.takes(object)).map(|(_, object)| Arc::clone(object)).collect()
}

/// What a client is told of an event, as line of a watch: nothing where it does not concern what is wanted. An object that
/// no longer matches is deleted for who selects, and one that now does is added.
pub(crate) fn line(event: &Event, wanted: &Wanted) -> Option<(What, Arc<Stored>)> {
    let is = wanted.takes(&event.object) && event.what != What::Deleted;
    let was = event.before.as_ref().is_some_and(|before| wanted.takes(before));
    match (was, is) {
        (false, true) => Some((What::Added, Arc::clone(&event.object))),
        (true, true) => Some((What::Modified, Arc::clone(&event.object))),
        (true, false) => Some((What::Deleted, Arc::clone(&event.object))),
        (false, false) => None,
    }
}

/// A bookmark: everything up to `revision` was told.
pub(crate) fn bookmark(api_version: &str, kind: &str, revision: u64, initial: bool) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
    if initial {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    json!({"type": "BOOKMARK", "object": {"kind": kind, "apiVersion": api_version, "metadata": metadata}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::registry::Registry;

    struct Kept {
        store: Store,
        kind: Arc<Kind>,
    }

    impl Kept {
        fn new(objects: usize, history: usize) -> Kept {
            let registry = Registry::new(std::iter::empty());
            let kind = registry.find("", "v1", "pods").unwrap().kind;
            Kept { store: Store::new(Bounds { objects, history }), kind }
        }

        fn put(&mut self, name: &str, label: &str, expected: u64) -> Result<u64, Lost> {
            let metadata = json!({"namespace": "n", "name": name, "labels": {"l": label}, "uid": name,
                                  "ownerReferences": [{"uid": "owner"}]});
            let object = json!({"metadata": metadata, "spec": {"nodeName": label}});
            self.store.put(&self.kind, object, expected).map(|stored| stored.revision)
        }

        fn remove(&mut self, name: &str, expected: u64) -> Result<u64, Lost> {
            let last = self.store.get("pods", &key("n", name)).map(|stored| stored.value());
            self.store.remove(&self.kind, last.unwrap_or_default(), expected).map(|stored| stored.revision)
        }
    }

    fn check(found: &[Arc<Stored>], expected: &[&str]) {
        let names: Vec<&str> = found.iter().map(|object| object.name.as_str()).collect();
        assert_eq!(names, expected);
    }

    fn wanted(namespace: &str, labels: &str) -> Wanted {
        let labels = LabelSelector::read(labels).unwrap();
        Wanted { namespace: namespace.to_owned(), labels, ..Wanted::default() }
    }

    #[test]
    fn revisions_are_expected() {
        let mut kept = Kept::new(2, 10);
        assert_eq!(kept.put("a", "x", 0), Ok(2));
        assert_eq!(kept.put("a", "x", 0), Err(Lost::Changed));
        assert_eq!(kept.put("a", "y", 2), Ok(3));
        assert_eq!(kept.put("b", "x", 0), Ok(4));
        assert_eq!(kept.put("c", "x", 0), Err(Lost::Full));
        assert_eq!(kept.store.dependents("owner").len(), 2);
        assert_eq!(kept.remove("a", 2), Err(Lost::Changed));
        assert_eq!(kept.remove("a", 3), Ok(5));
        assert_eq!(kept.store.dependents("owner"), [("pods".to_owned(), "n/b".to_owned())]);
    }

    #[test]
    fn the_past_is_listed_until_it_is_forgotten() {
        let mut kept = Kept::new(9, 2);
        for name in ["a", "b", "c"] {
            kept.put(name, "x", 0).unwrap();
        }
        kept.remove("b", 3).unwrap();
        let all = wanted("n", "");
        check(&kept.store.list("pods", &all, ""), &["a", "c"]);
        check(&kept.store.list("pods", &all, "n/a"), &["c"]);
        check(&kept.store.list("pods", &wanted("m", ""), ""), &[]);
        check(&kept.store.list_at("pods", &all, "", 4).unwrap(), &["a", "b", "c"]);
        check(&kept.store.list_at("pods", &all, "", 3).unwrap(), &["a", "b"]);
        assert_eq!(kept.store.list_at("pods", &all, "", 2).unwrap_err(), Forgotten(3));
    }

    #[test]
    fn who_selects_sees_objects_come_and_go() {
        let mut kept = Kept::new(9, 9);
        kept.put("a", "x", 0).unwrap();
        kept.put("a", "y", 2).unwrap();
        kept.put("a", "y", 3).unwrap();
        kept.remove("a", 4).unwrap();
        let told = |labels: &str| -> Vec<Option<What>> {
            let wanted = wanted("", labels);
            let events = kept.store.since("pods", 0).unwrap();
            events.iter().map(|event| line(event, &wanted).map(|(what, _)| what)).collect()
        };
        use What::{Added, Deleted, Modified};
        assert_eq!(told(""), [Some(Added), Some(Modified), Some(Modified), Some(Deleted)]);
        assert_eq!(told("l=x"), [Some(Added), Some(Deleted), None, None]);
        assert_eq!(told("l=y"), [None, Some(Added), Some(Modified), Some(Deleted)]);
    }
}
