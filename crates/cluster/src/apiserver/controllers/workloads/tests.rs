//! What workloads want.

use super::*;

fn set(replicas: i64, hash: &str, available: i64) -> Value {
    json!({"metadata": {"name": format!("d-{hash}"), "labels": {HASH: hash}, "uid": "u"},
           "spec": {"replicas": replicas, "template": {"metadata": {"labels": {}}}},
           "status": {"replicas": replicas, "availableReplicas": available, "readyReplicas": available}})
}

fn of_deployment(replicas: i64, strategy: &Value) -> Value {
    json!({"metadata": {"name": "d", "uid": "u", "generation": 1},
           "spec": {"replicas": replicas, "strategy": strategy, "revisionHistoryLimit": 10,
                    "template": {"metadata": {"labels": {"a": "b"}}}}})
}

/// What becomes of the replica counts: the new set's, then those of the old ones that change.
fn check(strategy: &Value, new: Option<(i64, i64)>, old: &[(i64, i64)], expected: &[i64]) {
    let deployment = of_deployment(4, strategy);
    let hash = hash(&deployment["spec"]["template"]);
    let mut sets: Vec<Value> =
        new.iter().map(|(replicas, available)| set(*replicas, &hash, *available)).collect();
    sets.extend(
        old.iter()
            .enumerate()
            .map(|(at, (replicas, available))| set(*replicas, &format!("o{at}"), *available)),
    );
    let found: Vec<i64> = super::deployment(&deployment, &sets, "now")
        .iter()
        .filter_map(|act| match act {
            Act::Create(_, set) | Act::Change(_, _, "", set) => set["spec"]["replicas"].as_i64(),
            _ => None,
        })
        .collect();
    assert_eq!(found, expected, "{strategy} {new:?} {old:?}");
}

#[test]
fn deployments_roll() {
    let rolling =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
    check(&rolling, None, &[], &[4]);
    check(&rolling, Some((4, 4)), &[], &[]);
    check(&rolling, Some((2, 2)), &[], &[4]);
    check(&rolling, None, &[(4, 4)], &[1, 3]);
    check(&rolling, Some((1, 0)), &[(3, 3)], &[2]);
    check(&rolling, Some((2, 2)), &[(3, 3)], &[1]);
    check(&rolling, Some((4, 4)), &[(1, 1)], &[0]);
    // Old ones that do not serve are no loss.
    check(&rolling, None, &[(4, 0)], &[1, 0]);
    let recreate = json!({"type": "Recreate"});
    check(&recreate, Some((0, 0)), &[(4, 4)], &[0]);
    check(&recreate, Some((0, 0)), &[(0, 0)], &[4]);
}

fn on(node: &str, hash: &str, ready: &str) -> Value {
    json!({"metadata": {"name": format!("{node}-{hash}"), "labels": {REVISION: hash}}, "spec": {"nodeName": node},
           "status": {"conditions": [{"type": "Ready", "status": ready}]}})
}

fn of_daemon(surge: i64) -> Value {
    let update =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": 1 - surge}});
    json!({"metadata": {"name": "d", "uid": "u"},
           "spec": {"updateStrategy": update, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}}})
}

fn daemons(surge: i64, pods: &[Value], expected: &[&str]) {
    let nodes = ["a", "b"].map(|name| json!({"metadata": {"name": name}}));
    let found: Vec<String> = daemon_set(&of_daemon(surge), &nodes, pods)
        .iter()
        .filter_map(|act| match act {
            Act::Create(_, pod) => Some(format!("+{}", pod["spec"]["nodeName"].as_str().unwrap())),
            Act::Delete(_, name) => Some(format!("-{name}")),
            Act::Change(..) => None,
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn daemons_are_everywhere_and_roll() {
    let new = hash(&of_daemon(0)["spec"]["template"]);
    let gone = format!("-a-{new}");
    daemons(0, &[], &["+a", "+b"]);
    daemons(0, &[on("a", &new, "True"), on("b", &new, "True")], &[]);
    daemons(
        0,
        &[on("a", &new, "True"), on("b", &new, "True"), on("c", &new, "True")],
        &[&gone.replace("-a", "-c")],
    );
    daemons(0, &[on("a", "old", "True"), on("b", "old", "True")], &["-a-old"]);
    daemons(0, &[on("a", &new, "False"), on("b", "old", "True")], &[]);
    daemons(1, &[on("a", "old", "True"), on("b", "old", "True")], &["+a"]);
    daemons(1, &[on("a", "old", "True"), on("a", &new, "False"), on("b", "old", "True")], &[]);
    daemons(1, &[on("a", "old", "True"), on("a", &new, "True"), on("b", "old", "True")], &["-a-old"]);
}

#[test]
fn jobs_end() {
    let spec = json!({"completions": 2, "parallelism": 1, "backoffLimit": 0, "template": {"spec": {}}});
    let of = json!({"metadata": {"name": "j", "uid": "u"}, "spec": spec});
    let pod = |phase: &str| json!({"metadata": {"name": phase}, "status": {"phase": phase}});
    let said = |pods: &[Value]| {
        let acts = job(&of, pods, "now");
        let made = acts.iter().filter(|act| matches!(act, Act::Create(..))).count();
        let status = acts.iter().find_map(|act| match act {
            Act::Change(_, _, _, change) => Some(change["status"]["conditions"][0]["type"].clone()),
            _ => None,
        });
        (made, status.unwrap_or_default())
    };
    assert_eq!(said(&[]), (1, Value::Null));
    assert_eq!(said(&[pod("Running")]), (0, Value::Null));
    assert_eq!(said(&[pod("Succeeded")]), (1, Value::Null));
    assert_eq!(said(&[pod("Succeeded"), pod("Succeeded")]), (0, json!("Complete")));
    assert_eq!(said(&[pod("Failed")]), (0, json!("Failed")));
}

#[test]
fn a_template_is_the_same_in_any_order() {
    let (one, other) = (json!({"a": {"b": 1, "c": 2}, "d": []}), json!({"d": [], "a": {"c": 2, "b": 1}}));
    assert_eq!(hash(&one), hash(&other));
    assert_ne!(hash(&one), hash(&json!({"d": [], "a": {"c": 2, "b": 3}})));
}
