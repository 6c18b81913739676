//! What has drifted, in words, with codes and the next command. PURE.

use super::objects::Standing;
use super::read::Facts;
use crate::api::condition::ConditionStatus;
use crate::api::node::MeshCNINodeStatus;
use crate::args::output::{Lang, Mark};
use crate::cli::findings::{Category, Line, say};
use crate::codes::Code;
use crate::controller::preconditions::list;

/// The most lines of one kind.
const MOST: usize = 20;

/// Judges it.
pub(super) fn judge(facts: &Facts, lang: Lang) -> Vec<Category> {
    let category = |name, english, chinese, lines: Vec<Line>| Category {
        name,
        title: if lang == Lang::En { english } else { chinese },
        lines: bounded(lines, lang),
    };
    let unread = facts.unread.iter().map(|why| Line::odd(None, why.clone(), None)).collect();
    let mut all = vec![
        category("objects", "objects", "对象", objects(facts, lang)),
        category("chains", "chains", "CNI 链", chains(facts, lang)),
        category("pods", "pods", "Pod", pods(facts, lang)),
        category("rules", "rules", "规则", rules(facts, lang)),
        category("unread", "what could not be looked at", "未能查看", unread),
    ];
    all.retain(|category| !category.lines.is_empty());
    all
}

fn bounded(mut lines: Vec<Line>, lang: Lang) -> Vec<Line> {
    let more = Line::more(lines.len(), MOST, lang);
    lines.truncate(MOST);
    lines.extend(more);
    lines
}

fn objects(facts: &Facts, lang: Lang) -> Vec<Line> {
    let mut lines = Vec::new();
    // Whoever makes them would have put this right.
    let idle = |line: Line| Line { next: Some("millrace check".to_owned()), ..line };
    for (object, standing) in &facts.objects {
        let line = |code, text| Line::coded(Mark::Bad, code, text, lang);
        lines.push(match standing {
            Standing::Same => continue,
            Standing::Missing => {
                idle(line(Code::ChildChanged, say!(lang, "{object} is not there", "{object} 不存在")))
            }
            Standing::Foreign => line(
                Code::ChildForeign,
                say!(lang, "{object} is there and somebody else's", "{object} 已存在,但属于他人"),
            ),
            Standing::Surplus => idle(line(
                Code::ChildChanged,
                say!(lang, "{object} is there and not wanted", "{object} 存在但不需要"),
            )),
            Standing::Changed(fields) => {
                let text = say!(lang, "{object} was changed", "{object} 被修改过");
                let line = line(Code::ChildChanged, text).naming("OBJECT", &asked(&object.to_lowercase()));
                Line { detail: fields.clone(), ..line }
            }
        });
    }
    let same = facts.objects.iter().filter(|(_, standing)| *standing == Standing::Same).count();
    let well = say!(
        lang,
        "{same} objects are as the controller would write them",
        "{same} 个对象与控制器所写的一致"
    );
    lines.extend((same > 0).then(|| Line::good(well)));
    if facts.moving && lines.iter().any(is_bad) {
        let text = say!(
            lang,
            "a change is on its way, which may be why objects differ",
            "有变更正在进行,对象的差异可能由此而来"
        );
        lines.push(Line::odd(None, text, Some("millrace status --watch".to_owned())));
    }
    lines
}

fn is_bad(line: &Line) -> bool {
    line.mark == Mark::Bad
}

/// An object as kubectl takes it.
fn asked(object: &str) -> String {
    match object.split_once(' ') {
        Some((kind, place)) => match place.split_once('/') {
            Some((namespace, name)) => format!("{kind} {name} -n {namespace}"),
            None => format!("{kind} {place}"),
        },
        None => object.to_owned(),
    }
}

