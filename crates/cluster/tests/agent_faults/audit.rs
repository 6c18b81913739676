//! The audit as part of a real agent, which the self-test has let become ready: what is broken in running pods is mended,
//! whoever owns their network, and what has ended is left alone.

use crate::node::{Node, publish, rules};
use crate::pod::{Kind, Pod};
use crate::{ACCOUNT, Due, credentials, is, scene};
use millrace_rig::absent::not_run;
use millrace_rig::apiserver::Apiserver;
use millrace_rig::net::{Namespace, missing};
use serde_json::{Value, json};

/// Nothing of ours is left.
const BYPASS: &str = "nft flush ruleset";
/// Something of ours is left.
const DRIFT: &str = "nft flush chain ip nat ISTIO_OUTPUT";
/// The same where only native nftables is to be had, as in a network of another user namespace.
const NATIVE_DRIFT: &str = "nft flush chain inet millrace nat-istio-output";

#[test]
fn what_is_broken_in_a_running_pod_is_mended() {
    let test = "what_is_broken_in_a_running_pod_is_mended";
    let Some(api) = scene(test) else { return };
    if let Some((what, how)) = missing(&[("nft", "apt-get install nftables")]) {
        return not_run(test, what, how);
    }
    api.allow(&format!("system:serviceaccount:default:{ACCOUNT}"), "create", "events");
    let mut node = Node::with("audit", &credentials(&api), "60s", "Repair");
    let pod = |name| Pod::new(Kind::Unstamped, name);
    let names = ["late", "shifted-bypassed", "shifted-drifted"].map(pod);
    let jobs = ["job-runs", "job-is-over"].map(|name| pod(name).of_job());
    let mut pods: Vec<Pod> = names.into_iter().chain(jobs).collect();
    publish(&api, &mut pods, "node1");
    node.start_agent();
    let start = |pod: &Pod, namespace: Namespace| {
        let started = node.runtime().start_in(pod, &namespace);
        assert!(is(&started, Due::Redirected), "{started:?}\n{}", node.logs());
        let whole = rules(&namespace);
        (namespace, whole)
    };
    let [late, bypassed, drifted, runs, over] = &pods[..] else { panic!("five pods were made") };
    let late = (late, start(late, Namespace::new()));
    // With `hostUsers: false` the pod's user namespace owns its network namespace.
    let bypassed = (bypassed, start(bypassed, Namespace::shifted()), BYPASS);
    let drifted = (drifted, start(drifted, Namespace::shifted()), NATIVE_DRIFT);
    let runs = (runs, start(runs, Namespace::new()), BYPASS);
    let over = (over, start(over, Namespace::new()), BYPASS);

    let broken = [&over, &bypassed, &drifted, &runs];
    broken.iter().for_each(|(_, place, how)| damage(place, how));
    // In the order in which they are to be seen: the others are not mended before these two were looked at.
    tell(&api, over.0, "Succeeded");
    tell(&api, late.0, "Running");
    broken[1..].iter().for_each(|(pod, ..)| tell(&api, pod, "Running"));
    for (pod, (namespace, whole), _) in &broken[1..] {
        let what = format!("the rules of {} are whole again", pod.name());
        node.until(&what, |_| rules(namespace) == *whole);
    }
    // What was well when it was looked at is looked at again with all others.
    damage(&late.1, DRIFT);
    node.until("the rules of the late one are whole again", |_| rules(&late.1.0) == late.1.1);
    assert_eq!(rules(&over.1.0), 0, "nobody is left in it whom rules could serve\n{}", node.logs());

    let mended = broken[1..].iter().map(|(pod, ..)| *pod).chain([late.0]);
    for pod in mended {
        let what = format!("an event of {} tells of it", pod.name());
        node.until(&what, |_| events(&api).contains(pod.name()));
    }
    assert!(!events(&api).contains(over.0.name()), "{}", events(&api));
    let counts = node.metrics();
    let counts: Vec<&str> = counts.lines().filter(|line| line.starts_with("millrace_audit_")).collect();
    for count in [
        "millrace_audit_findings_total{finding=\"bypass\"} 2",
        "millrace_audit_findings_total{finding=\"drift\"} 2",
        "millrace_audit_acts_total{act=\"reapply\",result=\"ok\"} 4",
    ] {
        assert!(counts.contains(&count), "{count}: {counts:?}\n{}", node.logs());
    }
    assert_eq!(counts.len(), 3, "{counts:?}");
}

fn damage((namespace, whole): &(Namespace, usize), how: &str) {
    namespace.sh(how);
    assert!(rules(namespace) < *whole, "{how} breaks nothing");
}

fn events(api: &Apiserver) -> String {
    api.done(&["get", "events", "-n", "mesh", "-o", "name"], "")
}

/// What kubelet says of a pod in `phase`, whose containers run or have all ended.
fn tell(api: &Apiserver, pod: &Pod, phase: &str) {
    let path = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace(), pod.name());
    let mut object: Value =
        serde_json::from_str(&api.done(&["get", "--raw", &path], "")).expect("a pod is JSON");
    let state = match phase {
        "Running" => json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } }),
        _ => json!({ "terminated": { "exitCode": 0, "reason": "Completed" } }),
    };
    let container = |name: &str| {
        json!({
            "name": name, "image": "x", "imageID": "x", "ready": phase == "Running", "restartCount": 0, "state": state
        })
    };
    object["status"] = json!({
        "phase": phase,
        "podIP": "198.51.100.7",
        "podIPs": [{ "ip": "198.51.100.7" }, { "ip": "2001:db8::7" }],
        "containerStatuses": [container("app"), container("istio-proxy")],
    });
    api.done(&["replace", "--raw", &format!("{path}/status"), "-f", "-"], &object.to_string());
}
