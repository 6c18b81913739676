//! Other programs: run to their end with a deadline, or started inside a pod and watched.
//!
//! The only place of the demo that starts a program. What runs in a pod dies with the demo, has an environment of its
//! own, and holds no capability it is not given here.

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The most that is kept of what a program says.
const SAYS: u64 = 1 << 20;
/// How long a program may take to end when asked to, before it is made to.
const GRACE: Duration = Duration::from_secs(2);

/// How a program that was run to its end fared.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// From before it was started until it had ended.
    pub(crate) took: Duration,
}

impl Ended {
    /// What it said, for an error's text: stderr, else stdout, at most its last three lines.
    pub(crate) fn said(&self) -> String {
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = said.trim().lines().collect();
        if lines.is_empty() {
            "it said nothing".to_owned()
        } else {
            lines[lines.len().saturating_sub(3)..].join(" | ")
        }
    }
}

/// Runs `command` to its end, in whatever namespace the calling thread is. With `input` as its standard input, else
/// with the one it already has.
pub(crate) fn run(command: &mut Command, input: Option<&str>, patience: Duration) -> anyhow::Result<Ended> {
    let name = command.get_program().to_string_lossy().into_owned();
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    // The terminal's Ctrl-C is for the demo: a plugin stopped in the middle would be one more thing to clear up.
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    let from = Instant::now();
    let deadline = from + patience;
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input.map(str::to_owned)) {
        // A program may end without reading its input; it then says why by its status.
        thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    }
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    if !wait(&mut child, deadline)? {
        drop(child.kill());
        drop(child.wait());
        bail!("{name} did not end within {patience:?} and was killed");
    }
    let took = from.elapsed();
    let status = child.wait()?;
    // Who still holds the other end after the program's end is a stranger: it is not waited for past the deadline.
    let text = |receiver: mpsc::Receiver<String>| {
        receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).unwrap_or_default()
    };
    Ok(Ended { status, stdout: text(stdout), stderr: text(stderr), took })
}

/// The same for a program without input whose failure is an error.
pub(crate) fn must(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let ended =
        run(Command::new(program).args(arguments).stdin(Stdio::null()), None, Duration::from_secs(10))?;
    anyhow::ensure!(ended.status.success(), "{program} {}: {}", arguments.join(" "), ended.said());
    Ok(())
}

fn reader(from: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            drop(from.take(SAYS).read_to_end(&mut bytes));
        }
        drop(sender.send(String::from_utf8_lossy(&bytes).into_owned()));
    });
    receiver
}

/// Waits until `child` has ended; says whether it did before the deadline.
fn wait(child: &mut Child, deadline: Instant) -> anyhow::Result<bool> {
    let held = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty());
    ends(held.context("cannot watch a process")?.as_fd(), deadline)
}

/// Waits until the process held by `pidfd` has ended; says whether it did before the deadline.
fn ends(pidfd: BorrowedFd<'_>, deadline: Instant) -> anyhow::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).context("a wait of ages")?;
        match rustix::event::poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(cause) => return Err(cause).context("cannot wait for a process"),
        }
    }
}

/// As whom a program runs in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The capabilities left in its bounding set, in setpriv's spelling, after the removal of all.
    pub(crate) capabilities: String,
}

impl Identity {
    /// A user who holds nothing and can never get anything: what a container has with `drop: [ALL]` and
    /// `allowPrivilegeEscalation: false`.
    pub(crate) fn unprivileged(id: u32) -> Identity {
        Identity { uid: id, gid: id, capabilities: String::new() }
    }

    /// What a container's security context says.
    pub(crate) fn of(container: &Value) -> anyhow::Result<Identity> {
        let context = &container["securityContext"];
        let number = |key: &str| {
            let number = context[key].as_u64().and_then(|number| u32::try_from(number).ok());
            number.with_context(|| format!("the container {} has no {key}", container["name"]))
        };
        let uid = number("runAsUser")?;
        let added = context["capabilities"]["add"].as_array().into_iter().flatten();
        let added = added.filter_map(|one| Some(format!(",+{}", one.as_str()?.to_ascii_lowercase())));
        Ok(Identity { uid, gid: number("runAsGroup").unwrap_or(uid), capabilities: added.collect() })
    }
}

/// A program of ours, which the users of the pods may run wherever it lies: a build directory is often closed to them.
#[derive(Debug)]
pub(crate) struct Program(File);

