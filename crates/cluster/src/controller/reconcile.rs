//! What the controller that acts does: look, decide, write down, act; rung by whatever changed, and not more often than it
//! must.
//!
//! The state is written before anything is done about it, at the version that was looked at: whoever acts upon an older one is
//! refused. It decides nothing itself.

mod accepting;
mod events;
mod hearing;
mod nodes;
mod objects;

use super::apply::{Error, Hand, ask};
use super::children::{Home, MANAGER, Release};
use super::clearings::Failures;
use super::decision::{self, Decision, Question};
use super::heal::Healing;
use super::metrics::Metrics;
use super::preconditions::{self, Facts};
use super::revisions::Revisions;
use super::status::{Watched, is_turn};
use super::survey;
use super::transition::{Agents, Wanted};
use super::watches::NEEDED;
use super::world::Shared;
use crate::api::kinds::kept;
use crate::api::mesh::MeshCNI;
use crate::api::status::{MeshCNIStatus, State};
use crate::codes::Code;
use accepting::Accepted;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// What keeps a MeshCNI until everything of ours is off the nodes.
const FINALIZER: &str = "millrace.dev/uninstall";
/// What happens within it is looked at together: a wait for more events, not for one.
const PAUSE: Duration = Duration::from_millis(300);
/// Deadlines pass without an event.
const TICK: Duration = Duration::from_secs(15);
/// After a failure; doubled each time.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// How often it is told how far things are, where that is all that is new.
const PACE: Duration = Duration::from_secs(2);
/// How often the cluster's own settings are read.
const SURVEY: Duration = Duration::from_secs(300);

/// What a controller that acts is told.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    /// Where our objects live.
    pub(crate) namespace: String,
    /// The image of agents.
    pub(crate) image: String,
    /// Who we are.
    pub(crate) identity: String,
    /// How long after the last conversion a pod may still be on its way.
    pub(crate) settle: Duration,
    /// The webhook, where this process has one: whom to trust, and where it is if not behind the Service.
    pub(crate) webhook: Option<(watch::Receiver<String>, Option<String>)>,
}

/// The controller that acts.
pub(crate) struct Leader {
    orders: Orders,
    client: Client,
    shared: Shared,
    metrics: Metrics,
    hand: Hand,
    revisions: Option<Revisions>,
    healing: Healing,
    failures: Failures,
    facts: Facts,
    surveyed: Option<Instant>,
    /// Since when this controller knows that pods are not converted, and whether it asked for a list of pods after that.
    drained: Option<(Instant, bool)>,
    /// Whether the webhooks go by the specification as it is.
    hearing: Option<hearing::Hearing>,
    /// When the status was written last.
    told: Option<Instant>,
    /// How long nothing moved.
    watched: Watched,
    /// When the next look is due, if nothing rings before.
    due: Option<Instant>,
    broken: Vec<String>,
}

impl Leader {
    /// One that has done nothing yet.
    pub(crate) fn new(orders: Orders, client: Client, shared: Shared, metrics: Metrics) -> Leader {
        Leader {
            hand: Hand::new(client.clone(), metrics.clone()),
            orders,
            client,
            shared,
            metrics,
            revisions: None,
            healing: Healing::default(),
            failures: Failures::default(),
            facts: Facts::default(),
            surveyed: None,
            drained: None,
            hearing: None,
            told: None,
            watched: Watched::default(),
            due: None,
            broken: Vec::new(),
        }
    }

    /// Acts until told to stop.
    pub(crate) async fn lead(mut self, stop: &CancellationToken) {
        let mut bell = self.shared.bell();
        let mut wait = FIRST;
        loop {
            bell.mark_unchanged();
            let next = match self.round().await {
                Ok(()) => {
                    wait = FIRST;
                    self.due.map_or(TICK, |due| due.saturating_duration_since(Instant::now()).min(TICK))
                }
                Err(error) if error.is_conflict() => FIRST,
                Err(error) => {
                    tracing::warn!("{error}; tried again");
                    let now = wait;
                    wait = (wait * 2).min(LONGEST);
                    now
                }
            };
            let rung = async {
                tokio::select! {
                    _ = bell.changed() => {}
                    () = sleep(next) => {}
                }
                sleep(PAUSE).await;
            };
            if stop.run_until_cancelled(rung).await.is_none() {
                return;
            }
        }
    }

