//! A make-believe node: namespaces of its own in which a real runtime runs with its usual paths (`tests/callers/node`).
//!
//! Everything a runtime starts, mounts or writes there is gone with the node, also after a panic or a SIGKILL of the test;
//! what the kernel cannot end by itself (a folder for logs, control groups) the next run sweeps up. The machine's own
//! network, containers and configuration are never touched.

use crate::end;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a command may take inside a node: the slowest is a sandbox whose plugin waits for its own deadline.
const PATIENCE: Duration = Duration::from_secs(90);
/// What every folder and control group made here begins with; the id of the test's process follows.
const PREFIX: &str = "millrace-callers-";

/// A running node.
pub struct Node {
    name: String,
    folder: PathBuf,
    holder: Child,
    input: Option<ChildStdin>,
    daemons: RefCell<Vec<Child>>,
}

impl Node {
    /// Starts one, without any daemon.
    pub fn start() -> Node {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(folder.join("root")).expect("the temporary folder is writable");
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"])
            .args(["--propagation", "private", "--"])
            .arg(source("node"))
            .arg(folder.join("root"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux has unshare");
        let input = holder.stdin.take();
        let mut said = String::new();
        let mut output = BufReader::new(holder.stdout.take().expect("its output is a pipe"));
        output.read_line(&mut said).expect("a pipe can be read");
        let node = Node { name, folder, holder, input, daemons: RefCell::default() };
        assert_eq!(said, "ready\n", "the node did not start; its messages are above");
        node
    }

    /// A command inside the node, killed when it takes too long.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.enter();
        command.args(["timeout", "--signal=KILL", &PATIENCE.as_secs().to_string()]).arg(program);
        command
    }

    /// Starts a program that stays, its output going to a log.
    pub fn daemon(&self, log: &str, program: impl AsRef<OsStr>, arguments: &[&str]) {
        let file = File::create(self.log(log)).expect("the node's folder is writable");
        let twin = file.try_clone().expect("a file can be had twice");
        let mut command = self.enter();
        command.arg("setsid").arg(program).args(arguments).stdin(Stdio::null()).stdout(file).stderr(twin);
        self.daemons.borrow_mut().push(command.spawn().expect("util-linux has nsenter"));
    }

    /// All that a daemon said so far.
    pub fn log_of(&self, log: &str) -> String {
        fs::read_to_string(self.log(log)).unwrap_or_default()
    }

    /// What a daemon said so far, its last lines.
    pub fn said(&self, log: &str) -> String {
        let text = self.log_of(log);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// The path by which this process reaches the node's file `path`; it must not lead over an absolute link.
    pub fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.holder.id()))
    }

    /// Writes a file of the node and the folders above it.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.file(path);
        fs::create_dir_all(path.parent().expect("the path is absolute"))
            .expect("the node's folders are writable");
        fs::write(path, text).expect("the node's files are writable");
    }

    /// The control group the node's containers belong below, as its path in each hierarchy.
    pub fn control_group(&self) -> String {
        format!("/{}", self.name)
    }

    fn log(&self, log: &str) -> PathBuf {
        self.folder.join(format!("{log}.log"))
    }

    fn enter(&self) -> Command {
        let space = |kind: &str| format!("/proc/{}/ns/{kind}", self.holder.id());
        let mut command = Command::new("nsenter");
        for (option, kind) in [("net", "net"), ("mount", "mnt"), ("uts", "uts"), ("ipc", "ipc")] {
            command.arg(format!("--{option}={}", space(kind)));
        }
        // `unshare` itself stays outside the pid namespace it made for its child.
        command.arg(format!("--pid={}", space("pid_for_children"))).arg("--");
        // Whoever runs the tests may have pointed their docker at another machine, and their home is not this node's.
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", "/run");
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.input.take());
        end::within(Duration::from_secs(20), &mut self.holder);
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        // They were processes of the node and have ended with it.
        self.daemons.get_mut().iter_mut().for_each(|daemon| drop(daemon.wait()));
        remove(&self.name);
    }
}

/// Runs a command to its end and gives its standard output; a failure is the test's.
pub fn run(command: &mut Command) -> String {
    let output = outcome(command);
    assert!(
        output.status.success(),
        "{command:?} failed: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs a command to its end, whatever that is.
pub fn outcome(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|cause| panic!("{command:?} cannot be run: {cause}"))
}

/// The bytes a program wrote, as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The path of a script or program text of `tests/callers`.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/callers").join(name)
}

/// Removes what tests left that were killed: their process is gone, their folders and control groups are not.
fn sweep() {
    let left = entries(&std::env::temp_dir()).into_iter().filter(|name| {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    });
    left.for_each(|name| remove(&name));
}

fn remove(name: &str) {
    let groups = Path::new("/sys/fs/cgroup");
    remove_group(&groups.join(name));
    for hierarchy in entries(groups) {
        remove_group(&groups.join(hierarchy).join(name));
    }
    let _ = fs::remove_dir_all(std::env::temp_dir().join(name));
}

/// Only folders can be removed from a control group, the innermost first.
fn remove_group(group: &Path) {
    for name in entries(group) {
        let inner = group.join(name);
        if inner.is_dir() {
            remove_group(&inner);
        }
    }
    let _ = fs::remove_dir(group);
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
