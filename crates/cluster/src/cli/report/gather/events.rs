//! Events about Millrace: of its namespace, of its objects, what it says of pods and nodes, and of the pods that are named.

use super::{Gatherer, meta};
use crate::cli::connect::{Error, MOST_NODES};
use crate::cli::happened::{Happened, by, last};
use crate::cli::table::Table;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use serde_json::Value;
use std::collections::BTreeSet;

/// The most events of a cluster that are looked through.
const MOST_EVENTS: usize = 10 * MOST_NODES;

impl Gatherer<'_> {
    /// A line for each, the last first.
    pub(super) async fn events(&mut self) {
        let kind = ApiResource::erase::<Event>(&());
        let client = self.connection.client.clone();
        let all: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
        let found = match self.about_us("list events", &all).await {
            Err(error @ Error::Forbidden { .. }) => {
                self.told.note(error.say(self.style.lang));
                let home = Api::namespaced_with(client, &self.told.home, &kind);
                let act = format!("list events in {}", self.told.home);
                self.about_us(&act, &home).await
            }
            found => found,
        };
        if let Some(mut found) = self.noted(found) {
            found.sort_by(|one, other| other.cmp(one));
            let head =
                ["LAST", "TYPE", "REASON", "ABOUT", "COUNT", "BY", "MESSAGE"].map(str::to_owned).to_vec();
            let mut text = Vec::new();
            Table { head, rows: found }.write(&mut text, "").expect("a vector takes it");
            self.bundle.text("events/events.txt", &String::from_utf8_lossy(&text));
        }
    }

    async fn about_us(&self, act: &str, api: &Api<DynamicObject>) -> Result<Vec<Vec<String>>, Error> {
        let since =
            self.told.made - k8s_openapi::jiff::SignedDuration::try_from(self.told.since).unwrap_or_default();
        let named: BTreeSet<&str> = self.pods.iter().map(|pod| meta(pod, "uid")).collect();
        let mut rows = Vec::new();
        let mut look = |event: &Value| {
            if is_wanted(event, &self.told.home, &named) && last(event).is_none_or(|last| last >= since) {
                rows.push(row(event));
            }
        };
        self.connection.each(act, api, ListParams::default(), MOST_EVENTS, &mut look).await?;
        Ok(rows)
    }
}

fn is_wanted(event: &Value, home: &str, named: &BTreeSet<&str>) -> bool {
    let about = &event["involvedObject"];
    let by_us = by(event).starts_with("millrace-");
    let kind = about["kind"].as_str().unwrap_or_default();
    let uid = about["uid"].as_str().unwrap_or_default();
    meta(event, "namespace") == home || by_us || kind.starts_with("MeshCNI") || named.contains(uid)
}

fn row(event: &Value) -> Vec<String> {
    let Happened { last, kind, reason, about, count, by, text } = Happened::of(event);
    let last = last.map(|last| last.to_string()).unwrap_or_default();
    vec![last, kind, reason, about, count.to_string(), by, text]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_about_us_are_told_from_others() {
        let check = |event: Value, expected: bool| {
            assert_eq!(is_wanted(&event, "home", &BTreeSet::from(["7"])), expected, "{event}");
        };
        check(json!({ "metadata": { "namespace": "home" } }), true);
        check(json!({ "metadata": { "namespace": "shop" }, "reportingComponent": "millrace-agent" }), true);
        check(
            json!({ "metadata": { "namespace": "shop" }, "source": { "component": "millrace-controller" } }),
            true,
        );
        check(
            json!({ "metadata": { "namespace": "default" }, "involvedObject": { "kind": "MeshCNINode" } }),
            true,
        );
        check(
            json!({ "metadata": { "namespace": "shop" }, "involvedObject": { "kind": "Pod", "uid": "7" } }),
            true,
        );
        check(json!({ "metadata": { "namespace": "shop" }, "source": { "component": "kubelet" } }), false);
    }

    #[test]
    fn an_event_is_a_line() {
        let event = json!({ "type": "Warning", "reason": "Redirect", "message": "a\nb", "count": 3,
            "lastTimestamp": "2026-01-01T00:00:00Z", "source": { "component": "kubelet" },
            "involvedObject": { "kind": "Pod", "namespace": "shop", "name": "web" } });
        assert_eq!(
            row(&event),
            ["2026-01-01T00:00:00Z", "Warning", "Redirect", "Pod shop/web", "3", "kubelet", "a b"]
        );
    }
}
