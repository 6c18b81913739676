//! PURE: rows of a table, as `kubectl get` prints them.

use crate::apiserver::registry::{Column, Kind, Served};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A column: its name, whether only `-o wide` shows it, and where its cell comes from.
type Cell = (&'static str, bool, Source);

#[derive(Clone, Copy)]
enum Source {
    /// The value at a JSON pointer.
    At(&'static str),
    /// How old the object is.
    Age,
    Of(fn(&Value) -> Value),
}

use Source::{Age, At, Of};

const PLAIN: &[Cell] = &[("Age", false, Age)];

/// Of the kinds that have more to show than their age.
const TABLES: &[(&str, &[Cell])] = &[
    (
        "Pod",
        &[
            ("Ready", false, Of(ready)),
            ("Status", false, Of(pod_status)),
            ("Restarts", false, Of(restarts)),
            ("Age", false, Age),
            ("IP", true, At("/status/podIP")),
            ("Node", true, At("/spec/nodeName")),
            ("Nominated Node", true, At("/status/nominatedNodeName")),
            ("Readiness Gates", true, At("/none")),
        ],
    ),
    ("Namespace", &[("Status", false, At("/status/phase")), ("Age", false, Age)]),
    (
        "Node",
        &[
            ("Status", false, Of(node_status)),
            ("Roles", false, Of(roles)),
            ("Age", false, Age),
            ("Version", false, At("/status/nodeInfo/kubeletVersion")),
            ("Internal-IP", true, Of(internal)),
            ("OS-Image", true, At("/status/nodeInfo/osImage")),
            ("Kernel-Version", true, At("/status/nodeInfo/kernelVersion")),
            ("Container-Runtime", true, At("/status/nodeInfo/containerRuntimeVersion")),
        ],
    ),
    (
        "Deployment",
        &[
            ("Ready", false, Of(|object| of(object, "/status/readyReplicas", "/spec/replicas"))),
            ("Up-to-date", false, Of(|object| count(object, "/status/updatedReplicas"))),
            ("Available", false, Of(|object| count(object, "/status/availableReplicas"))),
            ("Age", false, Age),
        ],
    ),
    (
        "ReplicaSet",
        &[
            ("Desired", false, Of(|object| count(object, "/spec/replicas"))),
            ("Current", false, Of(|object| count(object, "/status/replicas"))),
            ("Ready", false, Of(|object| count(object, "/status/readyReplicas"))),
            ("Age", false, Age),
        ],
    ),
    (
        "DaemonSet",
        &[
            ("Desired", false, Of(|object| count(object, "/status/desiredNumberScheduled"))),
            ("Current", false, Of(|object| count(object, "/status/currentNumberScheduled"))),
            ("Ready", false, Of(|object| count(object, "/status/numberReady"))),
            ("Up-to-date", false, Of(|object| count(object, "/status/updatedNumberScheduled"))),
            ("Available", false, Of(|object| count(object, "/status/numberAvailable"))),
            ("Node Selector", false, Of(|object| labels(object, "/spec/template/spec/nodeSelector"))),
            ("Age", false, Age),
        ],
    ),
    (
        "StatefulSet",
        &[
            ("Ready", false, Of(|object| of(object, "/status/readyReplicas", "/spec/replicas"))),
            ("Age", false, Age),
        ],
    ),
    (
        "Job",
        &[
            ("Completions", false, Of(|object| of(object, "/status/succeeded", "/spec/completions"))),
            ("Age", false, Age),
        ],
    ),
    (
        "Service",
        &[
            ("Type", false, At("/spec/type")),
            ("Cluster-IP", false, At("/spec/clusterIP")),
            ("External-IP", false, At("/none")),
            ("Port(s)", false, Of(ports)),
            ("Age", false, Age),
            ("Selector", true, Of(|object| labels(object, "/spec/selector"))),
        ],
    ),
    ("Endpoints", &[("Endpoints", false, Of(endpoints)), ("Age", false, Age)]),
    ("ConfigMap", &[("Data", false, Of(|object| size(object, "/data"))), ("Age", false, Age)]),
    (
        "Secret",
        &[
            ("Type", false, At("/type")),
            ("Data", false, Of(|object| size(object, "/data"))),
            ("Age", false, Age),
        ],
    ),
    ("Lease", &[("Holder", false, At("/spec/holderIdentity")), ("Age", false, Age)]),
    (
        "PodDisruptionBudget",
        &[
            ("Min Available", false, At("/spec/minAvailable")),
            ("Max Unavailable", false, At("/spec/maxUnavailable")),
            ("Allowed Disruptions", false, Of(|object| count(object, "/status/disruptionsAllowed"))),
            ("Age", false, Age),
        ],
    ),
    (
        "Event",
        &[
            ("Last Seen", false, Age),
            ("Type", false, At("/type")),
            ("Reason", false, At("/reason")),
            ("Object", false, Of(involved)),
            ("Message", false, At("/message")),
        ],
    ),
    ("CustomResourceDefinition", &[("Created At", false, At("/metadata/creationTimestamp"))]),
];

/// Objects as a `Table`.
pub(crate) fn table(served: &Served, objects: &[Value], meta: Value, now: Timestamp) -> Value {
    let kind = &served.kind;
    let mut columns = vec![column("Name", "string", "name", 0)];
    let own = own(kind);
    if kind.columns.is_empty() {
        columns.extend(own.iter().map(|(name, wide, _)| column(name, "string", "", i64::from(*wide))));
    } else {
        columns.extend(kind.columns.iter().map(|one| column(&one.name, &one.form, "", one.priority)));
    }
    let rows = objects.iter().map(|object| {
        let mut cells = vec![object["metadata"]["name"].clone()];
        if kind.columns.is_empty() {
            cells.extend(own.iter().map(|(_, _, source)| cell(object, *source, now)));
        } else {
            cells.extend(kind.columns.iter().map(|column| custom(object, column, now)));
        }
        let partial =
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]});
        json!({"cells": cells, "object": partial})
    });
    let rows: Vec<Value> = rows.collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": columns, "rows": rows})
}

