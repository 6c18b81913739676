//! A check's words, of a cluster where all is well and of one where much is not, in both languages.

use super::*;
use crate::api::node::MeshCNINode;
use crate::args::output::Style;
use crate::cli::check::facts::{
    Certificates, Controller, Definition, INSTALLING, Probe, RIGHTS, Registered, Webhook,
};
use crate::cli::findings;
use crate::cli::leader::Lease;
use crate::controller::observed;
use crate::controller::preconditions::Set;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;

fn check(name: &str, facts: &Facts, pre: bool, lang: Lang, counts: [usize; 3]) {
    let found = judge(facts, pre, lang);
    findings::golden(&format!("check-{name}"), &found, Style { lang, ..Style::default() });
    assert_eq!(findings::counts(&found), counts, "{name}");
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("it is of that shape")
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z" })
}

/// A cluster where all is well, with `count` nodes.
fn well(count: usize) -> Facts {
    let now = Timestamp::from_second(NOW).expect("a moment");
    let mesh = json!({
        "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNI", "metadata": { "name": "default", "generation": 2 },
        "spec": { "mode": "CNI" },
        "status": { "observedGeneration": 2, "phase": "Running", "state": "Serving", "conditions": [
            condition("Ready", "True", "Running", "3/3 nodes serve"),
            condition("Stalled", "False", "NotStalled", "nothing is in the way"),
        ] },
    });
    let mut facts = Facts {
        server: "https://192.0.2.1:6443".into(),
        version: "v1.31.4".into(),
        definitions: vec![("MeshCNI", Definition::Same), ("MeshCNINode", Definition::Same)],
        mesh: Some(typed(mesh)),
        home: "millrace-system".into(),
        controllers: Some(vec![controller("millrace-controller-0", true, env!("CARGO_PKG_VERSION"))]),
        lease: Some(Lease { holder: "millrace-controller-0".into(), renewed: Some(now), lasts: 15 }),
        rights: RIGHTS.iter().map(|right| (*right, true)).collect(),
        now,
        ..Facts::default()
    };
    facts.cluster.server = Some(("1".into(), "31".into()));
    facts.cluster.injects = Some(true);
    facts.cluster.control_planes = vec!["r.example/pilot:1.24.2".into()];
    let image = "quay.example/cilium:v1.16.5@sha256:00".into();
    facts.cluster.daemon_sets = vec![Set { namespace: "kube-system".into(), name: "cilium".into(), image }];
    facts.webhook = Webhook {
        looked: true,
        registered: Some(Registered { bundle: "A".into(), fails: false, service: true }),
        certs: Some(Certificates {
            bundle: "A".into(),
            from: NOW as u64 - 10,
            until: NOW as u64 + 2_500_000,
        }),
        endpoints: Some(2),
        probe: Probe::Answered,
        behind: Vec::new(),
    };
    for number in 1..=count {
        node(&mut facts, &format!("n{number:02}"), true, 3);
    }
    facts
}

fn controller(name: &str, ready: bool, version: &str) -> Controller {
    Controller { name: name.into(), ready, version: version.into() }
}

fn node(facts: &mut Facts, name: &str, serving: bool, position: u32) {
    let at = facts.now.to_string();
    let report = json!({
        "serving": serving, "reportedAt": at, "agentVersion": env!("CARGO_PKG_VERSION"), "backend": "iptables",
        "chain": { "file": "/etc/cni/net.d/05-cilium.conflist", "way": "InPlace", "digest": "0", "position": position,
            "plugins": ["cilium-cni", "portmap", "bandwidth", "millrace-cni"] },
        "conditions": [condition("Ready", if serving { "True" } else { "False" }, "NotServing", "chain: no list is there")],
    });
    let object = json!({ "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNINode", "metadata": { "name": name },
        "spec": {}, "status": report });
    let object: MeshCNINode = typed(object);
    facts.observed.reports.extend([observed::report(&object)]);
    facts.reports.extend(object.status.map(|status| (name.into(), status)));
    let known = observed::Node {
        ready: true,
        runtime: "containerd://1.7.24".into(),
        kernel: "6.1.0".into(),
        ..Default::default()
    };
    facts.observed.nodes.insert(name.into(), known);
}

