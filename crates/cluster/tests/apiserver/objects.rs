//! Objects: made, read, changed by whoever saw them last, chosen, and deleted.

use crate::asked::{json, namespace, refused, servers};
use millrace_rig::embedded::Server;
use serde_json::json;

#[test]
fn objects_are_made_once_and_changed_by_who_saw_them_last() {
    for server in servers("apiserver::objects_are_made_once_and_changed_by_who_saw_them_last") {
        let namespace = namespace(&server);
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}});
        let create = ["create", "-n", &namespace, "-f", "-"];
        let first = json(&server, &create, &map);
        assert!(first["metadata"]["uid"].is_string() && first["metadata"]["creationTimestamp"].is_string());
        let said = refused(&server, &create, &map);
        let exists = "Error from server (AlreadyExists): error when creating \"STDIN\": configmaps \"a\" already exists";
        assert_eq!(said, exists, "{}", server.name());
        let mut second = first.clone();
        second["data"]["x"] = "2".into();
        let replace = ["replace", "-n", &namespace, "-f", "-"];
        let second = json(&server, &replace, &second);
        assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        let mut third = first.clone();
        third["data"]["x"] = "3".into();
        let said = refused(&server, &replace, &third);
        let stale = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
                     changes to the latest version and try again";
        assert!(said.contains(stale), "{}: {said}", server.name());
        let mut other = first.clone();
        (other["metadata"]["uid"], other["metadata"]["resourceVersion"]) = ("other".into(), "".into());
        assert!(
            refused(&server, &replace, &other).contains("Precondition failed: UID in precondition: other")
        );
        if let Server::Embedded(_) = server {
            // Writing what is there already is no change; kube-apiserver 1.20 still counts one.
            let same = json(&server, &replace, &second);
            assert_eq!(same["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
        }
    }
}

#[test]
fn what_is_wrong_is_named_by_its_field() {
    for server in servers("apiserver::what_is_wrong_is_named_by_its_field") {
        let namespace = namespace(&server);
        let pod = |name: &str, container: serde_json::Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}});
        let create = ["create", "-n", &namespace, "--validate=false", "-f", "-"];
        let said = refused(&server, &create, &pod("A", json!({"name": "c", "image": "i"})));
        assert!(said.starts_with("The Pod \"A\" is invalid: metadata.name: Invalid value: \"A\""), "{said}");
        let said = refused(&server, &create, &pod("a", json!({"name": "c"})));
        assert_eq!(
            said,
            "The Pod \"a\" is invalid: spec.containers[0].image: Required value",
            "{}",
            server.name()
        );
        let nowhere = ["create", "-n", "none-such", "--validate=false", "-f", "-"];
        let said = refused(&server, &nowhere, &pod("a", json!({"name": "c", "image": "i"})));
        assert!(said.ends_with("namespaces \"none-such\" not found"), "{}: {said}", server.name());
    }
}

#[test]
fn objects_are_chosen_by_labels_and_fields() {
    for server in servers("apiserver::objects_are_chosen_by_labels_and_fields") {
        let namespace = namespace(&server);
        for (name, app, node) in [("a", "x", "n1"), ("b", "y", "n1"), ("c", "x", "n2")] {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}},
                             "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}});
            server.done(&["create", "-n", &namespace, "-f", "-"], &pod.to_string());
        }
        let names = |flags: &[&str]| {
            let base = ["get", "pods", "-n", &namespace, "-o", "jsonpath={.items[*].metadata.name}"];
            let args: Vec<&str> = base.iter().chain(flags).copied().collect();
            server.done(&args, "")
        };
        assert_eq!(names(&["-l", "app=x"]), "a c");
        assert_eq!(names(&["-l", "app notin (x)"]), "b");
        assert_eq!(names(&["--field-selector", "spec.nodeName=n1"]), "a b");
        assert_eq!(names(&["--field-selector", "metadata.name!=a,status.phase=Pending", "-l", "app"]), "b c");
        assert_eq!(names(&["--chunk-size=1"]), "a b c");
        let said = refused(&server, &["get", "pods", "--field-selector", "spec.x=1"], &json!(null));
        assert!(said.contains("field label not supported: spec.x"), "{}: {said}", server.name());
    }
}

#[test]
fn what_holds_an_object_lets_it_go() {
    for server in servers("apiserver::what_holds_an_object_lets_it_go") {
        let namespace = namespace(&server);
        let held = json!({"apiVersion": "v1", "kind": "ConfigMap",
                          "metadata": {"name": "held", "finalizers": ["x.dev/hold"]}});
        server.done(&["create", "-n", &namespace, "-f", "-"], &held.to_string());
        server.done(&["delete", "-n", &namespace, "configmap", "held", "--wait=false"], "");
        let get = ["get", "-n", &namespace, "configmap", "held"];
        assert!(json(&server, &get, &json!(null))["metadata"]["deletionTimestamp"].is_string());
        let free = r#"{"metadata":{"finalizers":null}}"#;
        server.done(&["patch", "-n", &namespace, "configmap", "held", "--type=merge", "-p", free], "");
        assert!(refused(&server, &get, &json!(null)).contains("NotFound"));
    }
}
