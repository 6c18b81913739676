//! Kubernetes events as people read them: an object as it is on the wire in, its few words out. PURE.
//!
//! Newer clients and older ones say the same in different fields.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Happened {
    /// When it happened last.
    pub(crate) last: Option<Timestamp>,
    /// `Normal` or `Warning`.
    pub(crate) kind: String,
    /// One word.
    pub(crate) reason: String,
    /// Kind, namespace and name of what it is about.
    pub(crate) about: String,
    /// How often.
    pub(crate) count: u64,
    /// Who says it.
    pub(crate) by: String,
    /// The whole of it, in one line.
    pub(crate) text: String,
}

impl Happened {
    /// Reads one.
    pub(crate) fn of(event: &Value) -> Happened {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let about = &event["involvedObject"];
        let space = about["namespace"].as_str().filter(|space| !space.is_empty());
        let space = space.map(|space| format!("{space}/")).unwrap_or_default();
        Happened {
            last: last(event),
            kind: text(&event["type"]),
            reason: text(&event["reason"]),
            about: format!("{} {space}{}", text(&about["kind"]), text(&about["name"])),
            count: event["series"]["count"].as_u64().or(event["count"].as_u64()).unwrap_or(1),
            by: by(event).to_owned(),
            text: text(&event["message"]).replace('\n', " "),
        }
    }
}

/// Who says it.
pub(crate) fn by(event: &Value) -> &str {
    let text = |value: &'_ Value| value.as_str().filter(|text| !text.is_empty()).is_some();
    let fields = [&event["reportingComponent"], &event["source"]["component"]];
    fields.into_iter().find(|field| text(field)).and_then(Value::as_str).unwrap_or_default()
}

/// When it happened last.
pub(crate) fn last(event: &Value) -> Option<Timestamp> {
    let fields = [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    fields.into_iter().find_map(|field| field.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(event: Value, when: &str, count: u64) -> Happened {
        let found = Happened::of(&event);
        assert_eq!((found.last, found.count), (Some(when.parse().expect("a time")), count), "{event}");
        found
    }

    #[test]
    fn older_and_newer_ones_are_read() {
        let event = json!({ "type": "Warning", "reason": "Redirect", "message": "a\nb", "count": 3,
            "lastTimestamp": "2026-01-01T00:00:00Z", "source": { "component": "kubelet" },
            "involvedObject": { "kind": "Pod", "namespace": "shop", "name": "web" } });
        let found = check(event, "2026-01-01T00:00:00Z", 3);
        assert_eq!((&*found.about, &*found.by, &*found.text), ("Pod shop/web", "kubelet", "a b"));
        let new =
            json!({ "eventTime": "2026-01-02T00:00:00.5Z", "series": { "count": 9 }, "lastTimestamp": null });
        check(new, "2026-01-02T00:00:00.5Z", 9);
    }
}
