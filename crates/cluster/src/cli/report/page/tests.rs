//! The first page and the index, of a cluster where much is wrong and of one that could hardly be looked at.

use super::super::bundle::BOUNDS;
use super::*;
use crate::args::output::Lang;
use crate::cli::findings::Line;
use crate::cli::golden;
use crate::codes::Code;

fn check(name: &str, told: &Told, bundle: &Bundle, lang: Lang) {
    let mut text = Vec::new();
    write(told, bundle, Style { lang, ..Style::default() }, &mut text).expect("a vector takes it");
    golden::check(&format!("report-page-{name}"), &String::from_utf8(text).expect("it is text"));
}

fn broken(lang: Lang) -> Told {
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({ "type": kind, "status": status, "reason": reason, "message": "1 of 2 nodes serve",
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    let mesh = json!({
        "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNI", "metadata": { "name": "default", "generation": 2 },
        "spec": { "mode": "CNI" },
        "status": { "observedGeneration": 2, "phase": "Degraded", "state": "Serving",
            "conditions": [condition("Ready", "False", "Degraded")],
            "nodes": { "desired": 2, "updated": 2, "ready": 1, "failed": 1, "absent": 0, "summary": "1/2" },
            "failingNodes": [{ "name": "n2", "code": "MR2104", "reason": "the chain is not ours", "since": "2026-01-01T00:00:00Z" }] },
    });
    let bad = Line::coded(Mark::Bad, Code::ChainOverwritten, "n2: the chain is not ours".into(), lang);
    let odd = Line::odd(None, "something is odd".into(), Some("millrace status".into()));
    let category = |name, title, lines| Category { name, title, lines };
    Told {
        made: "2026-01-02T03:04:05Z".parse().expect("a moment"),
        user: Some("alice".into()),
        server: "https://192.0.2.1:6443".into(),
        version: Some("v1.31.4".into()),
        home: "millrace-system".into(),
        since: Duration::from_secs(86_400),
        pods: "Deployment web in namespace shop".into(),
        mesh: Some(serde_json::from_value(mesh).expect("it is a MeshCNI")),
        check: vec![category("nodes", "nodes", vec![Line::good("n1 serves".into()), bad.clone()])],
        drift: vec![category("chains", "chains", vec![bad, odd])],
        unread: vec!["cannot list nodes: nodes is forbidden (MR1105)".into()],
        passed: vec!["logs of 3 agents; --node NODE reads those of its agent".into()],
        took: Section::ALL.iter().map(|section| (*section, Duration::from_millis(1500))).collect(),
    }
}

fn bundle() -> Bundle {
    let mut bundle = Bundle::new(super::super::bundle::Bounds { log: 20, ..BOUNDS });
    bundle.log("logs/home/agent/agent.log", "password=hunter2\nthe last line\n", 7);
    bundle.text("findings/check.txt", "1 wrong\n");
    bundle
}

#[test]
fn golden_the_first_page_says_what_is_wrong_and_what_to_do() {
    check("broken", &broken(Lang::En), &bundle(), Lang::En);
    check("broken-zh", &broken(Lang::Zh), &bundle(), Lang::Zh);
    let mut blind =
        Told { made: broken(Lang::En).made, server: "https://192.0.2.1:6443".into(), ..Told::default() };
    (0..22).for_each(|number| blind.note(format!("cannot list kind {number}")));
    blind.note("cannot list kind 1".into());
    check("blind", &blind, &Bundle::new(BOUNDS), Lang::En);
}

#[test]
fn golden_the_index_names_everything() {
    golden::check("report-index", &format!("{:#}\n", index(&broken(Lang::En), &bundle())));
    let whole = Told { unread: Vec::new(), ..broken(Lang::En) };
    assert_eq!(index(&whole, &bundle())["complete"], true);
    assert_eq!(index(&broken(Lang::En), &bundle())["complete"], false);
}
