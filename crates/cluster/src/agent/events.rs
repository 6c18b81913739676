//! Kubernetes events, as the agent writes them: one way for what befell a pod and for what befell the node's chain.
//!
//! It decides nothing about what is told; a text that is too long for an API server is cut, as events are for people.

mod chain;

pub(crate) use chain::tell_chain;

use crate::api::ours::AGENTS_EVENTS;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};

/// What an event is about, certainly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    kind: &'static str,
    /// Whose events these are; none of the cluster's own objects has one.
    namespace: Option<String>,
    name: String,
    uid: String,
}

/// Something that happened, for whoever reads the events of what it happened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// Whether somebody should look.
    pub(crate) warning: bool,
    /// The reason, one word.
    pub(crate) reason: &'static str,
    /// What was done, one word.
    pub(crate) action: &'static str,
    /// The whole of it.
    pub(crate) text: String,
}

/// How often it happened, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// At least once.
    pub(crate) count: u64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

impl About {
    /// About a pod.
    pub(crate) fn pod(namespace: &str, name: &str, uid: &str) -> About {
        About { kind: "Pod", namespace: Some(namespace.into()), name: name.into(), uid: uid.into() }
    }

    /// About a node. Its name stands for its UID, as in the kubelet's events: `kubectl describe node` looks for that one.
    pub(crate) fn node(name: &str) -> About {
        About { kind: "Node", namespace: None, name: name.into(), uid: name.into() }
    }
}

impl Times {
    /// Once, at that moment.
    pub(crate) fn once(at: Timestamp) -> Times {
        Times { count: 1, first: at, last: at }
    }
}

/// Writes one event as the agent of `node`. It has no deadline of its own and is not tried again.
pub(crate) async fn write(
    client: Client,
    about: &About,
    note: &Note,
    times: Times,
    node: &str,
) -> kube::Result<()> {
    let event = event(about, note, times, node);
    let namespace = event.metadata.namespace.as_deref().unwrap_or(CLUSTERS);
    let events: Api<Event> = Api::namespaced(client, namespace);
    events.create(&PostParams::default(), &event).await.map(drop)
}

/// The longest text of an event that an API server takes (core/v1 validation, `NoteLengthLimit`).
const LONGEST_TEXT: usize = 1024;
/// Where events about what has no namespace are (core/v1 validation).
const CLUSTERS: &str = "default";

fn event(about: &About, note: &Note, times: Times, node: &str) -> Event {
    let Times { count, first, last } = times;
    let end = note.text.floor_char_boundary(LONGEST_TEXT);
    let namespace = about.namespace.clone().unwrap_or_else(|| CLUSTERS.to_owned());
    Event {
        metadata: ObjectMeta {
            // As everybody's events: what they are about, and when, so that no two have one name.
            name: Some(format!("{}.{:x}", about.name, Timestamp::now().as_nanosecond())),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(about.kind.to_owned()),
            name: Some(about.name.clone()),
            namespace: about.namespace.clone(),
            uid: Some(about.uid.clone()),
            ..ObjectReference::default()
        },
        action: Some(note.action.to_owned()),
        reason: Some(note.reason.to_owned()),
        message: Some(note.text[..end].to_owned()),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        count: Some(i32::try_from(count).unwrap_or(i32::MAX)),
        // No eventTime, as in the kubelet's: with one, Kubernetes 1.20 wants events about nodes in another namespace.
        first_timestamp: Some(Time(first)),
        last_timestamp: Some(Time(last)),
        reporting_component: Some(AGENTS_EVENTS.to_owned()),
        reporting_instance: Some(node.to_owned()),
        source: Some(EventSource { component: Some(AGENTS_EVENTS.to_owned()), host: Some(node.to_owned()) }),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: usize) {
        let note = Note { warning: false, reason: "R", action: "A", text: text.to_owned() };
        let event = event(&About::node("n1"), &note, Times::once(Timestamp::UNIX_EPOCH), "n1");
        assert_eq!(event.message.expect("it has a text").len(), expected, "{} bytes", text.len());
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        check("", 0);
        check("short", 5);
        check(&"x".repeat(LONGEST_TEXT), LONGEST_TEXT);
        check(&"x".repeat(LONGEST_TEXT + 1), LONGEST_TEXT);
        check(&format!("x{}", "ä".repeat(LONGEST_TEXT)), LONGEST_TEXT - 1);
    }
}
