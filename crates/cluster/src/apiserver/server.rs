//! The one who has the store: reads it, and writes drafts into it when nobody was faster.
//!
//! The only lock of the house is here; it is never held while something is waited for. The rules are those of `draft`.

mod admit;

use super::admission::Admission;
use super::draft::delete::{self as deletion, Deletion, Options};
use super::draft::{self, Asked, Draft, Seed};
use super::refusal::{About, Refusal};
use super::registry::{Kind, Registry};
use super::store::{Bounds, Lost, Store, Stored, Wanted, key};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How often a write is tried again that says nothing of which version it is for.
const TRIES: usize = 16;
/// Where the addresses of services come from: 10.96.0.0/16.
const SERVICES: [u8; 2] = [10, 96];
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// How much the server grants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bounds: Bounds,
    /// Watches at once.
    pub(crate) watches: usize,
    /// Bytes of a request's body.
    pub(crate) body: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bounds: Bounds { objects: 200_000, history: 20_000 }, watches: 8192, body: 3 << 20 }
    }
}

/// The server's state.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) limits: Limits,
    state: Mutex<State>,
    /// By kind: the revision of its last change.
    signals: Mutex<HashMap<String, watch::Sender<u64>>>,
    /// The revision of the last change of all.
    changes: watch::Sender<u64>,
    admission: Admission,
    /// Addresses of services that are known without the cluster: `namespace/name`.
    resolve: HashMap<String, SocketAddr>,
}

#[derive(Debug)]
struct State {
    store: Store,
    registry: Arc<Registry>,
    services: u16,
}

/// What a write comes to.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// It is kept.
    Kept(Arc<Stored>),
    /// It would be this; or it is gone, and this was its last state.
    Only(Value),
}

/// What a client is told of a write.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) written: Written,
    pub(crate) created: bool,
    pub(crate) warnings: Vec<String>,
}

