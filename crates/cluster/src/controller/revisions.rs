//! The revisions of what was wanted, kept as ControllerRevisions: what a pause holds on to, and what a rollback goes back to.
//!
//! A revision never changes. Few are kept.

use super::apply::{Asker, Error, ask};
use super::children::{Home, MANAGED_BY, MANAGER, Release};
use super::metrics::Metrics;
use crate::api::ours::GENERATION;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};

/// How many are kept beside those that are in use.
const KEPT: usize = 10;

/// The revisions that are known, by number.
pub(crate) struct Revisions {
    api: Api<ControllerRevision>,
    metrics: Metrics,
    known: BTreeMap<i64, Release>,
}

impl Revisions {
    /// Reads those that are there. One that cannot be read is left alone and not used.
    pub(crate) async fn read(client: Client, home: &str, metrics: Metrics) -> Result<Revisions, Error> {
        let api: Api<ControllerRevision> = Api::namespaced(client, home);
        let known = known(&api, &metrics).await?;
        Ok(Revisions { known, api, metrics })
    }

    /// The release of a revision.
    pub(crate) fn get(&self, revision: i64) -> Option<&Release> {
        self.known.get(&revision)
    }

    /// All of them, the latest first.
    pub(crate) fn latest(&self) -> impl Iterator<Item = &Release> {
        self.known.values().rev()
    }

    /// The revision before the last, by what it wanted.
    pub(crate) fn before(&self, revision: i64) -> Option<&Release> {
        self.known.range(..revision).next_back().map(|(_, release)| release)
    }

    /// The revision of `release`: the last if that is the same, else a new one, which is written, of this generation. What was
    /// wanted before and is wanted again is a new revision, so that numbers tell the order.
    pub(crate) async fn of(&mut self, home: &Home, release: &Release, generation: i64) -> Result<i64, Error> {
        let last = self.known.iter().next_back();
        if let Some((revision, _)) = last.filter(|(_, known)| *known == release) {
            return Ok(*revision);
        }
        let revision = last.map_or(1, |(revision, _)| revision + 1);
        let object = written(home, revision, release, generation);
        let what = || format!("ControllerRevision {}", object.name_any());
        ask(&self.metrics, "create", what, self.api.create(&PostParams::default(), &object)).await?;
        self.known.insert(revision, release.clone());
        Ok(revision)
    }

    /// Deletes old ones that are not in `used`.
    pub(crate) async fn prune(&mut self, used: &BTreeSet<i64>) -> Result<(), Error> {
        let surplus = self.known.len().saturating_sub(KEPT);
        let old: Vec<i64> =
            self.known.keys().filter(|revision| !used.contains(revision)).take(surplus).copied().collect();
        self.delete(&old).await
    }

    /// Deletes all.
    pub(crate) async fn clear(&mut self) -> Result<(), Error> {
        let all: Vec<i64> = self.known.keys().copied().collect();
        self.delete(&all).await
    }

    async fn delete(&mut self, revisions: &[i64]) -> Result<(), Error> {
        for revision in revisions {
            let name = name(*revision);
            let params = DeleteParams::default();
            let request = self.api.delete(&name, &params);
            match ask(&self.metrics, "delete", || format!("ControllerRevision {name}"), request).await {
                Err(Error::Refused { cause: kube::Error::Api(status), .. }) if status.code == 404 => {}
                other => drop(other?),
            }
            self.known.remove(revision);
        }
        Ok(())
    }
}

/// The releases that are there, by revision.
pub(crate) async fn known(
    api: &Api<ControllerRevision>,
    asker: &impl Asker,
) -> Result<BTreeMap<i64, Release>, Error> {
    let ours = ListParams::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let all = ask(asker, "list", || "the ControllerRevisions".to_owned(), api.list(&ours)).await?;
    let known = all.items.into_iter().filter_map(|object| {
        let release = serde_json::from_value(object.data?.0).ok()?;
        Some((object.revision, release))
    });
    Ok(known.collect())
}

fn name(revision: i64) -> String {
    format!("millrace-{revision}")
}

fn written(home: &Home, revision: i64, release: &Release, generation: i64) -> ControllerRevision {
    let owner = OwnerReference {
        api_version: "millrace.dev/v1alpha1".to_owned(),
        kind: "MeshCNI".to_owned(),
        name: "default".to_owned(),
        uid: home.owner.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let metadata = ObjectMeta {
        name: Some(name(revision)),
        namespace: Some(home.namespace.clone()),
        labels: Some([(MANAGED_BY.to_owned(), MANAGER.to_owned())].into()),
        annotations: Some([(GENERATION.to_owned(), generation.to_string())].into()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    let data = serde_json::to_value(release).expect("a release has a tree");
    ControllerRevision { metadata, data: Some(RawExtension(data)), revision }
}
