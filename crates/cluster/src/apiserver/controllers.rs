//! The controllers that one machine needs: workloads become pods, pods find nodes, services find pods, and what lost its owner or its
//! namespace goes.
//!
//! It follows all events, gathers what they concern, and does what the pure parts say; what others did meanwhile is an event again.
//! Nodes and kubelets are played by others.

mod place;
mod services;
mod workloads;

use super::draft::delete::{Options, Propagation};
use super::draft::{Asked, Validation};
use super::patch::Form;
use super::refusal::Refusal;
use super::registry::Served;
use super::server::{Server, seed};
use super::store::{Event, FOREGROUND, ORPHAN, Stored, Wanted, What, key};
use place::name;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use workloads::{Act, DAEMONS, DEPLOYMENTS, JOBS, PODS, SETS};

/// What events concern, by kind and key.
#[derive(Debug, Default)]
struct Concerned {
    workloads: BTreeSet<(String, String)>,
    /// Pods without a node.
    homeless: BTreeSet<String>,
    /// Namespaces whose services and budgets have other pods.
    served: BTreeSet<String>,
    /// Identifiers of owners that are gone.
    ownerless: BTreeSet<String>,
    /// Objects that wait for what they own.
    waiting: BTreeSet<(String, String)>,
    /// Namespaces that are being emptied.
    leaving: BTreeSet<String>,
}

/// The controllers.
#[derive(Debug)]
struct Controllers {
    server: Arc<Server>,
    seen: BTreeMap<String, u64>,
    /// Pods that found no node so far.
    homeless: BTreeSet<String>,
}

/// Runs until `stop`.
pub(crate) async fn run(server: Arc<Server>, stop: CancellationToken) {
    let mut signal = server.changes();
    let mut controllers = Controllers { server, seen: BTreeMap::new(), homeless: BTreeSet::new() };
    while !stop.is_cancelled() {
        signal.borrow_and_update();
        let concerned = controllers.look();
        controllers.act(concerned).await;
        // What was just written is told by the signal as well.
        let _ = stop.run_until_cancelled(signal.changed()).await;
    }
}

impl Controllers {
    /// What happened since the last look.
    fn look(&mut self) -> Concerned {
        let mut concerned = Concerned::default();
        for kind in self.server.registry().kinds() {
            let id = kind.id();
            let since = self.seen.get(&id).copied().unwrap_or(0);
            let (events, revision, all) = self.server.read(|store| {
                let events = store.since(&id, since);
                let all = if events.is_err() { store.list(&id, &Wanted::default(), "") } else { Vec::new() };
                (events.unwrap_or_default(), store.revision(), all)
            });
            for event in &events {
                self.note(&id, event, &mut concerned);
            }
            // More happened than is remembered: then everything is looked at again.
            for object in all {
                let event = Event { what: What::Modified, object, before: None };
                self.note(&id, &event, &mut concerned);
            }
            self.seen.insert(id, revision);
        }
        concerned
    }

    fn note(&mut self, id: &str, event: &Event, concerned: &mut Concerned) {
        let object = &event.object;
        let gone = event.what == What::Deleted;
        if gone && !self.server.read(|store| store.dependents(&object.uid)).is_empty() {
            concerned.ownerless.insert(object.uid.clone());
        }
        if object.leaving && !gone {
            concerned.waiting.insert((id.to_owned(), object.key()));
        }
        let owners = if object.owners.is_empty() { Vec::new() } else { self.owners(object) };
        concerned.workloads.extend(owners.iter().filter(|(owner, _)| is_workload(owner)).cloned());
        concerned.waiting.extend(owners);
        match id {
            PODS => {
                if object.field("spec.nodeName").is_empty() && !gone {
                    concerned.homeless.insert(object.key());
                }
                concerned.served.insert(object.namespace.clone());
            }
            "nodes" => {
                let all = self.server.list(DAEMONS, &Wanted::default());
                concerned.workloads.extend(all.iter().map(|set| (DAEMONS.to_owned(), set.key())));
                concerned.homeless.extend(std::mem::take(&mut self.homeless));
            }
            "services" | "poddisruptionbudgets.policy" => {
                concerned.served.insert(object.namespace.clone());
            }
            "namespaces" if object.field("status.phase") == "Terminating" && !gone => {
                concerned.leaving.insert(object.name.clone());
            }
            id if is_workload(id) && !gone => {
                concerned.workloads.insert((id.to_owned(), object.key()));
            }
            _ => {}
        }
        if gone && self.is_leaving(&object.namespace) {
            concerned.leaving.insert(object.namespace.clone());
        }
    }