impl Program {
    /// Opens the program at `path`.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Program> {
        Ok(Program(File::open(path).with_context(|| format!("cannot open {}", path.display()))?))
    }

    /// The command that runs it in the namespace at `netns` as `identity`.
    pub(crate) fn inside(
        &self,
        netns: &Path,
        identity: Identity,
        arguments: &[String],
    ) -> anyhow::Result<Command> {
        // Handed over as standard input and executed by that name, it needs no way through the directories (proc(5)).
        let mut command = inside(netns, identity, Path::new("/proc/self/fd/0"), arguments);
        command.stdin(self.0.try_clone().context("cannot hand over a program")?);
        Ok(command)
    }
}

/// The command that runs `program` in the namespace at `netns` as `identity`, from whatever thread.
pub(crate) fn inside(netns: &Path, identity: Identity, program: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.display())).arg("--").arg("setpriv");
    command.args([format!("--reuid={}", identity.uid), format!("--regid={}", identity.gid)]);
    command.args(["--clear-groups", "--inh-caps=-all", "--no-new-privs", "--pdeathsig=KILL"]);
    command.arg(format!("--bounding-set=-all{}", identity.capabilities));
    command.arg("--").arg(program).args(arguments);
    alone(command)
}

/// The command that runs `own` with `words` in the machine's own namespaces.
pub(crate) fn beside(own: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", "--pdeathsig=KILL", "--"]).arg(own).args(words);
    alone(command)
}

/// The same as `identity`, which holds what its container is given and nothing else.
pub(crate) fn confined(own: &Path, identity: &Identity, words: &[String]) -> Command {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={}", identity.uid), format!("--regid={}", identity.gid)]);
    command.args(["--clear-groups", "--inh-caps=-all", "--no-new-privs", "--pdeathsig=KILL"]);
    command.arg(format!("--bounding-set=-all{}", identity.capabilities));
    command.arg("--").arg(own).args(words);
    alone(command)
}

/// Away from whoever started the demo: neither their variables nor their directory nor their terminal.
fn alone(mut command: Command) -> Command {
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/").stdin(Stdio::null());
    command
}

/// The exit code as runtimes tell it: who was killed by a signal has none, and 128 and the signal's number is said.
pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(128 + status.signal().unwrap_or_default())
}

/// A program that is to go on running until the demo ends.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Running {
    /// Starts `command`, whose words go to the file `log`. Call it from a thread that lives as long as the program
    /// shall: the kernel kills it when that thread ends (prctl(2), `PR_SET_PDEATHSIG`).
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Running> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        // A group of its own: the terminal's Ctrl-C is for the demo, which then ends its programs in order.
        let child = command.process_group(0).spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Running { name: name.to_owned(), log: log.to_owned(), child })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with the program's last words if it has ended.
    pub(crate) fn alive(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        bail!("{} ended by itself ({status}): {}", self.name, self.last_words())
    }

    /// The code it ended with, if it has.
    pub(crate) fn over(&mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.child.try_wait()?.map(code))
    }

    /// The last it said.
    pub(crate) fn last_words(&self) -> String {
        let log = self.said();
        let last: Vec<&str> = log.trim().lines().rev().take(3).collect();
        last.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// All it said so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks the program to end.
    pub(crate) fn ask_to_end(&mut self) {
        // Who has ended was waited for by that look, and its pid may be a stranger's; otherwise it stays ours.
        if let Ok(None) = self.child.try_wait() {
            let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
    }

    /// Waits until the program has ended; makes it end when it takes too long.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        if self.over()?.is_some() {
            return Ok(());
        }
        if !wait(&mut self.child, Instant::now() + GRACE)? {
            self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        }
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }
}

/// What the kernel says of a process's privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Privileges {
    /// The program's name, for messages.
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) no_new: bool,
}

impl Privileges {
    /// Those of a running program.
    pub(crate) fn of(program: &Running) -> anyhow::Result<Privileges> {
        let path = format!("/proc/{}/status", program.pid());
        let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Privileges::read(program.name(), &status)
            .with_context(|| format!("{path} lacks what proc(5) promises"))
    }

    fn read(name: &str, status: &str) -> Option<Privileges> {
        let field = |key: &str| {
            status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
        };
        let hexadecimal = |key: &str| u64::from_str_radix(field(key)?, 16).ok();
        Some(Privileges {
            name: name.to_owned(),
            uid: field("Uid")?.split_whitespace().next()?.parse().ok()?,
            bounding: hexadecimal("CapBnd")?,
            effective: hexadecimal("CapEff")?,
            no_new: field("NoNewPrivs")? == "1",
        })
    }

