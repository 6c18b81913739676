//! Nodes for people: reports and a moment in, text out. PURE.

use crate::api::condition::ConditionStatus;
use crate::api::node::{MeshCNINode, MeshCNINodeStatus};
use crate::args::output::{Form, Lang, Mark, Style};
use crate::cli::ago::ago;
use crate::cli::table::{Table, more, padded, room};
use k8s_openapi::jiff::Timestamp;
use std::cmp::Reverse;
use std::io::{self, Write};

/// After so many seconds without a word a report is called old: an agent reports every five minutes.
const OLD: i64 = 900;

/// Whether the node serves.
pub(crate) fn serves(node: &MeshCNINode) -> bool {
    node.status.as_ref().is_some_and(|status| status.serving)
}

/// Writes the table of nodes, the worst first; where that is more than a screen, the others as numbers.
pub(super) fn table(
    nodes: &[MeshCNINode],
    now: Timestamp,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let wide = style.form == Form::Wide;
    let mut head =
        vec!["NODE", "SERVING", "VERSION", "LIST", "BACKEND", "REDIRECTED", "FAILED", "DRIFTED", "REPORTED"];
    if wide {
        head.extend(["PLUGIN", "WAY", "POSITION", "DIGEST", "CONFIG"]);
    }
    let mut worst: Vec<&MeshCNINode> = nodes.iter().collect();
    worst.sort_by_key(|node| trouble(node, now));
    let room = room(style);
    let rows = worst.iter().take(room).map(|node| row(node, wide, now, style)).collect();
    Table { head: head.into_iter().map(str::to_owned).collect(), rows }.write(out, "")?;
    if nodes.len() > room {
        more(nodes.len(), room, style, "", out)?;
        let (all, serving) = (nodes.len(), nodes.iter().filter(|node| serves(node)).count());
        match style.lang {
            Lang::En => writeln!(out, "{serving} of {all} nodes serve")?,
            Lang::Zh => writeln!(out, "{all} 个节点中 {serving} 个在服务")?,
        }
    }
    Ok(())
}

/// What puts one before another.
fn trouble(node: &MeshCNINode, now: Timestamp) -> Reverse<(Mark, u32, u64)> {
    let status = node.status.as_ref();
    let drifted = status.and_then(|status| status.drifted).unwrap_or_default();
    let failed = status.map_or(0, |status| status.outcomes.failed);
    Reverse((status.map_or(Mark::Bad, |status| mark(status, now)), drifted, failed))
}

fn row(node: &MeshCNINode, wide: bool, now: Timestamp, style: Style) -> Vec<String> {
    let status = node.status.clone().unwrap_or_default();
    let absent = || "-".to_owned();
    let chain = status.chain.clone();
    let mut row = vec![
        node.metadata.name.clone().unwrap_or_default(),
        style.mark(mark(&status, now)).to_owned(),
        if status.agent_version.is_empty() { absent() } else { status.agent_version.clone() },
        chain.as_ref().map_or_else(absent, |chain| file(&chain.file)),
        status.backend.clone().unwrap_or_else(absent),
        status.outcomes.redirected.to_string(),
        status.outcomes.failed.to_string(),
        status.drifted.map_or_else(absent, |drifted| drifted.to_string()),
        reported(&status, now),
    ];
    if wide {
        row.extend([
            status.plugin_version.clone().unwrap_or_else(absent),
            chain.as_ref().map_or_else(absent, |chain| chain.way.clone()),
            chain
                .as_ref()
                .and_then(|chain| chain.position)
                .map_or_else(absent, |position| position.to_string()),
            chain.as_ref().map_or_else(absent, |chain| chain.digest.clone()),
            status.config_digest.clone().unwrap_or_else(absent),
        ]);
    }
    row
}

/// How a node is: one that serves and is not heard of for long is odd.
pub(crate) fn mark(status: &MeshCNINodeStatus, now: Timestamp) -> Mark {
    marked(status.serving, status.reported_at.as_ref().map(|at| at.0), now)
}

/// The same of a node of which no more is kept than whether it serves and when it said so.
pub(crate) fn marked(serves: bool, reported: Option<Timestamp>, now: Timestamp) -> Mark {
    let old = reported.is_none_or(|at| now.duration_since(at).as_secs() > OLD);
    match (serves, old) {
        (true, false) => Mark::Good,
        (true, true) => Mark::Odd,
        (false, _) => Mark::Bad,
    }
}

fn reported(status: &MeshCNINodeStatus, now: Timestamp) -> String {
    status.reported_at.as_ref().map_or_else(|| "-".to_owned(), |at| ago(at.0, now))
}

