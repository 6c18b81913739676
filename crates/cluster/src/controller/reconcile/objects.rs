//! Our objects, as a decision wants them: applied, or taken away in the order in which nothing is left behind.
//!
//! It decides nothing: what an object is made of is decided in `children`, and when in `transition` and `rollout`.

use super::{FINALIZER, Leader};
use crate::api::kinds::kept;
use crate::api::mesh::MeshCNI;
use crate::api::node::MeshCNINode;
use crate::controller::apply::{Error, ask};
use crate::controller::children::{self, Endpoint, Home, Key, Release};
use crate::controller::decision::Decision;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// How many nodes are cleared at once.
const CLEARINGS: usize = 50;

impl Leader {
    /// Applies what each group gets, and deletes what no group wants.
    pub(super) async fn apply(
        &mut self,
        home: &Home,
        release: &Release,
        decision: &Decision,
    ) -> Result<(), Error> {
        let mut trees: BTreeMap<Key, Value> = BTreeMap::new();
        let mut used: BTreeSet<i64> = decision.status.last_good_revision.into_iter().collect();
        for (group, share) in &decision.shares {
            used.insert(share.revision);
            let known = self.revisions.as_ref().and_then(|revisions| revisions.get(share.revision));
            let release = known.unwrap_or(release);
            let all = children::objects(home, *group, release, share.revision, share.hold);
            trees.extend(all.into_iter().map(|tree| (children::key(&tree), tree)));
        }
        if let Some((bundle, url)) = self.orders.webhook.as_ref().filter(|_| decision.admits) {
            let endpoint = Endpoint { bundle: bundle.borrow().clone(), url: url.clone() };
            let tree = children::admission(home, &release.spec, &endpoint);
            trees.insert(children::key(&tree), tree);
        }
        let found = self.shared.world().children.clone();
        let mut failed = None;
        for tree in in_order(&trees) {
            // One that is refused keeps the others from nothing.
            failed = failed.or(self.hand.apply(tree, &found).await.err());
        }
        if let Some(error) = failed {
            return Err(error);
        }
        // What belongs to a group that is not touched now stays.
        let held: BTreeSet<String> = decision.held.iter().map(|group| children::name(*group)).collect();
        if held.is_empty() || !decision.shares.is_empty() {
            let wanted: BTreeSet<Key> = trees.into_keys().collect();
            let surplus =
                children::surplus(found.into_keys().filter(|key| !held.contains(&key.name)), &wanted);
            for key in surplus {
                self.hand.delete(&key).await?;
            }
        }
        match self.revisions.as_mut() {
            Some(revisions) => revisions.prune(&used).await,
            None => Ok(()),
        }
    }

    /// Takes agents off the nodes: first what runs them, then what they left behind.
    pub(super) async fn remove(
        &mut self,
        home: &Home,
        release: &Release,
        decision: &Decision,
    ) -> Result<(), Error> {
        self.delete(|key| key.kind == "DaemonSet").await?;
        let (clearings, failed) = {
            let world = self.shared.world();
            let sets = world.children.keys().any(|key| key.kind == "DaemonSet");
            if sets || world.observed.has_agents() {
                return Ok(());
            }
            let clearings = world.observed.clearings.clone();
            let failed = clearings.iter().filter(|(node, _)| world.observed.unclear(node).is_some());
            let failed = failed.map(|(node, clearing)| (node.clone(), clearing.uid.clone()));
            let failed: BTreeMap<String, String> = failed.collect();
            (clearings, failed)
        };
        let unclear = decision.unclear.iter().map(|(node, _)| node.as_str()).collect();
        let (due, next) = self.failures.decide(&failed, &unclear, Instant::now());
        if let Some(left) = next {
            self.look_in(left);
        }
        let running = clearings.iter().filter(|(node, job)| !job.done && !failed.contains_key(*node)).count();
        let mut places = CLEARINGS.saturating_sub(running);
        for (node, group) in &decision.unclear {
            if !clearings.contains_key(node) && places > 0 {
                places -= 1;
                self.hand.create(&children::clearing(home, *group, release, node)).await?;
            } else if due.contains(node) {
                let job = children::clearing(home, *group, release, node);
                self.hand.delete(&children::key(&job)).await?;
            }
        }
        Ok(())
    }

    /// Takes away what clears nodes. What is reported of these nodes is of a time before that.
    pub(super) async fn spare(&mut self) -> Result<(), Error> {
        let nodes: Vec<String> = {
            let world = self.shared.world();
            let cleared = world.observed.clearings.keys();
            cleared.filter(|node| world.observed.reports.contains_key(*node)).cloned().collect()
        };
        let reports: Api<MeshCNINode> = Api::all(self.client.clone());
        for node in nodes {
            let (what, params) = (|| format!("MeshCNINode {node}"), DeleteParams::default());
            match ask(&self.metrics, "delete", what, reports.delete(&node, &params)).await {
                Err(Error::Refused { cause: kube::Error::Api(status), .. }) if status.code == 404 => {}
                other => drop(other?),
            }
        }
        self.delete(|key| key.kind == "Job").await
    }

    /// Deletes those of our objects.
    pub(super) async fn delete(&mut self, meant: impl Fn(&Key) -> bool) -> Result<(), Error> {
        let keys: Vec<Key> = {
            let world = self.shared.world();
            let jobs = world.observed.clearings.values().map(|clearing| Key {
                kind: "Job".to_owned(),
                namespace: self.orders.namespace.clone(),
                name: clearing.name.clone(),
            });
            world.children.keys().cloned().chain(jobs).filter(&meant).collect()
        };
        for key in keys {
            self.hand.delete(&key).await?;
        }
        Ok(())
    }

    /// Lets go of a MeshCNI of which nothing is left.
    pub(super) async fn leave(&mut self, mesh: &MeshCNI) -> Result<(), Error> {
        if let Some(revisions) = self.revisions.as_mut() {
            revisions.clear().await?;
        }
        let rest: Vec<&str> =
            mesh.finalizers().iter().map(String::as_str).filter(|name| *name != FINALIZER).collect();
        self.finalizers(mesh, &rest).await
    }
}

/// What others need comes first.
fn in_order(trees: &BTreeMap<Key, Value>) -> Vec<&Value> {
    let place = |key: &Key| kept().position(|kind| kind.name == key.kind);
    let mut all: Vec<(&Key, &Value)> = trees.iter().collect();
    all.sort_by_key(|(key, _)| place(key));
    all.into_iter().map(|(_, tree)| tree).collect()
}
