//! `millrace migrate`: workloads whose pods still owe a restart are restarted in waves, each workload only when its disruption
//! budgets allow it, and the next wave only when all of the last are ready again.
//!
//! It restarts as `kubectl rollout restart` does, and deletes nothing. An interrupt or the annotation on the MeshCNI stops it
//! between two waves; started again it goes on, for what is done owes nothing any more, and what is on its way is told by its
//! template.

mod heard;
mod ready;

use super::connect::{Connection, Error, block_on};
use super::table::{more, room};
use super::workload::{is_ready, resource};
use super::{Outcome, change, plan, wait};
use crate::api::mesh::MeshCNI;
use crate::args::migrate::Migrate;
use crate::args::output::Style;
use anyhow::{Result, bail};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use ready::{Counted, RESTARTED, Workload, budget, covering, is_on_its_way, wave, workloads};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write;
use tokio::signal::unix::Signal;
use tokio::time::Instant;

/// On the MeshCNI; `paused` stops a migration, whoever runs it.
const ANNOTATION: &str = "millrace.dev/migration";

/// Migrates.
pub(crate) fn run(args: &Migrate, out: &mut dyn Write) -> Result<Outcome> {
    let style = args.cluster.output.style();
    let connection = Connection::open(&args.cluster.server)?;
    block_on(async {
        let live = change::present(&connection, "migrate", None).await?;
        if args.pause || args.resume {
            return mark(&connection, args.pause, style, out).await;
        }
        let owed = plan::plan(&connection, args.namespace.as_deref(), &live["spec"]).await?;
        let (workloads, bare) = workloads(&owed.changes);
        let room = room(style);
        for pod in bare.iter().take(room) {
            let words = style.say("nobody would start it again (MR4102)", "无人会重新启动它 (MR4102)");
            writeln!(out, "{pod}: {words}")?;
        }
        more(bare.len(), room, style, "", out)?;
        out.flush()?;
        if args.dry_run {
            return listed(&workloads, style, out);
        }
        let mut interrupt = wait::interrupts()?;
        match heard::wait(&connection, args.timeout, &mut interrupt, style).await? {
            heard::End::Heard => {}
            heard::End::Interrupted => return Ok(Outcome::Interrupted),
            heard::End::Late => {
                let words = style.say(
                    "no pod was restarted: webhooks have yet to hear of the last change; millrace check says why (MR4009)",
                    "未重启任何 Pod:Webhook 尚未获知最近的变更;millrace check 说明原因 (MR4009)",
                );
                writeln!(out, "{words}")?;
                return Ok(Outcome::Wrong);
            }
        }
        Migration::new(&connection, args, workloads.len()).all(workloads, &mut interrupt, out).await
    })
}

/// Pauses, or lets go on.
async fn mark(connection: &Connection, pause: bool, style: Style, out: &mut dyn Write) -> Result<Outcome> {
    let value = if pause { json!("paused") } else { Value::Null };
    let patch = json!({ "metadata": { "annotations": { ANNOTATION: value } } });
    let params = PatchParams { field_manager: Some("millrace-cli".to_owned()), ..PatchParams::default() };
    let api = connection.all::<MeshCNI>();
    connection
        .ask("annotate MeshCNI default", api.patch(change::NAME, &params, &Patch::Merge(&patch)))
        .await?;
    let words = match pause {
        true => style.say("migrations pause before their next wave", "迁移将在下一波之前暂停"),
        false => style.say("migrations may go on: millrace migrate", "迁移可以继续:millrace migrate"),
    };
    writeln!(out, "{words}")?;
    Ok(Outcome::Well)
}

/// Lists them in their order, a screen of them.
fn listed(workloads: &[Workload], style: Style, out: &mut dyn Write) -> Result<Outcome> {
    let room = room(style);
    for (index, workload) in workloads.iter().take(room).enumerate() {
        writeln!(out, "{}/{} {workload} ({} pods)", index + 1, workloads.len(), workload.pods)?;
    }
    more(workloads.len(), room, style, "", out)?;
    Ok(Outcome::Well)
}

struct Migration<'a> {
    connection: &'a Connection,
    args: &'a Migrate,
    style: Style,
    /// How many there were when it began.
    count: usize,
    done: Cell<usize>,
    /// What each of the present wave is waiting for.
    now: RefCell<BTreeMap<String, String>>,
}

