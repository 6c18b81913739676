//! How a change gets on, read from the API server: what nodes report, what happened to them, and whether a controller acts.
//!
//! Every request has a deadline and every list a bound; few bytes are kept of each object. What may not be read is said, and the
//! rest is read all the same. It writes nothing.

use super::facts::{Listed, NodeRow, Progress};
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::mesh::MeshCNI;
use crate::api::node::{MeshCNINode, MeshCNINodeStatus};
use crate::api::ours::AGENTS_EVENTS;
use crate::cli::connect::{Connection, Error, MOST_NODES};
use crate::cli::happened::Happened;
use crate::cli::leader;
use k8s_openapi::api::core::v1::Event;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, Resource};
use serde::Deserialize;
use serde_json::Value;

/// The most events that are looked through, and how many of them are kept.
const MOST_EVENTS: usize = 20_000;
const KEPT: usize = 20;
/// The longest text of an event that is kept.
const LONGEST: usize = 256;

/// Looks at all of it.
pub(crate) async fn look(connection: &Connection, home: &str) -> Progress {
    Progress {
        nodes: listed(nodes(connection).await),
        events: listed(events(connection).await),
        // Whoever may not read the Lease is told by what the status says, or does not say.
        lease: leader::read(connection, home).await.ok().flatten(),
    }
}

fn listed<T>(read: Result<Vec<T>, Error>) -> Listed<T> {
    match read {
        Ok(rows) => Listed { rows: rows.into(), unread: None },
        Err(error) => Listed { rows: Vec::new().into(), unread: Some(error) },
    }
}

async fn nodes(connection: &Connection) -> Result<Vec<NodeRow>, Error> {
    let api = connection.all::<MeshCNINode>();
    let mut rows = Vec::new();
    let mut keep = |node: &Value| rows.push(row(node));
    connection.each("list MeshCNINodes", &api, ListParams::default(), MOST_NODES, &mut keep).await?;
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(rows)
}

fn row(node: &Value) -> NodeRow {
    // What another release reports is as good as nothing.
    let status = MeshCNINodeStatus::deserialize(&node["status"]).unwrap_or_default();
    let is_fight = |one: &Condition| one.kind == "NoChainConflict" && one.status == ConditionStatus::False;
    NodeRow {
        name: node["metadata"]["name"].as_str().unwrap_or_default().into(),
        serves: status.serving,
        reported: status.reported_at.map(|at| at.0),
        contested: status.conditions.iter().any(is_fight),
        drifted: status.drifted.unwrap_or_default(),
    }
}

/// The last that happened to the MeshCNI, and what agents said of nodes and pods.
async fn events(connection: &Connection) -> Result<Vec<Happened>, Error> {
    let kind = ApiResource::erase::<Event>(&());
    let everywhere = Api::all_with(connection.client.clone(), &kind);
    match about_us(connection, &everywhere, "list events").await {
        // Events of what has no namespace, as nodes, are there.
        Err(Error::Forbidden { .. }) => {
            let api = Api::namespaced_with(connection.client.clone(), "default", &kind);
            about_us(connection, &api, "list events in default").await
        }
        read => read,
    }
}

async fn about_us(
    connection: &Connection,
    api: &Api<DynamicObject>,
    act: &str,
) -> Result<Vec<Happened>, Error> {
    let mut kept = Vec::new();
    for selector in
        [format!("involvedObject.kind={}", MeshCNI::kind(&())), format!("reportingComponent={AGENTS_EVENTS}")]
    {
        let mut keep = |event: &Value| {
            kept.push(short(Happened::of(event)));
            if kept.len() > 4 * KEPT {
                last(&mut kept);
            }
        };
        let params = ListParams::default().fields(&selector);
        connection.each(act, api, params, MOST_EVENTS, &mut keep).await?;
    }
    last(&mut kept);
    Ok(kept)
}

/// Keeps the last ones, the very last first.
fn last(events: &mut Vec<Happened>) {
    events.sort_by_key(|one| std::cmp::Reverse(one.last));
    events.truncate(KEPT);
}

fn short(event: Happened) -> Happened {
    if event.text.len() <= LONGEST {
        return event;
    }
    let end = event.text.floor_char_boundary(LONGEST);
    Happened { text: format!("{}…", &event.text[..end]), ..event }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn few_bytes_are_kept_of_a_report() {
        let check = |status: Value, expected: (bool, bool, u32)| {
            let row = row(&json!({ "metadata": { "name": "n1" }, "status": status }));
            assert_eq!((row.serves, row.contested, row.drifted), expected);
        };
        let condition = json!({ "type": "NoChainConflict", "status": "False", "reason": "Fight",
            "message": "x", "lastTransitionTime": "2026-01-01T00:00:00Z" });
        check(Value::Null, (false, false, 0));
        check(json!({ "serving": true, "drifted": 2, "conditions": [condition] }), (true, true, 2));
        check(json!({ "serving": "another release" }), (false, false, 0));
        assert!(size_of::<NodeRow>() <= 48, "{}", size_of::<NodeRow>());
    }

    #[test]
    fn the_last_events_are_kept() {
        let event = |second: i64| Happened {
            last: k8s_openapi::jiff::Timestamp::from_second(second).ok(),
            text: "ä".repeat(200),
            ..Happened::default()
        };
        let mut events: Vec<Happened> = (0..50).map(event).map(short).collect();
        last(&mut events);
        assert_eq!((events.len(), events[0].last), (KEPT, event(49).last));
        assert_eq!(events[0].text, format!("{}…", "ä".repeat(128)));
    }
}
