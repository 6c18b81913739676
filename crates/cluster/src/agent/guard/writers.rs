//! Which processes write in the node's folders of lists and plugins, as the kernel names them (fanotify).
//!
//! It only listens: it grants and refuses nothing, opens no file of anybody, and needs CAP_SYS_ADMIN, so it runs in the audit profile
//! alone. A process that ended before it could be asked is known by its number only.

use super::watch::polled;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::io::unix::AsyncFd;

/// FAN_REPORT_DIR_FID and FAN_REPORT_NAME of linux/fanotify.h: with them a rename is told as well, and no file is opened for us.
const NAMES: u32 = 0x400 | 0x800;
/// The length of `struct fanotify_event_metadata`, and of the fixed part of a record behind it.
const METADATA: usize = 24;
const RECORD: usize = 20;
/// Writers remembered: the latest. One that writes fifty times a second is one.
const REMEMBERED: usize = 16;

/// A process that wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    /// Its number; 0 where it is in no pid namespace that we see.
    pub(crate) pid: i32,
    /// Its short name.
    pub(crate) comm: String,
    /// The program it runs.
    pub(crate) exe: String,
    /// Its control group, which tells the container.
    pub(crate) cgroup: String,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known =
            |what: &str, text: &str| if text.is_empty() { String::new() } else { format!(" {what}{text}") };
        let (comm, exe) = (known("", &self.comm), known("exe=", &self.exe));
        write!(f, "{}{comm}{exe}{}", self.pid, known("cgroup=", &self.cgroup))
    }
}

/// The writers of late.
#[derive(Debug)]
pub(crate) struct Writers {
    group: Fanotify,
    /// The same group, for waiting and reading.
    polled: AsyncFd<OwnedFd>,
    latest: Mutex<VecDeque<(Instant, Writer)>>,
    /// Our own number, and where processes are asked.
    us: i32,
    proc: PathBuf,
}

impl Writers {
    /// Listens to `folders`; those that are not there are left out.
    pub(crate) fn open(folders: &[PathBuf], proc: &Path) -> io::Result<Writers> {
        let flags = InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK;
        let flags = flags | InitFlags::from_bits_retain(NAMES);
        let group = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC)?;
        let us = i32::try_from(std::process::id()).map_err(io::Error::other)?;
        let polled = polled(group.as_fd().try_clone_to_owned()?)?;
        let writers = Writers { group, polled, latest: Mutex::default(), us, proc: proc.to_owned() };
        writers.mark(folders)?;
        Ok(writers)
    }

    /// Listens to `folders` too: one that was replaced is another one.
    pub(crate) fn mark(&self, folders: &[PathBuf]) -> io::Result<()> {
        let mask = MaskFlags::FAN_MODIFY
            | MaskFlags::FAN_CLOSE_WRITE
            | MaskFlags::FAN_MOVE
            | MaskFlags::FAN_CREATE
            | MaskFlags::FAN_DELETE
            | MaskFlags::FAN_EVENT_ON_CHILD;
        let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_ONLYDIR;
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            self.group.mark(flags, mask, rustix::fs::CWD, Some(folder.as_path()))?;
        }
        Ok(())
    }

    /// Hears others writing, and asks who they are while they are there; ends only when it cannot any more.
    pub(crate) async fn listen(&self) -> io::Error {
        loop {
            if let Err(cause) = self.hear().await {
                return cause;
            }
        }
    }

    /// The last process that wrote since.
    pub(crate) fn since(&self, when: Instant) -> Option<Writer> {
        self.latest().back().filter(|(at, _)| *at >= when).map(|(_, writer)| writer.clone())
    }

    async fn hear(&self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let mut ready = self.polled.readable().await?;
        let read = ready.try_io(|polled| Ok(rustix::io::read(polled.get_ref(), &mut buffer)?));
        // Nothing to be read after all: it is asked again.
        let Ok(length) = read else { return Ok(()) };
        for event in events(&buffer[..length?]) {
            if event.pid != self.us && !event.lock {
                self.remember(event.pid);
            }
        }
        Ok(())
    }

    fn remember(&self, pid: i32) {
        let mut latest = self.latest();
        let known = latest.iter().position(|(_, writer)| writer.pid == pid && pid != 0);
        let writer = known.and_then(|at| latest.remove(at)).map(|(_, writer)| writer);
        if latest.len() == REMEMBERED {
            latest.pop_front();
        }
        latest.push_back((Instant::now(), writer.unwrap_or_else(|| self.ask(pid))));
    }

    fn latest(&self) -> MutexGuard<'_, VecDeque<(Instant, Writer)>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, pid: i32) -> Writer {
        let folder = self.proc.join(pid.to_string());
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let exe = fs::read_link(folder.join("exe")).unwrap_or_default().display().to_string();
        let cgroup =
            text("cgroup").lines().next_back().and_then(|line| line.splitn(3, ':').nth(2)).map(str::to_owned);
        Writer { pid, comm: text("comm").trim().to_owned(), exe, cgroup: cgroup.unwrap_or_default() }
    }
}

