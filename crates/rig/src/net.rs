//! Throw-away network namespaces, wired together, with real sockets in them.
//!
//! A namespace lives as long as the process that holds it open, and that process as long as the pipe to its owner:
//! a killed test leaves nothing behind. Nothing here touches the namespace the test itself runs in, and every wait
//! ends at [`PATIENCE`].

pub mod changes;
pub mod lab;
pub mod listen;
pub mod probe;
pub mod segment;

use rustix::thread::{Gid, LinkNameSpaceType, Uid};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long anything here is waited for.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The programs that namespaces are made with, and how to get them: for `absent::not_run`.
pub const NEEDS: [(&str, &str); 2] =
    [("unshare", "apt-get install util-linux"), ("ip", "apt-get install iproute2")];

/// The first of `programs` that this machine does not have.
pub fn missing<'a>(programs: &[(&'a str, &'a str)]) -> Option<(&'a str, &'a str)> {
    let has = |program: &str| {
        let path = std::env::var("PATH").unwrap_or_default();
        // Debian keeps them where only root's PATH looks.
        path.split(':')
            .chain(["/usr/sbin", "/sbin"])
            .any(|folder| PathBuf::from(folder).join(program).exists())
    };
    programs.iter().copied().find(|(program, _)| !has(program))
}

/// Whether we are root over enough users to be anybody in a namespace: in one made by `unshare -Ur` root is alone.
pub fn has_users() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let first = map.lines().next().unwrap_or_default();
    let count = first.split_whitespace().last().and_then(|count| count.parse::<u32>().ok());
    rustix::process::geteuid().is_root() && count.is_some_and(|count| count > 2 * SHIFT)
}

/// A network namespace of its own, gone when dropped.
#[derive(Debug)]
pub struct Namespace {
    holder: Child,
    base: u32,
}

impl Namespace {
    /// A namespace like that of an ordinary pod, `lo` up.
    pub fn new() -> Namespace {
        let namespace = Namespace::bare();
        namespace.sh("ip link set lo up");
        namespace
    }

    /// One in which nobody has brought `lo` up yet.
    pub fn bare() -> Namespace {
        Namespace::held(&["--net"], 0)
    }

    /// One that another user namespace owns, as of a pod with `hostUsers: false`: user 0 there is [`SHIFT`] here.
    pub fn shifted() -> Namespace {
        let namespace = Namespace::held(&["--user", "--net"], SHIFT);
        for map in ["uid_map", "gid_map"] {
            let path = format!("/proc/{}/{map}", namespace.pid());
            std::fs::write(&path, format!("0 {SHIFT} 65536")).expect("root maps any range of ids");
        }
        namespace.sh("ip link set lo up");
        namespace
    }

    fn held(kinds: &[&str], base: u32) -> Namespace {
        let mut unshare = Command::new("unshare");
        unshare.args(kinds).args(["sh", "-c", "echo; exec cat"]);
        let pipes = unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = pipes.spawn().expect("unshare(1) runs");
        let mut line = String::new();
        let out = holder.stdout.as_mut().expect("stdout is a pipe");
        BufReader::new(out).read_line(&mut line).expect("the holder speaks");
        assert_eq!(line, "\n", "unshare {kinds:?} made a namespace; are we root?");
        Namespace { holder, base }
    }

    /// The process that holds it open.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Where it can be opened.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid()))
    }

    /// Runs `act` inside, as root of this machine, on a thread that ends with it.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let spent = || {
            self.enter();
            act()
        };
        let done = std::thread::scope(|scope| scope.spawn(spent).join());
        done.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
    }

    /// Runs `act` inside as `who`: the sockets it opens are theirs, which is all that an owner match looks at.
    pub fn within_as<T: Send>(&self, who: Who, act: impl FnOnce() -> T + Send) -> T {
        self.within(|| {
            let (uid, gid) = (Uid::from_raw(self.base + who.uid), Gid::from_raw(self.base + who.gid));
            rustix::thread::set_thread_groups(&[]).expect("root gives groups up");
            rustix::thread::set_thread_res_gid(gid, gid, gid).expect("root becomes any group");
            rustix::thread::set_thread_res_uid(uid, uid, uid).expect("root becomes any user");
            act()
        })
    }

    /// Moves the calling thread inside, for good. For threads that end there.
    pub fn enter(&self) {
        let file = File::open(self.path()).expect("the holder lives");
        let kind = Some(LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(file.as_fd(), kind).expect("root enters a namespace");
    }

    /// Runs a shell script inside and returns what it printed. Panics with what it complained of if it fails.
    pub fn sh(&self, script: &str) -> String {
        self.feed(&["sh", "-ec", script], "")
    }

    /// Runs a program inside with `input`, likewise.
    pub fn feed(&self, words: &[&str], input: &str) -> String {
        self.try_feed(words, input).unwrap_or_else(|complaint| panic!("{words:?}: {complaint}"))
    }

    /// Runs a program inside with `input`: what it printed, or what it complained of.
    pub fn try_feed(&self, words: &[&str], input: &str) -> Result<String, String> {
        self.within(|| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).env("PATH", SEARCHED);
            let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = pipes.spawn().map_err(|cause| cause.to_string())?;
            let mut stdin = child.stdin.take().expect("stdin is a pipe");
            let written = std::thread::scope(|scope| {
                let writer = scope.spawn(move || stdin.write_all(input.as_bytes()));
                let output = child.wait_with_output();
                // A program that does not read its input is no failure; its exit status is.
                drop(writer.join());
                output
            });
            let output = written.map_err(|cause| cause.to_string())?;
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            if output.status.success() {
                Ok(text(output.stdout))
            } else {
                Err(format!("{}: {}", output.status, text(output.stderr)))
            }
        })
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Namespace::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}

/// Whom a socket belongs to, in the namespace's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Who {
    /// An application.
    pub const APP: Who = Who { uid: 1000, gid: 1000 };
    /// The proxy.
    pub const PROXY: Who = Who { uid: 1337, gid: 1337 };
    /// Root.
    pub const ROOT: Who = Who { uid: 0, gid: 0 };
    /// The proxy where it runs as root, known by its group alone (TPROXY).
    pub const ROOT_PROXY: Who = Who { uid: 0, gid: 1337 };
}

/// Where a shifted namespace's user 0 is found among ours.
pub const SHIFT: u32 = 100_000;
const SEARCHED: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
