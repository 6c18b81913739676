//! Keeps the chain as it was installed: watches its folders, compares by meaning, repairs within a budget, and names who rewrites.
//!
//! It writes nothing itself and decides nothing about a list: `install` does both, and does nothing where all is right. It never
//! fights on when the budget is spent, and never makes the list of an owner who took it away.

mod budget;
mod installed;
#[cfg(test)]
mod scratch;
mod seen;
mod status;
mod suspect;
mod watch;
mod writers;

pub(crate) use budget::Limits;
pub(crate) use installed::Installed;
pub(crate) use status::{Report, Status};
pub(crate) use suspect::Suspect;

use super::metrics::{Metrics, Repaired};
use budget::{Budget, May};
use seen::Seen;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch as channel;
use tokio::time::{sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use watch::Watch;
use writers::Writers;

/// What is guarded. Both may block; they are called one at a time, on a thread that may.
pub(crate) trait Chain: Send + Sync + 'static {
    /// How it is; nothing is written.
    fn look(&self) -> anyhow::Result<Look>;
    /// Makes it right.
    fn mend(&self) -> anyhow::Result<()>;
}

/// How the chain is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// As it should be.
    Right,
    /// Otherwise, and what would be done.
    Wrong(String),
    /// There is nothing to join yet, or no more.
    Waiting(String),
}

/// How quickly, and how often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    /// A change is looked at when nothing has changed for so long.
    pub(crate) quiet: Duration,
    /// Or after so long, if it goes on.
    pub(crate) longest: Duration,
    /// How long until it is looked at though nothing was told.
    pub(crate) every: Duration,
    /// How often it is repaired.
    pub(crate) limits: Limits,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            quiet: Duration::from_millis(100),
            longest: Duration::from_secs(1),
            every: Duration::from_secs(60),
            limits: Limits::default(),
        }
    }
}

/// The guard of one node's chain.
pub(crate) struct Guard {
    /// What is guarded.
    pub(crate) chain: Arc<dyn Chain>,
    /// The folders of lists.
    pub(crate) lists: Vec<PathBuf>,
    /// The installed plugins.
    pub(crate) binaries: Vec<PathBuf>,
    /// How quickly.
    pub(crate) pace: Pace,
    /// Where processes are asked who they are, if the kernel is to be asked who writes (needs CAP_SYS_ADMIN).
    pub(crate) proc: Option<PathBuf>,
    /// Where repairs are counted.
    pub(crate) metrics: Metrics,
    /// A number from 0 to 1, another each time.
    pub(crate) jitter: Box<dyn FnMut() -> f64 + Send>,
    /// Told once of everything that happened.
    pub(crate) tell: Box<dyn FnMut(&Report) + Send>,
}

impl Guard {
    /// Guards until it is told to stop; a repair that has begun is finished first. `status` always holds how the chain is.
    pub(crate) async fn run(self, status: channel::Sender<Status>, stop: CancellationToken) {
        let places = self.places();
        let writers = self.proc.as_deref().and_then(|proc| listen(&places, proc));
        let listening = async {
            if let Some(writers) = &writers {
                let cause = writers.listen().await;
                warn!(%cause, "who writes to the node's folders of lists is not heard any more");
            }
            std::future::pending::<()>().await;
        };
        let now = Instant::now();
        let mut rounds = Rounds {
            budget: Budget::new(self.pace.limits, now),
            watch: Watch::new(places),
            guard: self,
            writers: writers.as_ref(),
            status,
            right: None,
            since: now,
            next: now,
            backed_off: None,
            deaf: false,
        };
        tokio::select! {
            () = rounds.go(&stop) => {}
            () = listening => {}
        }
    }

    /// The folders that are watched. Of plugins all matter, not only ours: a list is right only while each of them is there.
    fn places(&self) -> Vec<PathBuf> {
        let binaries = self.binaries.iter().filter_map(|path| path.parent());
        self.lists.iter().map(PathBuf::as_path).chain(binaries).map(Path::to_owned).collect()
    }
}

