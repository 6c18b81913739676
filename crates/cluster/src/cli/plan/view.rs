//! A plan for people and for programs. PURE.

use super::{Change, Plan};
use crate::args::output::{Form, Lang, Style};
use crate::cli::change::diff;
use crate::cli::table::{Table, more, room};
use crate::codes::Code;
use crate::mechanism::Mechanism;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The most kinds of remarks where people read.
const MOST_REMARKS: usize = 10;

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
    write_changes(plan, style, out)?;
    write_remarks(plan, style, out)?;
    writeln!(out, "{}", summary(plan, style))
}

/// The pods that change: first those that nobody would redirect, then those that nobody would start again.
fn write_changes(plan: &Plan, style: Style, out: &mut dyn Write) -> io::Result<()> {
    if plan.changes.is_empty() {
        return Ok(());
    }
    let mut worst: Vec<&Change> = plan.changes.iter().collect();
    worst.sort_by_key(|change| (change.after != Mechanism::None, change.workload.is_some()));
    let room = room(style);
    let head = ["NAMESPACE", "POD", "WORKLOAD", "NOW", "AFTER RESTART"].map(str::to_owned).to_vec();
    let rows = worst.iter().take(room).map(|change| row(change, style)).collect();
    Table { head, rows }.write(out, "")?;
    more(plan.changes.len(), room, style, "", out)
}

fn row(change: &Change, style: Style) -> Vec<String> {
    let workload = change.workload.as_ref().map_or_else(
        || style.say("none, MR4102", "无,MR4102").to_owned(),
        |(kind, name)| format!("{kind}/{name}"),
    );
    let after = match change.before == change.after {
        true => style.say("CNI, other settings", "CNI,设置不同"),
        false => change.after.words(),
    };
    let before = change.before.words().to_owned();
    vec![change.namespace.clone(), change.pod.clone(), workload, before, after.to_owned()]
}

/// What is to be known of pods: each once where people read, whatever the number of pods that it is true of; the wide form
/// names all.
fn write_remarks(plan: &Plan, style: Style, out: &mut dyn Write) -> io::Result<()> {
    if style.form == Form::Wide {
        return plan.remarks.iter().try_for_each(|(pod, code, words)| writeln!(out, "{code} {pod}: {words}"));
    }
    let mut alike: BTreeMap<(Code, &str), Vec<&str>> = BTreeMap::new();
    for (pod, code, words) in &plan.remarks {
        alike.entry((*code, words)).or_default().push(pod);
    }
    for ((code, words), pods) in alike.iter().take(MOST_REMARKS) {
        let others = match (pods.len() - 1, style.lang) {
            (0, _) => String::new(),
            (others, Lang::En) => format!(" and {others} more"),
            (others, Lang::Zh) => format!(" 及其他 {others} 个"),
        };
        writeln!(out, "{code} {}{others}: {words}", pods[0])?;
    }
    more(alike.len(), MOST_REMARKS, style, "", out)
}

/// What becomes of the pods, in a sentence.
pub(crate) fn summary(plan: &Plan, style: Style) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    /// Of each thirty pods one needs an init container's network, one is outside the mesh, one nobody would start again.
    fn plan(pods: usize) -> Plan {
        let mut plan = Plan::default();
        for number in 0..pods {
            let (namespace, pod) = (format!("team-{:02}", number / 100), format!("web-{number:05}"));
            let workload =
                (number % 30 != 2).then(|| ("Deployment".to_owned(), format!("web-{}", number / 10)));
            let (before, after) = (Mechanism::InitContainer, Mechanism::Cni);
            match number % 30 {
                0 => {
                    let words =
                        format!("istio-init stays, because fetch-{} would lose the network", number % 20);
                    plan.remarks.push((format!("{namespace}/{pod}"), Code::InitContainersKept, words));
                    plan.same += 1;
                }
                1 => plan.outside += 1,
                _ => plan.changes.push(Change { namespace, pod, workload, before, after }),
            }
        }
        if let Some(last) = plan.changes.last_mut() {
            last.after = Mechanism::None;
        }
        plan.sort();
        plan
    }

    fn check(name: &str, lang: Lang) {
        let style = Style { lang, ..Style::default() };
        let text = |style: Style| {
            let mut out = Vec::new();
            write(&plan(3_000), &Value::Null, &Value::Null, style, &mut out).expect("a vector takes it");
            String::from_utf8(out).expect("it is text")
        };
        golden::check(name, &text(style));
        let all = text(Style { form: Form::Wide, ..style });
        // The head, 28 of each thirty pods, one remark of each thirty, and the sum.
        assert_eq!(all.lines().count(), 1 + 2_800 + 100 + 1);
    }

    #[test]
    fn golden_three_thousand_pods_are_a_screen_with_the_worst_on_top() {
        check("plan-3000", Lang::En);
        check("plan-3000-zh", Lang::Zh);
    }

    #[test]
    fn programs_get_all_of_it() {
        let plan = plan(3_000);
        let value = value(&plan, &Value::Null, &Value::Null);
        let count = |field: &str| value[field].as_array().map_or(0, Vec::len);
        assert_eq!((count("changes"), count("remarks")), (2_800, 100));
    }
}
