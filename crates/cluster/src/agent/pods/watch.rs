//! The two watches: this node's pods, and the labels of namespaces.
//!
//! Turns what is heard into what is known. Of pods elsewhere it hears nothing.

use super::facts::{Seen, Space};
use super::follow::{Heard, What, follow};
use super::{MOST_PODS, Pods, key};
use std::time::{Instant, SystemTime};

/// Namespaces are listed in pages: a cluster may have thousands, and a page is memory.
const PAGE: u32 = 250;

impl Pods {
    /// Watches until dropped. `node` is this node's name, as pods have it in `spec.nodeName`.
    pub(crate) async fn run(&self, node: &str) {
        tokio::join!(self.watch_pods(node), self.watch_namespaces(node));
    }

    async fn watch_pods(&self, node: &str) {
        let what = What {
            name: "pods",
            fields: Some(format!("spec.nodeName={node}")),
            cached: true,
            page: PAGE,
            salt: format!("{node} pods"),
        };
        let hear = |heard: Heard<Seen>| match heard {
            Heard::Listed(all) => {
                tracing::info!(count = all.len(), most = MOST_PODS, "listed this node's pods");
                self.relist(all.into_iter().map(|seen| seen.known).collect());
            }
            Heard::Open => self.heard(),
            Heard::Applied(seen) => {
                let new =
                    !self.store().pods.contains_key(&key(&seen.known.pod.namespace, &seen.known.pod.name));
                if let Some(age) = seen.age(SystemTime::now()).filter(|_| new) {
                    self.0.metrics.watch_event(age);
                }
                self.apply(seen.known);
            }
            Heard::Gone(seen) => self.forget(&seen.known.pod.namespace, &seen.known.pod.name),
            Heard::Broken(why) => self.troubled(why, Instant::now()),
        };
        follow(&self.0.link, &what, self.0.doubt.subscribe(), |_| true, hear).await;
    }

    async fn watch_namespaces(&self, node: &str) {
        let what = What {
            name: "namespaces",
            fields: None,
            cached: false,
            page: PAGE,
            salt: format!("{node} namespaces"),
        };
        let hear = |heard: Heard<Space>| match heard {
            Heard::Listed(all) => self.enlist(all.iter().map(|space| space.name().to_owned()).collect()),
            Heard::Applied(space) => self.enlist_one(space.name(), space.is_enrolled),
            Heard::Gone(space) => self.enlist_one(space.name(), false),
            // Only the hint is older for it; it was logged.
            Heard::Open | Heard::Broken(_) => {}
        };
        follow(&self.0.link, &what, self.0.doubt.subscribe(), |space| space.is_enrolled, hear).await;
    }
}