fn own(kind: &Kind) -> &'static [Cell] {
    if kind.is_custom() {
        return PLAIN;
    }
    TABLES.iter().find(|(known, _)| *known == kind.kind).map_or(PLAIN, |(_, cells)| cells)
}

fn column(name: &str, form: &str, format: &str, priority: i64) -> Value {
    // Dates are told as ages, which are words.
    let form = if form == "date" { "string" } else { form };
    json!({"name": name, "type": form, "format": format, "description": "", "priority": priority})
}

fn cell(object: &Value, source: Source, now: Timestamp) -> Value {
    let nothing = || "<none>".into();
    match source {
        Age => age(&object["metadata"]["creationTimestamp"], now),
        At(path) => {
            let found = object.pointer(path).filter(|value| !value.is_null());
            found.map_or_else(nothing, |value| match value {
                Value::String(text) if text.is_empty() => nothing(),
                value => value.clone(),
            })
        }
        Of(tell) => tell(object),
    }
}

/// A cell by the simple JSON path of a definition: fields, and items selected by one field's value.
fn custom(object: &Value, column: &Column, now: Timestamp) -> Value {
    let found = follow(object, &column.path);
    match (column.form.as_str(), found) {
        (_, None) => Value::Null,
        ("date", Some(time)) => age(time, now),
        ("integer" | "number" | "boolean", Some(value)) if !value.is_string() => value.clone(),
        ("integer", Some(Value::String(text))) => text.parse::<i64>().map_or(Value::Null, Value::from),
        (_, Some(Value::String(text))) => text.as_str().into(),
        (_, Some(value)) => value.to_string().into(),
    }
}

fn follow<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let (mut value, mut rest) = (object, path);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = after.split_once(']')?;
            value = item(value, inside)?;
            rest = after;
        } else {
            let after = rest.trim_start_matches('.');
            // A dot that belongs to a name is written as \.
            let end = after
                .char_indices()
                .find(|(at, letter)| (*letter == '.' && !after[..*at].ends_with('\\')) || *letter == '[')
                .map_or(after.len(), |(at, _)| at);
            value = value.get(after[..end].replace("\\.", "."))?;
            rest = &after[end..];
        }
    }
    Some(value)
}

fn item<'a>(list: &'a Value, inside: &str) -> Option<&'a Value> {
    let items = list.as_array()?;
    if let Ok(at) = inside.parse::<usize>() {
        return items.get(at);
    }
    let condition = inside.strip_prefix("?(@.")?.strip_suffix(')')?;
    let (field, wanted) = condition.split_once("==")?;
    let wanted = wanted.trim().trim_matches(['"', '\'']);
    items.iter().find(|item| item.get(field.trim()).is_some_and(|found| found == wanted))
}

/// `kubectl`'s short form of how long ago a time is.
fn age(time: &Value, now: Timestamp) -> Value {
    let Some(then) = time.as_str().and_then(|time| time.parse::<Timestamp>().ok()) else {
        return "<unknown>".into();
    };
    words(now.duration_since(then)).into()
}

fn words(age: SignedDuration) -> String {
    let seconds = age.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 > 0 => format!("{minutes}m{}s", seconds % 60),
        120..10800 => format!("{minutes}m"),
        10800..28800 if minutes % 60 > 0 => format!("{hours}h{}m", minutes % 60),
        10800..172_800 => format!("{hours}h"),
        172_800..691_200 if hours % 24 > 0 => format!("{days}d{}h", hours % 24),
        172_800..63_072_000 => format!("{days}d"),
        _ => format!("{}y", days / 365),
    }
}

fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    object.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or(0)
}

fn count(object: &Value, path: &str) -> Value {
    number(object, path).into()
}

fn of(object: &Value, some: &str, all: &str) -> Value {
    format!("{}/{}", number(object, some), number(object, all)).into()
}

fn size(object: &Value, path: &str) -> Value {
    object.pointer(path).and_then(Value::as_object).map_or(0, serde_json::Map::len).into()
}

