//! `millrace migrate`: workloads whose pods still owe a restart are restarted, one after the other, each only when its disruption
//! budgets allow it, and the next only when it is ready again.
//!
//! It restarts as `kubectl rollout restart` does, and deletes nothing. An interrupt or the annotation on the MeshCNI stops it
//! between two workloads; started again it goes on, for what is done owes nothing any more.

mod ready;

use super::connect::{Connection, block_on};
use super::workload::is_ready;
use super::{Outcome, change, plan, wait};
use crate::api::mesh::MeshCNI;
use crate::args::migrate::Migrate;
use crate::args::output::Style;
use anyhow::{Result, bail};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use ready::{Workload, budget, workloads};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::time::{Instant, sleep};

/// On the MeshCNI; `paused` stops a migration, whoever runs it.
const ANNOTATION: &str = "millrace.dev/migration";
/// Between two looks at a workload that restarts. A watch of each would tell sooner, and a restart takes minutes.
const PAUSE: Duration = Duration::from_secs(2);

/// Migrates.
pub(crate) fn run(args: &Migrate, out: &mut dyn Write) -> Result<Outcome> {
    let style = args.cluster.output.style();
    let connection = Connection::open(&args.cluster.server)?;
    block_on(async {
        let live = change::read(&connection).await?;
        if live.is_null() {
            bail!("there is no MeshCNI, so no pod owes a restart; `millrace enable` makes one");
        }
        if args.pause || args.resume {
            return mark(&connection, args.pause, style, out).await;
        }
        let owed = plan::plan(&connection, args.namespace.as_deref(), &live["spec"]).await?;
        let (workloads, bare) = workloads(&owed.changes);
        for pod in &bare {
            let words = style.say("nobody would start it again (MR4102)", "无人会重新启动它 (MR4102)");
            writeln!(out, "{pod}: {words}")?;
        }
        out.flush()?;
        let interrupt = wait::interrupts()?;
        let mut migration = Migration { connection: &connection, style, interrupt, timeout: args.timeout };
        migration.all(&workloads, args.dry_run, out).await
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
        true => style.say("migrations pause before their next workload", "迁移将在下一个工作负载之前暂停"),
        false => style.say("migrations may go on: millrace migrate", "迁移可以继续:millrace migrate"),
    };
    writeln!(out, "{words}")?;
    Ok(Outcome::Well)
}

/// How a step went.
enum Step {
    Done,
    Interrupted,
    Late(String),
}

struct Migration<'a> {
    connection: &'a Connection,
    style: Style,
    interrupt: Signal,
    /// For each workload.
    timeout: Duration,
}

impl Migration<'_> {
    async fn all(&mut self, workloads: &[Workload], dry_run: bool, out: &mut dyn Write) -> Result<Outcome> {
        let count = workloads.len();
        for (index, workload) in workloads.iter().enumerate() {
            let place = format!("{}/{count} {workload}", index + 1);
            if dry_run {
                writeln!(out, "{place} ({} pods)", workload.pods)?;
                continue;
            }
            let live = change::read(self.connection).await?;
            if live["metadata"]["annotations"][ANNOTATION] == "paused" {
                let words = self.style.say(
                    "paused; `millrace migrate --resume` lets it go on",
                    "已暂停;`millrace migrate --resume` 使其继续",
                );
                writeln!(out, "{place}: {words} (MR4104)")?;
                return Ok(Outcome::Wrong);
            }
            match self.one(workload).await? {
                Step::Done => writeln!(out, "{place}: {}", self.style.say("restarted", "已重启"))?,
                Step::Late(why) => {
                    writeln!(out, "{place}: {why}")?;
                    return Ok(Outcome::Wrong);
                }
                Step::Interrupted => {
                    let words = self.style.say(
                        "interrupted; `millrace migrate` goes on with what is left",
                        "已中断;`millrace migrate` 会继续处理剩余部分",
                    );
                    writeln!(out, "{place}: {words} (MR4104)")?;
                    return Ok(Outcome::Interrupted);
                }
            }
            out.flush()?;
        }
        let words = self.style.say("no workload owes a restart any more", "不再有工作负载需要重启");
        if !dry_run {
            writeln!(out, "{words}")?;
        }
        Ok(Outcome::Well)
    }

    async fn one(&mut self, workload: &Workload) -> Result<Step> {
        let mut line = wait::Line { live: self.style.live };
        let deadline = Instant::now() + self.timeout;
        let api = self.api(workload)?;
        let act = format!("read {workload}");
        let found = self.connection.ask(&act, api.get(&workload.name)).await?;
        let before = serde_json::to_value(&found)?;
        while let Some(held) = budget(&self.budgets(&workload.namespace).await?, &before) {
            let why = format!("PodDisruptionBudget {held} (MR4101)");
            line.show(&why);
            if let Some(step) = self.rest(deadline, &why).await {
                line.clear();
                return Ok(step);
            }
        }
        let now = Timestamp::now().to_string();
        let template = json!({ "metadata": { "annotations": { "kubectl.kubernetes.io/restartedAt": now } } });
        let patch = Patch::Strategic(json!({ "spec": { "template": template } }));
        let params = PatchParams { field_manager: Some("millrace-cli".to_owned()), ..PatchParams::default() };
        self.connection
            .ask(&format!("restart {workload}"), api.patch(&workload.name, &params, &patch))
            .await?;
        loop {
            let found = self.connection.ask(&act, api.get(&workload.name)).await?;
            let found = serde_json::to_value(&found)?;
            if is_ready(&workload.kind, &found) {
                line.clear();
                return Ok(Step::Done);
            }
            let why = self.style.say("restarted and not ready yet (MR4103)", "已重启但尚未就绪 (MR4103)");
            line.show(&format!("{workload}: {why}"));
            if let Some(step) = self.rest(deadline, why).await {
                line.clear();
                return Ok(step);
            }
        }
    }

    /// Rests until the next look; says how it ends if it does.
    async fn rest(&mut self, deadline: Instant, why: &str) -> Option<Step> {
        if Instant::now() >= deadline {
            return Some(Step::Late(why.to_owned()));
        }
        tokio::select! {
            _ = self.interrupt.recv() => Some(Step::Interrupted),
            () = sleep(PAUSE) => None,
        }
    }

    /// The budgets of a namespace. A server without them (before Kubernetes 1.21) has none to keep.
    async fn budgets(&self, namespace: &str) -> Result<Vec<PodDisruptionBudget>> {
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.connection.client.clone(), namespace);
        let all = self.connection.ask("list PodDisruptionBudgets", api.list(&ListParams::default())).await;
        match all {
            Ok(all) => Ok(all.items),
            Err(super::connect::Error::NotInstalled { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn api(&self, workload: &Workload) -> Result<Api<DynamicObject>> {
        let kind = match workload.kind.as_str() {
            "Deployment" => ApiResource::erase::<Deployment>(&()),
            "StatefulSet" => ApiResource::erase::<StatefulSet>(&()),
            "DaemonSet" => ApiResource::erase::<DaemonSet>(&()),
            other => bail!("a {other} is not restarted by this program (MR4102)"),
        };
        Ok(Api::namespaced_with(self.connection.client.clone(), &workload.namespace, &kind))
    }
}
