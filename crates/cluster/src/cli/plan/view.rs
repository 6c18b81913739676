//! A plan for people and for programs. PURE.

use super::Plan;
use crate::args::output::{Form, Lang, Style};
use crate::cli::change::diff;
use crate::cli::table::Table;
use crate::mechanism::Mechanism;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The most pods that are listed where people read; the wide form lists all.
const MOST_LISTED: usize = 100;

/// Writes it.
pub(super) fn write(
    plan: &Plan,
    live: &Value,
    proposed: &Value,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    for line in diff::lines(live, proposed).iter().filter(|_| !live.is_null()) {
        writeln!(out, "{} {line}", style.say("proposed", "拟变更"))?;
    }
    let listed = if style.form == Form::Wide { usize::MAX } else { MOST_LISTED };
    if !plan.changes.is_empty() {
        let head = ["NAMESPACE", "POD", "WORKLOAD", "NOW", "AFTER RESTART"].map(str::to_owned).to_vec();
        let rows = plan.changes.iter().take(listed).map(|change| {
            let workload = change.workload.as_ref();
            let workload = workload.map_or_else(
                || style.say("none, MR4102", "无,MR4102").to_owned(),
                |(kind, name)| format!("{kind}/{name}"),
            );
            let after = match change.before == change.after {
                true => style.say("CNI, other settings", "CNI,设置不同"),
                false => change.after.words(),
            };
            vec![
                change.namespace.clone(),
                change.pod.clone(),
                workload,
                change.before.words().to_owned(),
                after.to_owned(),
            ]
        });
        Table { head, rows: rows.collect() }.write(out, "")?;
        let more = plan.changes.len().saturating_sub(listed);
        if more > 0 {
            writeln!(out, "{} {more} (-o wide)", style.say("and more:", "以及:"))?;
        }
    }
    for (pod, code, words) in plan.remarks.iter().take(listed) {
        writeln!(out, "{code} {pod}: {words}")?;
    }
    writeln!(out, "{}", summary(plan, style))
}

fn summary(plan: &Plan, style: Style) -> String {
    let mut kinds: BTreeMap<(Mechanism, Mechanism), usize> = BTreeMap::new();
    for change in &plan.changes {
        *kinds.entry((change.before, change.after)).or_default() += 1;
    }
    let kinds: Vec<String> = kinds
        .iter()
        .map(|((before, after), count)| format!("{count} {} → {}", before.words(), after.words()))
        .collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let (changes, same, outside) = (plan.changes.len(), plan.same, plan.outside);
    match style.lang {
        Lang::En => format!(
            "{changes} pods change when they are restarted{kinds}; {same} pods of the mesh stay as they are, {outside} are outside it"
        ),
        Lang::Zh => {
            format!("{changes} 个 Pod 重启后会改变{kinds};网格内 {same} 个保持不变,网格外 {outside} 个")
        }
    }
}

/// The same for programs.
pub(super) fn value(plan: &Plan, live: &Value, proposed: &Value) -> Value {
    let changes = plan.changes.iter().map(|change| {
        json!({
            "namespace": change.namespace,
            "pod": change.pod,
            "workload": change.workload.as_ref().map(|(kind, name)| json!({ "kind": kind, "name": name })),
            "before": change.before.words(),
            "after": change.after.words(),
        })
    });
    let remarks = plan.remarks.iter();
    let remarks =
        remarks.map(|(pod, code, words)| json!({ "pod": pod, "code": code.to_string(), "message": words }));
    json!({
        "proposed": diff::lines(live, proposed),
        "changes": changes.collect::<Vec<_>>(),
        "remarks": remarks.collect::<Vec<_>>(),
        "same": plan.same,
        "outside": plan.outside,
    })
}
