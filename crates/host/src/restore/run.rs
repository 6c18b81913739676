//! One run of a program of the iptables family: fed, heard, and stopped at a deadline.
//!
//! The only place of the house's node side that starts a program, and only the text backend comes here (M6).

use super::{Error, Variant};
use millrace_core::rules::Family;
use std::io::{self, ErrorKind, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long one run may take: the lock's wait and then some.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long iptables itself waits for the lock, in seconds.
const LOCK_WAIT: &str = "10";
/// The most that a run may print.
const LARGEST_OUTPUT: u64 = 16 << 20;
/// A container runtime gives plugins whatever path it has, perhaps none.
const SEARCHED: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the family's tables hold, with counters. Tables that are not there are not made: without `-t`, only the
/// tables the kernel names are read.
pub(super) fn save(variant: Variant, family: Family) -> Result<String, Error> {
    run(&program(variant, family, "save"), &["-c"], "", PATIENCE)
}

/// Commits a script.
pub(super) fn restore(variant: Variant, family: Family, script: &str) -> Result<(), Error> {
    let arguments = ["--noflush", "-w", LOCK_WAIT];
    run(&program(variant, family, "restore"), &arguments, script, PATIENCE).map(drop)
}

fn program(variant: Variant, family: Family, tool: &str) -> String {
    let family = if family == Family::V4 { "iptables" } else { "ip6tables" };
    match variant {
        Variant::Node => format!("{family}-{tool}"),
        Variant::Legacy => format!("{family}-legacy-{tool}"),
        Variant::Nft => format!("{family}-nft-{tool}"),
    }
}

fn run(program: &str, arguments: &[&str], input: &str, patience: Duration) -> Result<String, Error> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", SEARCHED);
    // One lock for each namespace instead of one for the node, under which pods would wait for one another and for
    // kube-proxy (iptables 1.8.6 and later take the name from here; older ones wait as they always did).
    command.env("XTABLES_LOCKFILE", "/proc/self/ns/net");
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().map_err(|cause| match cause.kind() {
        ErrorKind::NotFound => Error::Missing(program.to_owned()),
        _ => Error::Start { program: program.to_owned(), cause: cause.to_string() },
    })?;
    let talk = talk(&mut child, input, Instant::now() + patience);
    if talk.is_none() {
        // Killing fails only if it has just ended.
        drop(child.kill());
    }
    let status = child
        .wait()
        .map_err(|cause| Error::Start { program: program.to_owned(), cause: cause.to_string() })?;
    let Some((output, complaint)) = talk else {
        return Err(Error::Slow { program: program.to_owned(), seconds: patience.as_secs() });
    };
    if !status.success() {
        let complaint = complaint.split_whitespace().collect::<Vec<_>>().join(" ");
        return Err(Error::Failed { program: program.to_owned(), code: status.code(), complaint });
    }
    if output.len() as u64 > LARGEST_OUTPUT {
        return Err(Error::TooMuch(program.to_owned()));
    }
    Ok(output)
}

/// Feeds the child and hears it out, on threads of their own so that neither side waits for the other; `None` if it
/// is not done at the deadline. The threads end when the child does.
fn talk(child: &mut Child, input: &str, deadline: Instant) -> Option<(String, String)> {
    let (mut stdin, input) = (child.stdin.take()?, input.to_owned());
    // A child that ends without reading says why on its way.
    thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = Ear::at(child.stdout.take()?);
    let complaint = Ear::at(child.stderr.take()?);
    Some((output.hear(deadline)?, complaint.hear(deadline)?))
}

/// What came out of a pipe, once all of it has. Not a channel of std's: its thread-local storage is what made this program's
/// outgrow the block that musl has for it, a mapping and a page fault in every pod's start.
struct Ear(Arc<(Mutex<Option<Heard>>, Condvar)>);

type Heard = io::Result<Vec<u8>>;

impl Ear {
    fn at(pipe: impl Read + Send + 'static) -> Ear {
        let ear = Ear(Arc::default());
        let heard = Arc::clone(&ear.0);
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let end = pipe.take(LARGEST_OUTPUT + 1).read_to_end(&mut bytes).map(|_| bytes);
            *heard.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
            heard.1.notify_one();
        });
        ear
    }

    /// What was heard; `None` if the pipe is still open at the deadline.
    fn hear(&self, deadline: Instant) -> Option<String> {
        let (heard, end) = &*self.0;
        let left = deadline.saturating_duration_since(Instant::now());
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = end.wait_timeout_while(heard, left, |heard| heard.is_none());
        let bytes = waited.unwrap_or_else(PoisonError::into_inner).0.take()?.ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], input: &str, patience: Duration) -> Result<String, Error> {
        run(words[0], &words[1..], input, patience)
    }

    #[test]
    fn what_goes_in_comes_out_however_long() {
        // Longer than a pipe holds, both ways.
        let long = "x".repeat(1 << 20);
        assert_eq!(check(&["cat"], &long, PATIENCE), Ok(long));
    }

    #[test]
    fn a_failure_says_what_the_program_said() {
        let failed = check(&["sh", "-c", "echo not  today >&2; exit 3"], "", PATIENCE);
        let expected =
            Error::Failed { program: "sh".to_owned(), code: Some(3), complaint: "not today".to_owned() };
        assert_eq!(failed, Err(expected));
    }

    #[test]
    fn what_is_not_there_is_missing() {
        let program = "millrace-has-no-such-program";
        assert_eq!(check(&[program], "", PATIENCE), Err(Error::Missing(program.to_owned())));
    }

    #[test]
    fn what_does_not_end_is_stopped() {
        let slow = check(&["sleep", "60"], "", Duration::from_millis(20));
        assert_eq!(slow, Err(Error::Slow { program: "sleep".to_owned(), seconds: 0 }));
    }
}