fn chains(facts: &Facts, lang: Lang) -> Vec<Line> {
    let mut lines = Vec::new();
    let bad = |report: &MeshCNINodeStatus, kind: &str| {
        let found =
            report.conditions.iter().find(|one| one.kind == kind && one.status == ConditionStatus::False);
        found.map(|one| one.message.clone())
    };
    for (node, report) in &facts.reports {
        let contested = bad(report, "NoChainConflict").map(|why| (Code::ChainOverwritten, why));
        let broken = || bad(report, "ChainConfigured").map(|why| (Code::AgentNotReady, why));
        if let Some((code, why)) = contested.or_else(broken) {
            lines.push(Line::coded(Mark::Bad, code, format!("{node}: {why}"), lang).naming("NODE", node));
        }
    }
    let same = facts.reports.len() - lines.len();
    let well =
        say!(lang, "on {same} nodes the chain is as it was installed", "{same} 个节点上的链与安装时一致");
    lines.extend((same > 0).then(|| Line::good(well)));
    lines
}

fn pods(facts: &Facts, lang: Lang) -> Vec<Line> {
    let Some(plan) = &facts.plan else {
        return vec![Line::odd(
            None,
            say!(lang, "pods are not judged while nodes are on their way", "节点切换期间不对 Pod 作判断"),
            Some("millrace status --watch".to_owned()),
        )];
    };
    let mut lines: Vec<Line> = Vec::new();
    for change in &plan.changes {
        let (namespace, pod) = (&change.namespace, &change.pod);
        let (is, should) = (change.before.words(), change.after.words());
        let text = match is == should {
            true => {
                say!(lang, "{namespace}/{pod}: {is}, with other settings", "{namespace}/{pod}:{is},设置不同")
            }
            false => say!(
                lang,
                "{namespace}/{pod}: redirected by {is}, should be by {should}",
                "{namespace}/{pod}:由 {is} 重定向,应由 {should}"
            ),
        };
        let line = Line::coded(Mark::Bad, Code::RestartDebt, text, lang);
        lines.push(Line { next: None, ..line });
    }
    if let Some(last) = lines.iter_mut().take(MOST).last() {
        last.next = Some("millrace migrate".to_owned());
    }
    let same = plan.same;
    let well = say!(
        lang,
        "all {same} pods of the mesh are redirected by whom they should be",
        "网格内 {same} 个 Pod 均由应有的一方重定向"
    );
    lines.extend(plan.changes.is_empty().then(|| Line::good(well)));
    lines
}

fn rules(facts: &Facts, lang: Lang) -> Vec<Line> {
    let looked: Vec<(&String, &MeshCNINodeStatus, u32)> =
        facts.reports.iter().filter_map(|(node, report)| Some((node, report, report.drifted?))).collect();
    let unlooked = facts.reports.iter().filter(|(_, report)| report.drifted.is_none());
    let unlooked = list(unlooked.map(|(node, _)| node.clone()));
    let mut lines = Vec::new();
    for (node, report, count) in &looked {
        for drifted in &report.drifted_pods {
            let code = if drifted.finding == "bypass" { Code::Unredirected } else { Code::RulesDrifted };
            let (pod, message) = (&drifted.pod, &drifted.message);
            let text = say!(lang, "{pod} on {node}: {message}", "{node} 上的 {pod}:{message}");
            lines.push(Line::coded(Mark::Bad, code, text, lang));
        }
        let more = (*count as usize).saturating_sub(report.drifted_pods.len());
        if more > 0 {
            let text = say!(lang, "and {more} more on {node}", "{node} 上还有 {more} 个");
            lines.push(Line::coded(Mark::Bad, Code::RulesDrifted, text, lang));
        }
    }
    let count = looked.len();
    let well = say!(
        lang,
        "running pods on {count} nodes are redirected as planned",
        "{count} 个节点上运行中的 Pod 均按计划重定向"
    );
    lines.extend((count > 0 && lines.is_empty()).then(|| Line::good(well)));
    if !unlooked.is_empty() {
        let text =
            say!(lang, "nobody looks into running pods on {unlooked}", "{unlooked} 上没有查看运行中的 Pod");
        let next = "kubectl explain meshcni.spec.audit".to_owned();
        lines.push(Line::odd(None, text, Some(next)));
    }
    lines
}

#[cfg(test)]
mod tests;
