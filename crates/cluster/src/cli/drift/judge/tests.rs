//! What has drifted, in both languages.

use super::*;
use crate::args::output::Style;
use crate::cli::findings;
use crate::cli::plan::{Change, Plan};
use crate::mechanism::Mechanism;
use serde_json::{Value, json};

/// Compares what is printed with a golden file; `UPDATE_GOLDEN=1` rewrites it.
fn check(name: &str, facts: &Facts, lang: Lang, counts: [usize; 3]) {
    let found = judge(facts, lang);
    findings::golden(&format!("drift-{name}"), &found, Style { lang, ..Style::default() });
    assert_eq!(findings::counts(&found), counts, "{name}");
}

fn report(drifted: Option<u32>, pods: Value, conditions: Value) -> MeshCNINodeStatus {
    let mut report = json!({ "serving": true, "driftedPods": pods, "conditions": conditions });
    if let Some(drifted) = drifted {
        report["drifted"] = drifted.into();
    }
    serde_json::from_value(report).expect("it is a report")
}

fn condition(kind: &str, message: &str) -> Value {
    json!({ "type": kind, "status": "False", "reason": "X", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z" })
}

#[test]
fn golden_drift_of_a_cluster_that_has_none() {
    let mut facts = Facts { plan: Some(Plan { same: 6, ..Plan::default() }), ..Facts::default() };
    facts.objects = vec![("DaemonSet millrace-system/millrace-agent-kubeadm".into(), Standing::Same)];
    facts.reports.insert("n1".into(), report(Some(0), json!([]), json!([])));
    check("none", &facts, Lang::En, [4, 0, 0]);
    check("none-zh", &facts, Lang::Zh, [4, 0, 0]);
}

#[test]
fn golden_drift_of_a_cluster_with_much_of_it() {
    let object = |name: &str, standing| (name.to_owned(), standing);
    let mut facts = Facts::default();
    let fields = (0..10).map(|number| format!("spec.field{number}: 1 → 2"));
    facts.objects = vec![
        object("DaemonSet millrace-system/millrace-agent-kubeadm", Standing::Changed(fields.collect())),
        object("ClusterRole millrace-agent", Standing::Changed(vec!["rules: kubectl-edit".into()])),
        object("ConfigMap millrace-system/millrace-agent-kubeadm", Standing::Missing),
        object("Service millrace-system/millrace-webhook", Standing::Foreign),
        object("DaemonSet millrace-system/old", Standing::Surplus),
        object("ServiceAccount millrace-system/millrace-agent", Standing::Same),
    ];
    let drifted = |name: &str, finding: &str| json!({ "pod": name, "finding": finding, "message": "rule 1 is missing" });
    let pods = json!([drifted("shop/a", "drift"), drifted("shop/b", "bypass")]);
    let fought = json!([
        condition("NoChainConflict", "Cilium took it away"),
        condition("ChainConfigured", "it is gone")
    ]);
    facts.reports.insert("n1".into(), report(Some(5), pods, fought));
    facts
        .reports
        .insert("n2".into(), report(None, json!([]), json!([condition("ChainConfigured", "no list")])));
    facts.reports.insert("n3".into(), report(Some(0), json!([]), json!([])));
    let change =
        |pod: String, before, after| Change { namespace: "shop".into(), pod, workload: None, before, after };
    let mut plan = Plan::default();
    plan.changes.push(change("c".into(), Mechanism::Cni, Mechanism::Cni));
    plan.changes
        .extend((0..30).map(|at| change(format!("p{at:02}"), Mechanism::InitContainer, Mechanism::Cni)));
    facts.plan = Some(plan);
    facts.unread = vec!["cannot list Services: forbidden (MR1105)".into()];
    check("much", &facts, Lang::En, [2, 3, 30]);
    check("much-zh", &facts, Lang::Zh, [2, 3, 30]);
}
