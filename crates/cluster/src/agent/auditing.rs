//! The audit as a task of the agent: with what it looks, and what wakes it before its time. And the self-test, by which a node
//! shows that a pod which starts now would be redirected.
//!
//! It judges no pod and mends none; `audit` does. Nothing of it runs without the privileges of the audit profile.

use super::audit::api::Server;
use super::audit::drifts::Drifted;
use super::audit::watched::Watched;
use super::audit::{Audit, Options, Wake};
use super::config;
use super::health::Check;
use super::install;
use super::pods::Change;
use super::selftest::{self, Trial};
use super::shared::Shared;
use anyhow::{Result, bail};
use millrace_core::ask::Event;
use millrace_core::reason::Reason;
use millrace_core::repair::{Act, Limits, Policy};
use millrace_host::records::Records;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc, watch};

/// Changes are collected for so long: a pod that starts changes several times a second.
const SETTLE: Duration = Duration::from_secs(5);
/// The most one look at all pods may take.
const LONGEST: Duration = Duration::from_secs(120);
/// How many namespaces are looked at together: the node's processors are for its pods.
const AT_ONCE: usize = 2;
/// The most an API server is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the self-test may take in all.
const TRIAL: Duration = Duration::from_secs(30);
/// Wakes that wait; when there are more, whoever wakes waits, falls behind, and then wakes for all pods.
const WAKES: usize = 64;

/// Audits until it is told to stop, by the policy as it is at any time.
pub(super) async fn audit(
    shared: Shared,
    mut events: broadcast::Receiver<Event>,
    mended: Arc<Notify>,
    drifted: watch::Sender<Option<Drifted>>,
) {
    let mut config = shared.config.clone();
    let mut known = None;
    while !shared.stop.is_cancelled() {
        let wanted = config.borrow_and_update().audit.clone();
        if wanted.act == Act::Off {
            // Whoever does not look does not know.
            drifted.send_replace(None);
            tokio::select! {
                changed = config.changed() => if changed.is_err() { return shared.stop.cancelled().await },
                () = shared.stop.cancelled() => return,
            }
            continue;
        }
        let (node, options, server) = prepare(&shared, &wanted);
        let audit = match known.take() {
            Some(audit) => Audit::change(audit, node, options, Some(server)),
            None => Audit::new(node, options, Some(server), shared.metrics.clone()),
        };
        let audit = known.insert(audit.telling(drifted.clone()));
        let (wake, mut wakes) = mpsc::channel(WAKES);
        let stop = shared.stop.child_token();
        let mut auditing = Box::pin(audit.run(&mut wakes, &stop));
        let changed = async {
            while config.changed().await.is_ok() {
                if config.borrow().audit != wanted {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = &mut auditing => return,
            () = wake_up(&shared, &wake, &mut events, &mended) => {}
            () = changed => tracing::info!("the audit's policy has changed"),
        }
        // What it is about to do to a pod is done and told first.
        stop.cancel();
        auditing.as_mut().await;
    }
}

fn prepare(shared: &Shared, wanted: &config::Audit) -> (Watched<impl Fn() -> bool + use<>>, Options, Server) {
    let (setup, health, link) = (&shared.setup, shared.health.clone(), shared.link.clone());
    let serving = move || health.ready().is_ok();
    let state = Path::new(&setup.target.wish.entry.state_dir);
    let options = Options {
        policy: Policy::of(wanted.act, &wanted.findings, Limits::default()),
        every: wanted.period + apart(&setup.node, wanted.period),
        settle: SETTLE,
        longest: LONGEST,
        at_once: AT_ONCE,
        proc: setup.proc.clone(),
        records: Records::below(state),
        backend: shared.config.borrow().entry.backend,
        memory: Some(state.join("backend")),
    };
    let watched = Watched::new(shared.pods.clone(), shared.mesh.clone(), wanted.label.clone(), serving);
    let server =
        Server::new(move || link.current().client, setup.node.clone(), wanted.label.clone(), PATIENCE);
    (watched, options, server)
}

/// Up to a tenth of the period, for each node another: a cluster's nodes are not to act in step.
fn apart(node: &str, period: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    node.hash(&mut hasher);
    let share = u32::try_from(hasher.finish() % 1000).unwrap_or_default();
    period / 10 * share / 1000
}

/// Wakes the audit whenever a pod may have started without us.
async fn wake_up(
    shared: &Shared,
    wake: &mpsc::Sender<Wake>,
    events: &mut broadcast::Receiver<Event>,
    mended: &Notify,
) {
    let mut changes = shared.pods.changes();
    loop {
        let what = tokio::select! {
            () = mended.notified() => Some(Wake::All),
            change = changes.recv() => match change {
                Ok(Change::Applied(known)) => known.pod.uid.clone().map(Wake::Pod),
                Ok(Change::Gone(_)) => None,
                Err(RecvError::Lagged(_)) => Some(Wake::All),
                Err(RecvError::Closed) => return,
            },
            event = events.recv() => match event {
                Ok(event) => is_doubtful(&event).then_some(Wake::All),
                Err(RecvError::Lagged(_)) => Some(Wake::All),
                Err(RecvError::Closed) => return,
            },
        };
        if let Some(what) = what
            && wake.send(what).await.is_err()
        {
            return;
        }
    }
}

/// Whether a pod was let through of which the plugin could not know better.
fn is_doubtful(event: &Event) -> bool {
    let reasons = [Reason::FailedOpen.name(), Reason::NotEnrolled.name()];
    event.outcome == "passed" && reasons.contains(&event.reason.as_str())
}

/// Gives the installed plugin a pod of its own, and tells readiness what came of it; whether it is well.
pub(super) async fn prove(shared: &Shared) -> bool {
    let (folders, backend) = (shared.setup.target.bin_dirs.clone(), shared.config.borrow().entry.backend);
    let below = shared.setup.state_dir.clone();
    let proved = tokio::task::spawn_blocking(move || -> Result<String> {
        let plugins = folders.iter().map(|folder| install::plugin_in(folder));
        let Some(plugin) = plugins.into_iter().find(|path| path.exists()) else {
            bail!("no plugin is installed")
        };
        Ok(selftest::prove(&Trial { plugin, below, backend, patience: TRIAL })?.to_string())
    });
    let proved = proved.await.map_err(anyhow::Error::from).flatten();
    let is_well = proved.is_ok();
    match proved {
        Ok(why) => shared.health.ok(Check::SelfTest, why),
        Err(error) => {
            tracing::error!("the self-test failed: {error:#}");
            shared.health.not_ok(Check::SelfTest, format!("{error:#}"));
        }
    }
    is_well
}
