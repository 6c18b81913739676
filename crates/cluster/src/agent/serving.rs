//! What the agent that holds the node's lock does: answers, listens, keeps the chain, audits.
//!
//! The sockets are put back when somebody takes them away. Everything ends together, and in time.

use super::auditing;
use super::chain::Chain;
use super::events::tell_chain;
use super::flight::recorder::Recorder;
use super::guard::{Guard, Report, Status};
use super::health::serve::on_node;
use super::health::{Check, router};
use super::install;
use super::report::{Seen, report};
use super::serve;
use super::shared::Shared;
use super::telemetry::Teller;
use anyhow::{Context, Result, bail};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use millrace_core::ask::{Answer, Event, Question};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long anything may take to end.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);
/// How often the sockets are looked for, should somebody have wiped the directory; as for the lock, there is no event to wait for.
const LOOK: Duration = Duration::from_secs(1);
/// How often what was withheld from the log is told.
const REST: Duration = Duration::from_secs(10);
/// The longest the agent thinks about one question: less than the plugin waits, for its message says more.
const LONGEST_ANSWER: Duration = Duration::from_secs(8);
/// How long until a plugin that was not proved to work is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// How many events a slow listener may fall behind.
const BACKLOG: usize = 256;
/// How many reports of the guard wait to become events.
const REPORTS: usize = 16;

/// The tasks of the agent that serves.
pub(super) struct Serving {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    recorder: Recorder,
}

impl Serving {
    /// Starts all of them.
    pub(super) fn start(shared: &Shared) -> Result<Serving> {
        let setup = &shared.setup;
        let recorder = Recorder::start(&setup.target.data_dir, &setup.state_dir, shared.metrics.clone())
            .context("cannot start the flight recorder's thread")?;
        let chain = Chain::new(shared).context("cannot take a place among this node's installers")?;
        let (events, _) = broadcast::channel(BACKLOG);
        let (status, status_now) = watch::channel(Status::Starting);
        let mut tasks = JoinSet::new();
        tasks.spawn(answer(shared.clone(), recorder.clone()));
        tasks.spawn(listen(shared.clone(), recorder.clone(), events.clone()));
        let mended = Arc::new(Notify::new());
        let (drifted, drifted_now) = watch::channel(None);
        if setup.audits {
            tasks.spawn(auditing::audit(shared.clone(), events.subscribe(), mended.clone(), drifted));
        }
        let seen = Seen { guarded: status_now.clone(), place: chain.place(), drifted: drifted_now };
        tasks.spawn(report(shared.clone(), seen, events.subscribe()));
        let (reports, reported) = mpsc::channel(REPORTS);
        tasks.spawn(keep_chain(shared.clone(), chain, status, reports, mended));
        tasks.spawn(tell_chain(shared.link.clone(), setup.node.clone(), reported, shared.stop.clone()));
        tasks.spawn(tell_readiness(shared.clone(), status_now));
        if let Some(address) = setup.metrics_address {
            let router = router(shared.health.clone(), shared.metrics.clone());
            tasks.spawn(on_node(address, router, shared.stop.clone()));
        }
        Ok(Serving { tasks, stop: shared.stop.clone(), recorder })
    }

    /// Until it is told to stop, or until one of them breaks down.
    pub(super) async fn until_stopped(mut self) -> Result<()> {
        let ended = tokio::select! {
            () = self.stop.cancelled() => None,
            ended = self.tasks.join_next() => ended,
        };
        let broken = match ended {
            Some(Err(error)) => Some(anyhow::Error::from(error).context("a task of the agent broke down")),
            Some(Ok(())) if !self.stop.is_cancelled() => {
                Some(anyhow::anyhow!("a task of the agent ended unasked"))
            }
            _ => None,
        };
        self.stop.cancel();
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, rest).await;
        let recorder = self.recorder;
        let _ = tokio::task::spawn_blocking(move || recorder.end(FAREWELL)).await;
        broken.map_or(Ok(()), Err)
    }
}

