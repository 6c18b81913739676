//! Demos that go on running while a test looks at them, one at a time on a machine.

use millrace_rig::wait::until;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// What a loaded machine may need for what takes ten seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// What the demos of all tests, one after the other, may need.
const ALL_TURNS: Duration = Duration::from_secs(3600);
/// What `--keep` prints last.
pub(crate) const KEPT: &str = "Ctrl-C takes everything down.";

/// Demos on one machine take turns, those of another checkout's tests too: each counts what is left on the machine.
const TURN: &str = "/run/lock/millrace-demo-tests";

/// The turn to run a demo, if this machine can.
pub(crate) fn turn(test: &str) -> Option<File> {
    let missing = |what, how| {
        millrace_rig::absent::not_run(test, what, how);
        None
    };
    if !rustix::process::geteuid().is_root() {
        return missing("root", "sudo make test");
    }
    if !Path::new("/usr/lib/cni/host-local").exists() {
        return missing("containernetworking-plugins", "apt-get install containernetworking-plugins");
    }
    let named = std::env::var_os("MILLRACE_ENVOY").is_some_and(|path| !path.is_empty());
    if !named && !Path::new("/usr/local/lib/millrace").exists() {
        return missing("Envoy", "scripts/envoy");
    }
    if !plugin().exists() {
        return missing("millrace-cni", "cargo build -p millrace-host");
    }
    std::fs::create_dir_all("/run/lock").expect("root makes what a minimal machine lacks");
    let turn = File::create(TURN).expect("/run/lock takes a file");
    until("it is our turn among the tests of demos", ALL_TURNS, || {
        turn.try_lock().map_err(|error| error.to_string())
    });
    Some(turn)
}

/// The plugin that is tested.
pub(crate) fn plugin() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_millrace")).with_file_name("millrace-cni");
    millrace_rig::plugin::plugin(beside)
}

/// The demo with these arguments.
pub(crate) fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.env("MILLRACE_CNI", plugin()).arg("demo").args(arguments);
    command
}

/// A demo that goes on running, or is caught in the middle.
pub(crate) struct Kept {
    pub(crate) child: Child,
    lines: Receiver<String>,
    /// What it has said so far.
    pub(crate) heard: Vec<String>,
}

impl Kept {
    /// Starts one and waits until it says a line that begins with `line`.
    pub(crate) fn start(line: &str) -> Kept {
        // It keeps, and serves the console beside.
        let keep: &[&str] = if line == KEPT { &["--console"] } else { &[] };
        let mut child = demo(keep).stdout(Stdio::piped()).spawn().expect("the demo starts");
        let stdout = BufReader::new(child.stdout.take().expect("it was piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut kept = Kept { child, lines, heard: Vec::new() };
        loop {
            match kept.lines.recv_timeout(PATIENCE) {
                Ok(said) if said.starts_with(line) => return kept,
                Ok(said) => kept.heard.push(said),
                Err(_) => panic!("the demo never said {line:?}, but:\n{}", kept.heard.join("\n")),
            }
        }
    }

    /// The rest of the word that `lead` begins, or the word behind it, where it was said last but for the proofs.
    pub(crate) fn word_after(&self, lead: &str) -> String {
        let look = self.heard.iter().skip_while(|line| !line.starts_with("Everything goes on running"));
        let rest = look.filter_map(|line| line.split_once(lead)).map(|(_, rest)| rest).next();
        let word = rest.and_then(|rest| rest.split_whitespace().next());
        word.unwrap_or_else(|| panic!("nothing after {lead:?} in:\n{}", self.heard.join("\n"))).to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for its end; gives its exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let status = millrace_rig::end::within(PATIENCE, &mut self.child);
        status.unwrap_or_else(|| panic!("the demo ends: not within {PATIENCE:?}")).code()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