fn file(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// Writes all that is known of one node.
pub(super) fn one(node: &MeshCNINode, now: Timestamp, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let status = node.status.clone().unwrap_or_default();
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let serving = match status.serving {
        true => style.say("serves", "在服务"),
        false => style.say("does not serve", "未服务"),
    };
    writeln!(out, "{name}  {} {serving}", style.mark(mark(&status, now)))?;
    let line = |out: &mut dyn Write, english: &str, chinese: &str, words: &str| {
        writeln!(out, "  {}  {words}", padded(style.say(english, chinese), 8))
    };
    line(out, "reported", "上报", &format!("{} {}", reported(&status, now), style.say("ago", "前")))?;
    let plugin = status.plugin_version.as_deref().unwrap_or("-");
    line(out, "version", "版本", &format!("agent {}, plugin {plugin}", status.agent_version))?;
    if let Some(chain) = &status.chain {
        line(out, "list", "列表", &format!("{} ({}, {})", chain.file, chain.way, chain.digest))?;
        line(out, "chain", "链", &chain.plugins.join(" → "))?;
    }
    line(out, "backend", "后端", status.backend.as_deref().unwrap_or("-"))?;
    let outcomes = &status.outcomes;
    let counts = format!(
        "{} {}, {} {}, {} {}",
        outcomes.redirected,
        style.say("redirected", "已重定向"),
        outcomes.skipped,
        style.say("left alone", "未处理"),
        outcomes.failed,
        style.say("failed", "失败")
    );
    line(out, "starts", "启动", &counts)?;
    let rows = status.conditions.iter().map(|condition| {
        let mark = match condition.status {
            ConditionStatus::True => Mark::Good,
            ConditionStatus::Unknown => Mark::Odd,
            ConditionStatus::False => Mark::Bad,
        };
        let name = format!("{} {}", style.mark(mark), condition.kind);
        vec![
            name,
            condition.reason.clone(),
            ago(condition.last_transition_time.0, now),
            condition.message.clone(),
        ]
    });
    section(out, style.say("conditions", "状况"), rows.collect())?;
    let rows = outcomes.last_failures.iter();
    let rows = rows.map(|failure| vec![ago(failure.at.0, now), failure.pod.clone(), failure.message.clone()]);
    section(out, style.say("last failures", "最近的失败"), rows.collect())
}

fn section(out: &mut dyn Write, title: &str, rows: Vec<Vec<String>>) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {title}")?;
    Table { head: Vec::new(), rows }.write(out, "    ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;
    use serde_json::json;

    const NOW: &str = "2026-01-01T00:10:00Z";

    /// A node that reported at that time, and how it is.
    fn node(number: usize, reported: &str, serving: bool, drifted: u32, failed: u64) -> MeshCNINode {
        let node = json!({
            "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNINode",
            "metadata": { "name": format!("n{number:04}") }, "spec": {},
            "status": {
                "serving": serving, "reportedAt": reported, "agentVersion": "0.1.0", "backend": "iptables",
                "drifted": drifted, "outcomes": { "redirected": 30, "skipped": 2, "failed": failed },
            },
        });
        serde_json::from_value(node).expect("it is a MeshCNINode")
    }

    fn check(name: &str, nodes: &[MeshCNINode], style: Style) -> usize {
        let mut out = Vec::new();
        table(nodes, NOW.parse().expect("a time"), style, &mut out).expect("a vector takes it");
        let text = String::from_utf8(out).expect("it is text");
        if style.form == Form::Table {
            golden::check(name, &text);
        }
        text.lines().count()
    }

    #[test]
    fn golden_a_thousand_nodes_are_a_screen_with_the_worst_on_top() {
        let one = |number: usize| match number {
            7 | 700 => node(number, NOW, false, 0, 0),
            300 => node(number, "2025-12-31T00:00:00Z", true, 0, 0),
            400 => node(number, NOW, true, 3, 0),
            number if number % 90 == 1 => node(number, NOW, true, 0, number as u64),
            _ => node(number, NOW, true, 0, 0),
        };
        let nodes: Vec<MeshCNINode> = (0..1000).map(one).collect();
        let style = |form, lang| Style { form, lang, ..Style::default() };
        assert_eq!(check("nodes-1000", &nodes, style(Form::Table, Lang::En)), 23);
        assert_eq!(check("nodes-1000-zh", &nodes, style(Form::Table, Lang::Zh)), 23);
        assert_eq!(check("", &nodes, style(Form::Wide, Lang::En)), 1001);
    }
}