/// One event: who, and whether it was about a lock, which runtimes take at every pod's start.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    pid: i32,
    lock: bool,
}

/// Reads `struct fanotify_event_metadata` and the name in the record behind it (linux/fanotify.h). What is cut short ends it.
fn events(mut bytes: &[u8]) -> Vec<Heard> {
    let mut heard = Vec::new();
    while bytes.len() >= METADATA {
        let length = number(bytes, 0) as usize;
        if length < METADATA || length > bytes.len() {
            break;
        }
        let (event, rest) = bytes.split_at(length);
        let lock = name(&event[METADATA..]).is_some_and(|name| name.ends_with(b".lock"));
        heard.push(Heard { pid: number(event, 20).cast_signed(), lock });
        bytes = rest;
    }
    heard
}

/// Type, pad, length; file system id; a file handle (length, type, bytes); then the name, ended by a zero.
fn name(record: &[u8]) -> Option<&[u8]> {
    if record.len() < RECORD {
        return None;
    }
    let behind = record.get(RECORD + number(record, 12) as usize..)?;
    Some(behind.split(|byte| *byte == 0).next().unwrap_or_default())
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::guard::scratch::Scratch;
    use millrace_rig::absent::not_run;
    use std::io::ErrorKind;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[tokio::test]
    async fn a_foreign_writer_is_named() {
        let scratch = Scratch::new("writers");
        let folder = scratch.folder("net.d");
        let writers = match Writers::open(std::slice::from_ref(&folder), Path::new("/proc")) {
            Ok(writers) => writers,
            // For want of a capability, or of the whole thing.
            Err(cause) if matches!(cause.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
                return not_run("a_foreign_writer_is_named", "fanotify", "run as root with CAP_SYS_ADMIN");
            }
            Err(cause) => panic!("{cause}"),
        };
        let before = Instant::now();
        fs::write(folder.join("10-ours.conflist"), "{}").unwrap();
        // It writes, then stays until its input ends: whoever is gone cannot be asked.
        let script = r#"echo > "$1/cni.lock"; echo {} > "$1/x.tmp"; mv "$1/x.tmp" "$1/10-x.conflist"; echo done; read _"#;
        let mut child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let heard = async {
            loop {
                writers.hear().await.unwrap();
                let latest = writers.latest().iter().map(|(_, writer)| writer.clone()).collect::<Vec<_>>();
                if let Some(writer) = latest.into_iter().find(|writer| writer.pid == pid) {
                    return writer;
                }
            }
        };
        let writer = tokio::time::timeout(Duration::from_secs(30), heard).await;
        drop(child.stdin.take());
        child.wait().unwrap();
        let writer = writer.expect("the shell is heard");
        let shell = fs::canonicalize("/bin/sh").unwrap();
        assert_eq!((writer.comm.as_str(), Path::new(&writer.exe)), ("sh", shell.as_path()));
        assert!(writer.to_string().starts_with(&format!("{pid} sh exe=/")), "{writer}");
        assert!(writers.since(before).is_some() && writers.since(Instant::now()).is_none());
        let us = writers.latest().iter().any(|(_, writer)| writer.pid == writers.us);
        assert!(!us, "our own writing is nobody's");
    }

    fn event(pid: i32, name: Option<&str>) -> Vec<u8> {
        let mut record = Vec::new();
        if let Some(name) = name {
            record.extend([2, 0]);
            record.extend(0_u16.to_ne_bytes());
            record.extend([7; 8]);
            record.extend(8_u32.to_ne_bytes());
            record.extend(1_i32.to_ne_bytes());
            record.extend([9; 8]);
            record.extend(name.as_bytes());
            record.push(0);
        }
        let mut event = u32::try_from(METADATA + record.len()).unwrap().to_ne_bytes().to_vec();
        event.extend([3, 0, 24, 0]);
        event.extend(8_u64.to_ne_bytes());
        event.extend((-1_i32).to_ne_bytes());
        event.extend(pid.to_ne_bytes());
        event.extend(record);
        event
    }

    #[test]
    fn events_are_read_and_what_is_cut_short_is_not() {
        let bytes = [event(7, Some("10-x.conflist")), event(8, Some("cni.lock")), event(9, None)].concat();
        let wanted = [(7, false), (8, true), (9, false)].map(|(pid, lock)| Heard { pid, lock });
        assert_eq!(events(&bytes), wanted);
        for length in 0..bytes.len() {
            assert!(events(&bytes[..length]).len() < 3, "{length}");
        }
        let mut absurd = event(7, Some("x"));
        absurd[METADATA + 12..METADATA + 16].fill(0xff);
        assert_eq!(events(&absurd), [Heard { pid: 7, lock: false }]);
        absurd[..4].fill(0);
        assert_eq!(events(&absurd), []);
    }
}