/// What only the world outside can give.
pub(crate) fn seed() -> Seed {
    let mut bytes = [0; 16];
    // It can only fail before the machine has any randomness at all, for which this call waits.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let variant = ["8", "9", "a", "b"][usize::from(bytes[8] & 3)];
    let uid =
        format!("{}-{}-4{}-{variant}{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..]);
    // The letters of Kubernetes: no vowels, so that no words come out.
    let alphabet = b"bcdfghjklmnpqrstvwxz2456789";
    let letters = bytes[..5].iter().map(|byte| char::from(alphabet[usize::from(*byte) % alphabet.len()]));
    Seed { now: Timestamp::now(), letters: letters.collect(), uid }
}

impl Server {
    /// A server with the namespaces that every cluster has.
    pub(crate) fn new(limits: Limits, resolve: HashMap<String, SocketAddr>) -> Server {
        let registry = Arc::new(Registry::new(std::iter::empty()));
        let state = State { store: Store::new(limits.bounds), registry, services: 0 };
        let server = Server {
            limits,
            state: Mutex::new(state),
            signals: Mutex::default(),
            changes: watch::channel(0).0,
            admission: Admission::default(),
            resolve,
        };
        for name in NAMESPACES {
            let made = server.make(("", "v1", "namespaces"), "", &json!({"metadata": {"name": name}}));
            debug_assert!(made.is_ok(), "{made:?}");
        }
        server
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.locked().registry)
    }

    /// Asks the store. Keep it short: everybody else waits.
    pub(crate) fn read<T>(&self, ask: impl FnOnce(&Store) -> T) -> T {
        ask(&self.locked().store)
    }

    pub(crate) fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Arc<Stored>, Refusal> {
        let found = self.read(|store| store.get(&kind.id(), &key(namespace, name)));
        found.ok_or_else(|| Refusal::not_found(kind.about(name)))
    }

    /// Tells when something of a kind has changed.
    pub(crate) fn signal(&self, kind: &str) -> watch::Receiver<u64> {
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        signals.entry(kind.to_owned()).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    fn tell(&self, kind: &str) {
        let revision = self.read(Store::revision);
        let signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signal) = signals.get(kind) {
            signal.send_replace(revision);
        }
        self.changes.send_replace(revision);
    }

    /// Tells when anything has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Makes an object without asking anybody.
    pub(crate) fn make(
        &self,
        path: (&str, &str, &str),
        namespace: &str,
        body: &Value,
    ) -> Result<Answer, Refusal> {
        let served = self.registry().find(path.0, path.1, path.2).ok_or_else(Refusal::nowhere)?;
        let asked = Asked {
            served,
            namespace: namespace.to_owned(),
            name: String::new(),
            subresource: String::new(),
            manager: "millrace".to_owned(),
            user: String::new(),
            seed: seed(),
            validation: draft::Validation::Ignore,
            force: false,
            dry_run: false,
        };
        let mut draft = draft::create(&asked, body.clone())?;
        draft::settle(&asked, &mut draft)?;
        self.commit(&asked, draft)
    }

    /// Creates an object.
    pub(crate) async fn create(&self, asked: &Asked, body: Value) -> Result<Answer, Refusal> {
        self.write(asked, |_| draft::create(asked, body.clone())).await
    }

    /// Puts a whole object in place of another.
    pub(crate) async fn update(&self, asked: &Asked, body: Value) -> Result<Answer, Refusal> {
        self.write(asked, |old| match old {
            Some(old) => draft::update(asked, old, body.clone()),
            None => Err(Refusal::not_found(asked.served.kind.about(&asked.name))),
        })
        .await
    }

    /// Changes an object in part; applying makes it where it is missing.
    pub(crate) async fn patch(
        &self,
        asked: &Asked,
        form: super::patch::Form,
        body: &Value,
    ) -> Result<Answer, Refusal> {
        self.write(asked, |old| draft::patch(asked, old, form, body)).await
    }

    /// Writes what `make` makes of what is there; again, when that has changed meanwhile and the writer did not care which
    /// version he saw.
    async fn write(
        &self,
        asked: &Asked,
        make: impl Fn(Option<&Arc<Stored>>) -> Result<Draft, Refusal>,
    ) -> Result<Answer, Refusal> {
        let kind = &asked.served.kind;
        let mut tries = 0;
        loop {
            let old = self.get(kind, &asked.namespace, &asked.name).ok();
            let mut draft = make(old.as_ref())?;
            if draft.old.is_none() {
                self.admits_new(asked)?;
            }
            let changes = self.admit(asked, &mut draft).await?;
            if let Some(old) = draft.old.as_ref().filter(|_| !changes) {
                let written = Written::Kept(Arc::clone(old));
                return Ok(Answer { written, created: false, warnings: draft.warnings });
            }
            tries += 1;
            match self.commit(asked, draft) {
                Err(refusal) if refusal.reason == "Conflict" && tries < TRIES => {}
                answer => return answer,
            }
        }
    }

    /// Whether something new may be in its namespace.
    fn admits_new(&self, asked: &Asked) -> Result<(), Refusal> {
        if !asked.served.kind.namespaced {
            return Ok(());
        }
        let about = About { group: "", resource: "namespaces", name: &asked.namespace };
        let namespace = self.read(|store| store.get("namespaces", &asked.namespace));
        let namespace = namespace.ok_or_else(|| Refusal::not_found(about))?;
        if namespace.field("status.phase") != "Terminating" {
            return Ok(());
        }
        let why = format!(
            "unable to create new content in namespace {} because it is being terminated",
            asked.namespace
        );
        Err(Refusal::forbidden(asked.served.kind.about(&asked.name), &why)
            .because("NamespaceTerminating", &format!("namespace {} is being terminated", asked.namespace)))
    }

    /// Writes a settled draft, if what it replaces is still there as it was.
    fn commit(&self, asked: &Asked, mut draft: Draft) -> Result<Answer, Refusal> {
        let kind = &asked.served.kind;
        let name = draft.new["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let created = draft.old.is_none();
        let expected = draft.old.as_ref().map_or(0, |old| old.revision);
        let written = {
            let mut state = self.locked();
            let there = state.store.get(&kind.id(), &key(&asked.namespace, &name));
            match (&there, created) {
                (Some(_), true) => return Err(Refusal::exists(kind.about(&name))),
                (there, _) if there.as_ref().map_or(0, |there| there.revision) != expected => {
                    return Err(Refusal::stale(kind.about(&name)));
                }
                _ => {}
            }
            state.complete(kind, &mut draft);
            if asked.dry_run {
                let mut new = draft.new;
                new["metadata"]["resourceVersion"] = draft.before["metadata"]["resourceVersion"].clone();
                if new["metadata"]["resourceVersion"].is_null() {
                    new["metadata"].as_object_mut().map(|metadata| metadata.shift_remove("resourceVersion"));
                }
                return Ok(Answer { written: Written::Only(new), created, warnings: draft.warnings });
            }
            if deletion::is_done(&draft.new) {
                state.remove(kind, draft.new, expected).map(|last| Written::Only(last.value()))
            } else {
                state.put(kind, draft.new, expected).map(Written::Kept)
            }
        };
        let written = written.map_err(|lost| refused(lost, kind.about(&name)))?;
        self.tell(&kind.id());
        Ok(Answer { written, created, warnings: draft.warnings })
    }

    /// Deletes an object, or marks it for those who hold it.
    pub(crate) async fn delete(&self, asked: &Asked, options: &Options) -> Result<Answer, Refusal> {
        let kind = &asked.served.kind;
        let warnings = self.admit_end(asked).await?;
        if kind.kind == "Namespace" && NAMESPACES[..3].contains(&asked.name.as_str()) {
            return Err(Refusal::forbidden(kind.about(&asked.name), "this namespace may not be deleted"));
        }
        let written = {
            let mut state = self.locked();
            let old = state.store.get(&kind.id(), &key(&asked.namespace, &asked.name));
            let old = old.ok_or_else(|| Refusal::not_found(kind.about(&asked.name)))?;
            let decided = deletion::delete(asked, &old, options)?;
            match decided {
                Deletion::Same(_) => Ok(Written::Kept(old)),
                Deletion::Gone(last) | Deletion::Marked(last) if options.dry_run => Ok(Written::Only(last)),
                Deletion::Gone(last) => {
                    state.remove(kind, last, old.revision).map(|last| Written::Only(last.value()))
                }
                Deletion::Marked(new) => state.put(kind, new, old.revision).map(Written::Kept),
            }
        };
        let written = written.map_err(|lost| refused(lost, kind.about(&asked.name)))?;
        self.tell(&kind.id());
        Ok(Answer { written, created: false, warnings })
    }

    /// All of a kind that is wanted.
    pub(crate) fn list(&self, kind: &str, wanted: &Wanted) -> Vec<Arc<Stored>> {
        self.read(|store| store.list(kind, wanted, ""))
    }
}

fn refused(lost: Lost, about: About<'_>) -> Refusal {
    match lost {
        Lost::Changed => Refusal::stale(about),
        Lost::Full => Refusal::too_many(
            "this server holds as many objects as it may; delete some, or raise --max-objects",
        ),
    }
}

impl State {
    fn put(&mut self, kind: &Kind, new: Value, expected: u64) -> Result<Arc<Stored>, Lost> {
        let kept = self.store.put(kind, new, expected)?;
        self.learn(kind);
        Ok(kept)
    }

    fn remove(&mut self, kind: &Kind, last: Value, expected: u64) -> Result<Arc<Stored>, Lost> {
        let gone = self.store.remove(kind, last, expected)?;
        if kind.kind == "CustomResourceDefinition" {
            // Nobody could reach them any more.
            if let Some(defined) = self.registry.by_id(&gone.name).cloned() {
                for object in self.store.list(&defined.id(), &Wanted::default(), "") {
                    let _ = self.store.remove(&defined, object.value(), object.revision);
                }
            }
        }
        self.learn(kind);
        Ok(gone)
    }

    /// Definitions make kinds.
    fn learn(&mut self, kind: &Kind) {
        if kind.kind == "CustomResourceDefinition" {
            let definitions = self.store.list(&kind.id(), &Wanted::default(), "");
            let definitions: Vec<Value> = definitions.iter().map(|definition| definition.value()).collect();
            self.registry = Arc::new(Registry::new(definitions.iter()));
        }
    }

    /// What only the server as a whole can fill in.
    fn complete(&mut self, kind: &Kind, draft: &mut Draft) {
        match kind.kind.as_str() {
            "CustomResourceDefinition" => establish(draft),
            "Service" => {
                let spec = &draft.new["spec"];
                if spec["clusterIP"].as_str().is_some_and(|ip| !ip.is_empty())
                    || spec["type"] == "ExternalName"
                {
                    return;
                }
                let was = &draft.before["spec"]["clusterIP"];
                let address = if was.is_string() { was.clone() } else { self.address().into() };
                draft.new["spec"]["clusterIPs"] = json!([address]);
                draft.new["spec"]["clusterIP"] = address;
            }
            _ => {}
        }
    }

    fn address(&mut self) -> String {
        // 65 534 services are more than there may be objects of a real machine's worth; then addresses begin again.
        self.services = self.services % 65_534 + 1;
        let [high, low] = self.services.to_be_bytes();
        format!("{}.{}.{high}.{low}", SERVICES[0], SERVICES[1])
    }
}

/// A definition is served as soon as it is there.
fn establish(draft: &mut Draft) {
    let new = &mut draft.new;
    let since = new["metadata"]["creationTimestamp"].clone();
    let condition = |name: &str, reason: &str, message: &str| json!({"type": name, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since});
    let conditions = json!([
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ]);
    let versions = new["spec"]["versions"].as_array().into_iter().flatten();
    let stored: Vec<Value> = versions
        .filter(|version| version["storage"] == true)
        .map(|version| version["name"].clone())
        .collect();
    new["status"] = json!({
        "acceptedNames": new["spec"]["names"], "conditions": conditions, "storedVersions": stored,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(server: &Server, path: (&str, &str, &str), body: &Value, expected: Result<&str, u16>) {
        let made = server.make(path, "default", body);
        let name = made.as_ref().map(|answer| match &answer.written {
            Written::Kept(kept) => kept.name.clone(),
            Written::Only(_) => String::new(),
        });
        assert_eq!(name.as_deref().map_err(|refusal| refusal.code), expected);
    }

    #[test]
    fn objects_are_made_once() {
        let server = Server::new(Limits::default(), HashMap::new());
        let map = json!({"metadata": {"name": "a"}});
        check(&server, ("", "v1", "configmaps"), &map, Ok("a"));
        check(&server, ("", "v1", "configmaps"), &map, Err(409));
        check(&server, ("", "v1", "nothings"), &map, Err(404));
        check(&server, ("", "v1", "configmaps"), &json!({"metadata": {"name": "A"}}), Err(422));
        assert_eq!(server.list("namespaces", &Wanted::default()).len(), NAMESPACES.len());
    }

    #[test]
    fn definitions_make_kinds() {
        let server = Server::new(Limits::default(), HashMap::new());
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object"}}});
        let version =
            json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
        let spec = json!({"group": "x.dev", "scope": "Namespaced", "versions": [version],
                          "names": {"plural": "things", "kind": "Thing"}});
        let definition = json!({"metadata": {"name": "things.x.dev"}, "spec": spec});
        check(&server, ("x.dev", "v1", "things"), &json!({}), Err(404));
        let path = ("apiextensions.k8s.io", "v1", "customresourcedefinitions");
        check(&server, path, &definition, Ok("things.x.dev"));
        check(&server, ("x.dev", "v1", "things"), &json!({"metadata": {"name": "a"}}), Ok("a"));
    }

    #[test]
    fn identifiers_are_those_of_version_4() {
        let uid = seed().uid;
        assert_eq!((uid.len(), &uid[14..15]), (36, "4"));
        assert_ne!(seed().uid, uid);
    }
}
