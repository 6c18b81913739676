//! Which init containers have no network once the pod is redirected from outside, and which pods are bound for a node where
//! nobody would redirect them. PURE.
//!
//! It looks and decides nothing. Where the pod does not say, it assumes what keeps more pods working.

use super::init::VALIDATION;
use super::wishes::{Mark, Unserved};
use millrace_core::pod::{Container, Pod, Role};
use millrace_core::policy::INIT;
use millrace_core::settings::{Dns, Outbound, OwnerGroups, Settings};
use serde_json::Value;
use std::collections::BTreeMap;

/// The ordinary init containers that run redirected while no proxy is up yet, with their place among the init containers.
/// Before the redirection was the node's, only those behind `istio-init` were.
pub(super) fn cut_off<'a>(
    pod: &'a Pod,
    proxy: &str,
    settings: &'a Settings,
) -> impl Iterator<Item = (usize, &'a Container)> {
    let proxy = pod.containers.iter().position(|one| one.name == proxy && one.role == Role::NativeSidecar);
    let up = proxy.unwrap_or(usize::MAX);
    let ordinary = |one: &Container| one.role == Role::Init && one.name != INIT && one.name != VALIDATION;
    let waiting = pod.containers.iter().enumerate().take_while(move |(place, _)| *place < up);
    waiting.filter(move |(_, one)| ordinary(one) && is_captured(one, settings))
}

/// Whether what a container sends is captured. A user that only its image knows is taken for any other.
fn is_captured(container: &Container, settings: &Settings) -> bool {
    let user = |ids: &[u32]| container.run_as_user.is_some_and(|id| ids.contains(&id));
    let group = |ids: &[u32]| container.run_as_group.is_some_and(|id| ids.contains(&id));
    let filtered = match &settings.owner_groups {
        OwnerGroups::AllExcept(groups) => group(groups),
        OwnerGroups::Only(groups) => container.run_as_group.is_some() && !group(groups),
    };
    let nothing = settings.outbound == Outbound::Nothing
        && settings.include_outbound_ports.is_empty()
        && settings.dns == Dns::Off;
    let free = user(&settings.proxy_uids) || user(&settings.exclude_uids) || group(&settings.proxy_gids);
    !(nothing || filtered || free)
}

/// What shows that a pod is bound for a node without the plugin.
pub(super) fn unserved(object: &Value, pod: &Pod, nodes: &Unserved) -> Option<String> {
    let spec = &object["spec"];
    let fits = |marks: &[Mark], key: &str, value: &str| marks.iter().any(|mark| mark.fits(key, value));
    if let Some(name) = spec["nodeName"].as_str().filter(|name| is_one(nodes, name)) {
        return Some(format!("it is bound to the node {name}"));
    }
    let wanted = spec["nodeSelector"].as_object().into_iter().flatten();
    let mut wanted = wanted.map(|(key, value)| (key, value.as_str().unwrap_or_default()));
    let leads_away = |key: &str, value: &str| {
        fits(&nodes.node_labels, key, value) || nodes.without_labels.get(key).is_some_and(|had| had != value)
    };
    if let Some((key, value)) = wanted.find(|(key, value)| leads_away(key, value)) {
        return Some(format!("its nodeSelector says {key}={value}"));
    }
    if let Some((key, value)) = pod.labels.iter().find(|(key, value)| fits(&nodes.pod_labels, key, value)) {
        return Some(format!("its label says {key}={value}"));
    }
    let affinity = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = affinity["nodeSelectorTerms"].as_array();
    // One of the terms is enough for a node to be chosen.
    if terms.is_some_and(|terms| !terms.is_empty() && terms.iter().all(|term| pins(term, nodes))) {
        return Some("its node affinity leaves no other nodes".to_owned());
    }
    // One that tolerates everything is for every node, and says nothing of these.
    let mut tolerated =
        spec["tolerations"].as_array().into_iter().flatten().filter_map(|one| one["key"].as_str());
    let tolerated = tolerated.find(|key| nodes.taints.iter().any(|taint| taint == key));
    tolerated.map(|key| format!("it tolerates the taint {key}"))
}

/// Whether no node with these labels meets a demand. Numbers are compared as a scheduler does.
fn shuts_out(demand: &Value, labels: &BTreeMap<String, String>) -> bool {
    let Some(had) = labels.get(demand["key"].as_str().unwrap_or_default()) else { return false };
    let values = demand["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = values.iter().any(|value| value == had.as_str());
    let number = |text: &str| text.parse::<i64>().ok();
    let bound = values.first().and_then(Value::as_str).and_then(number);
    let beyond =
        |fits: fn(i64, i64) -> bool| number(had).zip(bound).is_some_and(|(had, bound)| fits(had, bound));
    match demand["operator"].as_str() {
        Some("In") => !named,
        Some("NotIn") => named,
        Some("DoesNotExist") => true,
        Some("Gt") => !beyond(|had, bound| had > bound),
        Some("Lt") => !beyond(|had, bound| had < bound),
        _ => false,
    }
}

fn is_one(nodes: &Unserved, name: &str) -> bool {
    nodes.names.iter().any(|known| known == name)
}

/// Whether a term fits only nodes without the plugin.
fn pins(term: &Value, nodes: &Unserved) -> bool {
    let mut demands = term["matchExpressions"].as_array().into_iter().flatten();
    if demands.any(|demand| shuts_out(demand, &nodes.without_labels)) {
        return true;
    }
    let each = |list: &str, pins: &dyn Fn(&str, &str) -> bool, exists: &dyn Fn(&str) -> bool| {
        term[list].as_array().into_iter().flatten().any(|demand| {
            let key = demand["key"].as_str().unwrap_or_default();
            let values = demand["values"].as_array().map(Vec::as_slice).unwrap_or_default();
            match demand["operator"].as_str() {
                Some("In") => {
                    !values.is_empty()
                        && values.iter().all(|value| value.as_str().is_some_and(|value| pins(key, value)))
                }
                Some("Exists") => exists(key),
                _ => false,
            }
        })
    };
    let label = |key: &str, value: &str| nodes.node_labels.iter().any(|mark| mark.fits(key, value));
    let any = |key: &str| nodes.node_labels.iter().any(|mark| mark.key == key && mark.value.is_none());
    let name = |key: &str, value: &str| key == "metadata.name" && is_one(nodes, value);
    each("matchExpressions", &label, &any) || each("matchFields", &name, &|_| false)
}