fn labels(object: &Value, path: &str) -> Value {
    let labels = object.pointer(path).and_then(Value::as_object).into_iter().flatten();
    let labels: Vec<String> =
        labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if labels.is_empty() { "<none>".into() } else { labels.join(",").into() }
}

fn ready(pod: &Value) -> Value {
    let ready =
        list(pod, "/status/containerStatuses").iter().filter(|status| status["ready"] == true).count();
    format!("{ready}/{}", list(pod, "/spec/containers").len()).into()
}

fn pod_status(pod: &Value) -> Value {
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating".into();
    }
    let containers = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let reason = containers.iter().flat_map(|path| list(pod, path)).find_map(|status| {
        let waiting = status.pointer("/state/waiting/reason");
        let ended = status.pointer("/state/terminated/reason");
        waiting.or(ended.filter(|reason| *reason != "Completed")).and_then(Value::as_str)
    });
    let phase = pod["status"]["phase"].as_str().unwrap_or("Unknown");
    reason.or(pod["status"]["reason"].as_str()).unwrap_or(phase).into()
}

fn restarts(pod: &Value) -> Value {
    let statuses = list(pod, "/status/containerStatuses").iter();
    statuses.map(|status| status["restartCount"].as_i64().unwrap_or(0)).sum::<i64>().into()
}

fn node_status(node: &Value) -> Value {
    let ready = list(node, "/status/conditions").iter().find(|condition| condition["type"] == "Ready");
    let word = match ready.and_then(|condition| condition["status"].as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let closed = node["spec"]["unschedulable"] == true;
    if closed { format!("{word},SchedulingDisabled").into() } else { word.into() }
}

fn roles(node: &Value) -> Value {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let roles: Vec<&str> =
        labels.filter_map(|(label, _)| label.strip_prefix("node-role.kubernetes.io/")).collect();
    if roles.is_empty() { "<none>".into() } else { roles.join(",").into() }
}

fn internal(node: &Value) -> Value {
    let address = list(node, "/status/addresses").iter().find(|address| address["type"] == "InternalIP");
    address.map_or_else(|| "<none>".into(), |address| address["address"].clone())
}

fn ports(service: &Value) -> Value {
    let ports = list(service, "/spec/ports").iter();
    let ports: Vec<String> = ports
        .map(|port| format!("{}/{}", port["port"], port["protocol"].as_str().unwrap_or_default()))
        .collect();
    if ports.is_empty() { "<none>".into() } else { ports.join(",").into() }
}

fn endpoints(object: &Value) -> Value {
    let mut found = Vec::new();
    for subset in list(object, "/subsets") {
        for address in list(subset, "/addresses") {
            let ip = address["ip"].as_str().unwrap_or_default();
            found.extend(list(subset, "/ports").iter().map(|port| format!("{ip}:{}", port["port"])));
        }
    }
    if found.is_empty() { "<none>".into() } else { found.join(",").into() }
}

fn involved(event: &Value) -> Value {
    let text = |name: &str| event["involvedObject"][name].as_str().unwrap_or_default().to_lowercase();
    format!("{}/{}", text("kind"), text("name")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::registry::Registry;

    fn check(plural: &str, object: &Value, expected: &[&str]) {
        let served = Registry::new(std::iter::empty()).find("", "v1", plural).unwrap();
        let table =
            table(&served, std::slice::from_ref(object), json!({}), Timestamp::from_second(60).unwrap());
        let cells: Vec<String> = table["rows"][0]["cells"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned))
            .collect();
        assert_eq!(&cells[..expected.len()], expected);
    }

    #[test]
    fn rows() {
        let metadata = json!({"name": "a", "creationTimestamp": "1970-01-01T00:00:00Z"});
        let statuses = json!([{"ready": true, "restartCount": 2}]);
        let pod = json!({"metadata": metadata, "spec": {"containers": [{}]},
                         "status": {"phase": "Running", "containerStatuses": statuses}});
        check("pods", &pod, &["a", "1/1", "Running", "2", "60s", "<none>"]);
        let conditions = json!([{"type": "Ready", "status": "True"}]);
        let node = json!({"metadata": metadata, "status": {"conditions": conditions}});
        check("nodes", &node, &["a", "Ready", "<none>", "60s"]);
        check("serviceaccounts", &json!({"metadata": metadata}), &["a", "60s"]);
    }

    #[test]
    fn paths_of_definitions() {
        let object =
            json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}, "a.b": {"c": [7]}});
        let at = |path: &str| follow(&object, path).cloned().unwrap_or_default();
        assert_eq!(at(".status.conditions[?(@.type==\"Ready\")].status"), "True");
        assert_eq!(at(".status.conditions[?(@.type=='Other')].status"), Value::Null);
        assert_eq!(at(".a\\.b.c[0]"), 7);
    }

    #[test]
    fn ages() {
        let said = |seconds: i64| words(SignedDuration::from_secs(seconds));
        assert_eq!([said(5), said(125), said(601), said(11000)], ["5s", "2m5s", "10m", "3h3m"]);
        assert_eq!([said(86400), said(200_000), said(700_000)], ["24h", "2d7h", "8d"]);
    }
}