    /// One look, and what follows.
    async fn round(&mut self) -> Result<(), Error> {
        self.due = None;
        let Some(mesh) = self.known() else { return Ok(()) };
        self.metrics.looked();
        let finalizers = mesh.finalizers();
        let is_leaving = mesh.metadata.deletion_timestamp.is_some();
        if is_leaving && !finalizers.iter().any(|name| name == FINALIZER) {
            return Ok(());
        }
        if !is_leaving && !finalizers.iter().any(|name| name == FINALIZER) {
            let all: Vec<&str> = finalizers.iter().map(String::as_str).chain([FINALIZER]).collect();
            return self.finalizers(&mesh, &all).await;
        }
        self.survey().await;
        let home = Home {
            namespace: self.orders.namespace.clone(),
            owner: mesh.uid().unwrap_or_default(),
            surges: self.facts.surges(),
        };
        self.remember(&home).await?;
        let (mesh, refused) = match self.accepted(&mesh) {
            Accepted::Mesh(mesh, refused) => (mesh, refused),
            Accepted::Nothing(why) => return self.decline(&mesh, &why).await,
        };
        let release = Release { spec: mesh.spec.clone(), image: self.orders.image.clone() };
        let generation = mesh.metadata.generation.unwrap_or_default();
        let revisions = self.revisions.as_mut().expect("they were read");
        let revision = revisions.of(&home, &release, generation).await?;
        let heard = self.heard(&mesh).await?;
        let now = (Timestamp::now(), Instant::now());
        let decision = self.decide(&mesh, &home, (&release, revision), (heard, refused.as_deref()), now);
        self.metrics.status(&decision.status);
        let before = mesh.status.clone().unwrap_or_default();
        let mesh = self.write(&mesh, &decision.status).await?;
        self.watched.written(&decision.status, mesh.status.as_ref().unwrap_or(&before), now);
        self.tell(&mesh, &before, &decision).await;
        let done = self.act(&mesh, &home, &release, &decision).await;
        self.note(done)
    }

    /// The MeshCNI, once everything is listed that decisions look at.
    fn known(&self) -> Option<Arc<MeshCNI>> {
        let world = self.shared.world();
        let kinds: Vec<&str> = kept().map(|kind| kind.name).chain(NEEDED).collect();
        if world.knows(&kinds) { world.mesh.clone() } else { None }
    }

    fn decide(
        &mut self,
        mesh: &MeshCNI,
        home: &Home,
        (release, revision): (&Release, i64),
        (heard, refused): (bool, Option<&str>),
        (now, moment): (Timestamp, Instant),
    ) -> Decision {
        let settled = self.settled(mesh);
        let unmoved =
            mesh.status.as_ref().map_or(Duration::ZERO, |status| self.watched.unmoved(status, moment));
        let mut world = self.shared.world();
        world.observed.pods = world.ledger.counts();
        let found = preconditions::find(&release.spec, &self.facts, &world.observed.nodes);
        let revisions = self.revisions.as_ref();
        decision::decide(&Question {
            mesh,
            home,
            observed: &world.observed,
            children: &world.children,
            release,
            revision,
            released: &|revision| revisions.and_then(|revisions| revisions.get(revision)),
            before: revisions.and_then(|revisions| revisions.before(revision)),
            found: &found,
            broken: &self.broken,
            webhook: self.orders.webhook.is_some(),
            settled,
            heard,
            refused,
            unmoved,
            now,
        })
    }

    /// Whether no pod can be on its way any more that was converted. By our own clock, from when we know that the state does
    /// not convert; then all pods are listed once more.
    fn settled(&mut self, mesh: &MeshCNI) -> bool {
        let state = mesh.status.as_ref().and_then(|status| status.state).unwrap_or_default();
        if state != State::Draining {
            self.drained = None;
            return false;
        }
        let (since, asked) = *self.drained.get_or_insert((Instant::now(), false));
        if since.elapsed() < self.orders.settle {
            self.look_in(self.orders.settle.saturating_sub(since.elapsed()));
            return false;
        }
        if !asked {
            self.drained = Some((since, true));
            self.shared.relist();
            return false;
        }
        let listed = self.shared.world().pods_listed;
        listed.is_some_and(|listed| listed.saturating_duration_since(since) >= self.orders.settle)
    }