fn listen(places: &[PathBuf], proc: &Path) -> Option<Writers> {
    let heard = Writers::open(places, proc);
    let told =
        |cause: &std::io::Error| warn!(%cause, "cannot ask the kernel who writes; the content has to tell");
    heard.inspect_err(told).ok()
}

/// The guard at work.
struct Rounds<'a> {
    guard: Guard,
    budget: Budget,
    watch: Watch,
    writers: Option<&'a Writers>,
    status: channel::Sender<Status>,
    /// The lists when the chain was last right: what they are compared with to tell who changed them.
    right: Option<Seen>,
    /// When the chain was last right or mended: who wrote before that did not undo it.
    since: Instant,
    /// When to look though nothing is told.
    next: Instant,
    /// The back-off that was reported, and whom it was laid to: who is named must not change with every look.
    backed_off: Option<(Instant, Suspect)>,
    /// Whether nothing is told, as the kernel has no watch for us.
    deaf: bool,
}

impl Rounds<'_> {
    async fn go(&mut self, stop: &CancellationToken) {
        loop {
            self.look().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(self.next.into()) => {}
                () = self.watch.changed() => self.settle().await,
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }

    /// Waits for the end of what goes on, not for ever.
    async fn settle(&mut self) {
        let end = Instant::now() + self.guard.pace.longest;
        loop {
            let until = end.min(Instant::now() + self.guard.pace.quiet);
            // One that is not armed any more has nothing to tell until the next look.
            let told = timeout_at(until.into(), self.watch.changed()).await;
            if told.is_err() || Instant::now() >= end {
                return;
            }
        }
    }

    async fn look(&mut self) {
        self.arm();
        let (chain, lists) = (self.guard.chain.clone(), self.guard.lists.clone());
        let places = self.guard.places();
        let found = tokio::task::spawn_blocking(move || {
            if let Some(folder) = watch::removed(&places) {
                anyhow::bail!(
                    "{} was removed on the node while it is mounted here, so nothing written to it is seen; delete this pod: \
                     its successor mounts the new one",
                    folder.display()
                );
            }
            // The picture first: what is right afterwards was right then, for nobody else puts our entry in.
            let seen = seen::read(&lists);
            Ok((seen, chain.look()?))
        });
        self.next = Instant::now() + self.guard.pace.every;
        match found.await.map_err(anyhow::Error::from).flatten() {
            Ok((seen, Look::Right)) => {
                self.right = seen.ok().or(self.right.take());
                self.since = Instant::now();
                self.becomes(Status::Guarding);
            }
            Ok((_, Look::Waiting(what))) => self.becomes(Status::Waiting { what }),
            Ok((seen, Look::Wrong(what))) => self.wrong(what, seen.ok()).await,
            Err(error) => self.failed(&error),
        }
    }

    /// Arms the watch again where that is needed. Without one, as when the node has no inotify instance left, the regular look
    /// has to do.
    fn arm(&mut self) {
        match self.watch.refresh() {
            Ok(anew) => {
                self.deaf = false;
                if let Some((true, writers)) = self.writers.map(|writers| (anew, writers))
                    && let Err(cause) = writers.mark(&self.guard.places())
                {
                    warn!(%cause, "cannot ask the kernel who writes to the folders that were replaced");
                }
            }
            Err(cause) if !self.deaf => {
                self.deaf = true;
                warn!(%cause, every = ?self.guard.pace.every, "cannot watch the CNI folders; they are looked at regularly");
            }
            Err(_) => {}
        }
    }

    async fn wrong(&mut self, what: String, seen: Option<Seen>) {
        let suspect = self.suspect(seen.unwrap_or_default());
        let now = Instant::now();
        match self.budget.wrong(now, &suspect.who, (self.guard.jitter)()) {
            May::Repair => {
                self.becomes(Status::Repairing { what: what.clone() });
                self.mend(what, suspect).await;
            }
            May::Wait(when) => {
                self.next = when.min(self.next);
                self.becomes(Status::Repairing { what });
            }
            May::BackOff(until) => {
                self.next = until.min(self.next);
                let known =
                    self.backed_off.take().filter(|(when, _)| *when == until).map(|(_, suspect)| suspect);
                if known.is_none() {
                    let pause = until.saturating_duration_since(now);
                    warn!(what, %suspect, fix = suspect.fix, ?pause, "repairs of the CNI chain are undone; backing off");
                    self.guard.metrics.repaired(Repaired::BackedOff);
                    (self.guard.tell)(&Report::BackedOff {
                        what: what.clone(),
                        pause,
                        suspect: suspect.clone(),
                    });
                }
                let suspect = known
                    .filter(|known| known.process.is_some() || suspect.process.is_none())
                    .unwrap_or(suspect);
                self.backed_off = Some((until, suspect.clone()));
                self.becomes(Status::BackedOff { what, until, suspect });
            }
        }
    }

    async fn mend(&mut self, what: String, suspect: Suspect) {
        let chain = self.guard.chain.clone();
        let mended = tokio::task::spawn_blocking(move || chain.mend()).await;
        let now = Instant::now();
        match mended.map_err(anyhow::Error::from).flatten() {
            Ok(()) => {
                self.budget.repaired(now);
                self.since = now;
                // Right only when a look has found it so.
                self.next = now;
                info!(what, %suspect, "repaired the CNI chain");
                self.guard.metrics.repaired(Repaired::Done);
                (self.guard.tell)(&Report::Repaired { what, suspect });
            }
            Err(error) => {
                self.next = now + self.guard.pace.limits.refill.min(self.guard.pace.every);
                self.guard.metrics.repaired(Repaired::Failed);
                self.failed(&error.context(format!("cannot repair: {what}")));
            }
        }
    }

    fn suspect(&self, seen: Seen) -> Suspect {
        // Never right so far: then nobody has changed anything.
        let mut suspect = suspect::suspect(self.right.as_ref().unwrap_or(&seen), &seen);
        let writer = self.writers.and_then(|writers| writers.since(self.since));
        suspect.process = writer.map(|writer| writer.to_string());
        suspect
    }

    fn failed(&mut self, error: &anyhow::Error) {
        let error = format!("{error:#}");
        let status = Status::Broken { error: error.clone() };
        if *self.status.borrow() != status {
            error!(error, "the CNI chain is not guarded");
            (self.guard.tell)(&Report::Failed { error });
        }
        self.becomes(status);
    }

    /// Tells those who wait only of what is new.
    fn becomes(&self, status: Status) {
        self.status.send_if_modified(|current| {
            let new = *current != status;
            *current = status;
            new
        });
    }
}

