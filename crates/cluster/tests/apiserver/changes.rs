//! Changes in part: patches that know lists by their keys, and server-side apply with its owners.

use crate::asked::{json, namespace, refused, servers};
use serde_json::{Value, json};

#[test]
fn lists_are_merged_by_their_keys() {
    for server in servers("apiserver::lists_are_merged_by_their_keys") {
        let namespace = namespace(&server);
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
            "containers": [{"name": "one", "image": "i", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]}],
            "tolerations": [{"key": "x", "operator": "Exists"}]}});
        let spec = json!({"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template});
        let deployment =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec});
        server.done(&["create", "--validate=false", "-n", &namespace, "-f", "-"], &deployment.to_string());
        let patched = |change: Value| -> Value {
            let change = json!({"spec": {"template": {"spec": change}}}).to_string();
            let patch = ["patch", "deployment", "d", "-n", &namespace, "--type=strategic", "-p", &change];
            json(&server, &patch, &Value::Null)["spec"]["template"]["spec"].clone()
        };
        let env = json!([{"name": "B", "value": "2"}, {"name": "C", "value": "3"}]);
        let found = patched(json!({"containers": [{"name": "one", "env": env}]}));
        let env: Vec<&Value> = found["containers"][0]["env"].as_array().unwrap().iter().collect();
        let values: Vec<&str> = env.iter().map(|one| one["value"].as_str().unwrap()).collect();
        assert_eq!(
            (found["containers"][0]["image"].as_str(), values.len()),
            (Some("i"), 3),
            "{}",
            server.name()
        );
        let found = patched(json!({"containers": [{"name": "two", "image": "j"}],
                                   "$setElementOrder/containers": [{"name": "two"}, {"name": "one"}]}));
        let names: Vec<&Value> =
            found["containers"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["two", "one"], "{}", server.name());
        let found = patched(json!({"containers": [{"name": "two", "$patch": "delete"}]}));
        assert_eq!(found["containers"].as_array().unwrap().len(), 1);
        let found = patched(json!({"tolerations": [{"key": "y", "operator": "Exists"}]}));
        assert_eq!(found["tolerations"], json!([{"key": "y", "operator": "Exists"}]), "{}", server.name());
    }
}

#[test]
fn who_applies_owns_what_he_applied() {
    for server in servers("apiserver::who_applies_owns_what_he_applied") {
        let namespace = namespace(&server);
        let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace}, "data": data});
        let base = ["apply", "--server-side", "--validate=false", "-f", "-", "--field-manager"];
        let apply = |who: &'static str, more: &[&'static str]| -> Vec<&'static str> {
            base.iter().chain(&[who]).chain(more).copied().collect()
        };
        let data = |object: &Value| object.get("data").cloned().unwrap_or_default();
        json(&server, &apply("one", &[]), &map(json!({"x": "1", "y": "1"})));
        let said = refused(&server, &apply("two", &[]), &map(json!({"x": "2"})));
        let conflict = "Apply failed with 1 conflict: conflict with \"one\": .data.x";
        assert!(said.contains(conflict), "{}: {said}", server.name());
        let both = json(&server, &apply("two", &[]), &map(json!({"x": "1", "z": "1"})));
        assert_eq!(data(&both), json!({"x": "1", "y": "1", "z": "1"}));
        // What he no longer names goes, unless somebody else names it.
        let left = json(&server, &apply("one", &[]), &map(json!({})));
        assert_eq!(data(&left), json!({"x": "1", "z": "1"}), "{}", server.name());
        let forced = json(&server, &apply("one", &["--force-conflicts"]), &map(json!({"x": "3"})));
        assert_eq!(data(&forced), json!({"x": "3", "z": "1"}));
        // Any other write makes its writer an owner too.
        let change = r#"{"data":{"x":"4"}}"#;
        let edit = [
            "patch",
            "configmap",
            "a",
            "-n",
            &namespace,
            "--type=merge",
            "-p",
            change,
            "--field-manager=edit",
        ];
        json(&server, &edit, &Value::Null);
        let said = refused(&server, &apply("one", &[]), &map(json!({"x": "3"})));
        assert!(said.contains("conflict with \"edit\" using v1"), "{}: {said}", server.name());
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    for server in servers("apiserver::a_dry_run_changes_nothing") {
        let namespace = namespace(&server);
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}});
        let made = json(
            &server,
            &["create", "--validate=false", "--dry-run=server", "-n", &namespace, "-f", "-"],
            &map,
        );
        assert_eq!(made["data"]["x"], "1");
        assert!(
            refused(&server, &["get", "configmap", "a", "-n", &namespace], &Value::Null).contains("NotFound")
        );
    }
}