    /// Has the next look come no later than then: for times that pass without an event.
    fn look_in(&mut self, left: Duration) {
        let then = Instant::now() + left;
        self.due = Some(self.due.map_or(then, |due| due.min(then)));
    }

    async fn survey(&mut self) {
        if self.surveyed.is_none_or(|last| last.elapsed() >= SURVEY) {
            self.facts = survey::read(&self.client, &self.metrics).await;
            self.surveyed = Some(Instant::now());
        }
    }

    async fn finalizers(&self, mesh: &MeshCNI, all: &[&str]) -> Result<(), Error> {
        let patch = json!({ "metadata": { "finalizers": all, "resourceVersion": mesh.resource_version() } });
        let api: Api<MeshCNI> = Api::all(self.client.clone());
        let (params, patch) = (params(), Patch::Merge(&patch));
        let what = || "the MeshCNI's finalizers".to_owned();
        ask(&self.metrics, "patch", what, api.patch("default", &params, &patch)).await.map(drop)
    }

    /// Writes the status, if it differs; returns the MeshCNI as it is then. Numbers alone wait for one another: a thousand
    /// pods or nodes that change one by one are a few writes.
    async fn write(&mut self, mesh: &Arc<MeshCNI>, status: &MeshCNIStatus) -> Result<Arc<MeshCNI>, Error> {
        let before = mesh.status.as_ref().map(|status| serde_json::to_value(status).expect("it has a tree"));
        let Some(change) = change(before.as_ref(), status) else { return Ok(Arc::clone(mesh)) };
        let turns = mesh.status.as_ref().is_none_or(|before| is_turn(before, status));
        let early = self.told.and_then(|last| PACE.checked_sub(last.elapsed()));
        if let Some(left) = early.filter(|_| !turns) {
            self.look_in(left);
            return Ok(Arc::clone(mesh));
        }
        let patch = json!({ "metadata": { "resourceVersion": mesh.resource_version() }, "status": change });
        let api: Api<MeshCNI> = Api::all(self.client.clone());
        let (params, patch) = (params(), Patch::Merge(&patch));
        let what = || "the MeshCNI's status".to_owned();
        let written = ask(&self.metrics, "patch", what, api.patch_status("default", &params, &patch)).await?;
        let written = Arc::new(written);
        self.told = Some(Instant::now());
        self.shared.world().mesh = Some(Arc::clone(&written));
        Ok(written)
    }

    async fn act(
        &mut self,
        mesh: &MeshCNI,
        home: &Home,
        release: &Release,
        decision: &Decision,
    ) -> Result<(), Error> {
        self.mark(&decision.marks, &release.spec.node_taint.key).await?;
        match decision.step.agents {
            Agents::Apply => {
                self.apply(home, release, decision).await?;
                self.heal(&decision.serving).await
            }
            Agents::Spare => self.spare().await,
            Agents::Remove => self.remove(home, release, decision).await,
            Agents::None => {
                self.spare().await?;
                self.delete(|_| true).await?;
                if decision.wanted == Wanted::Uninstall {
                    self.leave(mesh).await?;
                }
                Ok(())
            }
        }
    }

    /// What could not be applied is told in the status of the next round.
    fn note(&mut self, done: Result<(), Error>) -> Result<(), Error> {
        let broken: Vec<String> = match &done {
            Err(error @ Error::Foreign { .. }) => vec![format!("{error} ({})", Code::ChildForeign)],
            Err(error @ Error::Refused { cause: kube::Error::Api(status), .. })
                if (400..500).contains(&status.code) && !matches!(status.code, 404 | 409 | 429) =>
            {
                vec![format!("{error} ({})", Code::ChildNotApplied)]
            }
            _ => Vec::new(),
        };
        if broken != self.broken {
            self.broken = broken;
            self.shared.ring();
        }
        done
    }
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// The fields of a status that differ, null for those that go; nothing where none does.
fn change(before: Option<&Value>, status: &MeshCNIStatus) -> Option<Value> {
    let after = serde_json::to_value(status).expect("a status has a tree");
    let empty = serde_json::Map::new();
    let after = after.as_object().unwrap_or(&empty);
    let before = before.and_then(Value::as_object).unwrap_or(&empty);
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let fields = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    let fields = fields.map(|key| (key.clone(), after.get(key).cloned().unwrap_or(Value::Null)));
    let fields: serde_json::Map<String, Value> = fields.collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}