#[cfg(test)]
mod tests {
    //! The guard on real files, alone and against a process that rewrites the list fifty times a second. Part of the tests only.
    //!
    //! What is guarded here is a list and a binary in a folder of the test's own; `install` has its own tests.

    use super::scratch::Scratch;
    use super::*;
    use crate::agent::metrics::Metrics;
    use anyhow::{Context, ensure};
    use millrace_core::cni::Entry;
    use millrace_core::conflist::{self, Edit};
    use std::fs;
    use std::io::ErrorKind;
    use std::process::{Child, Command};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::SystemTime;

    pub(super) const PATIENCE: Duration = Duration::from_secs(60);
    const OWNERS: &str = r#"{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel"},{"type":"portmap","snat":true}]}"#;

    /// A list with our entry, and our binary.
    struct Files {
        list: PathBuf,
        binary: PathBuf,
        mends: AtomicU32,
        full: AtomicBool,
    }

    impl Files {
        /// The text the list should have; none where it is right, or where its owner has none.
        fn edit(&self) -> anyhow::Result<Option<Option<String>>> {
            let text = match fs::read_to_string(&self.list) {
                Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
                text => text?,
            };
            Ok(Some(match conflist::insert(&text, &Entry::default().write()).context("the list")? {
                Edit::Unchanged => None,
                Edit::Changed(text) => Some(text),
            }))
        }
    }

    impl Chain for Files {
        fn look(&self) -> anyhow::Result<Look> {
            Ok(match self.edit()? {
                None => Look::Waiting("no list".to_owned()),
                Some(Some(_)) => Look::Wrong("the list lacks our entry".to_owned()),
                Some(None) if !self.binary.exists() => Look::Wrong("the binary is missing".to_owned()),
                Some(None) => Look::Right,
            })
        }

