//! The screen of `millrace status`: a MeshCNI and a moment in, text out. PURE.

use crate::api::condition::{Condition, ConditionStatus};
use crate::api::mesh::{ExcludedPolicy, MeshCNI};
use crate::api::status::{MeshCNIStatus, Phase};
use crate::args::output::{Form, Lang, Mark, Style};
use crate::cli::ago::ago;
use crate::cli::table::{Table, padded};
use k8s_openapi::jiff::Timestamp;
use std::io::{self, Write};

/// Conditions that are good when they do not hold.
const ABNORMAL: [&str; 2] = ["Reconciling", "Stalled"];
/// The most excluded namespaces that are named on the screen.
const MOST_NAMED: usize = 8;

/// How the whole is.
pub(super) fn mark(mesh: &MeshCNI) -> Mark {
    let status = status(mesh);
    if is_behind(mesh, &status) {
        return Mark::Odd;
    }
    match status.phase {
        Some(Phase::Running | Phase::Disabled) => Mark::Good,
        Some(Phase::Updating) | None => Mark::Odd,
        Some(Phase::Degraded) => Mark::Bad,
    }
}

/// Writes the screen.
pub(crate) fn write(mesh: &MeshCNI, now: Timestamp, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let status = status(mesh);
    let screen = Screen { mesh, status: &status, now, style };
    screen.head(out)?;
    screen.counts(out)?;
    screen.operation(out)?;
    screen.conditions(out)?;
    screen.failing(out)?;
    screen.history(out)?;
    screen.next(out)
}

fn status(mesh: &MeshCNI) -> MeshCNIStatus {
    mesh.status.clone().unwrap_or_default()
}

/// Whether the controller has not looked at what is wanted now.
fn is_behind(mesh: &MeshCNI, status: &MeshCNIStatus) -> bool {
    status.observed_generation.unwrap_or_default() < mesh.metadata.generation.unwrap_or_default()
}

struct Screen<'a> {
    mesh: &'a MeshCNI,
    status: &'a MeshCNIStatus,
    now: Timestamp,
    style: Style,
}

