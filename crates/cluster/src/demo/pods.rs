//! The eight pods as the API server holds them: six of bookinfo, one more productpage in a namespace the mesh excludes,
//! one visitor outside the mesh.
//!
//! What each pod should be follows from its namespace and its program alone, never from what admission made of it: a pod
//! that nobody converted is not excused by that. Pure.

use crate::demo::bookinfo::{self, EXCLUDED, MESH, Workload};
use crate::facts;
use anyhow::Context;
use millrace_core::knobs::{self, Surroundings};
use millrace_core::pod::Pod;
use millrace_core::policy::{self, Decision, Mesh};
use millrace_core::settings::Settings;
use millrace_core::stamp::STAMP_ANNOTATION;
use serde_json::Value;
use std::collections::BTreeMap;

/// The program outside the mesh.
pub(crate) const VISITOR: &str = "visitor";

/// What a pod has to do with the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// In it, redirected from outside.
    Mesh,
    /// In it, in an excluded namespace: redirected by its own init container.
    Excluded,
    /// Not in it.
    Outside,
}

/// One pod of the demo.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its name among the eight, as other pods call it.
    pub(crate) key: String,
    /// Its part.
    pub(crate) part: Part,
    /// What it runs.
    pub(crate) workload: Workload,
    /// What is known of it.
    pub(crate) facts: Pod,
    /// What was decided about it at admission.
    pub(crate) decision: Decision,
    /// How its redirection is set.
    pub(crate) settings: Settings,
}

/// A pod as the API server holds it.
pub(crate) fn member(object: &Value) -> anyhow::Result<Member> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(MESH);
    let (facts, _) = facts::pod(object, namespace);
    let workload = bookinfo::workload(object).with_context(|| format!("pod {}", facts.name))?;
    let part = match (namespace, workload.app.as_str()) {
        (EXCLUDED, _) => Part::Excluded,
        (_, VISITOR) => Part::Outside,
        _ => Part::Mesh,
    };
    let mesh = Mesh { excluded_namespaces: vec![EXCLUDED.to_owned()], ..Mesh::default() };
    let mut plain = facts.clone();
    plain.annotations.remove(STAMP_ANNOTATION);
    let decision = policy::decide(&plain, &mesh);
    // Complaints are about what users wrote into annotations; these have none.
    let (stated, _) = knobs::settings_of(&plain, &mesh.proxy_container, &mesh.defaults);
    let redirects_itself = facts.containers.iter().any(|container| container.name == policy::INIT);
    let settings = if redirects_itself || part == Part::Excluded { told(&facts)? } else { stated };
    Ok(Member { key: key(namespace, &facts.name), part, workload, facts, decision, settings })
}

/// What a pod is called among all.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    if namespace == EXCLUDED { format!("{name}.{EXCLUDED}") } else { name.to_owned() }
}

/// What the injector tells a pod's istio-init.
fn told(pod: &Pod) -> anyhow::Result<Settings> {
    let init = pod.containers.iter().find(|container| container.name == policy::INIT);
    let init = init.with_context(|| format!("pod {} has no {}", pod.name, policy::INIT))?;
    let around = Surroundings {
        env: &|_| None,
        user: &|_| None,
        group: &|_| None,
        resolv_conf: &|| Err("nobody captures DNS here".to_owned()),
    };
    let words = init.args.iter().skip_while(|word| !word.starts_with('-')).cloned();
    let flags = knobs::settings_from_flags(&words.collect::<Vec<_>>(), &around);
    Ok(flags.with_context(|| format!("the arguments of {} in pod {}", policy::INIT, pod.name))?.settings)
}

