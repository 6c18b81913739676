//! One agent's life: a standby until it holds the node's lock, then the one that serves, until it is told to stop.
//!
//! Being told to stop is not uninstalling: chain, plugin and whatever pods depend on stay as they are. A task that ends
//! unasked ends the agent, for a whole one to be started in its place.

use super::client::Link;
use super::config::Config;
use super::health::serve::Own;
use super::health::{Check, Health, router};
use super::lock::Lock;
use super::metrics::Metrics;
use super::pods::Pods;
use super::serving::{self, Serving};
use super::shared::{Setup, Shared};
use crate::telemetry;
use anyhow::{Context, Result};
use millrace_core::policy::Mesh;
use millrace_core::repair::Act;
use std::fs::{Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often a standby tries the lock: no event tells that one is free, and a thread that waits in flock cannot be told to stop.
const GLANCE: Duration = Duration::from_millis(50);
/// How often the lock's file is looked for, should somebody have wiped its directory: a watch would go with what it watches,
/// and one above it fires for every record the plugin writes.
const LOOK: Duration = Duration::from_secs(1);
/// How often the configuration file is read: a kubelet brings a changed one within a minute, and what is mounted over a file
/// or beneath it makes no event.
const REREAD: Duration = Duration::from_secs(10);
/// How often the runtime's own thread says that it lives, and when its silence is a fault.
const BEAT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(setup: Setup) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the agent's runtime")?;
    let lived = runtime.block_on(live(setup));
    // Looks into namespaces and files that still go on are not waited for: each has a deadline of its own.
    runtime.shutdown_background();
    lived
}

/// A kubelet makes a directory that is not there yet for everybody to read (hostPath `DirectoryOrCreate`: 0755); ours names
/// every pod of the mesh. Only one that has our name is closed: whoever gives another one may share it.
fn close(folder: &Path, own: u32) {
    let is_open = |facts: &Metadata| facts.is_dir() && facts.uid() == own && facts.mode() & 0o077 != 0;
    if !folder.ends_with("millrace") || !folder.symlink_metadata().is_ok_and(|facts| is_open(&facts)) {
        return;
    }
    match std::fs::set_permissions(folder, Permissions::from_mode(0o700)) {
        Ok(()) => {
            tracing::info!(folder = %folder.display(), "others could look into it; it is its owner's alone now (0700)")
        }
        Err(cause) => {
            tracing::warn!(folder = %folder.display(), "others can look into it, and it cannot be closed: {cause}");
        }
    }
}

async fn live(setup: Setup) -> Result<()> {
    let stop = telemetry::stop()?;
    close(&setup.state_dir, rustix::process::geteuid().as_raw());
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let mut checks = vec![Check::Watch, Check::Chain, Check::Plugin];
    checks.extend(setup.audits.then_some(Check::SelfTest));
    let health = Health::new(&checks);
    let own = Own::bind(setup.own_socket.clone(), SystemTime::now())?;
    tracing::info!(node = setup.node, version = env!("CARGO_PKG_VERSION"), socket = %own.path().display(), "started");

    let link = Link::new(setup.access.clone()).await.context("cannot prepare the way to the API server")?;
    let (config, config_now) = watch::channel(setup.config.clone());
    let (mesh, mesh_now) = watch::channel(setup.config.mesh());
    let pods = Pods::new(link.clone(), mesh_now.clone(), metrics.clone());
    let shared = Shared {
        link,
        pods,
        metrics: metrics.clone(),
        health: health.clone(),
        config: config_now,
        mesh: mesh_now,
        stop: stop.clone(),
        setup: Arc::new(setup),
    };

    let mut tasks = JoinSet::new();
    let last = CancellationToken::new();
    let answering = tokio::spawn(own.serve(router(health.clone(), metrics.clone()), last.clone()));
    tasks.spawn(watch_pods(shared.clone()));
    tasks.spawn(tell_watch(shared.clone()));
    tasks.spawn(reread(shared.clone(), config, mesh));
    tasks.spawn(beat(health.clone(), stop.clone()));
    let lived = tokio::select! {
        lived = serve(&shared) => lived,
        ended = ended(&mut tasks, &stop) => ended,
    };
    stop.cancel();
    let rest = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(serving::FAREWELL, rest).await;
    last.cancel();
    let _ = tokio::time::timeout(serving::FAREWELL, answering).await;
    tracing::info!("stopped; chain and plugin stay as they are");
    lived
}

/// Waits for the lock, then serves.
async fn serve(shared: &Shared) -> Result<()> {
    let Some(lock) = stand_by(shared).await? else { return Ok(()) };
    shared.health.serving(true);
    shared.metrics.serving(true);
    tracing::info!("this agent serves the node");
    let (served, held) = tokio::join!(Serving::start(shared)?.until_stopped(), hold(shared, lock));
    shared.health.serving(false);
    shared.metrics.serving(false);
    served.and(held)
}

/// Sees that the lock keeps others out. When its file was wiped away it is taken anew; whoever was faster serves from then on,
/// and this agent stops: two would take each other's sockets.
async fn hold(shared: &Shared, mut lock: Lock) -> Result<()> {
    let (setup, stop) = (&shared.setup, &shared.stop);
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        if lock.is_known() {
            continue;
        }
        let taken = Lock::try_take(&setup.state_dir, &setup.installer).map_err(anyhow::Error::from);
        let lost = "another agent took the node's lock while its file was gone";
        match taken.and_then(|taken| taken.context(lost)) {
            Ok(anew) => {
                tracing::warn!(folder = %setup.state_dir.display(), "the lock's file was taken away; the lock is taken anew");
                lock = anew;
            }
            Err(error) => {
                stop.cancel();
                return Err(error.context("this agent serves no longer"));
            }
        }
    }
    Ok(())
}