impl<'a> Migration<'a> {
    fn new(connection: &'a Connection, args: &'a Migrate, count: usize) -> Migration<'a> {
        let style = args.cluster.output.style();
        Migration { connection, args, style, count, done: Cell::new(0), now: RefCell::default() }
    }

    async fn all(&self, all: Vec<Workload>, interrupt: &mut Signal, out: &mut dyn Write) -> Result<Outcome> {
        let style = self.style;
        let most = self.args.max_unavailable.of(all.len());
        let mut left = self.counted(all).await?;
        let mut outcome = Outcome::Well;
        while let Some(first) = left.first() {
            let live = change::read(self.connection).await?;
            if live["metadata"]["annotations"][ANNOTATION] == "paused" {
                let words = style.say(
                    "paused; `millrace migrate --resume` lets it go on",
                    "已暂停;`millrace migrate --resume` 使其继续",
                );
                writeln!(out, "{}: {words} (MR4104)", self.place(&first.workload))?;
                return Ok(Outcome::Wrong);
            }
            match self.wave(wave(&mut left, most), interrupt, out).await? {
                Outcome::Well => {}
                Outcome::Wrong if self.args.pause_on_failure => {
                    mark(self.connection, true, style, out).await?;
                    return Ok(Outcome::Wrong);
                }
                Outcome::Wrong => outcome = Outcome::Wrong,
                Outcome::Interrupted => return Ok(Outcome::Interrupted),
            }
            if self.args.wave && !left.is_empty() {
                let words = style.say(
                    "left; the same command goes on with the next wave",
                    "个待处理;同一命令将继续下一波",
                );
                writeln!(out, "{} {words}", left.len())?;
                return Ok(outcome);
            }
        }
        if outcome == Outcome::Well {
            writeln!(out, "{}", style.say("no workload owes a restart any more", "不再有工作负载需要重启"))?;
        }
        Ok(outcome)
    }

    /// The workloads with the budgets that count their pods now.
    async fn counted(&self, all: Vec<Workload>) -> Result<Vec<Counted>> {
        let mut budgets: BTreeMap<String, Vec<PodDisruptionBudget>> = BTreeMap::new();
        let mut counted = Vec::new();
        for workload in all {
            if !budgets.contains_key(&workload.namespace) {
                let api: Api<PodDisruptionBudget> =
                    Api::namespaced(self.connection.client.clone(), &workload.namespace);
                let found =
                    self.connection.ask("list PodDisruptionBudgets", api.list(&ListParams::default())).await;
                let found = match found {
                    // A server without them (before Kubernetes 1.21) has none to keep.
                    Err(Error::NotInstalled { .. }) => Vec::new(),
                    other => other?.items,
                };
                budgets.insert(workload.namespace.clone(), found);
            }
            let object = self.read(&workload).await?;
            let names = covering(&budgets[&workload.namespace], &object).into_iter();
            let names = names.filter_map(|budget| budget.metadata.name.clone()).collect();
            counted.push(Counted { workload, budgets: names });
        }
        Ok(counted)
    }

    /// Restarts these together.
    async fn wave(
        &self,
        wave: Vec<Workload>,
        interrupt: &mut Signal,
        out: &mut dyn Write,
    ) -> Result<Outcome> {
        let mut line = wait::Line { live: self.style.live };
        let mut outcome = Outcome::Well;
        let mut running: FuturesUnordered<_> =
            wave.iter().map(|workload| async move { (workload, self.one(workload).await) }).collect();
        loop {
            let ended = tokio::select! {
                ended = running.next() => ended,
                _ = interrupt.recv() => {
                    line.clear();
                    let words = self.style.say(
                        "interrupted; `millrace migrate` goes on with what is left",
                        "已中断;`millrace migrate` 会继续处理剩余部分",
                    );
                    let now: Vec<String> = self.now.borrow().keys().cloned().collect();
                    writeln!(out, "{}/{} {}: {words} (MR4104)", self.done.get() + 1, self.count, now.join(", "))?;
                    return Ok(Outcome::Interrupted);
                }
            };
            line.clear();
            let Some((workload, ended)) = ended else { return Ok(outcome) };
            let place = self.place(workload);
            self.done.set(self.done.get() + 1);
            self.now.borrow_mut().remove(&workload.to_string());
            match ended? {
                None => writeln!(out, "{place}: {}", self.style.say("restarted", "已重启"))?,
                Some(why) => {
                    writeln!(out, "{place}: {why}")?;
                    outcome = Outcome::Wrong;
                }
            }
            out.flush()?;
        }
    }

    /// Restarts one, and waits until it is ready; why it is not, if it is not in time.
    async fn one(&self, workload: &Workload) -> Result<Option<String>> {
        let deadline = Instant::now() + self.args.timeout;
        let before = self.read(workload).await?;
        if !is_on_its_way(&workload.kind, &before) {
            if let Some(held) = self.held(workload, &before, deadline).await? {
                return Ok(Some(held));
            }
            let now = Timestamp::now().to_string();
            let template = json!({ "metadata": { "annotations": { RESTARTED: now } } });
            let patch = Patch::Strategic(json!({ "spec": { "template": template } }));
            let params =
                PatchParams { field_manager: Some("millrace-cli".to_owned()), ..PatchParams::default() };
            let api = self.api(workload)?;
            self.connection
                .ask(&format!("restart {workload}"), api.patch(&workload.name, &params, &patch))
                .await?;
        }
        let why = self.style.say("restarted and not ready yet (MR4103)", "已重启但尚未就绪 (MR4103)");
        self.show(workload, why);
        let (name, act) = (&workload.name, format!("watch {workload}"));
        let watched = wait::Watched { api: self.api(workload)?, name, act: &act };
        let ready = watched.until(self.connection, deadline, |found| {
            let found = serde_json::to_value(found?).ok()?;
            is_ready(&workload.kind, &found).then_some(())
        });
        Ok(ready.await?.map_or(Some(why.to_owned()), |()| None))
    }

    /// Waits until its budgets let it; the one that does not in time.
    async fn held(&self, workload: &Workload, before: &Value, deadline: Instant) -> Result<Option<String>> {
        let api: Api<PodDisruptionBudget> =
            Api::namespaced(self.connection.client.clone(), &workload.namespace);
        let mut last = None;
        let budgets = wait::Group { api, labels: "", act: "watch PodDisruptionBudgets" };
        let allowed = budgets.until(self.connection, deadline, |known| {
            last = budget(known.values(), before).map(|name| format!("PodDisruptionBudget {name} (MR4101)"));
            if let Some(why) = &last {
                self.show(workload, why);
            }
            last.is_none().then_some(())
        });
        match allowed.await {
            Ok(Some(())) | Err(Error::NotInstalled { .. }) => Ok(None),
            Ok(None) => Ok(Some(last.unwrap_or_else(|| "PodDisruptionBudgets (MR4101)".to_owned()))),
            Err(error) => Err(error.into()),
        }
    }

    /// Shows how far it is, and what each waits for.
    fn show(&self, workload: &Workload, why: &str) {
        self.now.borrow_mut().insert(workload.to_string(), why.to_owned());
        let now: Vec<String> = self.now.borrow().iter().map(|(name, why)| format!("{name}: {why}")).collect();
        let mut line = wait::Line { live: self.style.live };
        line.show(&format!("{}/{} {}", self.done.get(), self.count, now.join("; ")));
    }

    fn place(&self, workload: &Workload) -> String {
        format!("{}/{} {workload}", self.done.get() + 1, self.count)
    }

    async fn read(&self, workload: &Workload) -> Result<Value> {
        let api = self.api(workload)?;
        let found = self.connection.ask(&format!("read {workload}"), api.get(&workload.name)).await?;
        Ok(serde_json::to_value(&found)?)
    }

    fn api(&self, workload: &Workload) -> Result<Api<DynamicObject>> {
        let Some(kind) = resource(&workload.kind) else {
            bail!("a {} is not restarted by this program (MR4102)", workload.kind);
        };
        Ok(Api::namespaced_with(self.connection.client.clone(), &workload.namespace, &kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::output::Form;

    fn check(count: usize, form: Form, expected: usize, last: &str) {
        let workload = |name: usize| Workload {
            kind: "Deployment".into(),
            namespace: "a".into(),
            name: name.to_string(),
            pods: 2,
        };
        let all: Vec<Workload> = (1..=count).map(workload).collect();
        let mut out = Vec::new();
        listed(&all, Style { form, ..Style::default() }, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!((text.lines().count(), text.lines().last()), (expected, Some(last)));
    }

    #[test]
    fn of_many_workloads_a_screen_is_listed() {
        check(20, Form::Table, 20, "20/20 Deployment a/20 (2 pods)");
        check(25, Form::Table, 21, "and more: 5 (-o wide)");
        check(25, Form::Wide, 25, "25/25 Deployment a/25 (2 pods)");
    }
}