/// Answers questions, on a socket that is made again when it is gone.
async fn answer(shared: Shared, recorder: Recorder) {
    let path = PathBuf::from(&shared.setup.target.wish.entry.agent_socket);
    let without = "pods of the mesh that have no stamp cannot start";
    on_socket(&path, &shared.stop, without, serve::listen, |listener, stop| {
        let (shared, recorder, config) = (shared.clone(), recorder.clone(), shared.config.clone());
        let metrics = shared.metrics.clone();
        let patience = move || config.borrow().entry.agent_timeout.mul_f64(0.8).min(LONGEST_ANSWER);
        serve::serve(listener, patience, metrics, stop, move |question, deadline| {
            decide_and_record(shared.clone(), recorder.clone(), question, deadline)
        })
    })
    .await;
}

async fn decide_and_record(
    shared: Shared,
    recorder: Recorder,
    question: Question,
    deadline: Instant,
) -> Answer {
    let (answer, known) = shared.pods.answer(&question, deadline).await;
    recorder.answered(&question, &answer, known.as_ref().map(|known| &known.pod), &shared.mesh.borrow());
    answer
}

/// Hears what the plugin did: counts it, logs it, records it, and hands it on.
async fn listen(shared: Shared, recorder: Recorder, events: broadcast::Sender<Event>) {
    let path = PathBuf::from(&shared.setup.target.wish.entry.event_socket);
    let teller = Arc::new(std::sync::Mutex::new(Teller::default()));
    let without = "what the plugin does is neither counted nor recorded";
    let hear = on_socket(&path, &shared.stop, without, serve::receive, |socket, stop| {
        let (metrics, recorder, events, teller) =
            (shared.metrics.clone(), recorder.clone(), events.clone(), teller.clone());
        serve::hear(socket, stop, move |event| {
            metrics.added(&event);
            if let Some(line) = lock(&teller).line(&event, Instant::now()) {
                line.write();
            }
            recorder.told(SystemTime::now(), event.clone());
            // Nobody need listen.
            let _ = events.send(event);
        })
    });
    let rest = async {
        loop {
            tokio::time::sleep(REST).await;
            lock(&teller).rest(Instant::now()).iter().for_each(super::telemetry::Line::write);
        }
    };
    tokio::select! {
        () = hear => {}
        () = rest => {}
    }
}