    /// Whether it can do nothing a plain user cannot, now and for ever.
    pub(crate) fn are_none(&self) -> bool {
        self.uid != 0 && self.bounding == 0 && self.effective == 0 && self.no_new
    }
}

/// A process of an earlier demo, held so that its pid cannot become a stranger's.
#[derive(Debug)]
pub(crate) struct Orphan(OwnedFd);

impl Orphan {
    /// Ends it, and waits until it has.
    pub(crate) fn kill(&self, deadline: Instant) -> anyhow::Result<()> {
        match rustix::process::pidfd_send_signal(&self.0, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(cause) => return Err(cause).context("cannot kill it"),
        }
        anyhow::ensure!(ends(self.0.as_fd(), deadline)?, "it was killed and has not ended");
        Ok(())
    }
}

/// The processes that live in one of `namespaces` and name `directory` in their command line, as all of the demo's do.
pub(crate) fn living_in(namespaces: &[PathBuf], directory: &Path) -> Vec<Orphan> {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
    let namespaces: Vec<_> = namespaces.iter().filter_map(|path| identity(path)).collect();
    let marks = [directory.as_os_str().as_bytes(), b"/"].concat();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let orphan = |entry: std::fs::DirEntry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        // Held before it is looked at: what is looked at is then what is held, or gone.
        let held = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let inside = identity(&entry.path().join("ns/net")).is_some_and(|own| namespaces.contains(&own));
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let marked = line.windows(marks.len()).any(|part| part == marks);
        (inside && marked).then_some(Orphan(held))
    };
    processes.filter_map(orphan).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_left_at_the_deadline() {
        let error = run(Command::new("sleep").arg("60"), None, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("did not end within 50ms"), "{error}");
    }

    #[test]
    fn what_a_program_says_is_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo trouble >&2; exit 3"]);
        let ended = run(&mut command, Some("words"), Duration::from_secs(10)).unwrap();
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(3), "words"));
        assert_eq!(ended.said(), "trouble");
    }

    fn check(bounding: &str, uid: u32, no_new: u8, none: bool) {
        let status = format!(
            "Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t0000000000000000\nCapBnd:\t{bounding}\n\
             NoNewPrivs:\t{no_new}\n"
        );
        assert_eq!(Privileges::read("envoy", &status).unwrap().are_none(), none, "{status}");
    }

    #[test]
    fn a_process_is_unprivileged_only_if_it_can_never_gain_anything() {
        check("0000000000000000", 1337, 1, true);
        check("0000000000003000", 1337, 1, false);
        check("0000000000000000", 1337, 0, false);
        check("0000000000000000", 0, 1, false);
        assert_eq!(Privileges::read("x", "Uid:\t0\n"), None);
    }

    #[test]
    fn a_container_is_who_its_security_context_says() {
        let init = serde_json::json!({ "securityContext": {
            "runAsUser": 0, "runAsGroup": 0, "capabilities": { "add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"] } } });
        let capabilities = ",+net_admin,+net_raw".to_owned();
        assert_eq!(Identity::of(&init).unwrap(), Identity { uid: 0, gid: 0, capabilities });
        let plain = serde_json::json!({ "securityContext": { "runAsUser": 1000 } });
        assert_eq!(Identity::of(&plain).unwrap(), Identity::unprivileged(1000));
        assert!(Identity::of(&serde_json::json!({ "name": "x" })).is_err());
    }

    #[test]
    fn an_orphan_is_known_by_its_namespace_and_its_words() {
        let own = [PathBuf::from("/proc/self/ns/net")];
        let directory = std::env::temp_dir().join(format!("millrace-demo-orphan-{}", std::process::id()));
        let script = format!("# {}/x\necho up; read line", directory.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A parent goes on before the kernel has laid out the child's new arguments (execve(2) ends a vfork before
        // it fills in what /proc/PID/cmdline shows), so the child is asked to speak first.
        child.stdout.take().unwrap().read_exact(&mut [0; 3]).unwrap();
        let found = living_in(&own, &directory);
        assert_eq!(living_in(&[], &directory).len(), 0, "in no namespace of ours");
        assert_eq!(living_in(&own, Path::new("/nowhere")).len(), 0, "without our words");
        assert_eq!(found.len(), 1);
        found[0].kill(Instant::now() + Duration::from_secs(10)).unwrap();
        assert!(!child.wait().unwrap().success());
        found[0].kill(Instant::now()).unwrap();
    }
}
