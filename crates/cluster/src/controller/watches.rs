//! The watches that keep the world: one for each kind, each resumed where it was.
//!
//! They read, and never write. Nothing is listed because of an event: only where a watch can not be resumed, and when a drain
//! wants to be sure.

use super::children::{MANAGED_BY, MANAGER};
use super::workloads::Pod;
use super::world::{Job, Shared, World};
use crate::api::kinds::{kept, resource};
use crate::storm::Storm;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::api::{Api, ApiResource};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What is listed before anything is decided, beside our own kinds.
pub(crate) const NEEDED: [&str; 5] = ["mesh", "nodes", "reports", "jobs", "pods"];
/// Objects for each page of a list: a page of pods is some megabytes for a moment.
const PAGE: u32 = 250;
/// One failure after another is one line in so long, and a number.
const SILENCE: Duration = Duration::from_secs(60);
/// The most changes that are told as one.
const TOGETHER: usize = 1000;

/// Starts all watches but the MeshCNI's; they go on until the set is dropped.
pub(crate) fn start(tasks: &mut JoinSet<()>, client: &Client, home: &str, shared: &Shared) {
    let ours = || Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let go = |shared: &Shared| shared.clone();
    tasks.spawn(follow("nodes", Api::all(client.clone()), Config::default(), go(shared), World::node));
    tasks.spawn(follow("reports", Api::all(client.clone()), Config::default(), go(shared), World::report));
    let jobs: Api<Job> = Api::namespaced_with(client.clone(), home, &resource("Job"));
    tasks.spawn(follow("jobs", jobs, ours(), go(shared), World::job));
    tasks.spawn(pods(client.clone(), home.to_owned(), go(shared)));
    for kind in kept() {
        // Ours are at home, and elsewhere we have no business to look.
        let api: Api<PartialObjectMeta<DynamicObject>> = match kind.is_of_cluster {
            true => Api::all_with(client.clone(), &kind.resource()),
            false => Api::namespaced_with(client.clone(), home, &kind.resource()),
        };
        let feed = move |world: &mut World, event| world.child(kind.name, event);
        tasks.spawn(follow(kind.name, api, ours(), go(shared), feed));
    }
}

/// Watches the MeshCNI, which every replica does.
pub(crate) async fn mesh(client: Client, shared: Shared) {
    follow("mesh", Api::all(client), Config::default(), shared, World::mesh).await;
}

/// A word whenever the object of that name has become another; those that came meanwhile are one. While it cannot be watched
/// there is none: whoever listens looks now and then all the same.
pub(crate) fn changes<K>(api: Api<K>, name: &str) -> impl Stream<Item = ()> + Unpin + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let told = watcher::watch_object(api, name).default_backoff();
    let told = told.filter_map(|change| std::future::ready(change.ok().map(drop)));
    Box::pin(told.ready_chunks(TOGETHER).map(drop))
}

/// Pods, listed anew when that is asked for.
async fn pods(client: Client, home: String, shared: Shared) {
    let api: Api<Pod> = Api::all_with(client, &ApiResource::erase::<ApiPod>(&()));
    loop {
        let home = home.clone();
        let feed = move |world: &mut World, event| world.pod(&home, event);
        tokio::select! {
            () = follow("pods", api.clone(), Config::default(), shared.clone(), feed) => {}
            () = shared.relisted() => {}
        }
    }
}

/// Follows one kind for ever; a failure is tried again, later and later.
async fn follow<K>(
    name: &'static str,
    api: Api<K>,
    config: Config,
    shared: Shared,
    feed: impl Fn(&mut World, Event<K>) -> bool,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watcher::watcher(api, config.page_size(PAGE)).default_backoff());
    let mut failures = Storm::new(SILENCE, 1);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if feed(&mut shared.world(), event) {
                    shared.ring();
                }
            }
            Err(error) => {
                if let Some(withheld) = failures.happens(Instant::now()) {
                    tracing::warn!(withheld, "watch {name}: {error}; tried again");
                }
            }
        }
    }
}
