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