/// One where much is not.
fn broken() -> Facts {
    let mut facts = well(2);
    (3..=16).for_each(|number| node(&mut facts, &format!("n{number:02}"), false, 1));
    facts.version = "v1.26.1".into();
    facts.cluster.server = Some(("1".into(), "26+".into()));
    facts.cluster.injectors = vec![r#"{"pilot":{"cni":{"enabled":true}}}"#.into()];
    facts.cluster.cilium = Some([("cni-exclusive".into(), "true".into())].into());
    facts.cluster.daemon_sets.push(Set {
        namespace: "istio-system".into(),
        name: "istio-cni-node".into(),
        ..Set::default()
    });
    facts.cluster.confined = vec![("legacy".into(), "restricted".into()), ("shop".into(), "baseline".into())];
    facts.definitions[1].1 = Definition::Other(vec!["status.driftedPods".into()]);
    let mesh = facts.mesh.as_mut().expect("there is one");
    mesh.metadata.generation = Some(3);
    mesh.spec.exclude_namespaces = vec!["legacy".into()];
    mesh.status.as_mut().expect("it has one").conditions = typed(json!([
        condition("Ready", "False", "Degraded", "node n03: no list is there (MR2101)"),
        condition("Stalled", "True", "ProgressDeadlineExceeded", "nothing has moved for 600 s"),
        condition(
            "DriftFree",
            "False",
            "Drifted",
            "2 running pods are not redirected as planned, on n01 (MR2302)"
        ),
    ]));
    facts.reports.get_mut("n01").expect("it is there").drifted = Some(2);
    facts.reports.get_mut("n02").expect("it is there").agent_version = "0.0.9".into();
    facts.controllers = Some(vec![controller("millrace-controller-0", false, "0.0.9")]);
    facts.lease = Some(Lease {
        renewed: Timestamp::from_second(NOW - 400).ok(),
        ..facts.lease.clone().unwrap_or_default()
    });
    facts.webhook.probe =
        Probe::Failed("failed calling webhook \"pods.millrace.dev\": x509: unknown authority".into());
    facts.webhook.endpoints = Some(0);
    facts.webhook.behind = vec!["zzz-istio-sidecar-injector".into()];
    facts.webhook.registered = Some(Registered { bundle: "B".into(), fails: true, service: true });
    facts.webhook.certs = Some(Certificates { bundle: "A".into(), from: 0, until: NOW as u64 - 1 });
    facts.rights[3].1 = false;
    facts.rights[8].1 = false;
    facts.unread = vec!["cannot list webhooks: forbidden (MR1105)".into()];
    facts
}

#[test]
fn golden_check_of_a_cluster_where_all_is_well() {
    check("well", &well(3), false, Lang::En, [23, 0, 0]);
    check("well-zh", &well(3), false, Lang::Zh, [23, 0, 0]);
}

#[test]
fn golden_check_of_a_cluster_where_much_is_not() {
    check("broken", &broken(), false, Lang::En, [8, 14, 22]);
    check("broken-zh", &broken(), false, Lang::Zh, [8, 14, 22]);
}

#[test]
fn golden_check_before_an_installation() {
    let mut facts = Facts { mesh: None, webhook: Webhook::default(), ..well(1) };
    facts.definitions = vec![("MeshCNI", Definition::Absent), ("MeshCNINode", Definition::Absent)];
    facts.rights = INSTALLING.iter().map(|right| (*right, true)).collect();
    check("pre", &facts, true, Lang::En, [11, 0, 0]);
    facts.rights[0].1 = false;
    assert_eq!(findings::counts(&judge(&facts, true, Lang::En))[2], 1, "who installs needs all");
    facts.mesh = None;
    let said = judge(&facts, false, Lang::En);
    let all: Vec<&Line> = said.iter().flat_map(|category| &category.lines).collect();
    assert!(all.iter().any(|line| line.text.contains("mesh CNI is off")));
    assert!(all.iter().any(|line| line.code == Some(Code::NotInstalled)));
}

#[test]
fn a_webhook_is_missed_only_where_pods_are_converted() {
    let of = |state: &str, webhook: Webhook| {
        let mut facts = well(1);
        let status = facts.mesh.as_mut().and_then(|mesh| mesh.status.as_mut()).expect("it has one");
        status.state = Some(typed(json!(state)));
        facts.webhook = webhook;
        let said = judge(&facts, false, Lang::En);
        let lines =
            said.iter().find(|category| category.name == "webhook").map(|category| category.lines.clone());
        lines.unwrap_or_default()
    };
    let none = || Webhook { looked: true, ..Webhook::default() };
    assert_eq!(of("Serving", none())[0].code, Some(Code::WebhookDown));
    assert_eq!(of("Installing", none())[0].mark, Mark::Good);
    assert!(of("Serving", Webhook::default()).is_empty(), "nobody looked");
    let probed = |probe: Probe| of("Serving", Webhook { probe, ..well(1).webhook })[0].clone();
    assert_eq!(probed(Probe::Passed).code, Some(Code::WebhookDown));
    assert_eq!(probed(Probe::Failed("x509: no".into())).code, Some(Code::WebhookUntrusted));
    assert_eq!(probed(Probe::Unknown("quota".into())).mark, Mark::Odd);
}
