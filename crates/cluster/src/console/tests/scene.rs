//! Clusters in each state, and what the console makes of them. For tests alone.

use crate::api::condition::ConditionStatus;
use crate::api::mesh::{MeshCNI, Mode};
use crate::api::node::MeshCNINode;
use crate::api::ours::Release;
use crate::args::output::{Lang, Mark};
use crate::cli::explain::cluster::Under;
use crate::cli::findings::{Category, Line};
use crate::cli::happened::Happened;
use crate::cli::leader::Lease;
use crate::cli::plan::{Change, Plan};
use crate::cli::revisions::Revision;
use crate::codes::Code;
use crate::console::facts::{
    Draft, Facts, Listed, Namespace, NodeRow, Past, PodRow, Progress, Reports, Rights,
};
use crate::console::frame::{Frame, Plain, Theme};
use crate::console::lists::{Filter, History, Nodes, Workloads};
use crate::console::live::Looking;
use crate::console::node::{Around, Node};
use crate::console::page::Page;
use crate::console::pod::Pod;
use crate::console::proposal::{Base, Proposal, Refusal};
use crate::console::state::State;
use crate::mechanism::Mechanism;
use askama::Template;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

pub(super) fn frame(lang: Lang) -> Frame {
    let (here, server) = ("/".to_owned(), "https://10.0.0.1:6443".to_owned());
    Frame { lang, theme: Theme::Auto, csrf: "CSRF".to_owned(), here, server, ..Frame::default() }
}

/// A cluster whose controller says this.
fn facts(spec: Value, status: Value) -> Facts {
    let live = json!({ "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNI",
        "metadata": { "name": "default", "generation": 7, "resourceVersion": "41" }, "spec": spec, "status": status });
    let mesh: MeshCNI = serde_json::from_value(live.clone()).unwrap();
    Facts { mesh: Some(mesh), live, ..nothing() }
}

/// A cluster without a MeshCNI.
fn nothing() -> Facts {
    let namespace =
        |name: &str, injection: &str| Namespace { name: name.into(), injection: injection.into() };
    let pod = |name: &str, before: Mechanism, owes: bool| PodRow {
        namespace: "shop".into(),
        name: name.into(),
        node: "n1".into(),
        workload: Some(("Deployment".into(), "web".into())),
        before,
        owes,
    };
    Facts {
        server: "https://10.0.0.1:6443".into(),
        looked: true,
        home: "millrace-system".into(),
        namespaces: [namespace("kube-system", ""), namespace("shop", "istio-injection=enabled")].into(),
        pods: [pod("web-1", Mechanism::Cni, false), pod("web-2", Mechanism::InitContainer, true)].into(),
        progress: progress(&["n1", "n2", "n3"], "ChainRepaired", "10-x.conflist was rewritten"),
        rights: Rights::Change,
        now: now(),
        ..Facts::default()
    }
}

/// Nodes of these names, of which the last does not serve, and what happened to them.
fn progress(names: &[&str], reason: &str, text: &str) -> Progress {
    let node = |(at, name): (usize, &&str)| NodeRow {
        name: (*name).into(),
        serves: at + 1 < names.len().max(2),
        reported: "2026-11-22T11:59:00Z".parse().ok(),
        contested: false,
        drifted: u32::try_from(at % 2).unwrap_or_default(),
    };
    let rows: Vec<NodeRow> = names.iter().enumerate().map(node).collect();
    let event = Happened {
        last: "2026-11-22T11:58:00Z".parse().ok(),
        kind: "Warning".into(),
        reason: reason.to_owned(),
        about: format!("Node {}", names[0]),
        count: 3,
        by: "millrace-agent".into(),
        text: text.to_owned(),
    };
    Progress {
        nodes: Listed { rows: rows.into(), unread: None },
        events: Listed { rows: [event].into(), unread: None },
        lease: None,
    }
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-22T11:00:00Z" })
}

