//! One entry of the flight recorder: what the plugin did at one call, and what the agent had decided, as one JSON document.
//!
//! It holds the decision as the text of a stamp, not the rules: `core` plans them again from it. It touches no file.

use millrace_core::ask::Event;
use millrace_core::reason::Reason;
use millrace_core::settings::Families;
use serde_json::{Map, Value, json};

/// The version we write.
const VERSION: u64 = 1;

/// What is kept of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// When the agent heard of it, in milliseconds since 1970.
    pub(crate) at: u64,
    /// What the plugin told.
    pub(crate) event: Event,
    /// The decision, as the text of a stamp, where it is known.
    pub(crate) stamp: Option<String>,
    /// The address families of the rules, where known.
    pub(crate) families: Option<Families>,
    /// What the agent looked at, if the agent decided.
    pub(crate) conditions: Vec<Condition>,
    /// What was wrong with what people wrote.
    pub(crate) complaints: Vec<String>,
    /// The release of the agent that wrote this.
    pub(crate) release: String,
}

/// One condition of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// The reason it gives when it does not hold.
    pub(crate) reason: Reason,
    /// Whether it held.
    pub(crate) holds: bool,
    /// What was found.
    pub(crate) found: String,
}

impl Entry {
    /// The document, in one line.
    pub(crate) fn write(&self) -> String {
        let told: Value = serde_json::from_slice(&self.event.write()).unwrap_or_default();
        let mut entry = json!({ "v": VERSION, "at": self.at, "release": self.release, "told": told });
        if let Some(stamp) = &self.stamp {
            entry["stamp"] = stamp.as_str().into();
        }
        if let Some(families) = self.families {
            entry["families"] = if families == Families::V4 { "4" } else { "both" }.into();
        }
        if !self.conditions.is_empty() {
            let conditions = self.conditions.iter();
            let conditions = conditions
                .map(|one| json!({ "reason": one.reason.name(), "holds": one.holds, "found": one.found }));
            entry["conditions"] = conditions.collect::<Vec<_>>().into();
        }
        if !self.complaints.is_empty() {
            entry["complaints"] = self.complaints.clone().into();
        }
        entry.to_string()
    }

    /// Reads a document; none if another release wrote what this one does not know.
    pub(crate) fn read(bytes: &[u8]) -> Option<Entry> {
        let Value::Object(map) = serde_json::from_slice(bytes).ok()? else { return None };
        if map.get("v")?.as_u64()? != VERSION {
            return None;
        }
        let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
        let list = |key: &str| map.get(key).and_then(Value::as_array).into_iter().flatten();
        Some(Entry {
            at: map.get("at")?.as_u64()?,
            event: Event::read(map.get("told")?.to_string().as_bytes()).ok()?,
            stamp: text("stamp"),
            families: text("families").and_then(|name| match name.as_str() {
                "4" => Some(Families::V4),
                "both" => Some(Families::Both),
                _ => None,
            }),
            conditions: list("conditions").filter_map(|one| condition(one.as_object()?)).collect(),
            complaints: list("complaints").filter_map(Value::as_str).map(str::to_owned).collect(),
            release: text("release").unwrap_or_default(),
        })
    }
}

fn condition(map: &Map<String, Value>) -> Option<Condition> {
    Some(Condition {
        reason: Reason::from_name(map.get("reason")?.as_str()?)?,
        holds: map.get("holds")?.as_bool()?,
        found: map.get("found")?.as_str()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::segment;
    use super::*;
    use std::path::Path;

    /// The time of the first call: 2026-11-22 16:05:19.123 UTC.
    const START: u64 = 1_795_363_519_123;

    fn told(pod: &str, outcome: &str, reason: &str, rung: &str) -> Event {
        Event {
            verb: "ADD".into(),
            network: "k8s-pod-network".into(),
            container: format!("c0ffee-{pod}"),
            interface: "eth0".into(),
            namespace: "default".into(),
            name: pod.into(),
            uid: format!("uid-of-{pod}"),
            outcome: outcome.into(),
            reason: reason.into(),
            rung: rung.into(),
            backend: if outcome == "redirected" { "iptables" } else { "" }.into(),
            microseconds: 1_234,
            code: 0,
            message: String::new(),
        }
    }

    fn entry(after: u64, event: Event) -> Entry {
        Entry { at: START + after, event, release: "0.1.0".into(), ..Entry::default() }
    }

    fn entries() -> Vec<Entry> {
        let stamp = Some(r#"{"v":1,"redirect":{"excludeInboundPorts":"22"}}"#.to_owned());
        let condition = |reason, holds, found: &str| Condition { reason, holds, found: found.into() };
        let timed_out = "pod default/late: the node agent did not answer at /run/millrace/agent.sock within 10000 ms\n\
                         (Connection refused)";
        let failed = told("late", "failed", "", "");
        let failed = Event { code: 11, message: timed_out.into(), microseconds: 10_001_500, ..failed };
        let noted = "started unprotected, as failurePolicy is Open: nobody answered";
        let open = Event { message: noted.into(), ..told("open", "passed", "FailedOpen", "policy") };
        vec![
            Entry {
                stamp: stamp.clone(),
                families: Some(Families::Both),
                ..entry(0, told("reviews-v1", "redirected", "Redirected", "stamp"))
            },
            entry(1_000, told("plain", "passed", "NotInjected", "node")),
            entry(2_000, failed),
            Entry {
                stamp,
                families: Some(Families::V4),
                conditions: vec![
                    condition(Reason::NoProxyContainer, true, "app, istio-proxy"),
                    condition(Reason::NotInjected, true, "it is there"),
                ],
                complaints: vec!["excludeInboundPorts: \"22,\": ends in a comma; take it out".into()],
                ..entry(15_000, told("late", "redirected", "Redirected", "agent"))
            },
            entry(16_000, open),
            entry(17_000, told("untold", "redirected", "Redirected", "stamp")),
            entry(18_000, Event { outcome: String::new(), verb: "DEL".into(), ..told("untold", "", "", "") }),
        ]
    }

    #[test]
    fn golden_entries_of_version_1_stay_as_they_are() {
        let lines = entries().into_iter().flat_map(|one| segment::line(one.write().as_bytes()).unwrap());
        let bytes: Vec<u8> = lines.collect();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/why/flight.log");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &bytes).expect("the golden file is writable");
        }
        let golden = std::fs::read(&path).expect("a golden file; UPDATE_GOLDEN=1 makes it");
        assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&golden));
        let (payloads, whole) = segment::read(&golden);
        assert_eq!(whole, golden.len());
        let read: Vec<_> = payloads.into_iter().map(|payload| Entry::read(payload).unwrap()).collect();
        assert_eq!(read, entries());
    }

    #[test]
    fn what_another_release_wrote_is_none_and_no_error() {
        let text = entries()[0].write();
        assert!(Entry::read(text.as_bytes()).is_some());
        for other in [
            text.replace(r#"{"v":1,"at""#, r#"{"v":2,"at""#),
            text.replace(r#""told":{"v":1"#, r#""told":{"v":9"#),
            text.replace(r#""at":"#, r#""when":"#),
            "[]".to_owned(),
            String::new(),
        ] {
            assert_ne!(other, text);
            assert_eq!(Entry::read(other.as_bytes()), None, "{other}");
        }
    }
}
