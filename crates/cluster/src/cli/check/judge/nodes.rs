//! The nodes, in words: who serves, what keeps the others, where our entry stands, and which versions are there. PURE.

use super::cluster::counted;
use super::{Line, MOST_LINES, Words, say};
use crate::api::node::MeshCNINodeStatus;
use crate::args::output::Mark;
use crate::codes::Code;
use crate::controller::preconditions::list;
use crate::controller::targets::{self, Target};
use crate::print::words::VERSION;
use std::collections::BTreeMap;

impl Words<'_> {
    pub(super) fn nodes(&self) -> Vec<Line> {
        let (lang, facts) = (self.lang, self.facts);
        let Some(mesh) = &facts.mesh else { return Vec::new() };
        if !agents_wanted(mesh) {
            return vec![Line::good(say!(
                lang,
                "no agent is wanted on nodes now",
                "目前不需要节点上有 Agent"
            ))];
        }
        // What each agent should have been started with only the controller knows.
        let targets = targets::targets(self.spec, &facts.observed, &BTreeMap::new(), facts.now).targets;
        let mut lines = self.standing(&targets);
        let reports: Vec<(&String, &MeshCNINodeStatus)> = facts.reports.iter().collect();
        if !reports.is_empty() {
            lines.extend(self.chains(&reports));
            lines.extend(self.kept(&reports));
        }
        lines
    }

    fn standing(&self, targets: &[Target]) -> Vec<Line> {
        let lang = self.lang;
        let serving = targets.iter().filter(|target| target.ready && target.serving).count();
        let count = targets.len();
        let text = say!(lang, "{serving} of {count} nodes serve", "{count} 个节点中 {serving} 个在服务");
        let mark = if serving == count { Mark::Good } else { Mark::Odd };
        let mut lines = vec![Line { mark, ..Line::good(text) }];
        let troubled: Vec<&Target> = targets.iter().filter(|target| target.trouble.is_some()).collect();
        lines.extend(troubled.iter().take(MOST_LINES).filter_map(|target| {
            let trouble = target.trouble.as_ref()?;
            let (name, reason) = (&target.name, &trouble.reason);
            let mark = if target.ready { Mark::Bad } else { Mark::Odd };
            Some(self.coded(mark, trouble.code, format!("{name}: {reason}")).naming("NODE", name))
        }));
        lines.extend(self.more(troubled.len()));
        lines
    }

    /// Where our entry stands.
    fn chains(&self, reports: &[(&String, &MeshCNINodeStatus)]) -> Vec<Line> {
        let lang = self.lang;
        let with = |wanted: &dyn Fn(u32, usize) -> bool| {
            let chains = reports.iter().filter_map(|(name, report)| Some((name, report.chain.as_ref()?)));
            let found =
                chains.filter(|(_, chain)| chain.position.is_some_and(|at| wanted(at, chain.plugins.len())));
            found.map(|(name, _)| (*name).clone()).collect::<Vec<String>>()
        };
        let last = with(&|at, length| at as usize + 1 == length);
        let not_last = with(&|at, length| (at as usize) + 1 < length);
        let mut lines = Vec::new();
        if !last.is_empty() {
            let count = last.len();
            lines.push(Line::good(say!(
                lang,
                "our entry is the last of the chain on {count} nodes",
                "{count} 个节点上我们的条目位于链尾"
            )));
        }
        if !not_last.is_empty() {
            let names = list(not_last.into_iter());
            let text = say!(
                lang,
                "on {names} another plugin comes behind our entry: what it adds is not seen by our rules",
                "{names} 上有其他插件排在我们的条目之后:它所添加的内容不受我们规则的约束"
            );
            lines.push(Line::odd(None, text, Some("millrace nodes -o wide".to_owned())));
        }
        lines
    }

    /// Versions, backends, failed starts, and rules that drifted.
    fn kept(&self, reports: &[(&String, &MeshCNINodeStatus)]) -> Vec<Line> {
        let lang = self.lang;
        let versions = counted(reports.iter().map(|(_, report)| report.agent_version.clone()));
        let same = reports.iter().all(|(_, report)| report.agent_version == VERSION);
        let mut lines = vec![match same {
            true => Line::good(say!(lang, "agents and plugins: {versions}", "Agent 与插件:{versions}")),
            false => {
                let text = say!(
                    lang,
                    "agents and plugins: {versions}; this program is {VERSION}",
                    "Agent 与插件:{versions};本程序为 {VERSION}"
                );
                let next = say!(lang, "use the program of the cluster's version", "使用与集群同版本的程序");
                Line::odd(None, text, Some(next))
            }
        }];
        let backends = counted(reports.iter().filter_map(|(_, report)| report.backend.clone()));
        if !backends.is_empty() {
            lines.push(Line::good(say!(
                lang,
                "rules are written by: {backends}",
                "规则的写入方式:{backends}"
            )));
        }
        let of = |wanted: &dyn Fn(&MeshCNINodeStatus) -> bool| {
            let found = reports.iter().filter(|(_, report)| wanted(report));
            list(found.map(|(name, _)| (*name).clone()))
        };
        let failing = of(&|report| report.outcomes.failed > 0);
        if !failing.is_empty() {
            let text = say!(lang, "starts of pods have failed on {failing}", "{failing} 上有 Pod 启动失败");
            lines.push(self.coded(Mark::Odd, Code::StartsFail, text));
        }
        let drifted = of(&|report| report.drifted.is_some_and(|count| count > 0));
        if !drifted.is_empty() {
            let text = say!(
                lang,
                "running pods are not redirected as planned on {drifted}",
                "{drifted} 上有运行中的 Pod 未按计划重定向"
            );
            lines.push(self.coded(Mark::Bad, Code::RulesDrifted, text));
        }
        lines
    }
}

/// Whether agents are wanted on nodes, as far as the controller has come.
fn agents_wanted(mesh: &crate::api::mesh::MeshCNI) -> bool {
    let state = mesh.status.as_ref().and_then(|status| status.state);
    state.is_some_and(crate::controller::status::agents_wanted)
}
