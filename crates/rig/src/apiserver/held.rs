//! A server that lives as long as the thread that holds it, and the janitor that removes what it leaves.
//!
//! The parent-death signal goes with the thread that started a child, not with its process: so each has a thread of its own.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a server is looked at while it is held.
const LOOK: Duration = Duration::from_millis(200);

/// A running server; killed when dropped.
#[derive(Debug)]
pub(super) struct Held {
    pid: u32,
    end: Option<Sender<()>>,
    holder: Option<JoinHandle<()>>,
}

impl Held {
    pub(super) fn start(mut command: Command) -> Held {
        let (end, ended) = channel::<()>();
        let (tell, told) = channel();
        let holder = std::thread::spawn(move || {
            let mut child = command.spawn().expect("setpriv(1) runs");
            let _ = tell.send(child.id());
            while matches!(ended.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout)) {
                if !matches!(child.try_wait(), Ok(None)) {
                    break;
                }
            }
            // It is dead already, or dies now; the number is ours until it is waited for.
            let _ = child.kill();
            let _ = child.wait();
        });
        let pid = told.recv().expect("the holder starts it");
        Held { pid, end: Some(end), holder: Some(holder) }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has ended by itself.
    pub(super) fn is_over(&self) -> bool {
        self.holder.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(holder) = self.holder.take() {
            let _ = holder.join();
        }
    }
}

/// `program` in `folder`, its words into `log`, dead when its holder is.
pub(super) fn command(program: &Path, folder: &Path, log: &str) -> Command {
    let log = File::options().append(true).create(true).open(folder.join(log)).expect("a log can be kept");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).current_dir(folder);
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
    command
}

/// A new folder that only we may read.
pub(super) fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("millrace-api-{}-{count}", std::process::id()));
    // Left by a process that had our number, and was killed before it had a janitor.
    let _ = std::fs::remove_dir_all(&folder);
    let mut make = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut make, 0o700);
    make.create(&folder).expect("a temporary folder can be made");
    folder
}

/// Removes `folder` when its standard input ends. A server may still be dying then, so it tries for a while.
pub(super) fn janitor(folder: &Path) -> Child {
    let script = "cat; i=0; while ! rm -rf -- \"$1\" 2>/dev/null && [ $i -lt 300 ]; do i=$((i + 1)); sleep .1; done; \
                  sleep .2; rm -rf -- \"$1\"";
    let mut janitor = Command::new("sh");
    janitor.args(["-c", script, "janitor"]).arg(folder).process_group(0).current_dir("/");
    // Nothing of the test's output: who reads that to its end would wait for the janitor.
    janitor.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    janitor.spawn().expect("sh(1) runs")
}
