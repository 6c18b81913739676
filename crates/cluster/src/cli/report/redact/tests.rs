//! What comes out of objects into which secrets were put at every place where there may be one.

use super::*;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// What must not come out.
const SECRET: &str = "HuNtEr2";

fn check(kept: &Value) {
    let text = kept.to_string();
    assert!(!text.contains(SECRET), "{kept:#}");
}

/// A pod with a secret at every place that a user may write one into.
fn hostile() -> Value {
    let secret = format!("prefix {SECRET}");
    let handler = json!({ "exec": { "command": ["sh", "-c", secret] },
        "httpGet": { "path": secret, "port": 1, "httpHeaders": [{ "name": "Authorization", "value": secret }] } });
    let container = |name: &str| {
        json!({ "name": name, "image": "r.example/app:1", "command": [secret], "args": [secret], "workingDir": secret,
            "env": [{ "name": "A", "value": secret }, { "name": "MILLRACE_X", "value": secret },
                { "name": "B", "valueFrom": { "secretKeyRef": { "name": "db", "key": "password" } } }],
            "livenessProbe": handler, "lifecycle": { "preStop": handler }, "securityContext": { "runAsUser": 1000 } })
    };
    let mut proxy = container(PROXY);
    proxy["args"] = json!(["proxy", "sidecar"]);
    proxy["command"] = json!(["pilot-agent"]);
    let ended = json!({ "terminated": { "exitCode": 3, "reason": "Error", "message": secret } });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web", "namespace": "shop", "uid": "1", "labels": { "app": "web" }, "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": secret, "example.com/key": secret, "bare": secret,
            "proxy.istio.io/config": secret, "sidecar.istio.io/status": "{}", "millrace.dev/redirect": "{\"v\":1}" },
            "managedFields": [{ "manager": secret }] },
        "spec": { "nodeName": "n1", "initContainers": [container("setup")], "containers": [container("app"), proxy],
            "volumes": [{ "name": "v", "csi": { "volumeAttributes": { "k": secret } } }], "hostAliases": [{ "hostnames": [secret] }] },
        "status": { "phase": "Running", "podIP": "192.0.2.7", "containerStatuses": [{ "name": "app", "restartCount": 2,
            "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } }, "lastState": ended }] },
    })
}

#[test]
fn of_a_pod_stays_what_helps_and_no_secret() {
    let kept = pod(&hostile());
    check(&kept);
    let text = kept.to_string();
    for helps in [
        "192.0.2.7",
        "sidecar.istio.io/status",
        "{\\\"v\\\":1}",
        "proxy\",\"sidecar",
        "secretKeyRef",
        "CrashLoopBackOff",
        "\"exitCode\":3",
        "\"restartCount\":2",
        "runAsUser",
        "\"nodeName\":\"n1\"",
    ] {
        assert!(text.contains(helps), "{helps}: {kept:#}");
    }
    assert_eq!(kept["spec"]["containers"][0]["env"][0], json!({ "name": "A", "value": LEFT_OUT }));
    assert_eq!(kept["metadata"]["annotations"]["proxy.istio.io/config"], json!(LEFT_OUT));
}

