//! `millrace uninstall`: everything of ours off a cluster, in the order in which nothing is left unprotected or unproven.
//!
//! The switch goes off, pods that depend on the agents are waited for, the MeshCNI is deleted, the controller clears the nodes,
//! and then it is removed itself; the definitions go last. Nothing is remembered: where it stands is read from the cluster each
//! time. What is not ours is never touched, and no namespace is deleted.

mod follow;
mod remains;
mod remove;
mod survey;
pub(super) mod whose;

use super::change::{self, Changed};
use super::connect::{Connection, Error, block_on};
use super::{Outcome, form, plan, wait};
use crate::api::mesh::{MeshCNI, NodeTaint};
use crate::api::ours::UNPROTECTED;
use crate::args::lifecycle::Uninstall;
use crate::args::output::{Form, Lang, Mark, Style};
use anyhow::Result;
use follow::{End, Follow, Until};
use kube::api::{DeleteParams, Patch, PatchParams};
use remains::Remains;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use survey::Survey;
use tokio::signal::unix::Signal;
use tokio::time::Instant;

/// The most pods that are named before it is decided about them; all are with `--force`.
const MOST_NAMED: usize = 20;

/// Uninstalls.
pub(crate) fn run(args: &Uninstall, out: &mut dyn Write) -> Result<Outcome> {
    let style = args.change.cluster.output.style();
    let connection = Connection::open(&args.change.cluster.server)?;
    block_on(async {
        let live = change::read(&connection).await.or_else(plan::absent)?;
        let taint = live["spec"]["nodeTaint"]["key"].as_str().map_or(NodeTaint::default().key, str::to_owned);
        let for_people = matches!(style.form, Form::Table | Form::Wide);
        let lang = if for_people { style.lang } else { Lang::En };
        let survey =
            Survey { connection: &connection, home: &args.home.system_namespace, taint: &taint, lang };
        let deadline = Instant::now() + args.change.waiting.timeout;
        let interrupt = wait::interrupts()?;
        let mut walk = Walk {
            args,
            connection: &connection,
            survey,
            style,
            deadline,
            interrupt,
            removed: Vec::new(),
            proofs: BTreeMap::new(),
        };
        let tried = args.change.writing.dry_run.is_some();
        let mut outcome = match tried {
            true => walk.rehearse(&live, out).await?,
            false => walk.through(&live, out).await?,
        };
        if outcome == Outcome::Interrupted {
            return Ok(outcome);
        }
        let remains = if args.prove_clean { Some(walk.survey.remains().await?) } else { None };
        walk.conclude(outcome, remains.as_ref(), out)?;
        if let Some(remains) = remains.filter(|_| outcome == Outcome::Well) {
            outcome = Outcome::when(remains.is_clean());
        }
        Ok(outcome)
    })
}

/// One call.
struct Walk<'a> {
    args: &'a Uninstall,
    connection: &'a Connection,
    survey: Survey<'a>,
    style: Style,
    deadline: Instant,
    interrupt: Signal,
    removed: Vec<String>,
    /// What Jobs proved of nodes, as far as this call saw it.
    proofs: BTreeMap<String, Value>,
}