fn lock<T>(shared: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs `act` on the socket at `path` until `stop`; on a new one whenever another file, or none, has its name. `without` says
/// what there is not while there is no socket.
async fn on_socket<S, F: Future<Output = ()>>(
    path: &Path,
    stop: &CancellationToken,
    without: &str,
    open: impl Fn(&Path) -> Result<S>,
    act: impl Fn(S, CancellationToken) -> F,
) {
    let mut complained = String::new();
    // Those that were replaced and still answer whom they heard: nobody waits for them to have a new socket.
    let mut leaving = FuturesUnordered::new();
    while !stop.is_cancelled() {
        match open(path).and_then(|socket| Ok((socket, identity(path)?))) {
            Ok((socket, own)) => {
                complained.clear();
                let ours = stop.child_token();
                let mut acting = Box::pin(act(socket, ours.clone()));
                loop {
                    tokio::select! {
                        () = &mut acting => break,
                        Some(()) = leaving.next() => {}
                        () = tokio::time::sleep(LOOK) => {}
                    }
                    if !stop.is_cancelled() && identity(path).ok() != Some(own) {
                        tracing::warn!("{} is gone or another's; it is made again", path.display());
                        ours.cancel();
                        leaving.push(acting);
                        break;
                    }
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                if error != complained {
                    tracing::error!("{without}: {error}");
                    complained = error;
                }
                let _ = stop.run_until_cancelled(tokio::time::sleep(LOOK)).await;
            }
        }
    }
    while leaving.next().await.is_some() {}
}

fn identity(path: &Path) -> Result<(u64, u64)> {
    let file = std::fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    Ok((file.dev(), file.ino()))
}

/// Publishes the chain, then guards it and follows what is wanted of it.
async fn keep_chain(
    shared: Shared,
    chain: Chain,
    status: watch::Sender<Status>,
    reports: mpsc::Sender<Report>,
    mended: Arc<Notify>,
) {
    // Sockets are there by now: whoever is called by the new entry finds somebody to ask.
    chain.publish(&shared).await;
    let mut guard =
        Guard::of(chain.installed(), &shared.setup.target, shared.metrics.clone(), Box::new(chance));
    guard.proc = shared.setup.audits.then(|| shared.setup.proc.clone());
    guard.tell = Box::new(move |report| {
        if matches!(report, Report::Repaired { .. }) {
            mended.notify_one();
        }
        // The guard waits for no event: one that finds no place is in the log.
        let _ = reports.try_send(report.clone());
    });
    let stop = shared.stop.clone();
    tokio::join!(guard.run(status, stop), chain.follow(&shared));
}

/// From 0 to 1; the keys of a map's hasher are drawn anew each time.
fn chance() -> f64 {
    let drawn = u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or_default();
    f64::from(drawn) / f64::from(u32::MAX)
}

/// Readiness of chain and plugin, from what the guard says.
async fn tell_readiness(shared: Shared, mut status: watch::Receiver<Status>) {
    loop {
        let now = status.borrow_and_update().clone();
        let condition = now.condition();
        let mut proved = true;
        if now.is_ready() {
            shared.health.ok(Check::Chain, condition.message);
            proved = tell_plugin(&shared).await && (!shared.setup.audits || auditing::prove(&shared).await);
        } else {
            shared.health.not_ok(Check::Chain, condition.message);
        }
        tokio::select! {
            // A node that was too busy for it is not unready for ever.
            () = tokio::time::sleep(AGAIN), if !proved => {}
            changed = status.changed() => if changed.is_err() { return shared.stop.cancelled().await },
            () = shared.stop.cancelled() => return,
        }
    }
}

/// Whether the installed plugin answers.
async fn tell_plugin(shared: &Shared) -> bool {
    let folders = shared.setup.target.bin_dirs.clone();
    let answered = tokio::task::spawn_blocking(move || {
        let plugins = folders.iter().map(|folder| install::plugin_in(folder));
        let Some(plugin) = plugins.into_iter().find(|path| path.exists()) else { bail!("it is not there") };
        let versions = install::versions(&plugin)?;
        Ok(format!("{} answers VERSION with {}", plugin.display(), versions.join(", ")))
    });
    let answered = answered.await.map_err(anyhow::Error::from).flatten();
    let answers = answered.is_ok();
    match answered {
        Ok(why) => shared.health.ok(Check::Plugin, why),
        Err(error) => shared.health.not_ok(Check::Plugin, format!("{error:#}")),
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_socket_that_was_taken_away_is_made_again_while_the_old_one_still_answers() {
        let folder = std::env::temp_dir().join(format!("millrace-replaced-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let (path, stop) = (folder.join("agent.sock"), CancellationToken::new());
        let (opened, mut opens) = unbounded_channel();
        let may_end = CancellationToken::new();
        let (serving, ended, told) = (path.clone(), may_end.clone(), stop.clone());
        let serving = tokio::spawn(async move {
            on_socket(&serving, &told, "nothing is answered", serve::listen, |listener, stop| {
                let (opened, ended) = (opened.clone(), ended.clone());
                async move {
                    opened.send(()).expect("the test waits");
                    stop.cancelled().await;
                    // As one that has questions left: until the test lets it go.
                    ended.cancelled().await;
                    drop(listener);
                }
            })
            .await;
        });
        let next = tokio::time::timeout(PATIENCE, opens.recv());
        next.await.expect("it is made").expect("it serves");
        std::fs::remove_file(&path).expect("it is there");
        let next = tokio::time::timeout(PATIENCE, opens.recv());
        next.await.expect("it is made again").expect("it serves");
        assert!(path.exists());
        stop.cancel();
        may_end.cancel();
        tokio::time::timeout(PATIENCE, serving).await.expect("it ends").expect("in peace");
        let _ = std::fs::remove_dir_all(&folder);
    }
}
