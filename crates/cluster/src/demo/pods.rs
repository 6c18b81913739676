//! The eight pods as they are when their network is set up: six of bookinfo, one more productpage in a namespace the
//! mesh excludes, one visitor outside the mesh.
//!
//! Each pod's facts are what the API server would hold after injection and admission. It decides about none of them:
//! `policy` does, and its word is stamped onto the pod as the webhook does it.

use crate::demo::bookinfo::{self, Workload};
use anyhow::Context;
use millrace_core::knobs;
use millrace_core::pod::{Container, Pod, Role};
use millrace_core::policy::{self, Decision, Mesh, Verdict};
use millrace_core::settings::{PROXY_ID, Settings};
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use serde_json::json;
use std::collections::BTreeMap;

/// The namespace of the mesh, the one `kubectl apply` uses when none is said.
pub(crate) const MESH: &str = "default";
/// The namespace the operator excluded.
pub(crate) const EXCLUDED: &str = "legacy";
/// The pod outside the mesh.
pub(crate) const VISITOR: &str = "visitor";

/// The arguments the injector gives an istio-init container for the settings of a pod without annotations.
pub(crate) const INIT: &str =
    "-p 15001 -z 15006 -u 1337 -g 1337 -m REDIRECT -i * -b * -d 15020,15021,15090 -o 15020";

/// What a pod has to do with the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The eight, by the manifest.
pub(crate) fn members(workloads: &[Workload]) -> anyhow::Result<Vec<Member>> {
    let mesh = Mesh { excluded_namespaces: vec![EXCLUDED.to_owned()], ..Mesh::default() };
    let productpage = workloads.iter().find(|workload| workload.app == "productpage");
    let productpage = productpage.context("the manifest has no productpage")?;
    let mut members: Vec<Member> =
        workloads.iter().map(|workload| member(workload, Part::Mesh, &mesh)).collect();
    members.push(member(productpage, Part::Excluded, &mesh));
    let visitor = Workload {
        name: VISITOR.to_owned(),
        app: VISITOR.to_owned(),
        labels: BTreeMap::from([("app".to_owned(), VISITOR.to_owned())]),
        ..productpage.clone()
    };
    members.push(member(&visitor, Part::Outside, &mesh));
    Ok(members)
}

fn member(workload: &Workload, part: Part, mesh: &Mesh) -> Member {
    let mut facts = created(workload, if part == Part::Excluded { EXCLUDED } else { MESH });
    if part != Part::Outside {
        inject(&mut facts, part);
    }
    let decision = policy::decide(&facts, mesh);
    // Complaints are about what users wrote into annotations; these have none.
    let (settings, _) = knobs::settings_of(&facts, &mesh.proxy_container, &mesh.defaults);
    if part != Part::Outside {
        let stamp = match decision.verdict {
            Verdict::Redirect => Stamp::Redirect(Box::new(settings.clone())),
            Verdict::Skip(reason) => Stamp::Skip(reason),
        };
        facts.annotations.insert(STAMP_ANNOTATION.to_owned(), stamp::write(&stamp));
    }
    let key =
        if part == Part::Excluded { format!("{}.{EXCLUDED}", workload.name) } else { workload.name.clone() };
    Member { key, part, workload: workload.clone(), facts, decision, settings }
}

/// The pod as its deployment makes it.
fn created(workload: &Workload, namespace: &str) -> Pod {
    let app =
        Container { name: workload.app.clone(), run_as_user: Some(workload.user), ..Container::default() };
    Pod {
        namespace: namespace.to_owned(),
        name: workload.name.clone(),
        labels: workload.labels.clone(),
        containers: vec![app],
        ..Pod::default()
    }
}

/// What the injector adds. In the mesh's namespaces our webhook has replaced istio-init by istio-validation.
fn inject(pod: &mut Pod, part: Part) {
    let (init, args) = if part == Part::Excluded { (policy::INIT, INIT) } else { ("istio-validation", "") };
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    pod.containers.insert(
        0,
        Container { name: init.to_owned(), role: Role::Init, args: words(args), ..Container::default() },
    );
    pod.containers.push(Container {
        name: policy::PROXY.to_owned(),
        args: words("proxy sidecar"),
        run_as_user: Some(PROXY_ID),
        run_as_group: Some(PROXY_ID),
        ..Container::default()
    });
    let status = json!({ "initContainers": [init], "containers": [policy::PROXY], "revision": "default" });
    pod.annotations.insert("sidecar.istio.io/status".to_owned(), status.to_string());
}

/// The names pods are called by, and the keys of the pods behind each: the manifest's services, the excluded
/// namespace's productpage by its full name, and each pod by its own.
pub(crate) fn names(members: &[Member], services: &[bookinfo::Service]) -> BTreeMap<String, Vec<String>> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in members {
        names.entry(member.key.clone()).or_default().push(member.key.clone());
        for service in services.iter().filter(|service| service.selects(&member.workload)) {
            let name = match member.part {
                Part::Excluded => format!("{}.{EXCLUDED}", service.name),
                Part::Mesh | Part::Outside => service.name.clone(),
            };
            names.entry(name).or_default().push(member.key.clone());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::policy::Reason;

    fn eight() -> (Vec<Member>, Vec<bookinfo::Service>) {
        let (workloads, services) = bookinfo::read(bookinfo::MANIFEST).unwrap();
        (members(&workloads).unwrap(), services)
    }

    fn check(key: &str, part: Part, verdict: Verdict) {
        let (members, _) = eight();
        let member = members.iter().find(|member| member.key == key).unwrap();
        assert_eq!(
            (member.part, member.decision.verdict),
            (part, verdict),
            "{:#?}",
            member.decision.conditions
        );
    }

    #[test]
    fn there_are_eight_and_each_is_decided_by_its_own_reason() {
        assert_eq!(eight().0.len(), 8);
        for app in ["details-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3", "productpage-v1"] {
            check(app, Part::Mesh, Verdict::Redirect);
        }
        check("productpage-v1.legacy", Part::Excluded, Verdict::Skip(Reason::NamespaceExcluded));
        check(VISITOR, Part::Outside, Verdict::Skip(Reason::NoProxyContainer));
    }

    #[test]
    fn nobody_outside_the_mesh_is_stamped() {
        for member in eight().0 {
            assert_eq!(member.facts.annotations.contains_key(STAMP_ANNOTATION), member.part != Part::Outside);
        }
    }

    #[test]
    fn the_init_container_is_told_what_the_stamp_says() {
        use millrace_core::knobs::{Surroundings, settings_from_flags};
        let args: Vec<String> = INIT.split_whitespace().map(str::to_owned).collect();
        let nobody = |_: &str| None;
        let around = Surroundings {
            env: &|_| None,
            user: &nobody,
            group: &nobody,
            resolv_conf: &|| Err("not asked for".to_owned()),
        };
        let flags = settings_from_flags(&args, &around).unwrap();
        assert_eq!(flags.complaints, []);
        for member in eight().0.iter().filter(|member| member.part != Part::Outside) {
            assert_eq!(flags.settings, member.settings, "{}", member.key);
        }
    }

    #[test]
    fn services_stand_for_the_pods_behind_them() {
        let (members, services) = eight();
        let names = names(&members, &services);
        assert_eq!(names["reviews"], ["reviews-v1", "reviews-v2", "reviews-v3"]);
        assert_eq!(names["productpage"], ["productpage-v1"]);
        assert_eq!(names["productpage.legacy"], ["productpage-v1.legacy"]);
        assert_eq!(names[VISITOR], [VISITOR]);
    }
}