fn status(phase: &str, state: &str, more: Value) -> Value {
    let ready = if matches!(phase, "Running" | "Disabled") { "True" } else { "False" };
    let mut status = json!({
        "observedGeneration": 7, "phase": phase, "state": state,
        "conditions": [condition("Ready", ready, phase, "2 of 3 nodes serve")],
        "nodes": { "desired": 3, "updated": 2, "ready": 2, "failed": 1, "absent": 0, "summary": "2/3" },
        "workloads": { "cni": 4, "initContainer": 1, "none": 0, "restartDebt": 0, "drifted": 0 },
        "history": [{ "generation": 7, "specHash": "0", "summary": "mode", "by": "millrace-cli:ada", "at": "2026-11-22T11:30:00Z" }],
        "lastGoodRevision": 2,
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        status[field] = value.clone();
    }
    status
}

fn failing(code: &str) -> Value {
    json!([{ "name": "n3", "code": code, "reason": "no agent has reported", "since": "2026-11-22T11:50:00Z" }])
}

pub(super) fn running() -> Facts {
    facts(json!({}), status("Running", "Serving", json!({})))
}

pub(super) fn proposal(generation: i64, excluded: &[&str]) -> Proposal {
    let seen = ["kube-system", "istio-system"].map(str::to_owned).to_vec();
    let excluded = excluded.iter().map(|name| (*name).to_owned()).collect();
    Proposal {
        mode: Mode::Cni,
        excluded,
        takes_over: false,
        base: Base { generation, mode: Mode::Cni, excluded: seen },
    }
}

pub(super) fn plan() -> Plan {
    let change = |pod: &str, workload: Option<&str>| Change {
        namespace: "shop".into(),
        pod: pod.into(),
        workload: workload.map(|name| ("Deployment".to_owned(), name.to_owned())),
        before: Mechanism::Cni,
        after: Mechanism::InitContainer,
    };
    let remark = ("shop/web-1".to_owned(), Code::InitContainersKept, "keeps istio-init".to_owned());
    Plan {
        changes: vec![change("bare", None), change("web-1", Some("web"))],
        remarks: vec![remark],
        same: 3,
        outside: 9,
    }
}

/// A sample: its name, what was read, and what is proposed.
type Sample = (&'static str, Facts, Draft);

/// Every state of the page.
pub(super) fn samples() -> Vec<Sample> {
    let drafts = [
        ("dirty", Draft::Dirty(proposal(7, &["kube-system", "shop"]))),
        ("planning", Draft::Planned(proposal(7, &["kube-system", "shop"]), Ok(plan()))),
        ("refused", Draft::Planned(proposal(7, &["shop"]), Err(held()))),
        ("edit-conflict", Draft::Conflict(proposal(6, &["shop"]))),
    ];
    let drafts = drafts.into_iter().map(|(name, draft)| (name, running(), draft));
    let states = at_rest().into_iter().chain(under_way()).chain(in_trouble());
    states.map(|(state, facts)| (state.name(), facts, Draft::Clean)).chain(drafts).collect()
}

fn held() -> Refusal {
    let text = "cannot change MeshCNI default: .spec.mode was applied by gitops".to_owned();
    Refusal { text, is_held: true }
}

fn at_rest() -> Vec<(State, Facts)> {
    let cilium = Line::coded(Mark::Bad, Code::CiliumExclusive, "Cilium".into(), Lang::En);
    let lines = vec![Line::good("an injector is there".into()), cilium];
    let preflight = Category { name: "injection", title: "injection", lines };
    let by_themselves = facts(json!({ "mode": "InitContainer" }), status("Running", "Installing", json!({})));
    let held = vec![(".spec.excludeNamespaces[\"istio-system\"]".into(), "gitops".into())];
    vec![
        (State::Disabled, Facts { preflight: vec![preflight], ..nothing() }),
        (State::Clean, by_themselves),
        (State::Running, Facts { held, ..running() }),
        (State::ReadOnly, Facts { rights: Rights::Look, ..running() }),
    ]
}

fn under_way() -> Vec<(State, Facts)> {
    let loading =
        Facts { looked: false, server: "https://10.0.0.1:6443".into(), now: now(), ..Facts::default() };
    let debt =
        json!({ "workloads": { "cni": 4, "initContainer": 1, "none": 0, "restartDebt": 3, "drifted": 0 } });
    let operation = json!({ "operation": { "kind": "UpdateSettings", "generation": 7, "startedAt": "2026-11-22T11:58:00Z",
        "progressedAt": "2026-11-22T11:59:00Z", "deadline": "2026-11-22T12:09:00Z" },
        "failingNodes": failing("MR2002") });
    let updating = status("Updating", "Installing", operation);
    vec![
        (State::Loading, loading),
        (State::Updating, facts(json!({}), updating.clone())),
        (State::Paused, facts(json!({ "rollout": { "paused": true } }), updating)),
        (State::RestartDebt, facts(json!({}), status("Running", "Serving", debt))),
    ]
}

fn in_trouble() -> Vec<(State, Facts)> {
    let lost = Facts { cut: Some("cannot watch MeshCNI default: connection refused".into()), ..running() };
    let degraded = |code: &str| {
        facts(json!({}), status("Degraded", "Serving", json!({ "failingNodes": failing(code) })))
    };
    let unfit = json!([{ "name": "n3", "code": "MR5003", "reason": "docker://20.10.7 is not supported; no agent is on the node" }]);
    let unfit = facts(json!({}), status("Degraded", "Serving", json!({ "failingNodes": unfit })));
    let said = |phase: &str, state: &str, kind: &str, held: &str, reason: &str, message: &str| {
        let conditions = json!({ "conditions": [condition(kind, held, reason, message)] });
        facts(json!({}), status(phase, state, conditions))
    };
    let stalled = ("ProgressDeadlineExceeded", "nothing has moved for 600 s");
    let none = ("NoInjector", "no sidecar injector was found; MR5011");
    let contested = ("ChainContested", "n3: cilium-agent rewrote 05-cilium.conflist (MR2104)");
    vec![
        (State::Degraded, degraded("MR2113")),
        (State::Stalled, said("Degraded", "Installing", "Stalled", "True", stalled.0, stalled.1)),
        (State::StreamLost, lost),
        (State::AgentsUnreachable, degraded("MR2002")),
        (State::UnsupportedRuntime, unfit),
        (
            State::ControllerAway,
            Facts { progress: Progress { lease: Some(Lease::default()), ..running().progress }, ..running() },
        ),
        (State::InjectorMissing, said("Running", "Serving", "InjectorSynced", "False", none.0, none.1)),
        (
            State::ChainConflict,
            said("Running", "Serving", "NoChainConflict", "False", contested.0, contested.1),
        ),
    ]
}

pub(super) fn pod(text: &str) -> Value {
    json!({
        "metadata": { "name": text, "namespace": text, "annotations": { "millrace.dev/redirect": r#"{"v":1,"redirect":{}}"#,
            "sidecar.istio.io/status": r#"{"initContainers":["istio-init"],"containers":["istio-proxy"]}"# } },
        "spec": { "nodeName": text, "containers": [{ "name": text, "image": "x" },
            { "name": "istio-proxy", "image": "proxyv2", "args": ["proxy", "sidecar"],
              "securityContext": { "runAsUser": 1337, "runAsGroup": 1337 } }] },
    })
}

pub(super) fn node(text: &str, holds: &str) -> MeshCNINode {
    let at = "2026-11-22T11:59:00Z";
    serde_json::from_value(json!({
        "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNINode", "metadata": { "name": text }, "spec": {},
        "status": { "serving": true, "reportedAt": at, "agentVersion": text, "pluginVersion": text, "backend": text,
            "chain": { "file": text, "way": text, "digest": text, "position": 1, "plugins": [text, "millrace-cni"] },
            "outcomes": { "redirected": 4, "skipped": 2, "failed": 1, "lastFailures": [{ "pod": text, "message": text, "at": at }] },
            "drifted": 1, "driftedPods": [{ "pod": text, "finding": "drift", "message": text }],
            "conditions": [condition("NoChainConflict", holds, text, text), condition(text, holds, text, text)] },
    }))
    .unwrap()
}

fn past(text: &str) -> Past {
    let revision = |number: i64, spec: Value| Revision {
        number,
        generation: Some(number + 4),
        at: Some(now()),
        release: Release { spec: serde_json::from_value(spec).unwrap(), image: text.to_owned() },
    };
    Past {
        kept: vec![revision(2, json!({})), revision(3, json!({ "excludeNamespaces": [text] }))],
        unread: None,
    }
}

/// All pages but the main one, with this text wherever a cluster may have one.
pub(super) fn others(text: &str, lang: Lang) -> Vec<(&'static str, String)> {
    let facts = laden(text);
    let reports = Reports { nodes: vec![node(text, "True")], unread: Some(text.to_owned()) };
    let filter = Filter::default();
    let under = Under::of(&json!({ "mode": "CNI" })).unwrap();
    let outside = json!({ "metadata": { "name": text, "namespace": text }, "spec": { "containers": [{ "name": text }] } });
    vec![
        ("workloads", Workloads::of(&facts, filter.clone(), frame(lang)).render().unwrap()),
        ("nodes", Nodes::of(&reports, filter, now(), frame(lang)).render().unwrap()),
        ("history", History::of(&facts, &past(text), frame(lang)).render().unwrap()),
        ("pod-drawer", Pod::of(&pod(text), &under, Looking::Not, true, frame(lang)).render().unwrap()),
        ("pod-outside", Pod::of(&outside, &under, Looking::Not, true, frame(lang)).render().unwrap()),
        ("node-drawer", of_node(text, Some(&node(text, "True")), lang)),
        ("node-failing", of_node(text, Some(&node(text, "False")), lang)),
        ("node-unheard", of_node(text, None, lang)),
        ("session-expired", expired(lang)),
    ]
}

fn of_node(text: &str, node: Option<&MeshCNINode>, lang: Lang) -> String {
    let failing =
        node.is_none_or(|node| node.status.as_ref().unwrap().conditions[0].status == ConditionStatus::False);
    let facts = if failing { laden(text) } else { running() };
    Node::of(node, Around::of(text, &facts, &past(text)), now(), frame(lang)).render().unwrap()
}

fn expired(lang: Lang) -> String {
    let (title, text) = State::SessionExpired.said(frame(lang).words());
    let frame = Frame { csrf: String::new(), server: String::new(), ..frame(lang) };
    Plain { frame, name: "session-expired", title: title.to_owned(), text: text.to_owned() }.render().unwrap()
}

/// A cluster with this text wherever one may be.
pub(super) fn laden(text: &str) -> Facts {
    let spec = json!({ "excludeNamespaces": [text] });
    let more = json!({ "failingNodes": [{ "name": text, "code": text, "reason": text }],
        "conditions": [condition(text, "False", text, text), condition("NoChainConflict", "False", text, text)],
        "history": [{ "generation": 7, "specHash": text, "summary": text, "by": text, "at": "2026-11-22T11:30:00Z" }],
        "operation": { "kind": text, "generation": 7, "startedAt": "2026-11-22T11:58:00Z",
            "progressedAt": "2026-11-22T11:59:00Z", "deadline": "2026-11-22T12:09:00Z" } });
    let pod = PodRow {
        namespace: text.to_owned(),
        name: text.to_owned(),
        node: text.to_owned(),
        workload: Some((text.to_owned(), text.to_owned())),
        before: Mechanism::Cni,
        owes: true,
    };
    Facts {
        server: text.to_owned(),
        cut: Some(text.to_owned()),
        namespaces: [Namespace { name: text.to_owned(), injection: text.to_owned() }].into(),
        pods: [pod].into(),
        progress: progress(&[text, "other"], text, text),
        unread: vec![text.to_owned()],
        held: vec![(format!(".spec.excludeNamespaces[\"{text}\"]"), text.to_owned())],
        ..facts(spec, status("Degraded", "Serving", more))
    }
}

pub(super) fn page(facts: &Facts, draft: &Draft, search: &str, lang: Lang) -> String {
    Page::of(facts, draft, search, frame(lang)).render().unwrap()
}
