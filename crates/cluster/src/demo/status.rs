//! The status of a pod and of the node, as a kubelet writes it. Pure.

use serde_json::{Value, json};
use std::net::IpAddr;

/// What the node knows of a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Its addresses; none until its network is set up.
    pub(crate) addresses: Vec<IpAddr>,
    /// Its init containers that have ended, in order, with their exit codes.
    pub(crate) ended: Vec<i32>,
    /// Whether its containers run.
    pub(crate) runs: bool,
    /// Whether they answer.
    pub(crate) ready: bool,
    /// With which code its only container ended, if it has ended.
    pub(crate) over: Option<i32>,
    /// What that container said at its end.
    pub(crate) words: String,
    /// How often that container was started again, or is about to be.
    pub(crate) restarts: u32,
    /// Whether it waits for being started again.
    pub(crate) backs_off: bool,
}

/// The status of the pod `object`; `now` in the words of the API.
pub(crate) fn pod(object: &Value, seen: &Seen, now: &str) -> Value {
    let init = list(object, "initContainers");
    let initialized = seen.ended.len() == init.len() && seen.ended.iter().all(|code| *code == 0);
    let inits: Vec<Value> =
        init.iter().enumerate().map(|(at, one)| init_container(one, seen.ended.get(at), now)).collect();
    let containers: Vec<Value> =
        list(object, "containers").iter().map(|one| container(one, seen, now)).collect();
    let mut conditions: Vec<Value> = list_at(&object["status"]["conditions"])
        .iter()
        .filter(|one| one["type"] == "PodScheduled")
        .cloned()
        .collect();
    for (name, holds) in
        [("Initialized", initialized), ("ContainersReady", seen.ready), ("Ready", seen.ready)]
    {
        conditions.push(condition(name, holds, now));
    }
    let ips: Vec<Value> = seen.addresses.iter().map(|ip| json!({ "ip": ip.to_string() })).collect();
    let mut status = json!({
        "phase": phase(seen),
        "conditions": conditions,
        "initContainerStatuses": inits,
        "containerStatuses": containers,
        "startTime": object["status"]["startTime"].as_str().unwrap_or(now),
    });
    if let Some(first) = seen.addresses.first() {
        status["podIP"] = json!(first.to_string());
        status["podIPs"] = ips.into();
    }
    status
}

fn phase(seen: &Seen) -> &'static str {
    match seen.over {
        Some(0) => "Succeeded",
        Some(_) => "Failed",
        None if seen.runs => "Running",
        None => "Pending",
    }
}

fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    list_at(&object["spec"][key])
}

fn list_at(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn condition(name: &str, holds: bool, now: &str) -> Value {
    let status = if holds { "True" } else { "False" };
    json!({ "type": name, "status": status, "lastTransitionTime": now })
}

fn init_container(one: &Value, code: Option<&i32>, now: &str) -> Value {
    let state =
        code.map_or_else(|| json!({ "waiting": { "reason": "PodInitializing" } }), |code| ended(*code, now));
    said(one, state, code == Some(&0))
}

fn ended(code: i32, now: &str) -> Value {
    let reason = if code == 0 { "Completed" } else { "Error" };
    json!({ "terminated": { "exitCode": code, "reason": reason, "finishedAt": now } })
}

fn container(one: &Value, seen: &Seen, now: &str) -> Value {
    let state = match seen.over {
        Some(code) => {
            let mut state = ended(code, now);
            if !seen.words.is_empty() {
                state["terminated"]["message"] = json!(seen.words);
            }
            state
        }
        None if seen.backs_off => json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
        None if seen.runs => json!({ "running": { "startedAt": now } }),
        None => json!({ "waiting": { "reason": "PodInitializing" } }),
    };
    let mut container = said(one, state, seen.ready);
    container["started"] = json!(seen.runs && seen.over.is_none() && !seen.backs_off);
    container["restartCount"] = json!(seen.restarts);
    container
}

fn said(one: &Value, state: Value, ready: bool) -> Value {
    json!({ "name": one["name"], "image": one["image"], "imageID": "", "restartCount": 0,
            "ready": ready, "state": state })
}

/// The status of a node that takes pods.
pub(crate) fn node(address: IpAddr, now: &str) -> Value {
    let mut ready = condition("Ready", true, now);
    ready["reason"] = json!("KubeletReady");
    ready["lastHeartbeatTime"] = json!(now);
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "addresses": [{ "type": "InternalIP", "address": address.to_string() }],
        "allocatable": { "pods": "110" }, "capacity": { "pods": "110" },
        "conditions": [ready],
        "nodeInfo": {
            "kubeletVersion": format!("v{version}-demo"), "containerRuntimeVersion": format!("demo://{version}"),
            "operatingSystem": "linux", "osImage": "this machine", "architecture": std::env::consts::ARCH,
            "kernelVersion": "", "machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": "",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The phase, whether each condition holds, and the states of all containers.
    fn check(seen: Seen, phase: &str, conditions: &str, states: &str) {
        let object = json!({
            "spec": { "initContainers": [{ "name": "istio-validation" }], "containers": [{ "name": "app" }] },
            "status": { "conditions": [{ "type": "PodScheduled", "status": "True" }, { "type": "Ready", "status": "Unknown" }] },
        });
        let status = pod(&object, &seen, "2026-01-01T00:00:00Z");
        let word = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let holds: Vec<String> = list_at(&status["conditions"])
            .iter()
            .filter(|one| one["status"] == "True")
            .map(|one| word(one, "type"))
            .collect();
        let containers =
            ["initContainerStatuses", "containerStatuses"].map(|key| list_at(&status[key]).to_vec());
        let state = |one: &Value| {
            let (name, inner) = one["state"].as_object().unwrap().iter().next().unwrap();
            format!("{name}{}", inner["exitCode"].as_i64().map(|code| format!(" {code}")).unwrap_or_default())
        };
        let told: Vec<String> = containers.concat().iter().map(state).collect();
        assert_eq!((word(&status, "phase").as_str(), holds.join(" ").as_str()), (phase, conditions));
        assert_eq!(told.join(", "), states);
    }

    #[test]
    fn a_status_says_how_far_a_pod_is() {
        check(Seen::default(), "Pending", "PodScheduled", "waiting, waiting");
        let failed = Seen { ended: vec![126], ..Seen::default() };
        check(failed, "Pending", "PodScheduled", "terminated 126, waiting");
        let runs = Seen { ended: vec![0], runs: true, ..Seen::default() };
        check(runs.clone(), "Running", "PodScheduled Initialized", "terminated 0, running");
        let ready = Seen { ready: true, ..runs };
        let all = "PodScheduled Initialized ContainersReady Ready";
        check(ready, "Running", all, "terminated 0, running");
        let over = Seen { ended: vec![0], runs: true, over: Some(0), ..Seen::default() };
        check(over.clone(), "Succeeded", "PodScheduled Initialized", "terminated 0, terminated 0");
        check(
            Seen { over: Some(1), ..over },
            "Failed",
            "PodScheduled Initialized",
            "terminated 0, terminated 1",
        );
        let again = Seen { ended: vec![0], runs: true, backs_off: true, ..Seen::default() };
        check(again, "Running", "PodScheduled Initialized", "terminated 0, waiting");
    }
}
