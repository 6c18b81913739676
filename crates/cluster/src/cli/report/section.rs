//! The parts of a report in the order in which they are gathered: what matters most comes first, should there be no time for all.
//! PURE.

use crate::args::output::{Form, Style};
use crate::cli::form;
use crate::cli::table::Table;
use serde_json::{Value, json};
use std::io::{self, Write};

/// A part of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Mesh,
    Findings,
    Cluster,
    Objects,
    Events,
    Logs,
    Pods,
}

impl Section {
    pub(super) const ALL: [Section; 7] = [
        Section::Mesh,
        Section::Findings,
        Section::Cluster,
        Section::Objects,
        Section::Events,
        Section::Logs,
        Section::Pods,
    ];

    /// Its name, and that of its folder.
    pub(super) fn name(self) -> &'static str {
        match self {
            Section::Mesh => "mesh",
            Section::Findings => "findings",
            Section::Cluster => "cluster",
            Section::Objects => "objects",
            Section::Events => "events",
            Section::Logs => "logs",
            Section::Pods => "pods",
        }
    }

    /// What is in it.
    pub(super) fn words(self, style: Style) -> &'static str {
        let (english, chinese) = match self {
            Section::Mesh => {
                ("the MeshCNI, and what each node's agent reports", "MeshCNI,以及各节点 Agent 的上报")
            }
            Section::Findings => (
                "what `millrace check` and `millrace drift` find",
                "`millrace check` 与 `millrace drift` 的发现",
            ),
            Section::Cluster => (
                "versions, nodes, labels of namespaces, pods counted by who redirects them",
                "版本、节点、命名空间标签、按重定向方式统计的 Pod",
            ),
            Section::Objects => (
                "the objects of Millrace, Secrets left out; its pods; its definitions",
                "Millrace 的对象 (不含 Secret)、Pod 与定义",
            ),
            Section::Events => {
                ("events of Millrace, and of the pods that are named", "Millrace 及所指定 Pod 的事件")
            }
            Section::Logs => (
                "logs of the controller and of agents, of their last run too",
                "控制器与 Agent 的日志,包括上一次运行的日志",
            ),
            Section::Pods => (
                "of each pod that is named: the pod, explain, why, verify without probes, live rules",
                "所指定的每个 Pod:对象、explain、why、不发探测的 verify、当前规则",
            ),
        };
        style.say(english, chinese)
    }

    /// What it asks the API server for, as RBAC has it.
    fn asks(self) -> &'static str {
        match self {
            Section::Mesh => "get meshcnis; list meshcninodes",
            Section::Findings => "as check and drift do: get, list; patches and a pod as dry runs",
            Section::Cluster => "list nodes, namespaces, pods",
            Section::Objects => "list each kind but Secrets; get customresourcedefinitions",
            Section::Events => "list events",
            Section::Logs => "list pods; get pods/log",
            Section::Pods => "get pods; create pods/exec in the agents of their nodes",
        }
    }
}

/// Lists what would be gathered.
pub(super) fn list(pods: &str, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let shown = Section::ALL.iter().filter(|one| **one != Section::Pods || !pods.is_empty());
    let items: Vec<Value> = shown
        .clone()
        .map(|one| json!({ "name": one.name(), "what": one.words(style), "asks": one.asks() }))
        .collect();
    if form::data(style.form, &json!({ "sections": items, "pods": pods }), "sections", out)? {
        return Ok(());
    }
    let wide = style.form == Form::Wide;
    let mut head = vec![style.say("SECTION", "部分").to_owned(), style.say("WHAT", "内容").to_owned()];
    head.extend(wide.then(|| style.say("ASKS FOR", "请求").to_owned()));
    let row = |one: &Section| {
        let mut row = vec![one.name().to_owned(), one.words(style).to_owned()];
        row.extend(wide.then(|| one.asks().to_owned()));
        row
    };
    Table { head, rows: shown.map(row).collect() }.write(out, "")?;
    match pods {
        "" => writeln!(
            out,
            "{}",
            style.say(
                "no pod is named: millrace report POD -n NAMESPACE looks into one as well",
                "未指定 Pod:millrace report POD -n NAMESPACE 会同时查看该 Pod"
            )
        ),
        pods => writeln!(out, "{}: {pods}", style.say("pods", "Pod")),
    }
}
