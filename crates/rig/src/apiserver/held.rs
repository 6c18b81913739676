//! A server that lives as long as the thread that holds it, and the janitor that removes what it leaves.
//!
//! The parent-death signal goes with the thread that started a child, not with its process: so each has a thread of its own.

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    process: OwnedFd,
    holder: Option<JoinHandle<()>>,
}

impl Held {
    pub(crate) fn start(mut command: Command) -> Held {
        let (tell, told) = channel();
        let holder = std::thread::spawn(move || {
            let mut child = command.spawn().expect("setpriv(1) runs");
            let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
            let _ = tell.send(process.expect("a child of ours has a pidfd"));
            let _ = child.wait();
        });
        let process = told.recv().expect("the holder starts it");
        Held { process, holder: Some(holder) }
    }

    /// Nobody else gets the signal, also when the server has ended.
    pub(crate) fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        pidfd_send_signal(&self.process, signal)
    }

    /// Whether it has ended by itself.
    pub(crate) fn is_over(&self) -> bool {
        self.holder.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.signal(Signal::KILL);
        if let Some(holder) = self.holder.take() {
            let _ = holder.join();
        }
    }
}

/// `program` in `folder`, its words into `log`, dead when its holder is. The janitor waits until it has ended: it has the
/// pipe's end for a standard input that it never reads.
pub(crate) fn command(program: &Path, folder: &Path, log: &str, janitor: &Child) -> Command {
    let pipe = janitor.stdin.as_ref().expect("the janitor reads a pipe").as_fd();
    let pipe = pipe.try_clone_to_owned().expect("a file can be shared");
    let log = File::options().append(true).create(true).open(folder.join(log)).expect("a log can be kept");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).current_dir(folder);
    command.stdin(pipe).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
    command
}

/// A new folder that only we may read.
pub(crate) fn folder() -> PathBuf {
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

/// Removes `folder` when its standard input ends: with this process and with the last of its servers.
pub(crate) fn janitor(folder: &Path) -> Child {
    let mut janitor = Command::new("sh");
    janitor.args(["-c", "cat; rm -rf -- \"$1\"", "janitor"]).arg(folder).process_group(0).current_dir("/");
    // Nothing of the test's output: who reads that to its end would wait for the janitor.
    janitor.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    janitor.spawn().expect("sh(1) runs")
}
