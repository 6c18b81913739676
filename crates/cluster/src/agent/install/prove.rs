//! Does the plugin run where it lies? It is executed once, with nothing to do, before any list names it.
//!
//! The only place of the agent that starts a program. It is given no environment but the question, and a deadline.

use super::Error;
use crate::agent::program::{ends, unless_busy};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to say its versions: it is one page of text, on a loaded node.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most of what it says that is read.
const LONGEST: u64 = 64 << 10;
/// For how long a file may be busy: another thread's fork held it open for the instant before its exec.
const BUSY: Duration = Duration::from_secs(5);

/// The versions that the plugin at `path` says it speaks.
pub(crate) fn versions(path: &Path) -> Result<Vec<String>, Error> {
    let failed = |why: String| Error::DoesNotRun { path: path.to_owned(), why };
    let said = run(path).map_err(|cause| failed(cause.to_string()))?;
    let answer: serde_json::Value =
        serde_json::from_slice(&said).map_err(|_| failed("it does not answer VERSION in JSON".to_owned()))?;
    let versions = answer.get("supportedVersions").and_then(|versions| versions.as_array());
    let versions = versions.ok_or_else(|| failed("it does not say which versions it speaks".to_owned()))?;
    Ok(versions.iter().filter_map(|version| version.as_str()).map(str::to_owned).collect())
}

/// As [`versions`]; an error if one of `wanted` is not among them.
pub(super) fn speaks(path: &Path, wanted: &[String]) -> Result<(), Error> {
    let spoken = versions(path)?;
    match wanted.iter().find(|version| !spoken.contains(version)) {
        None => Ok(()),
        Some(version) => Err(Error::DoesNotSpeak {
            folder: path.parent().unwrap_or(Path::new("/")).to_owned(),
            version: version.clone(),
        }),
    }
}

fn run(path: &Path) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut child = start(path, Instant::now() + BUSY)?;
    let ended = ends(&mut child, deadline);
    if !matches!(ended, Ok(true)) {
        // It may have ended just now; then there is nothing to kill.
        let _ = child.kill();
    }
    let status = child.wait()?;
    if !ended? {
        return Err(io::Error::other(format!("it did not end within {PATIENCE:?}")));
    }
    if !status.success() {
        return Err(io::Error::other(format!("it ended with {status}")));
    }
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(LONGEST).read_to_end(&mut said)?;
    }
    Ok(said)
}

fn start(path: &Path, deadline: Instant) -> io::Result<Child> {
    let start = || {
        let mut command = Command::new(path);
        command.env_clear().env("CNI_COMMAND", "VERSION").stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::null()).spawn()
    };
    unless_busy(start, deadline)
}