/// The names pods are called by, and the keys of the pods behind each: those of the services, as their endpoints say, in the
/// excluded namespace with its name behind; and each pod by its own.
pub(crate) fn names(members: &[&Member], endpoints: &[Value]) -> BTreeMap<String, Vec<String>> {
    let own = members.iter().map(|member| (member.key.clone(), vec![member.key.clone()]));
    let mut names: BTreeMap<String, Vec<String>> = own.collect();
    for service in endpoints {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text(&service["metadata"]["namespace"]), text(&service["metadata"]["name"]));
        let subsets = service["subsets"].as_array().into_iter().flatten();
        let ready = subsets.flat_map(|subset| subset["addresses"].as_array().into_iter().flatten());
        let mut keys: Vec<String> =
            ready.map(|address| key(&namespace, &text(&address["targetRef"]["name"]))).collect();
        keys.sort();
        names.insert(key(&namespace, &name), keys);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::injector;
    use crate::webhook::inject::{Operation, Request, admit};
    use crate::webhook::wishes::Wishes;
    use millrace_core::policy::{Reason, Verdict};
    use serde_json::json;

    /// The pods of what is applied, admitted as the two webhooks admit them.
    fn eight() -> Vec<Member> {
        let wishes = Wishes { exclude_namespaces: vec![EXCLUDED.to_owned()], ..Wishes::default() };
        let objects = bookinfo::objects().unwrap().into_iter();
        let pods = objects.filter(|object| object["kind"] == "Deployment").map(|deployment| {
            let mut pod = deployment["spec"]["template"].clone();
            let namespace = deployment["metadata"]["namespace"].clone();
            pod["metadata"]["name"] = deployment["metadata"]["name"].clone();
            pod["metadata"]["namespace"] = namespace.clone();
            let namespace = namespace.as_str().unwrap();
            let mut pod = injector::injected(&pod, namespace).unwrap();
            let answer = admit(&Request { operation: Operation::Create, namespace, object: &pod }, &wishes);
            json_patch::patch(&mut pod, &answer.patch).unwrap();
            member(&pod).unwrap()
        });
        pods.collect()
    }

    fn check(key: &str, part: Part, verdict: Verdict) {
        let members = eight();
        let member = members.iter().find(|member| member.key == key).unwrap();
        let found = (member.part, member.decision.verdict);
        assert_eq!(found, (part, verdict), "{:#?}", member.decision.conditions);
    }

    #[test]
    fn there_are_eight_and_each_is_decided_by_its_own_reason() {
        assert_eq!(eight().len(), 8);
        for app in ["details-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3", "productpage-v1"] {
            check(app, Part::Mesh, Verdict::Redirect);
        }
        check("productpage-v1.legacy", Part::Excluded, Verdict::Skip(Reason::NamespaceExcluded));
        check(VISITOR, Part::Outside, Verdict::Skip(Reason::NoProxyContainer));
    }

    #[test]
    fn nobody_outside_the_mesh_is_stamped() {
        for member in eight() {
            assert_eq!(member.facts.annotations.contains_key(STAMP_ANNOTATION), member.part != Part::Outside);
        }
    }

    #[test]
    fn services_stand_for_the_pods_behind_them() {
        let members = eight();
        let members: Vec<&Member> = members.iter().collect();
        let endpoints = |namespace: &str, name: &str, pods: &[&str]| {
            let addresses: Vec<Value> =
                pods.iter().map(|pod| json!({ "targetRef": { "name": pod } })).collect();
            json!({ "metadata": { "namespace": namespace, "name": name },
                    "subsets": [{ "addresses": addresses, "notReadyAddresses": [{}] }] })
        };
        let services = [
            endpoints(MESH, "reviews", &["reviews-v2", "reviews-v1"]),
            endpoints(EXCLUDED, "productpage", &["productpage-v1"]),
        ];
        let names = names(&members, &services);
        assert_eq!(names["reviews"], ["reviews-v1", "reviews-v2"]);
        assert_eq!(names["productpage.legacy"], ["productpage-v1.legacy"]);
        assert_eq!(names["reviews-v3"], ["reviews-v3"]);
    }
}