impl Walk<'_> {
    /// Goes as far as it can now, or to the end where it may wait.
    async fn through(&mut self, live: &Value, out: &mut dyn Write) -> Result<Outcome> {
        if !live.is_null() {
            match self.switch_off(live, out).await? {
                Outcome::Well => {}
                other => return Ok(other),
            }
        }
        self.sweep(out).await
    }

    /// Says what would be done.
    async fn rehearse(&mut self, live: &Value, out: &mut dyn Write) -> Result<Outcome> {
        let style = self.style;
        if !live.is_null() {
            let words = style.say(
                "MeshCNI default: would be switched off, and deleted once no pod depends on the agents",
                "MeshCNI default:将关闭,并在没有 Pod 依赖代理后删除",
            );
            self.say(words, out)?;
            let pods = self.survey.dependent().await?;
            self.name(&pods, out)?;
        }
        for what in remove::planned(&self.survey).await? {
            self.say(&format!("{what}: {}", style.say("would be removed", "将删除")), out)?;
        }
        Ok(Outcome::Well)
    }

    /// Until the MeshCNI is gone, and with it everything on the nodes.
    async fn switch_off(&mut self, live: &Value, out: &mut dyn Write) -> Result<Outcome> {
        let style = self.style;
        let is_leaving = !live["metadata"]["deletionTimestamp"].is_null();
        let mut generation = live["metadata"]["generation"].as_i64().unwrap_or_default();
        if !is_leaving && live["spec"]["mode"] != "Disabled" {
            let wanted = Map::from_iter([("mode".to_owned(), json!("Disabled"))]);
            let changed: Changed =
                change::change(self.connection, live, &wanted, self.args.change.writing).await?;
            generation = changed.generation();
            let words = style.say(
                "MeshCNI default: switched off; new pods redirect themselves again",
                "MeshCNI default:已关闭;新 Pod 重新由自身重定向",
            );
            self.say(words, out)?;
        }
        let pods = self.survey.dependent().await?;
        self.name(&pods, out)?;
        if !pods.is_empty() && self.args.force {
            self.forsake(out).await?;
        } else if !pods.is_empty() && !is_leaving {
            let words = style.say(
                "restart them: millrace migrate; then the same command goes on (--wait waits for it)",
                "请重启它们:millrace migrate;之后同一命令会继续(--wait 会等待)",
            );
            self.say(words, out)?;
            if !self.args.change.waiting.wait {
                return Ok(Outcome::Wrong);
            }
            match self.follow(Until::NoPod { generation }, out).await? {
                Outcome::Well => {}
                other => return Ok(other),
            }
        }
        if !is_leaving {
            self.delete_switch(out).await?;
        }
        if !self.args.change.waiting.wait && !change::read(self.connection).await?.is_null() {
            let words = style.say(
                "the controller clears the nodes; the same command goes on once it is done (--wait waits for it)",
                "控制器正在清理节点;完成后同一命令会继续(--wait 会等待)",
            );
            self.say(words, out)?;
            return Ok(Outcome::Wrong);
        }
        self.follow(Until::Gone, out).await
    }

    /// Names the pods that depend on the agents.
    fn name(&self, pods: &[String], out: &mut dyn Write) -> Result<()> {
        if pods.is_empty() {
            return Ok(());
        }
        let style = self.style;
        let words = match pods.len() {
            1 => style.say("pod depends on the agents (MR4006):", "个 Pod 依赖代理 (MR4006):"),
            _ => style.say("pods depend on the agents (MR4006):", "个 Pod 依赖代理 (MR4006):"),
        };
        self.say(&format!("{} {words}", pods.len()), out)?;
        let named = if self.args.force { pods.len() } else { MOST_NAMED.min(pods.len()) };
        for pod in &pods[..named] {
            self.say(&format!("  {pod}"), out)?;
        }
        if pods.len() > named {
            let more = style.say("more; millrace plan lists all", "个;millrace plan 列出全部");
            self.say(&format!("  {} {} {more}", style.say("and", "另有"), pods.len() - named), out)?;
        }
        if self.args.force {
            let words = style.say(
                "--force: each keeps its rules while its sandbox lives. Made anew as it is, it does not start where it \
                 has istio-validation, and runs unprotected where it has not; restarted by its workload, it redirects itself",
                "--force:每个 Pod 在其沙箱存续期间保留规则。若原样重建,带 istio-validation 的无法启动,不带的将不受保护地运行;\
                 由其工作负载重启则会自行重定向",
            );
            self.say(words, out)?;
        }
        Ok(())
    }

    /// Tells the controller not to wait for pods.
    async fn forsake(&self, out: &mut dyn Write) -> Result<()> {
        out.flush()?;
        let patch = json!({ "metadata": { "annotations": { UNPROTECTED: "true" } } });
        self.connection
            .ask(
                "annotate MeshCNI default",
                self.connection.all::<MeshCNI>().patch(change::NAME, &params(), &Patch::Merge(&patch)),
            )
            .await?;
        Ok(())
    }

    async fn delete_switch(&mut self, out: &mut dyn Write) -> Result<()> {
        let api = self.connection.all::<MeshCNI>();
        let params = DeleteParams::default();
        let deleted = api.delete(change::NAME, &params);
        match self.connection.ask("delete MeshCNI default", deleted).await {
            Ok(_) | Err(Error::Absent { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let words = self.style.say("MeshCNI default: deleted", "MeshCNI default:已删除");
        self.removed.push("MeshCNI default".to_owned());
        self.say(words, out)
    }

    /// Waits, telling of each node that is proved clean on the way.
    async fn follow(&mut self, until: Until, out: &mut dyn Write) -> Result<Outcome> {
        out.flush()?;
        let mut follow = Follow::new(self.connection, self.style);
        let end = follow.until(until, self.deadline, &mut self.interrupt, out).await?;
        self.proofs.append(&mut follow.proofs);
        let (words, outcome) = match end {
            End::There => return Ok(Outcome::Well),
            End::Late(last) => {
                let words = self.style.say("not reached in time", "未在时限内到达");
                let seconds = self.args.change.waiting.timeout.as_secs();
                (format!("{words} ({seconds} s): {last}"), Outcome::Wrong)
            }
            End::Interrupted => {
                let words = self.style.say(
                    "interrupted; the same command goes on where it stands",
                    "已中断;同一命令会从当前位置继续",
                );
                (words.to_owned(), Outcome::Interrupted)
            }
        };
        self.say(&words, out)?;
        Ok(outcome)
    }

    /// Says it to people.
    fn say(&self, words: &str, out: &mut dyn Write) -> Result<()> {
        if matches!(self.style.form, Form::Table | Form::Wide) {
            writeln!(out, "{words}")?;
        }
        Ok(())
    }

    /// Says how it ended, and what was found.
    fn conclude(&self, outcome: Outcome, remains: Option<&Remains>, out: &mut dyn Write) -> Result<()> {
        let value = || {
            let mut value = remains.map_or(json!({}), Remains::value);
            value["removed"] = json!(self.removed);
            value["nodes"] = json!(self.proofs);
            value["done"] = json!(outcome == Outcome::Well);
            value
        };
        if form::data(self.style.form, &value(), "places", out)? {
            return Ok(());
        }
        match remains {
            Some(remains) => proof(remains, self.style, out),
            None if outcome == Outcome::Well && self.args.change.writing.dry_run.is_none() => {
                let words = self.style.say(
                    "uninstalled; --prove-clean looks at every place",
                    "已卸载;--prove-clean 会检查每一处",
                );
                Ok(writeln!(out, "{words}")?)
            }
            None => Ok(()),
        }
    }
}

/// Each place as a line, with what was found there.
fn proof(remains: &Remains, style: Style, out: &mut dyn Write) -> Result<()> {
    for (place, left) in &remains.places {
        let clean = left.iter().all(|left| left.way.is_none());
        let words = if clean {
            style.say("clean", "干净")
        } else {
            style.say("not clean (MR4201)", "有残留 (MR4201)")
        };
        let mark = style.mark(if clean { Mark::Good } else { Mark::Bad });
        writeln!(out, "{mark} {place}: {words}")?;
        for one in left {
            let way = one.way.as_deref();
            let way =
                way.unwrap_or_else(|| style.say("it may stay, and does nothing", "可以保留,不起任何作用"));
            writeln!(out, "    {}: {way}", one.what)?;
        }
    }
    let words = match remains.is_clean() {
        true => style.say("nothing of Millrace is left", "没有 Millrace 的残留"),
        false => style.say("something of Millrace is left", "仍有 Millrace 的残留"),
    };
    Ok(writeln!(out, "{words}")?)
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some("millrace-cli".to_owned()), ..PatchParams::default() }
}
