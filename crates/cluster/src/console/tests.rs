//! Each state's page as a golden, and what must hold of all: nothing from a cluster is ever markup, nothing needs more than the
//! strict policy grants, every control has its label. `UPDATE_GOLDEN=1` writes the goldens.

use super::facts::{Draft, Facts, Namespace, Past, PodRow, Reports, Rights};
use super::frame::{Frame, Plain, Theme};
use super::lists::{Filter, History, Nodes, Workloads};
use super::node::Node;
use super::page::Page;
use super::pod::Pod;
use super::proposal::{Base, Proposal, Refusal};
use super::state::{State, states};
use super::{assets, pending};
use crate::api::mesh::{MeshCNI, Mode};
use crate::api::node::MeshCNINode;
use crate::api::ours::Release;
use crate::args::output::{Lang, Mark};
use crate::cli::explain::cluster::Under;
use crate::cli::findings::{Category, Line};
use crate::cli::plan::{Change, Plan};
use crate::cli::revisions::Revision;
use crate::codes::Code;
use crate::mechanism::Mechanism;
use askama::Template;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a page and all that it loads may weigh.
const HEAVIEST: usize = 100 << 10;

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn frame(lang: Lang) -> Frame {
    let (here, server) = ("/".to_owned(), "https://10.0.0.1:6443".to_owned());
    Frame { lang, theme: Theme::Auto, csrf: "CSRF".to_owned(), here, server }
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
        namespaces: vec![namespace("kube-system", ""), namespace("shop", "istio-injection=enabled")],
        pods: vec![pod("web-1", Mechanism::Cni, false), pod("web-2", Mechanism::InitContainer, true)],
        rights: Rights::Change,
        now: now(),
        ..Facts::default()
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

fn conditions(said: Value) -> Value {
    json!({ "conditions": [said] })
}

fn failing(code: &str) -> Value {
    json!([{ "name": "n3", "code": code, "reason": "no agent has reported", "since": "2026-11-22T11:50:00Z" }])
}

fn running() -> Facts {
    facts(json!({}), status("Running", "Serving", json!({})))
}

fn proposal(generation: i64, excluded: &[&str]) -> Proposal {
    let seen = ["kube-system", "istio-system"].map(str::to_owned).to_vec();
    let excluded = excluded.iter().map(|name| (*name).to_owned()).collect();
    Proposal {
        mode: Mode::Cni,
        excluded,
        takes_over: false,
        base: Base { generation, mode: Mode::Cni, excluded: seen },
    }
}

fn plan() -> Plan {
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

/// Every state of the page: its name, what was read, and what is proposed.
fn samples() -> Vec<(&'static str, Facts, Draft)> {
    let on = json!({});
    let said = |phase: &str, state: &str, more: Value| facts(on.clone(), status(phase, state, more));
    let preflight = Category {
        name: "injection",
        title: "injection",
        lines: vec![
            Line::good("an injector is there".into()),
            Line::coded(Mark::Bad, Code::CiliumExclusive, "Cilium".into(), Lang::En),
        ],
    };
    let lost = Facts { cut: Some("cannot watch MeshCNI default: connection refused".into()), ..running() };
    let debt =
        json!({ "workloads": { "cni": 4, "initContainer": 1, "none": 0, "restartDebt": 3, "drifted": 0 } });
    let operation = json!({ "operation": { "kind": "UpdateSettings", "generation": 7, "startedAt": "2026-11-22T11:58:00Z",
        "progressedAt": "2026-11-22T11:59:00Z", "deadline": "2026-11-22T12:09:00Z" } });
    let held = Facts {
        held: vec![(".spec.excludeNamespaces[\"kube-system\"]".into(), "gitops".into())],
        ..running()
    };
    let one = |state: State, facts: Facts| (state.name(), facts, Draft::Clean);
    vec![
        one(
            State::Loading,
            Facts { looked: false, server: "https://10.0.0.1:6443".into(), now: now(), ..Facts::default() },
        ),
        one(State::Disabled, Facts { preflight: vec![preflight], ..nothing() }),
        one(
            State::Clean,
            facts(json!({ "mode": "InitContainer" }), status("Running", "Installing", json!({}))),
        ),
        one(State::Updating, said("Updating", "Installing", operation.clone())),
        one(
            State::Paused,
            facts(json!({ "rollout": { "paused": true } }), status("Updating", "Installing", operation)),
        ),
        one(State::Running, held),
        one(State::RestartDebt, said("Running", "Serving", debt)),
        one(State::Degraded, said("Degraded", "Serving", json!({ "failingNodes": failing("MR2113") }))),
        one(
            State::Stalled,
            said(
                "Degraded",
                "Installing",
                conditions(condition(
                    "Stalled",
                    "True",
                    "ProgressDeadlineExceeded",
                    "nothing has moved for 600 s",
                )),
            ),
        ),
        one(State::ReadOnly, Facts { rights: Rights::Look, ..running() }),
        one(State::StreamLost, lost),
        one(
            State::AgentsUnreachable,
            said("Degraded", "Serving", json!({ "failingNodes": failing("MR2002") })),
        ),
        one(
            State::InjectorMissing,
            said(
                "Running",
                "Serving",
                conditions(condition(
                    "InjectorSynced",
                    "False",
                    "NoInjector",
                    "no sidecar injector was found; MR5011",
                )),
            ),
        ),
        one(
            State::ChainConflict,
            said(
                "Running",
                "Serving",
                conditions(condition(
                    "NoChainConflict",
                    "False",
                    "ChainContested",
                    "n3: cilium-agent rewrote 05-cilium.conflist (MR2104)",
                )),
            ),
        ),
        ("dirty", running(), Draft::Dirty(proposal(7, &["kube-system", "shop"]))),
        ("planning", running(), Draft::Planned(proposal(7, &["kube-system", "shop"]), Ok(plan()))),
        (
            "refused",
            running(),
            Draft::Planned(
                proposal(7, &["shop"]),
                Err(Refusal {
                    text: "cannot change MeshCNI default: .spec.mode was applied by gitops".into(),
                    is_held: true,
                }),
            ),
        ),
        ("edit-conflict", running(), Draft::Conflict(proposal(6, &["shop"]))),
    ]
}

fn pod(text: &str) -> Value {
    json!({
        "metadata": { "name": text, "namespace": text, "annotations": { "millrace.dev/redirect": r#"{"v":1,"redirect":{}}"#,
            "sidecar.istio.io/status": r#"{"initContainers":["istio-init"],"containers":["istio-proxy"]}"# } },
        "spec": { "nodeName": text, "containers": [{ "name": text, "image": "x" },
            { "name": "istio-proxy", "image": "proxyv2", "args": ["proxy", "sidecar"],
              "securityContext": { "runAsUser": 1337, "runAsGroup": 1337 } }] },
    })
}

fn node(text: &str) -> MeshCNINode {
    let at = "2026-11-22T11:59:00Z";
    serde_json::from_value(json!({
        "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNINode", "metadata": { "name": text }, "spec": {},
        "status": { "serving": true, "reportedAt": at, "agentVersion": text, "pluginVersion": text, "backend": text,
            "chain": { "file": text, "way": text, "digest": text, "position": 1, "plugins": [text, "millrace-cni"] },
            "outcomes": { "redirected": 4, "skipped": 2, "failed": 1, "lastFailures": [{ "pod": text, "message": text, "at": at }] },
            "drifted": 1, "driftedPods": [{ "pod": text, "finding": "drift", "message": text }],
            "conditions": [condition(text, "True", text, text)] },
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
fn others(text: &str, lang: Lang) -> Vec<(&'static str, String)> {
    let facts = laden(text);
    let reports = Reports { nodes: vec![node(text)], unread: Some(text.to_owned()) };
    let filter = Filter { text: String::new(), namespace: String::new(), by: String::new(), page: 0 };
    let under = Under::of(&json!({ "mode": "CNI" })).unwrap();
    let outside = json!({ "metadata": { "name": text, "namespace": text }, "spec": { "containers": [{ "name": text }] } });
    vec![
        ("workloads", Workloads::of(&facts, filter.clone(), frame(lang)).render().unwrap()),
        ("nodes", Nodes::of(&reports, filter, now(), frame(lang)).render().unwrap()),
        ("history", History::of(&facts, &past(text), frame(lang)).render().unwrap()),
        ("pod-drawer", Pod::of(&pod(text), &under, frame(lang)).render().unwrap()),
        ("pod-outside", Pod::of(&outside, &under, frame(lang)).render().unwrap()),
        ("node-drawer", Node::of(&node(text), now(), frame(lang)).render().unwrap()),
        ("session-expired", expired(lang)),
    ]
}

fn expired(lang: Lang) -> String {
    let (title, text) = State::SessionExpired.said(frame(lang).words());
    let frame = Frame { csrf: String::new(), server: String::new(), ..frame(lang) };
    Plain { frame, name: "session-expired", title: title.to_owned(), text: text.to_owned() }.render().unwrap()
}

/// A cluster with this text wherever one may be.
fn laden(text: &str) -> Facts {
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
        namespaces: vec![Namespace { name: text.to_owned(), injection: text.to_owned() }],
        pods: vec![pod],
        unread: vec![text.to_owned()],
        held: vec![(format!(".spec.excludeNamespaces[\"{text}\"]"), text.to_owned())],
        ..facts(spec, status("Degraded", "Serving", more))
    }
}

fn page(facts: &Facts, draft: &Draft, search: &str, lang: Lang) -> String {
    Page::of(facts, draft, search, frame(lang)).render().unwrap()
}

/// Compares with a golden file. What names an asset's digest changes with each of its letters, and says nothing here.
fn golden(name: &str, html: &str) {
    let mut text = html.to_owned();
    for asset in ["console.css", "console.js", "icon.svg"] {
        text = text.replace(&assets::path(asset), asset);
    }
    let path = format!("{}/tests/console/golden/{name}.html", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the golden file is writable");
    }
    let held = std::fs::read_to_string(&path).expect("a golden file; UPDATE_GOLDEN=1 makes it");
    assert!(held == text, "{name}: UPDATE_GOLDEN=1 rewrites it; found:\n{text}");
}

#[test]
fn golden_pages() {
    for (name, facts, draft) in samples() {
        golden(name, &page(&facts, &draft, "", Lang::En));
    }
    for (name, html) in others("x", Lang::En) {
        golden(name, &html);
    }
    golden("zh", &page(&running(), &Draft::Clean, "", Lang::Zh));
}

#[test]
fn each_state_is_reached_and_named() {
    let mut reached = BTreeSet::from([State::SessionExpired]);
    for (name, facts, draft) in samples() {
        let state = states(&facts)[0];
        reached.insert(state);
        assert!(
            name == state.name() || name == draft.name() || name == "refused",
            "{name} is {}",
            state.name()
        );
    }
    assert_eq!(reached.into_iter().collect::<Vec<_>>(), State::ALL);
}

#[test]
fn every_page_keeps_the_laws() {
    for lang in [Lang::En, Lang::Zh] {
        let pages = samples().into_iter().map(|(name, facts, draft)| (name, page(&facts, &draft, "", lang)));
        for (name, html) in pages.chain(others("x", lang)) {
            lawful(name, &html);
        }
    }
}

/// No script, style or handler in the markup; each id once; each control with a label; what is pointed at is there.
fn lawful(name: &str, html: &str) {
    let tags = tags(html);
    let mut ids = BTreeSet::new();
    for tag in &tags {
        for (key, value) in &tag.attributes {
            assert!(key != "style" && !key.starts_with("on"), "{name}: {tag:?}");
            assert!(!value.trim_start().starts_with("javascript:"), "{name}: {tag:?}");
            assert!(key != "id" || ids.insert(value.clone()), "{name}: id {value} is there twice");
        }
        assert!(tag.name != "style" && (tag.name != "script" || tag.get("src").is_some()), "{name}: {tag:?}");
        assert!(tag.name != "th" || tag.get("scope").is_some(), "{name}: {tag:?} heads nothing");
    }
    let labelled: BTreeSet<&str> =
        tags.iter().filter(|tag| tag.name == "label").filter_map(|tag| tag.get("for")).collect();
    for tag in &tags {
        let control = match tag.name.as_str() {
            "input" => tag.get("type") != Some("hidden"),
            name => matches!(name, "select" | "textarea" | "progress"),
        };
        assert!(
            !control || tag.get("id").is_some_and(|id| labelled.contains(id)),
            "{name}: {tag:?} has no label"
        );
        let pointed =
            tag.get("aria-labelledby").into_iter().flat_map(|all| all.split(' ')).chain(tag.get("for"));
        for id in pointed.chain(tag.get("data-copy")) {
            assert!(ids.contains(id), "{name}: nothing has the id {id}");
        }
    }
    assert!(!html.contains("<button></button>"), "{name}: a button says nothing");
    assert!(html.starts_with("<!doctype html>\n<html lang="), "{name}: {}", &html[..60]);
    let assets = ["console.css", "console.js", "icon.svg"].map(|asset| {
        let path = assets::path(asset);
        assets::find(path.trim_start_matches("/assets/")).expect("it is there").text.len()
    });
    let weight = html.len() + assets.iter().sum::<usize>();
    assert!(weight <= HEAVIEST, "{name} weighs {weight} bytes");
}

#[test]
fn a_large_cluster_makes_no_heavy_page() {
    let name = |number: usize| format!("a-namespace-with-quite-a-long-name-{number:05}");
    let namespaces =
        (0..2000).map(|number| Namespace { name: name(number), injection: "istio-injection=enabled".into() });
    let pods = (0..5000).map(|number| PodRow {
        namespace: name(number % 2000),
        name: name(number),
        ..laden("n").pods[0].clone()
    });
    let large = Facts { namespaces: namespaces.collect(), pods: pods.collect(), ..running() };
    let change = |number: usize| Change { pod: name(number), ..plan().changes[1].clone() };
    let plan = Plan { changes: (0..5000).map(change).collect(), ..plan() };
    let draft = Draft::Planned(proposal(7, &["shop"]), Ok(plan));
    lawful("large", &page(&large, &draft, "", Lang::Zh));
    lawful("workloads", &Workloads::of(&large, Filter::default(), frame(Lang::Zh)).render().unwrap());
}

#[test]
fn a_search_loses_nothing_that_is_chosen() {
    let html = page(&running(), &Draft::Clean, "shop", Lang::En);
    let carried = "<input type=\"hidden\" name=\"exclude\" value=\"kube-system\">";
    assert!(html.contains(carried) && html.contains("value=\"shop\""), "{html}");
    assert!(pending::Pending::of(&running(), &Draft::Clean, Lang::En).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a cluster calls its things, the markup is the same.
    #[test]
    fn nothing_from_a_cluster_is_markup(
        text in r#"[<>"'&/={}%# a-z;:]{1,24}|<script>alert\(1\)</script>|" onload="x|'><img src=x onerror=y>|\{\{ frame\.csrf \}\}"#
    ) {
        let draft = |text: &str| Draft::Planned(
            Proposal { excluded: vec![text.to_owned()], ..proposal(7, &[]) },
            Err(Refusal { text: text.to_owned(), is_held: true }),
        );
        let shapes = |text: &str| {
            let main = page(&laden(text), &draft(text), text, Lang::En);
            let all = others(text, Lang::En).into_iter().map(|(_, html)| html);
            all.chain([main]).map(|html| shape(&html)).collect::<Vec<_>>()
        };
        prop_assert_eq!(shapes(&text), shapes("x"));
    }
}

/// Every tag with the names of its attributes, in order.
fn shape(html: &str) -> Vec<String> {
    let names = |tag: &Tag| tag.attributes.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>().join(" ");
    tags(html).iter().map(|tag| format!("{} {}", tag.name, names(tag))).collect()
}

/// A tag that opens.
#[derive(Debug)]
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The tags of a page, as a browser finds them: from `<` and a letter to the next `>` outside of quotes.
fn tags(html: &str) -> Vec<Tag> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if !rest.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            continue;
        }
        let end = rest.find(|letter: char| letter.is_whitespace() || letter == '>').unwrap_or(rest.len());
        let mut tag = Tag { name: rest[..end].to_owned(), attributes: Vec::new() };
        rest = &rest[end..];
        loop {
            rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == '/');
            if rest.is_empty() || rest.starts_with('>') {
                break;
            }
            let end = rest
                .find(|letter: char| letter.is_whitespace() || "=>".contains(letter))
                .unwrap_or(rest.len());
            let key = rest[..end].to_owned();
            rest = &rest[end..];
            let value = rest.strip_prefix("=\"").and_then(|value| value.split_once('"'));
            let (value, behind) = value.unwrap_or(("", rest));
            assert!(
                behind.starts_with([' ', '\n', '/', '>']),
                "nothing parts {key} from what follows: {behind:.40}"
            );
            tag.attributes.push((key, value.to_owned()));
            rest = behind;
        }
        found.push(tag);
    }
    found
}
