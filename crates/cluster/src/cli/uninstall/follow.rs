//! Following a cluster while its controller takes everything off the nodes: one watch of the MeshCNI, one of the Jobs that clear
//! nodes, until it is there, a deadline or an interrupt.
//!
//! A Job succeeds when the agent in it has looked at every place on its node again; that is the proof, and it is told when it
//! is seen, for the Jobs go as well.

use crate::api::mesh::MeshCNI;
use crate::api::ours::{MANAGED_BY, MANAGER};
use crate::api::status::MeshCNIStatus;
use crate::args::output::{Form, Style};
use crate::cli::change;
use crate::cli::connect::{Connection, Error};
use crate::cli::wait::{Line, fatal};
use anyhow::Result;
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::batch::v1::Job;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{
    WatchStreamExt,
    watcher::{self, watcher},
};
use kube::{Api, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::time::{Instant, timeout_at};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The controller says of this generation that no pod depends on the agents.
    NoPod { generation: i64 },
    /// The MeshCNI is gone.
    Gone,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is so.
    There,
    /// The deadline is over; what was said last.
    Late(String),
    /// Somebody did not want to wait any longer.
    Interrupted,
}

/// How long what was said of Jobs may follow the end of the MeshCNI: they are deleted before it is.
const ECHO: Duration = Duration::from_secs(5);

/// Whoever follows.
pub(super) struct Follow<'a> {
    connection: &'a Connection,
    style: Style,
    jobs: BoxStream<'static, watcher::Result<Event<Job>>>,
    /// The Jobs that are there, and the nodes that were proved clean.
    there: BTreeSet<String>,
    told: BTreeMap<String, &'static str>,
}

impl<'a> Follow<'a> {
    /// One that has seen nothing yet.
    pub(super) fn new(connection: &'a Connection, style: Style) -> Follow<'a> {
        let ours = Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
        let jobs: Api<Job> = Api::all(connection.client.clone());
        let jobs = watcher(jobs, ours).default_backoff().boxed();
        Follow { connection, style, jobs, there: BTreeSet::new(), told: BTreeMap::new() }
    }

    /// Follows until it is so.
    pub(super) async fn until(
        &mut self,
        until: Until,
        deadline: Instant,
        interrupt: &mut Signal,
        out: &mut dyn Write,
    ) -> Result<End> {
        let meshes: Api<MeshCNI> = Api::all(self.connection.client.clone());
        let mut meshes = watcher::watch_object(meshes, change::NAME).default_backoff().boxed();
        let mut line = Line { live: self.style.live };
        let mut last = self
            .style
            .say("no controller has looked at it yet (MR4009)", "尚无控制器处理 (MR4009)")
            .to_owned();
        let end = loop {
            tokio::select! {
                mesh = timeout_at(deadline, meshes.next()) => match mesh {
                    Err(_) | Ok(None) => break End::Late(last),
                    Ok(Some(Err(error))) => match fatal(self.connection, "watch MeshCNI default", &error) {
                        // Its definition is gone, and it with that.
                        Some(Error::NotInstalled { .. }) => break End::There,
                        Some(error) => return Err(error.into()),
                        None => {}
                    },
                    Ok(Some(Ok(mesh))) => {
                        if is_there(until, mesh.as_ref()) {
                            break End::There;
                        }
                        last = said(mesh.as_ref()).unwrap_or(last);
                        line.show(&last);
                    }
                },
                Some(event) = self.jobs.next() => self.hear(event, &mut line, out)?,
                _ = interrupt.recv() => break End::Interrupted,
            }
        };
        line.clear();
        let echo = Instant::now() + ECHO;
        while end == End::There && until == Until::Gone && !self.there.is_empty() {
            match timeout_at(echo, self.jobs.next()).await {
                Ok(Some(event)) => self.hear(event, &mut line, out)?,
                Err(_) | Ok(None) => break,
            }
        }
        Ok(end)
    }

    /// Tells of a Job once for each thing that is new about it.
    fn hear(
        &mut self,
        event: watcher::Result<Event<Job>>,
        line: &mut Line,
        out: &mut dyn Write,
    ) -> Result<()> {
        let job = match event {
            Ok(Event::Apply(job) | Event::InitApply(job)) => job,
            Ok(Event::Delete(job)) => {
                self.there.remove(&job.name_any());
                return Ok(());
            }
            Ok(Event::Init | Event::InitDone) | Err(_) => return Ok(()),
        };
        self.there.insert(job.name_any());
        let status = job.status.clone().unwrap_or_default();
        let failed =
            status.conditions.iter().flatten().any(|one| one.type_ == "Failed" && one.status == "True");
        let word = match (status.succeeded.unwrap_or_default() > 0, failed) {
            (true, _) => self.style.say("cleared, and proved clean by its Job", "已清理,并由其 Job 证明干净"),
            (_, true) => self.style.say(
                "not clean yet: its Job failed and is made anew; kubectl logs says why",
                "尚未清理干净:其 Job 失败,将重新创建;kubectl logs 说明原因",
            ),
            _ => return Ok(()),
        };
        let spec = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let node = spec.and_then(|spec| spec.node_name.clone()).unwrap_or_else(|| job.name_any());
        if self.told.insert(node.clone(), word) != Some(word)
            && matches!(self.style.form, Form::Table | Form::Wide)
        {
            line.clear();
            writeln!(out, "Node {node}: {word} ({})", job.name_any())?;
            out.flush()?;
        }
        Ok(())
    }
}

fn is_there(until: Until, mesh: Option<&MeshCNI>) -> bool {
    let Some(mesh) = mesh else { return true };
    let Until::NoPod { generation } = until else { return false };
    let status = mesh.status.clone().unwrap_or_default();
    status.observed_generation.unwrap_or_default() >= generation && status.workloads.cni == 0
}

/// What the controller says of it.
fn said(mesh: Option<&MeshCNI>) -> Option<String> {
    let status: &MeshCNIStatus = mesh?.status.as_ref()?;
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready")?;
    let state = status.state.map_or(String::new(), |state| format!("{state:?}: "));
    Some(format!("{state}{}", ready.message))
}