    fn is_leaving(&self, namespace: &str) -> bool {
        let found = self.server.read(|store| store.get("namespaces", namespace));
        found.is_some_and(|namespace| namespace.field("status.phase") == "Terminating")
    }

    /// The owners of an object, by kind and key.
    fn owners(&self, object: &Stored) -> Vec<(String, String)> {
        let registry = self.server.registry();
        let value = object.value();
        let owners = value["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let found = owners.filter_map(|owner| {
            let kind = registry.by_kind(&text(&owner["apiVersion"]), &text(&owner["kind"]))?;
            let namespace = if kind.namespaced { object.namespace.as_str() } else { "" };
            Some((kind.id(), key(namespace, &text(&owner["name"]))))
        });
        found.collect()
    }

    async fn act(&mut self, concerned: Concerned) {
        for uid in concerned.ownerless {
            self.disown(&uid).await;
        }
        for (id, key) in concerned.waiting {
            self.finish(&id, &key).await;
        }
        for (id, key) in concerned.workloads {
            self.reconcile(&id, &key).await;
        }
        self.place(concerned.homeless).await;
        for namespace in concerned.served {
            self.serve(&namespace).await;
        }
        for namespace in concerned.leaving {
            self.empty(&namespace).await;
        }
    }

    fn get(&self, id: &str, key: &str) -> Option<Arc<Stored>> {
        self.server.read(|store| store.get(id, key))
    }

    fn asked(&self, id: &str, namespace: &str, name: &str, part: &str) -> Option<Asked> {
        let kind = Arc::clone(self.server.registry().by_id(id)?);
        let (group, version) = (kind.group.clone(), kind.version.clone());
        Some(Asked {
            served: Served { kind, group, version },
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: part.to_owned(),
            manager: "millrace-controllers".to_owned(),
            user: "system:kube-controller-manager".to_owned(),
            seed: seed(),
            validation: Validation::Ignore,
            force: false,
            dry_run: false,
        })
    }

    async fn change(&self, id: &str, namespace: &str, name: &str, part: &str, change: &Value) {
        if let Some(asked) = self.asked(id, namespace, name, part) {
            told(&asked, self.server.patch(&asked, Form::Merge, change).await.map(drop));
        }
    }

    async fn delete(&self, id: &str, object: &Stored, propagation: Propagation) {
        if let Some(asked) = self.asked(id, &object.namespace, &object.name, "") {
            let options = Options {
                propagation: Some(propagation),
                uid: Some(object.uid.clone()),
                ..Options::default()
            };
            told(&asked, self.server.delete(&asked, &options).await.map(drop));
        }
    }

    async fn reconcile(&self, id: &str, key: &str) {
        let Some(stored) = self.get(id, key) else { return };
        let object = stored.value();
        let owned = |wanted: &str| -> Vec<Value> {
            let dependents = self.server.read(|store| store.dependents(&stored.uid));
            let dependents = dependents.into_iter().filter(|(id, _)| id == wanted);
            dependents.filter_map(|(id, key)| self.get(&id, &key)).map(|object| object.value()).collect()
        };
        let now = super::draft::written(seed().now);
        let acts = match id {
            SETS => workloads::replica_set(&object, &owned(PODS)),
            DEPLOYMENTS => workloads::deployment(&object, &owned(SETS), &now),
            DAEMONS => workloads::daemon_set(&object, &self.nodes(), &owned(PODS)),
            _ => workloads::job(&object, &owned(PODS), &now),
        };
        for act in acts {
            self.carry_out(&stored.namespace, act).await;
        }
    }

    async fn carry_out(&self, namespace: &str, act: Act) {
        match act {
            Act::Create(id, object) => {
                if let Some(asked) = self.asked(id, namespace, "", "") {
                    told(&asked, self.server.create(&asked, object).await.map(drop));
                }
            }
            Act::Delete(id, name) => {
                if let Some(object) = self.get(id, &key(namespace, &name)) {
                    self.delete(id, &object, Propagation::Background).await;
                }
            }
            Act::Change(id, name, part, change) => self.change(id, namespace, &name, part, &change).await,
        }
    }

    fn nodes(&self) -> Vec<Value> {
        self.server.list("nodes", &Wanted::default()).iter().map(|node| node.value()).collect()
    }

    /// Gives pods a node each.
    async fn place(&mut self, homeless: BTreeSet<String>) {
        let homeless: Vec<Arc<Stored>> = homeless.iter().filter_map(|key| self.get(PODS, key)).collect();
        if homeless.is_empty() {
            return;
        }
        let nodes = self.nodes();
        let mut load: BTreeMap<String, usize> = BTreeMap::new();
        for pod in self.server.list(PODS, &Wanted::default()) {
            *load.entry(pod.field("spec.nodeName").to_owned()).or_default() += 1;
        }
        for stored in homeless {
            let pod = stored.value();
            let free = stored.field("spec.nodeName").is_empty() && workloads::is_active(&pod);
            if !free || pod["spec"]["schedulerName"] != "default-scheduler" {
                continue;
            }
            let node = place::choose(&pod["spec"], &nodes, |node| load.get(node).copied().unwrap_or(0));
            let (status, reason) =
                if node.is_some() { ("True", "Scheduled") } else { ("False", "Unschedulable") };
            if let Some(node) = node {
                *load.entry(node.to_owned()).or_default() += 1;
                let change = json!({"spec": {"nodeName": node}});
                self.change(PODS, &stored.namespace, &stored.name, "", &change).await;
            } else {
                self.homeless.insert(stored.key());
            }
            let found = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let (mine, mut others): (Vec<Value>, Vec<Value>) =
                found.into_iter().partition(|one| one["type"] == "PodScheduled");
            if mine.first().is_none_or(|one| one["status"] != status) {
                others.push(json!({"type": "PodScheduled", "status": status, "reason": reason,
                                   "lastTransitionTime": super::draft::written(seed().now)}));
                let change = json!({"status": {"conditions": others}});
                self.change(PODS, &stored.namespace, &stored.name, "status", &change).await;
            }
        }
    }

    /// Brings endpoints and budgets of a namespace up to date.
    async fn serve(&self, namespace: &str) {
        let wanted = Wanted { namespace: namespace.to_owned(), ..Wanted::default() };
        let budgets = "poddisruptionbudgets.policy";
        let list = |id: &str| -> Vec<Value> {
            self.server.list(id, &wanted).iter().map(|object| object.value()).collect()
        };
        let (services, budgets_there) = (list("services"), list(budgets));
        if services.is_empty() && budgets_there.is_empty() {
            return;
        }
        let pods = list(PODS);
        for service in services {
            let Some(subsets) = services::subsets(&service, &pods) else { continue };
            match self.get("endpoints", &key(namespace, name(&service))) {
                Some(found) if same(&found.value()["subsets"], &subsets) => {}
                Some(_) => {
                    self.change("endpoints", namespace, name(&service), "", &json!({"subsets": subsets}))
                        .await
                }
                None => {
                    let owner = json!({"apiVersion": "v1", "kind": "Service", "name": name(&service),
                                       "uid": service["metadata"]["uid"]});
                    let metadata = json!({"name": name(&service), "labels": service["metadata"]["labels"],
                                          "ownerReferences": [owner]});
                    let made = json!({"metadata": metadata, "subsets": subsets});
                    self.carry_out(namespace, Act::Create("endpoints", made)).await;
                }
            }
        }
        for budget in budgets_there {
            let status = services::budget(&budget, &pods);
            let fields = status.as_object().into_iter().flatten();
            if fields.into_iter().any(|(field, value)| budget["status"][field] != *value) {
                self.change(budgets, namespace, name(&budget), "status", &json!({"status": status})).await;
            }
        }
    }

    /// Deletes what is left in a namespace, and then lets it go.
    async fn empty(&self, namespace: &str) {
        let wanted = Wanted { namespace: namespace.to_owned(), ..Wanted::default() };
        let mut left = 0;
        for kind in self.server.registry().kinds().iter().filter(|kind| kind.namespaced) {
            for object in self.server.list(&kind.id(), &wanted) {
                self.delete(&kind.id(), &object, Propagation::Background).await;
            }
            left += self.server.list(&kind.id(), &wanted).len();
        }
        if left == 0 {
            self.change("namespaces", "", namespace, "", &json!({"spec": {"finalizers": null}})).await;
        }
    }

    /// Deletes what the owner that is gone owned alone.
    async fn disown(&self, uid: &str) {
        for (id, key) in self.server.read(|store| store.dependents(uid)) {
            let Some(object) = self.get(&id, &key) else { continue };
            let others = self.owners(&object).into_iter().filter_map(|(id, key)| self.get(&id, &key));
            if others.into_iter().any(|owner| object.owners.contains(&owner.uid) && owner.uid != uid) {
                self.release(&id, &object, uid).await;
            } else {
                self.delete(&id, &object, Propagation::Background).await;
            }
        }
    }

    /// Takes one owner from an object.
    async fn release(&self, id: &str, object: &Stored, uid: &str) {
        let mut owners = object.value()["metadata"]["ownerReferences"].take();
        if let Some(owners) = owners.as_array_mut() {
            owners.retain(|owner| owner["uid"] != uid);
        }
        let change = json!({"metadata": {"ownerReferences": owners}});
        self.change(id, &object.namespace, &object.name, "", &change).await;
    }

    /// Lets an object go that waited for what it owns, once that is gone, or is nobody's.
    async fn finish(&self, id: &str, key: &str) {
        let Some(object) = self.get(id, key).filter(|object| object.leaving) else { return };
        let value = object.value();
        let finalizers = value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let orphans = finalizers.iter().any(|one| one == ORPHAN);
        let dependents = self.server.read(|store| store.dependents(&object.uid));
        for (id, key) in &dependents {
            let Some(dependent) = self.get(id, key) else { continue };
            if orphans {
                self.release(id, &dependent, &object.uid).await;
            } else {
                self.delete(id, &dependent, Propagation::Foreground).await;
            }
        }
        if !self.server.read(|store| store.dependents(&object.uid)).is_empty() {
            return;
        }
        let kept: Vec<Value> =
            finalizers.into_iter().filter(|one| one != ORPHAN && one != FOREGROUND).collect();
        let change = json!({"metadata": {"finalizers": kept}});
        self.change(id, &object.namespace, &object.name, "", &change).await;
    }
}

fn is_workload(id: &str) -> bool {
    [SETS, DEPLOYMENTS, DAEMONS, JOBS].contains(&id)
}

/// Whether endpoints are as wanted; none at all may be left out.
fn same(found: &Value, wanted: &Value) -> bool {
    found == wanted || found.is_null() && wanted.as_array().is_some_and(Vec::is_empty)
}

/// Somebody else may have been faster: then an event tells it, and everything is looked at again.
fn told(asked: &Asked, done: Result<(), Refusal>) {
    if let Err(refusal) = done
        && refusal.code != 404
        && refusal.code != 409
    {
        let (kind, namespace, name) = (&asked.served.kind.kind, &asked.namespace, &asked.name);
        tracing::warn!(kind, namespace, name, cause = refusal.message, "a controller cannot write");
    }
}