impl Screen<'_> {
    fn line(&self, out: &mut dyn Write, english: &str, chinese: &str, words: &str) -> io::Result<()> {
        writeln!(out, "  {}  {words}", padded(self.style.say(english, chinese), 10))
    }

    fn head(&self, out: &mut dyn Write) -> io::Result<()> {
        let style = self.style;
        let (mesh, status) = (self.mesh, self.status);
        let phase = status.phase.map_or("?".to_owned(), |phase| format!("{phase:?}"));
        let state = status.state.map_or(String::new(), |state| format!(" ({state:?})"));
        writeln!(out, "MeshCNI default  {} {phase}{state}", style.mark(mark(mesh)))?;
        let generation = mesh.metadata.generation.unwrap_or_default();
        let mode = serde_json::to_value(mesh.spec.mode).unwrap_or_default();
        let mode = mode.as_str().unwrap_or_default();
        self.line(out, "mode", "模式", &format!("{mode}, {} {generation}", style.say("generation", "世代")))?;
        if is_behind(mesh, status) {
            let words = style.say(
                "it has not looked at this generation yet (MR4009 if it stays so)",
                "尚未处理此世代(若一直如此,见 MR4009)",
            );
            self.line(out, "controller", "控制器", words)?;
        }
        let names = &mesh.spec.exclude_namespaces;
        let shown = names[..names.len().min(MOST_NAMED)].join(", ");
        let more = names.len().saturating_sub(MOST_NAMED);
        let mut words = if names.is_empty() { style.say("none", "无").to_owned() } else { shown };
        if more > 0 {
            words.push_str(&format!(" {} {more} {}", style.say("and", "及其他"), style.say("more", "个")));
        }
        if mesh.spec.excluded_policy == ExcludedPolicy::None {
            words.push_str(style.say("; nothing redirects there", ";那里无人重定向"));
        }
        self.line(out, "excluded", "排除", &words)
    }

    fn counts(&self, out: &mut dyn Write) -> io::Result<()> {
        let style = self.style;
        let nodes = &self.status.nodes;
        let words = match style.lang {
            Lang::En => format!(
                "{} of {} serve; {} updated, {} failed, {} absent",
                nodes.ready, nodes.desired, nodes.updated, nodes.failed, nodes.absent
            ),
            Lang::Zh => format!(
                "{}/{} 在服务;已更新 {},失败 {},离线 {}",
                nodes.ready, nodes.desired, nodes.updated, nodes.failed, nodes.absent
            ),
        };
        self.line(out, "nodes", "节点", &words)?;
        let pods = &self.status.workloads;
        let words = match style.lang {
            Lang::En => format!(
                "{} by CNI, {} by istio-init, {} by nobody; {} need a restart, {} drifted",
                pods.cni, pods.init_container, pods.none, pods.restart_debt, pods.drifted
            ),
            Lang::Zh => format!(
                "CNI {},istio-init {},无人重定向 {};需重启 {},已漂移 {}",
                pods.cni, pods.init_container, pods.none, pods.restart_debt, pods.drifted
            ),
        };
        self.line(out, "pods", "Pod", &words)
    }

    fn operation(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(operation) = &self.status.operation else { return Ok(()) };
        let style = self.style;
        let left = ago(self.now, operation.deadline.0);
        let (began, moved) =
            (ago(operation.started_at.0, self.now), ago(operation.progressed_at.0, self.now));
        let words = match style.lang {
            Lang::En => format!(
                "{} of generation {}: began {began} ago, moved {moved} ago, stalled in {left}",
                operation.kind, operation.generation
            ),
            Lang::Zh => format!(
                "{}(世代 {}):开始于 {began} 前,{moved} 前有进展,{left} 后视为停滞",
                operation.kind, operation.generation
            ),
        };
        self.line(out, "operation", "操作", &words)
    }

    /// Those that are not as they should be; all in the wide form.
    fn conditions(&self, out: &mut dyn Write) -> io::Result<()> {
        let all = self.style.form == Form::Wide;
        let shown = self.status.conditions.iter().filter(|one| all || judged(one) != Mark::Good);
        let rows: Vec<Vec<String>> = shown
            .map(|one| {
                let name = format!("{} {}", self.style.mark(judged(one)), one.kind);
                vec![name, one.reason.clone(), ago(one.last_transition_time.0, self.now), one.message.clone()]
            })
            .collect();
        self.section(out, "conditions", "状况", rows)
    }

    fn failing(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.status.failing_nodes.iter().map(|node| {
            let since = node.since.as_ref().map_or(String::new(), |since| ago(since.0, self.now));
            vec![node.name.clone(), node.code.clone(), since, node.reason.clone()]
        });
        self.section(out, "failing nodes", "异常节点", rows.collect())
    }

    fn history(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.status.history.iter().map(|change| {
            let age = ago(change.at.0, self.now);
            vec![change.generation.to_string(), age, change.by.clone(), change.summary.clone()]
        });
        self.section(out, "changes", "变更", rows.collect())
    }

    fn section(
        &self,
        out: &mut dyn Write,
        english: &str,
        chinese: &str,
        rows: Vec<Vec<String>>,
    ) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        writeln!(out, "  {}", self.style.say(english, chinese))?;
        Table { head: Vec::new(), rows }.write(out, "    ")
    }

    fn next(&self, out: &mut dyn Write) -> io::Result<()> {
        let code = self.status.failing_nodes.first().map(|node| format!("millrace explain {}", node.code));
        let stalled =
            self.status.conditions.iter().any(|one| one.kind == "Stalled" && judged(one) == Mark::Bad);
        let next = match code {
            Some(explain) => explain,
            None if stalled => "millrace explain MR4001".to_owned(),
            None if self.status.workloads.restart_debt > 0 => "millrace migrate".to_owned(),
            None => return Ok(()),
        };
        self.line(out, "next", "下一步", &next)
    }
}

/// How one condition is: to be on the way is odd, not wrong.
pub(crate) fn judged(one: &Condition) -> Mark {
    let abnormal = ABNORMAL.contains(&one.kind.as_str());
    match (one.status, abnormal) {
        (ConditionStatus::Unknown, _) => Mark::Odd,
        (ConditionStatus::True, false) | (ConditionStatus::False, true) => Mark::Good,
        (ConditionStatus::True, true) if one.kind == "Reconciling" => Mark::Odd,
        (ConditionStatus::False, false) if one.reason == "Updating" || one.kind == "WorkloadsConverged" => {
            Mark::Odd
        }
        _ => Mark::Bad,
    }
}