#[test]
fn of_an_object_of_ours_stays_all_but_secrets() {
    let template = json!({ "spec": { "containers": [{ "name": "agent", "args": ["agent", "--config", "/etc/x"],
        "env": [{ "name": "HTTPS_PROXY", "value": SECRET }, { "name": "MILLRACE_LOG", "value": "debug" },
            { "name": "NODE_NAME", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }],
        "readinessProbe": { "httpGet": { "httpHeaders": [{ "name": "X", "value": SECRET }] } } }] } });
    let set = json!({ "kind": "DaemonSet", "metadata": { "name": "millrace-agent", "managedFields": [{ "manager": SECRET }],
        "annotations": { "kubectl.kubernetes.io/last-applied-configuration": SECRET } }, "spec": { "template": template } });
    let kept = object(&set);
    check(&kept);
    let agent = &kept["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(agent["args"], json!(["agent", "--config", "/etc/x"]));
    assert_eq!(agent["env"][1]["value"], "debug");
    assert_eq!(agent["env"][2]["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName");
    let secret = json!({ "kind": "Secret", "metadata": { "name": "millrace-webhook" }, "data": { "tls.key": SECRET },
        "stringData": { "x": SECRET } });
    assert_eq!(object(&secret), json!({ "kind": "Secret", "metadata": { "name": "millrace-webhook" } }));
}

#[test]
fn of_nodes_and_namespaces_stays_what_chooses_them() {
    let annotated = json!({ "name": "n", "labels": { "millrace.dev/platform": "k3s" }, "annotations": { "x.example/join": SECRET } });
    let kept =
        node(&json!({ "metadata": annotated, "spec": { "taints": [{ "key": "millrace.dev/not-ready" }] },
        "status": { "images": [SECRET], "nodeInfo": { "kernelVersion": "6.1" } } }));
    check(&kept);
    assert!(kept.to_string().contains("not-ready") && kept.to_string().contains("6.1"));
    check(&namespace(&json!({ "metadata": annotated })));
}

#[test]
fn of_what_differs_stays_which_field_and_no_value_of_an_environment() {
    let same = |line: &str| assert_eq!(detail(line), line);
    same("spec.template.spec.hostPID: true → false");
    same("spec.template.spec.hostPID: kubectl");
    let container = |value: &str| {
        let env = json!([{ "name": "A", "value": value }, { "name": "B", "valueFrom": { "fieldRef": {} } }]);
        json!({ "name": "agent", "image": "other:1", "env": env })
    };
    let told = detail(&format!("spec.containers: + {}; - {}", container(SECRET), container("a\"b\\HuNtEr2")));
    check(&json!(told));
    assert!(
        told.contains("other:1") && told.contains("fieldRef") && told.contains(r#""name":"A""#),
        "{told}"
    );
    for field in
        ["metadata.annotations.example.com/x", "data.password", "spec.template.metadata.annotations.x"]
    {
        assert_eq!(detail(&format!("{field}: (none) → {SECRET}")), format!("{field}: {LEFT_OUT}"));
    }
    check(&json!(detail(&format!("data.config.toml: a = 1 → password = \"{SECRET}\""))));
}

/// Trees of objects in which secrets stand where they may: below what holds some, at whatever depth.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!("plain")), any::<i64>().prop_map(Value::from), Just(json!(null))];
    leaf.prop_recursive(4, 64, 4, |inner| {
        let fields = prop_oneof!["[a-z]{1,6}", Just("spec".to_owned()), Just("template".to_owned())];
        let map = btree_map(fields, inner.clone(), 0..4).prop_map(|all| json!(all));
        let list = vec(inner.clone(), 0..4).prop_map(|all| json!(all));
        let hidden = (inner, 0..6_usize).prop_map(|(beside, place)| {
            let mut object = match place {
                0 => json!({ "env": [{ "name": "A", "value": SECRET }] }),
                1 => json!({ "annotations": { "example.com/x": SECRET, "kubectl.kubernetes.io/last-applied-configuration": SECRET } }),
                2 => json!({ "managedFields": [{ "fieldsV1": SECRET }] }),
                3 => json!({ "clientSecret": SECRET, "api-key": SECRET, "tls.key": SECRET }),
                4 => json!({ "text": format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----") }),
                _ => json!({ "httpHeaders": [{ "name": "Cookie", "value": SECRET }], "url": format!("https://a:{SECRET}@b/") }),
            };
            object["beside"] = beside;
            object
        });
        prop_oneof![map, list, hidden.clone(), hidden]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Law: no secret comes out, wherever it was; and what came out once comes out the same again.
    #[test]
    fn no_secret_comes_out_of_any_object(tree in tree()) {
        let kept = object(&tree);
        prop_assert!(!kept.to_string().contains(SECRET), "{:#}", kept);
        prop_assert_eq!(object(&kept), kept);
    }
}