        fn mend(&self) -> anyhow::Result<()> {
            ensure!(!self.full.load(Ordering::Relaxed), "no space left on device");
            self.mends.fetch_add(1, Ordering::Relaxed);
            fs::write(&self.binary, "binary")?;
            if let Some(Some(text)) = self.edit()? {
                let new = self.list.with_extension("ours.tmp");
                fs::write(&new, text)?;
                fs::rename(&new, &self.list)?;
            }
            Ok(())
        }
    }

    /// A guard at work in a folder of its own.
    struct Scene {
        files: Arc<Files>,
        status: channel::Receiver<Status>,
        reports: Arc<Mutex<Vec<Report>>>,
        metrics: Metrics,
        stop: CancellationToken,
        guard: tokio::task::JoinHandle<()>,
        scratch: Scratch,
    }

    impl Scene {
        /// With the owner's list, not joined yet.
        async fn start(name: &str, pace: Pace) -> Scene {
            let scratch = Scratch::new(name);
            let (lists, bin) = (scratch.folder("net.d"), scratch.folder("bin"));
            let files = Files {
                list: lists.join("10-flannel.conflist"),
                binary: bin.join("millrace-cni"),
                mends: AtomicU32::default(),
                full: AtomicBool::default(),
            };
            fs::write(&files.list, OWNERS).unwrap();
            let files = Arc::new(files);
            let reports = Arc::new(Mutex::new(Vec::new()));
            let told = reports.clone();
            let (metrics, stop) = (Metrics::new("test"), CancellationToken::new());
            let guard = Guard {
                chain: files.clone(),
                lists: vec![lists],
                binaries: vec![files.binary.clone()],
                pace,
                proc: Some("/proc".into()),
                metrics: metrics.clone(),
                jitter: Box::new(|| 0.0),
                tell: Box::new(move |report| told.lock().unwrap().push(report.clone())),
            };
            let (sender, status) = channel::channel(Status::Starting);
            let guard = tokio::spawn(guard.run(sender, stop.clone()));
            let mut scene = Scene { files, status, reports, metrics, stop, guard, scratch };
            scene.becomes("guarding", |status| *status == Status::Guarding).await;
            scene
        }

        async fn becomes(&mut self, what: &str, wanted: impl FnMut(&Status) -> bool) -> Status {
            let waited = tokio::time::timeout(PATIENCE, self.status.wait_for(wanted)).await;
            waited.unwrap_or_else(|_| panic!("it never was {what}")).expect("the guard lives").clone()
        }

        /// Waits for the loss to be seen and made good.
        async fn mended(&mut self, times: u32) {
            let mends = self.files.clone();
            let right = move |status: &Status| {
                *status == Status::Guarding && mends.mends.load(Ordering::Relaxed) == times
            };
            self.becomes(&format!("mended {times} times"), right).await;
            assert_eq!(self.files.look().unwrap(), Look::Right);
        }

        async fn end(self) -> Vec<Report> {
            self.stop.cancel();
            tokio::time::timeout(PATIENCE, self.guard).await.expect("it ends").expect("it does not panic");
            let reports = self.reports.lock().unwrap();
            reports.clone()
        }
    }

    /// Quick, and looking only when something is told.
    pub(super) fn pace() -> Pace {
        Pace {
            quiet: Duration::from_millis(5),
            longest: Duration::from_millis(50),
            every: Duration::from_secs(3600),
            limits: Limits { burst: 100, ..Limits::default() },
        }
    }

