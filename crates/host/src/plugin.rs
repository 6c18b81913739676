//! The CNI verbs, from environment and standard input to what goes to standard output.
//!
//! ADD climbs the ladder of ARCHITECTURE.md and stops at the first rung that settles the pod, so that a pod outside the
//! mesh never waits for us (M2). DEL never fails, and never touches the network namespace: redirection dies with it, a
//! process may still be running in it unprotected otherwise, and a late DEL may name by path what is another pod's by now.
//! No other program is run, and nothing is written but attachment records.

mod add;
mod check;
pub mod input;

use crate::netns;
use crate::outcome::Outcome;
use crate::records::Records;
use crate::socket;
use millrace_core::cni::{Attachment, Code, Environment, Error, Request, Verb, reply, request};
use millrace_core::record::Key;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

/// Serves one call: standard output is one JSON value, or nothing where the specification wants nothing. `get` answers for a variable of the environment; `stdin` is read only when the verb needs it.
pub fn run(get: impl Fn(&str) -> Option<String>, stdin: impl Read) -> Outcome {
    let start = Instant::now();
    match serve(&get, stdin, start) {
        Ok(outcome) => outcome,
        Err(error) if get("CNI_COMMAND").as_deref() == Some(Verb::Del.name()) => {
            Outcome { notes: vec![format!("DEL went on: {error}")], ..Outcome::default() }
        }
        Err(error) => Outcome { stdout: reply::error(&error), notes: vec![error.to_string()], status: 1 },
    }
}

/// Serves one call as a plugin that was uninstalled: an ADD's previous result goes through as it came, all else succeeds.
pub fn pass(get: impl Fn(&str) -> Option<String>, stdin: impl Read) -> Outcome {
    let verb = get("CNI_COMMAND").and_then(|name| Verb::from_name(&name));
    match verb {
        Some(Verb::Add) => {}
        Some(Verb::Version) => return Outcome { stdout: reply::versions(), ..Outcome::default() },
        Some(_) => return Outcome::default(),
        None => return run(get, stdin),
    }
    let passed = Environment::read(&get).and_then(|environment| Request::read(environment, &read(stdin)?));
    match passed {
        Ok(request) => {
            Outcome { stdout: reply::result(request.previous, request.version), ..Outcome::default() }
        }
        Err(error) => Outcome { stdout: reply::error(&error), notes: vec![error.to_string()], status: 1 },
    }
}

/// What a call ends with that ran into a defect of ours.
pub fn panicked(get: impl Fn(&str) -> Option<String>, what: &str) -> Outcome {
    let notes = vec![format!("a defect: {what}")];
    if get("CNI_COMMAND").as_deref() == Some(Verb::Del.name()) {
        return Outcome { notes, ..Outcome::default() };
    }
    Outcome { stdout: reply::internal(what), notes, status: 1 }
}

fn serve(get: impl Fn(&str) -> Option<String>, stdin: impl Read, start: Instant) -> Result<Outcome, Error> {
    let environment = Environment::read(get)?;
    if environment.verb == Verb::Version {
        return Ok(Outcome { stdout: reply::versions(), ..Outcome::default() });
    }
    let request = Request::read(environment, &read(stdin)?)?;
    let version = request.version;
    let served = match request.environment.verb {
        Verb::Add => add::add(request, start),
        Verb::Del => del(&request),
        Verb::Check => check::check(&request),
        Verb::Gc => collect(&request),
        Verb::Status | Verb::Version => status(&request),
    };
    served.map_err(|error| error.told_in(version))
}

fn read(stdin: impl Read) -> Result<Vec<u8>, Error> {
    // Most calls fit, so that one read and one end are all.
    let mut bytes = Vec::with_capacity(4 << 10);
    let read = stdin.take(request::LONGEST_INPUT as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| {
        Error::new(Code::Io, format!("error reading from stdin: {error}"))
            .because("the runtime must give the network configuration there")
    })?;
    // What comes next then lies beside it, in a page that is touched already.
    bytes.shrink_to_fit();
    Ok(bytes)
}

fn del(request: &Request) -> Result<Outcome, Error> {
    let mut notes = request.complaints.clone();
    if let Err(error) = records(request).drop(&key(request)) {
        notes.push(error.to_string());
    }
    Ok(Outcome { notes, ..Outcome::default() })
}

/// Without a list nothing is known; with one, only what is of this network, not listed, and without a namespace goes:
/// runtimes that share a configuration each list only their own.
fn collect(request: &Request) -> Result<Outcome, Error> {
    let mut notes = request.complaints.clone();
    let Some(living) = &request.attachments else { return Ok(Outcome { notes, ..Outcome::default() }) };
    let records = records(request);
    let failed = |errors: &[String]| {
        Error::new(Code::Io, "some attachment records could not be collected").because(errors.join("; "))
    };
    let (found, unreadable) = records.all().map_err(|error| failed(&[error.to_string()]))?;
    notes.extend(unreadable.iter().map(ToString::to_string));
    let mut errors = Vec::new();
    for record in found.into_iter().filter(|record| record.key.network == request.network) {
        let attachment =
            Attachment { container: record.key.container.clone(), interface: record.key.interface.clone() };
        if !living.contains(&attachment)
            && is_gone(Path::new(&record.netns))
            && let Err(error) = records.drop(&record.key)
        {
            errors.push(error.to_string());
        }
    }
    if errors.is_empty() { Ok(Outcome { notes, ..Outcome::default() }) } else { Err(failed(&errors)) }
}

/// Only certainty counts: a path that cannot be looked at now is not gone.
fn is_gone(path: &Path) -> bool {
    use netns::Error::{Gone, NotOne};
    matches!(netns::NetNs::open(path), Err(Gone(_) | NotOne { .. }))
}

/// A failing STATUS makes a node NotReady and could keep our own agent from starting, so it fails only where the
/// operator wants nodes gated.
fn status(request: &Request) -> Result<Outcome, Error> {
    let socket = Path::new(&request.entry.agent_socket);
    if request.entry.status_gating && !socket::is_open(socket) {
        let message = format!("the node agent does not listen at {}", socket.display());
        return Err(Error::new(Code::NotAvailable, message).because(
            "start the millrace agent on this node, or take statusGating out of the millrace-cni entry",
        ));
    }
    Ok(Outcome { notes: request.complaints.clone(), ..Outcome::default() })
}

/// Which release plans here.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

fn records(request: &Request) -> Records {
    Records::below(Path::new(&request.entry.state_dir))
}

fn key(request: &Request) -> Key {
    Key {
        network: request.network.clone(),
        container: request.environment.container.clone(),
        interface: request.environment.interface.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_in_an_error_except_on_del() {
        let ended = |verb: &str| panicked(|_| Some(verb.to_owned()), "index out of bounds at x.rs:1");
        assert_eq!((ended("DEL").status, ended("DEL").stdout.as_str()), (0, ""));
        for verb in ["ADD", "CHECK", "GC", "STATUS", "VERSION", ""] {
            let outcome = ended(verb);
            assert_eq!(outcome.status, 1);
            assert!(
                outcome.stdout.contains("\"code\":999") && outcome.stdout.contains("x.rs:1"),
                "{outcome:?}"
            );
        }
    }
}
