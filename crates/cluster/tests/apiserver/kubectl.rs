//! The walk of a user: stock kubectl applies, looks at, changes and deletes what a manifest holds.

use crate::asked::{namespace, refused, servers};
use millrace_rig::embedded::{Embedded, Server};
use serde_json::Value;

const WEB: &str = r#"{"apiVersion":"v1","kind":"List","items":[
  {"apiVersion":"v1","kind":"Service","metadata":{"name":"web","labels":{"app":"web"}},
   "spec":{"ports":[{"port":80,"name":"http"}],"selector":{"app":"web"}}},
  {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"app":"web"}},
   "spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},
    "spec":{"containers":[{"name":"web","image":"web:1","ports":[{"containerPort":80}]}]}}}}]}"#;

#[test]
fn a_manifest_is_applied_changed_and_deleted() {
    for server in servers("apiserver::a_manifest_is_applied_changed_and_deleted") {
        let namespace = namespace(&server);
        let within = |args: &[&str], stdin: &str| {
            let args: Vec<&str> = args.iter().copied().chain(["-n", &namespace]).collect();
            server.done(&args, stdin).trim().to_owned()
        };
        // kubectl 1.32 cannot read the schemas of kube-apiserver 1.20.
        let validate = if matches!(server, Server::Real(_)) { "--validate=false" } else { "--validate=true" };
        let apply = ["apply", validate, "-f", "-"];
        assert_eq!(within(&apply, WEB), "service/web created\ndeployment.apps/web created");
        assert_eq!(within(&apply, WEB), "service/web unchanged\ndeployment.apps/web unchanged");
        let newer = WEB.replace("web:1", "web:2");
        assert_eq!(within(&apply, &newer), "service/web unchanged\ndeployment.apps/web configured");
        let get = |path: &str| within(&["get", "deployment", "web", "-o", &format!("jsonpath={path}")], "");
        assert_eq!(get("{.spec.template.spec.containers[*].image} {.metadata.generation}"), "web:2 2");
        within(&["scale", "deployment", "web", "--replicas=3"], "");
        assert_eq!(get("{.spec.replicas} {.metadata.generation}"), "3 3");
        within(&["label", "deployment", "web", "a=b"], "");
        within(&["annotate", "deployment", "web", "c=d"], "");
        assert_eq!(get("{.metadata.labels.a} {.metadata.annotations.c} {.metadata.generation}"), "b d 4");
        let table = within(&["get", "deployments", "-l", "a=b", "--no-headers"], "");
        assert!(table.starts_with("web"), "{table}");
        assert!(within(&["describe", "deployment", "web"], "").contains("web:2"));
        assert!(within(&["delete", "-f", "-"], WEB).contains("deployment.apps \"web\" deleted"));
        let said = refused(&server, &["get", "deployment", "web", "-n", &namespace], &Value::Null);
        assert_eq!(
            said,
            "Error from server (NotFound): deployments.apps \"web\" not found",
            "{}",
            server.name()
        );
    }
}

/// What people run first, as the demo does.
#[test]
fn bookinfo_is_applied_and_deleted() {
    let bookinfo = include_str!("../../src/demo/bookinfo.yaml");
    let server = Embedded::start(env!("CARGO_BIN_EXE_millrace"), &[]);
    let said = server.done(&["apply", "-f", "-"], bookinfo);
    assert!(said.lines().count() > 4 && said.lines().all(|line| line.ends_with(" created")), "{said}");
    let again = server.done(&["apply", "-f", "-"], bookinfo);
    assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
    assert!(server.done(&["get", "all", "-A"], "").contains("productpage"));
    let gone = server.done(&["delete", "--wait=false", "-f", "-"], bookinfo);
    assert_eq!(gone.lines().count(), said.lines().count(), "{gone}");
}

#[test]
fn wait_sees_a_condition_come() {
    for server in servers("apiserver::wait_sees_a_condition_come") {
        let namespace = namespace(&server);
        let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},
                      "spec":{"containers":[{"name":"c","image":"i"}]}}"#;
        server.done(&["create", "-n", &namespace, "-f", "-"], pod);
        let path = format!("/api/v1/namespaces/{namespace}/pods/a/status");
        let wait = ["wait", "--for=condition=Ready", "pod/a", "-n", &namespace, "--timeout=60s"];
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| server.done(&wait, ""));
            let mut pod: Value = serde_json::from_str(&server.done(&["get", "--raw", &path], "")).unwrap();
            pod["status"]["conditions"] = serde_json::json!([{"type": "Ready", "status": "True"}]);
            server.done(&["replace", "--raw", &path, "-f", "-"], &pod.to_string());
            assert_eq!(waiting.join().unwrap().trim(), "pod/a condition met");
        });
    }
}