    #[tokio::test]
    async fn each_loss_is_made_good_and_nothing_else_is_written() {
        let mut scene = Scene::start("losses", pace()).await;
        let (list, binary) = (scene.files.list.clone(), scene.files.binary.clone());
        scene.mended(1).await;
        let written = |path: &PathBuf| -> SystemTime { fs::metadata(path).unwrap().modified().unwrap() };

        // A package's upgrade wipes the folder of plugins; the list is not written for that.
        let before = written(&list);
        fs::remove_dir_all(binary.parent().unwrap()).unwrap();
        fs::create_dir(binary.parent().unwrap()).unwrap();
        scene.mended(2).await;
        assert_eq!(written(&list), before);
        // The owner starts again: by rename, then in place.
        fs::write(list.with_extension("new"), OWNERS).unwrap();
        fs::rename(list.with_extension("new"), &list).unwrap();
        scene.mended(3).await;
        fs::write(&list, OWNERS).unwrap();
        scene.mended(4).await;
        // The same meaning in other words is left as it is.
        let words = fs::read_to_string(&list).unwrap().replace('\n', "");
        fs::write(&list, &words).unwrap();
        // Told in order: when this is made good, that was looked at.
        fs::remove_file(&binary).unwrap();
        scene.mended(5).await;
        assert_eq!(fs::read_to_string(&list).unwrap(), words);
        assert!(scene.metrics.write().contains(r#"millrace_guard_repairs_total{result="done"} 5"#));

        let reports = scene.end().await;
        let whose: Vec<String> = reports
            .iter()
            .map(|report| match report {
                Report::Repaired { what, suspect } => format!("{what}: {}", suspect.who),
                other => panic!("{other:?}"),
            })
            .collect();
        let [entry, binary] = ["the list lacks our entry", "the binary is missing"];
        let (flannel, unknown) = ("flannel's install-cni", "an unknown writer");
        // The fifth may have been seen together with the words before it.
        let wanted = [(entry, unknown), (binary, unknown), (entry, flannel), (entry, flannel)];
        let wanted = wanted.map(|(what, who)| format!("{what}: {who}"));
        assert_eq!((whose.len(), &whose[..4]), (5, &wanted[..]));
    }

    /// AWS takes its list away to say that the node is not ready.
    #[tokio::test]
    async fn the_list_of_an_owner_who_took_it_away_is_not_made() {
        let mut scene = Scene::start("owner", pace()).await;
        fs::remove_file(&scene.files.list).unwrap();
        let waiting = scene.becomes("waiting", |status| matches!(status, Status::Waiting { .. })).await;
        assert!(!waiting.is_ready());
        assert_eq!(scene.files.mends.load(Ordering::Relaxed), 1);
        fs::write(&scene.files.list, OWNERS).unwrap();
        scene.mended(2).await;
        scene.end().await;
    }

    #[tokio::test]
    async fn what_cannot_be_repaired_is_said_once_and_tried_again() {
        let limits = Limits { burst: 100, refill: Duration::from_millis(20), ..Limits::default() };
        let mut scene = Scene::start("full", Pace { limits, ..pace() }).await;
        scene.files.full.store(true, Ordering::Relaxed);
        fs::remove_file(&scene.files.binary).unwrap();
        let broken = scene.becomes("broken", |status| matches!(status, Status::Broken { .. })).await;
        let wanted = "cannot repair: the binary is missing: no space left on device";
        assert_eq!(broken, Status::Broken { error: wanted.to_owned() });
        scene.files.full.store(false, Ordering::Relaxed);
        scene.mended(2).await;
        let failed = |report: &&Report| matches!(report, Report::Failed { .. });
        assert!(scene.end().await.iter().filter(failed).count() >= 1);
    }

    /// No inotify instance may be left for us, or the folder be on a filesystem that tells nothing.
    #[tokio::test]
    async fn without_being_told_it_looks_regularly() {
        let mut scene = Scene::start("regularly", Pace { every: Duration::from_millis(50), ..pace() }).await;
        // The folder of lists is replaced from above, which nothing tells.
        let (net, aside) = (scene.scratch.path.join("net.d"), scene.scratch.path.join("aside"));
        let chain = scene.files.clone();
        fs::rename(&net, &aside).unwrap();
        fs::create_dir(&net).unwrap();
        fs::write(&chain.list, OWNERS).unwrap();
        scene.mended(2).await;
        scene.end().await;
    }

    /// A process that puts the owner's list back fifty times a second, as long as it may and a thousand times at most.
    pub(super) struct Foreign {
        child: Child,
        may: PathBuf,
    }

    impl Foreign {
        pub(super) fn start(list: &Path, text: &str) -> Foreign {
            let folder =
                list.parent().and_then(Path::parent).expect("the list is in a folder of the test's own");
            let may = folder.join("may");
            fs::write(&may, "").unwrap();
            fs::write(folder.join("owners"), text).unwrap();
            let script = r#"
                count=0
                while [ -e "$1/may" ] && [ $count -lt 1000 ]; do
                    cp "$1/owners" "$2.tmp" && mv "$2.tmp" "$2"
                    count=$((count + 1))
                    sleep 0.02
                done"#;
            let mut command = Command::new("sh");
            let command = command.args(["-c", script, "sh"]).arg(folder).arg(list);
            Foreign { child: command.spawn().unwrap(), may }
        }

        pub(super) fn stop(mut self) {
            fs::remove_file(&self.may).unwrap();
            self.child.wait().unwrap();
        }
    }

    impl Drop for Foreign {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Reads the list as runtimes do, at any moment, until it is dropped; each reading must be a list.
    pub(super) struct Runtime {
        stop: Arc<AtomicBool>,
        reader: Option<std::thread::JoinHandle<u32>>,
    }

    impl Runtime {
        pub(super) fn start(list: PathBuf) -> Runtime {
            let stop = Arc::new(AtomicBool::new(false));
            let stopped = stop.clone();
            let read = move || {
                let mut readings = 0;
                while !stopped.load(Ordering::Relaxed) {
                    let text = fs::read_to_string(&list).expect("the list is there at every moment");
                    conflist::has_ours(&text).expect("it can be read at every moment");
                    readings += 1;
                    std::thread::yield_now();
                }
                readings
            };
            Runtime { stop, reader: Some(std::thread::spawn(read)) }
        }

        pub(super) fn end(mut self) -> u32 {
            self.stop.store(true, Ordering::Relaxed);
            self.reader.take().expect("it was started").join().expect("every reading was a list")
        }
    }

    impl Drop for Runtime {
        fn drop(&mut self) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_fight_ends_with_the_writer_named_and_one_repair_when_it_is_calm() {
        let limits = Limits { burst: 100, undone: 3, first: Duration::from_secs(1), ..Limits::default() };
        let mut scene = Scene::start("fight", Pace { limits, ..pace() }).await;
        let runtime = Runtime::start(scene.files.list.clone());
        let foreign = Foreign::start(&scene.files.list, OWNERS);
        // Where the kernel tells who it was, that is known when the next writing was heard.
        let tells = Writers::open(&[scene.scratch.path.join("net.d")], Path::new("/proc")).is_ok();
        let named = |status: &Status| matches!(status, Status::BackedOff { suspect, .. } if !tells || suspect.process.is_some());
        let status = scene.becomes("backed off", named).await;
        foreign.stop();
        let Status::BackedOff { what, suspect, .. } = &status else { unreachable!("it was waited for") };
        assert_eq!(
            (what.as_str(), suspect.who.as_str()),
            ("the list lacks our entry", "flannel's install-cni")
        );
        assert!(suspect.fix.contains("install.way to own"), "{}", suspect.fix);
        assert_eq!(status.condition().reason, "Fight");

        scene.becomes("guarding", |status| *status == Status::Guarding).await;
        assert_eq!(scene.files.look().unwrap(), Look::Right);
        assert!(runtime.end() > 0);
        let reports = scene.end().await;
        let letter = |report: &Report| match report {
            Report::Repaired { .. } => 'r',
            Report::BackedOff { .. } => 'b',
            Report::Failed { error } => panic!("{error}"),
        };
        let story: String = reports.iter().map(letter).collect();
        // Three are undone, the first among them put us in. If the writer is slow to end, a trial may be undone as well.
        let rest = story.strip_prefix("rrrb").unwrap_or_else(|| panic!("{story}"));
        assert!(rest.strip_suffix('r').is_some_and(|tries| tries.replace("rb", "").is_empty()), "{story}");
    }
}
