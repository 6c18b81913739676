//! Watches: everything after a revision, in order, or the plain word that it is forgotten.

use crate::asked::{json, namespace, servers};
use millrace_rig::embedded::{Embedded, Server};
use serde_json::{Value, json};

/// Types and names of the events of one raw watch.
fn watched(server: &Server, path: &str) -> Vec<(String, String)> {
    let said = server.done(&["get", "--raw", path], "");
    let events = serde_json::Deserializer::from_str(&said)
        .into_iter::<Value>()
        .map(|event| event.expect("events are JSON"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = events.filter(|event| event["type"] != "BOOKMARK");
    events.map(|event| (text(&event["type"]), text(&event["object"]["metadata"]["name"]))).collect()
}

#[test]
fn a_watch_tells_what_happened_since() {
    for server in servers("apiserver::a_watch_tells_what_happened_since") {
        let namespace = namespace(&server);
        let map = |name: &str, label: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"l": label}}});
        let create = ["create", "--validate=false", "-n", &namespace, "-f", "-"];
        let first = json(&server, &create, &map("a", "x"));
        let since = first["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        json(&server, &create, &map("b", "y"));
        server.done(&["label", "configmap", "a", "-n", &namespace, "--overwrite", "l=y"], "");
        server.done(&["delete", "configmap", "b", "-n", &namespace], "");
        let base = format!("/api/v1/namespaces/{namespace}/configmaps?watch=1&timeoutSeconds=2");
        let pairs = |expected: &[(&str, &str)]| -> Vec<(String, String)> {
            expected.iter().map(|(what, name)| ((*what).to_owned(), (*name).to_owned())).collect()
        };
        let all = watched(&server, &format!("{base}&resourceVersion={since}"));
        assert_eq!(all, pairs(&[("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]), "{}", server.name());
        // Who selects sees an object come and go with its labels.
        let some = watched(&server, &format!("{base}&resourceVersion={since}&labelSelector=l%3Dx"));
        assert_eq!(some, pairs(&[("DELETED", "a")]), "{}", server.name());
        let now = watched(&server, &format!("{base}&fieldSelector=metadata.name%3Da"));
        assert_eq!(now, pairs(&[("ADDED", "a")]), "{}", server.name());
    }
}

#[test]
fn what_was_forgotten_is_gone() {
    let server = Embedded::start(env!("CARGO_BIN_EXE_millrace"), &["--history", "2", "--no-controllers"]);
    let server = Server::Embedded(server);
    let namespace = namespace(&server);
    for name in ["a", "b", "c", "d"] {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        server.done(&["create", "--validate=false", "-n", &namespace, "-f", "-"], &map.to_string());
    }
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let said =
        server.done(&["get", "--raw", &format!("{path}?watch=1&resourceVersion=1&timeoutSeconds=5")], "");
    let event: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(event["object"]["reason"], "Expired");
    let page: Value =
        serde_json::from_str(&server.done(&["get", "--raw", &format!("{path}?limit=2")], "")).unwrap();
    let next = page["metadata"]["continue"].as_str().unwrap().replace('/', "%2F").replace(':', "%3A");
    assert_eq!(page["metadata"]["remainingItemCount"], 2);
    // The pages of one list are of one revision.
    server.done(&["delete", "configmap", "d", "-n", &namespace], "");
    let page = server.done(&["get", "--raw", &format!("{path}?limit=2&continue={next}")], "");
    assert_eq!(serde_json::from_str::<Value>(&page).unwrap()["items"].as_array().unwrap().len(), 2);
    for name in ["a", "b"] {
        server.done(&["delete", "configmap", name, "-n", &namespace], "");
    }
    let late = server.kubectl(&["get", "--raw", &format!("{path}?continue={next}")], "");
    assert!(String::from_utf8_lossy(&late.stderr).contains("too old"), "{late:?}");
}
