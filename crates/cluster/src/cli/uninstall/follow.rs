//! Following a cluster while its controller takes everything off the nodes: one watch of the MeshCNI, one of the Jobs that clear
//! nodes, until it is there, a deadline or an interrupt.
//!
//! A Job succeeds when the agent in it has looked at every place on its node again; what its pod said at its end is the proof, and
//! it is told when it is seen, for the Jobs go as well.

use crate::api::cleared::Proof;
use crate::api::mesh::MeshCNI;
use crate::api::ours::{MANAGED_BY, MANAGER};
use crate::api::status::MeshCNIStatus;
use crate::args::output::{Form, Lang, Style};
use crate::cli::change;
use crate::cli::connect::{Connection, Error};
use crate::cli::wait::{Line, fatal};
use anyhow::Result;
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{
    WatchStreamExt,
    watcher::{self, watcher},
};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
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
    /// The Jobs that are there.
    there: BTreeSet<String>,
    /// By node, the Job that was told of last, and whether it succeeded.
    told: BTreeMap<String, (String, bool)>,
    /// What was proved of each node.
    pub(super) proofs: BTreeMap<String, Value>,
}

impl<'a> Follow<'a> {
    /// One that has seen nothing yet.
    pub(super) fn new(connection: &'a Connection, style: Style) -> Follow<'a> {
        let ours = Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
        let jobs: Api<Job> = Api::all(connection.client.clone());
        let jobs = watcher(jobs, ours).default_backoff().boxed();
        Follow {
            connection,
            style,
            jobs,
            there: BTreeSet::new(),
            told: BTreeMap::new(),
            proofs: BTreeMap::new(),
        }
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
                Some(event) = self.jobs.next() => self.hear(event, &mut line, out).await?,
                _ = interrupt.recv() => break End::Interrupted,
            }
        };
        line.clear();
        let echo = Instant::now() + ECHO;
        while end == End::There && until == Until::Gone && !self.there.is_empty() {
            match timeout_at(echo, self.jobs.next()).await {
                Ok(Some(event)) => self.hear(event, &mut line, out).await?,
                Err(_) | Ok(None) => break,
            }
        }
        Ok(end)
    }

    /// Tells of a Job once for each thing that is new about it.
    async fn hear(
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
        let succeeded = status.succeeded.unwrap_or_default() > 0;
        if !succeeded && !failed {
            return Ok(());
        }
        let spec = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let node = spec.and_then(|spec| spec.node_name.clone()).unwrap_or_else(|| job.name_any());
        let uid = job.uid().unwrap_or_default();
        // Each attempt is told of once: its pods are asked for no oftener.
        if self.told.insert(node.clone(), (uid.clone(), succeeded)) == Some((uid, succeeded)) {
            return Ok(());
        }
        let proof = self.proof(&job, &node, succeeded).await;
        let clean = succeeded && !matches!(proof, Proof::Not(_));
        let word = if clean {
            self.style.say("cleared, and proved clean by its Job", "已清理,并由其 Job 证明干净")
        } else {
            self.style.say(
                "not clean yet (MR2116): it is cleared again, ever more slowly",
                "尚未清理干净 (MR2116):会以越来越长的间隔再次清理",
            )
        };
        let said = match (&proof, self.style.lang) {
            (Proof::Silent, _) => String::new(),
            (Proof::Clean(places), Lang::Zh) => format!(": 检查了 {places} 处,均干净"),
            (proof, _) => format!(": {proof}"),
        };
        self.proofs.insert(node.clone(), json!({ "clean": clean, "said": proof.to_string() }));
        if matches!(self.style.form, Form::Table | Form::Wide) {
            line.clear();
            writeln!(out, "Node {node}: {word} ({}){said}", job.name_any())?;
            out.flush()?;
        }
        Ok(())
    }

    /// What the Job's pod said at its end. Where that cannot be read it is as if nothing was said: the Job itself tells how it ended.
    async fn proof(&self, job: &Job, node: &str, succeeded: bool) -> Proof {
        let (client, home) = (self.connection.client.clone(), job.namespace().unwrap_or_default());
        let api: Api<Pod> = Api::namespaced(client, &home);
        let params = ListParams::default().labels(&format!("job-name={}", job.name_any()));
        let Ok(pods) = self.connection.ask("list the pods of a Job", api.list(&params)).await else {
            return Proof::Silent;
        };
        let phase = if succeeded { "Succeeded" } else { "Failed" };
        let mut ended = pods.items.iter().filter_map(|pod| {
            let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some(phase))?;
            let container = status.container_statuses.as_ref()?.first()?;
            let end = container.state.as_ref()?.terminated.as_ref()?;
            Some(Proof::of(end.message.as_deref().unwrap_or_default(), node))
        });
        ended.next_back().unwrap_or(Proof::Silent)
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