async fn stand_by(shared: &Shared) -> Result<Option<Lock>> {
    let who = &shared.setup.installer;
    let mut said = false;
    loop {
        if let Some(lock) = Lock::try_take(&shared.setup.state_dir, who)? {
            return Ok(Some(lock));
        }
        if !said {
            tracing::info!("another agent serves the node; standing by");
            said = true;
        }
        tokio::select! {
            () = tokio::time::sleep(GLANCE) => {}
            () = shared.stop.cancelled() => return Ok(None),
        }
    }
}

/// None of them ends by itself.
async fn ended(tasks: &mut JoinSet<()>, stop: &CancellationToken) -> Result<()> {
    match tasks.join_next().await {
        Some(Err(error)) => Err(error).context("a task of the agent broke down"),
        Some(Ok(())) if !stop.is_cancelled() => anyhow::bail!("a task of the agent ended unasked"),
        _ => std::future::pending().await,
    }
}

async fn watch_pods(shared: Shared) {
    tokio::select! {
        () = shared.pods.run(&shared.setup.node) => {}
        () = shared.stop.cancelled() => {}
    }
}

/// Readiness of the watch: once complete, what it knows stays true while the server is away.
async fn tell_watch(shared: Shared) {
    let synced = shared.pods.synced();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shared.stop.cancelled() => return,
        }
        let trouble = shared.pods.trouble();
        if *synced.borrow() {
            let why = match trouble {
                None => "complete, and open".to_owned(),
                Some(trouble) => {
                    format!(
                        "complete; nothing new for {} s: {}",
                        trouble.lasts(Instant::now()).as_secs(),
                        trouble.why
                    )
                }
            };
            shared.health.ok(Check::Watch, why);
            tick = tokio::time::interval_at(tokio::time::Instant::now() + BEAT, BEAT);
        } else {
            let why = trouble
                .map_or("not listed yet".to_owned(), |trouble| format!("not listed yet: {}", trouble.why));
            shared.health.not_ok(Check::Watch, why);
        }
    }
}

/// Follows the configuration file. One that cannot be used changes nothing, and is told once.
async fn reread(shared: Shared, config: watch::Sender<Config>, mesh: watch::Sender<Mesh>) {
    let Some(file) = shared.setup.config_file.clone() else { return shared.stop.cancelled().await };
    let mut complained = String::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(REREAD) => {}
            () = shared.stop.cancelled() => return,
        }
        let path = file.clone();
        let read = tokio::task::spawn_blocking(move || Config::from_file(&path)).await;
        match read.map_err(anyhow::Error::from).flatten() {
            Ok(now) => {
                complained.clear();
                let is_new = *config.borrow() != now;
                if is_new {
                    tracing::info!("the configuration has changed");
                    let later = later(&config.borrow(), &now, shared.setup.audits);
                    later
                        .iter()
                        .for_each(|what| tracing::warn!("{what} is used when this agent is started anew"));
                    mesh.send_replace(now.mesh());
                    config.send_replace(now);
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                if error != complained {
                    tracing::error!("the changed configuration is not used, the earlier one stays: {error}");
                    complained = error;
                }
            }
        }
    }
}

/// What of a changed configuration an agent that runs does not use.
fn later(before: &Config, now: &Config, audits: bool) -> Vec<&'static str> {
    let install = (before.install != now.install).then_some("the changed `install`");
    // It has neither the privileges nor the node's processes in sight.
    let audit = (!audits && now.audit.act != Act::Off).then_some("the changed `audit`");
    install.into_iter().chain(audit).collect()
}

async fn beat(health: Health, stop: CancellationToken) {
    loop {
        health.beat("runtime", SILENCE, Instant::now());
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            () = stop.cancelled() => return health.rest("runtime"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, now: &str, audits: bool, expected: &[&str]) {
        let read = |text: &str| Config::read(text).expect("the test's text is a configuration");
        assert_eq!(later(&read(before), &read(now), audits), expected, "{before} becomes {now}");
    }

    #[test]
    fn the_directory_of_state_is_closed_if_it_is_ours() {
        let above = std::env::temp_dir().join(format!("millrace-closed-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&above);
        let own = rustix::process::geteuid().as_raw();
        for (name, owner, before, expected) in [
            ("millrace", own, 0o755, 0o700),
            ("millrace", own, 0o700, 0o700),
            ("shared", own, 0o755, 0o755),
            ("millrace", own + 1, 0o755, 0o755),
        ] {
            let folder = above.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::set_permissions(&folder, Permissions::from_mode(before)).unwrap();
            close(&folder, owner);
            assert_eq!(folder.metadata().unwrap().mode() & 0o777, expected, "{name} {before:o}");
        }
        close(&above.join("nothing/millrace"), own);
        let _ = std::fs::remove_dir_all(&above);
    }

    #[test]
    fn what_is_not_used_at_once_is_named() {
        check("", "excludeNamespaces: [a]", false, &[]);
        check("", "install: {way: own-list}", false, &["the changed `install`"]);
        check("", "audit: {policy: Repair}", false, &["the changed `audit`"]);
        check("audit: {policy: Repair}", "audit: {policy: Off}", true, &[]);
    }
}
