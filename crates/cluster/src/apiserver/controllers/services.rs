//! PURE: who is behind a service, and how many of its pods a disruption budget can spare.

use super::place::name;
use super::workloads::{is_active, is_ready};
use crate::apiserver::select::{LabelSelector, Labels};
use serde_json::{Value, json};

/// The `subsets` of a service's endpoints; nothing for one that selects nothing.
pub(super) fn subsets(service: &Value, pods: &[Value]) -> Option<Value> {
    let selector = LabelSelector::of_map(&service["spec"]["selector"])?;
    let (mut ready, mut others, mut ports) = (Vec::new(), Vec::new(), Vec::new());
    for pod in pods.iter().filter(|pod| is_active(pod) && selector.matches(&labels(pod))) {
        let Some(ip) = pod["status"]["podIP"].as_str().filter(|ip| !ip.is_empty()) else { continue };
        let target = json!({"kind": "Pod", "name": name(pod), "namespace": pod["metadata"]["namespace"],
                            "uid": pod["metadata"]["uid"]});
        let address = json!({"ip": ip, "nodeName": pod["spec"]["nodeName"], "targetRef": target});
        if is_ready(pod) || service["spec"]["publishNotReadyAddresses"] == true {
            ready.push(address);
        } else {
            others.push(address);
        }
        if ports.is_empty() {
            ports = service["spec"]["ports"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|port| of(port, pod))
                .collect();
        }
    }
    if ready.is_empty() && others.is_empty() {
        return Some(json!([]));
    }
    let mut subset = json!({"ports": ports});
    if !ready.is_empty() {
        subset["addresses"] = ready.into();
    }
    if !others.is_empty() {
        subset["notReadyAddresses"] = others.into();
    }
    Some(json!([subset]))
}

fn of(port: &Value, pod: &Value) -> Option<Value> {
    let number = match &port["targetPort"] {
        Value::String(wanted) => {
            let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
            let mut ports =
                containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
            ports.find(|port| port["name"] == wanted.as_str())?["containerPort"].clone()
        }
        number => number.clone(),
    };
    let mut found = json!({"port": number, "protocol": port["protocol"]});
    if port["name"].is_string() {
        found["name"] = port["name"].clone();
    }
    Some(found)
}

/// The status of a disruption budget.
pub(super) fn budget(budget: &Value, pods: &[Value]) -> Value {
    let selector = LabelSelector::of(&budget["spec"]["selector"]);
    let chosen = |pod: &&Value| selector.as_ref().is_some_and(|selector| selector.matches(&labels(pod)));
    let pods: Vec<&Value> = pods.iter().filter(chosen).filter(|pod| is_active(pod)).collect();
    let all = i64::try_from(pods.len()).unwrap_or(i64::MAX);
    let healthy = i64::try_from(pods.iter().filter(|pod| is_ready(pod)).count()).unwrap_or(i64::MAX);
    let amount =
        |value: &Value| match value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok()) {
            Some(percent) => (all * percent + 99) / 100,
            None => value.as_i64().unwrap_or(0),
        };
    let (least, most) = (&budget["spec"]["minAvailable"], &budget["spec"]["maxUnavailable"]);
    let desired = if most.is_null() { amount(least) } else { (all - amount(most)).max(0) };
    json!({
        "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": all,
        "disruptionsAllowed": (healthy - desired).max(0), "observedGeneration": budget["metadata"]["generation"],
    })
}

fn labels(object: &Value) -> Labels {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(ip: &str, ready: &str) -> Value {
        json!({"metadata": {"name": ip, "labels": {"a": "b"}},
               "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]},
               "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn check(pods: &[Value], ready: usize, others: usize, port: &Value) {
        let service =
            json!({"spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}]}});
        let found = subsets(&service, pods).unwrap();
        let count = |name: &str| found[0][name].as_array().map_or(0, Vec::len);
        assert_eq!(
            (count("addresses"), count("notReadyAddresses"), &found[0]["ports"][0]["port"]),
            (ready, others, port)
        );
    }

    #[test]
    fn pods_behind_services() {
        check(&[], 0, 0, &Value::Null);
        check(&[pod("1.1.1.1", "True"), pod("1.1.1.2", "False"), pod("", "True")], 1, 1, &json!(8080));
        assert_eq!(subsets(&json!({"spec": {}}), &[]), None);
    }

    #[test]
    fn budgets() {
        let of = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "minAvailable": 1}, "metadata": {"generation": 1}});
        let pods = [pod("1", "True"), pod("2", "True"), pod("3", "False")];
        assert_eq!(budget(&of, &pods)["disruptionsAllowed"], 1);
        let half = json!({"spec": {"selector": {}, "maxUnavailable": "50%"}, "metadata": {"generation": 1}});
        assert_eq!(budget(&half, &pods)["desiredHealthy"], 1);
    }
}
