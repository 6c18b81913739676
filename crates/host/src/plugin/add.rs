//! ADD: decide, ask if need be, plan, apply, keep a record, tell the agent, pass the result through.
//!
//! A failure on a rung never reaches a pod that an earlier one settles. What is told to the agent is told after the pod's
//! fate is sealed and changes nothing of it.

use super::{RELEASE, key, records};
use crate::backend::{self, Applied, How};
use crate::netns::NetNs;
use crate::outcome::Outcome;
use crate::{families, socket};
use millrace_core::ask::{Answer, Event, Question};
use millrace_core::cni::entry::FailurePolicy;
use millrace_core::cni::{Code, Error, PodName, Request, reply};
use millrace_core::dialect::Backend;
use millrace_core::policy::{Early, Mesh, Reason, from_annotations};
use millrace_core::record::Record;
use millrace_core::rules::Plan;
use millrace_core::rules::plan::plan;
use millrace_core::settings::{Families, Settings};
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use std::fmt::Display;
use std::path::Path;
use std::time::Instant;

/// What is done with the pod, and who said so.
enum Fate {
    Pass { reason: Reason, rung: &'static str },
    Redirect { settings: Box<Settings>, stamp: String, rung: &'static str },
}

/// What was done.
struct Done {
    reason: &'static str,
    rung: &'static str,
    backend: Option<Backend>,
}

pub(super) fn add(mut request: Request, start: Instant) -> Result<Outcome, Error> {
    let mut notes = Vec::new();
    let fate = decide(&mut request, &mut notes);
    request.complaints.append(&mut notes);
    let done = fate.and_then(|fate| carry_out(fate, &mut request));
    tell(&mut request, &done, start);
    done?;
    let stdout = reply::result(request.previous.take(), request.version);
    let notes = std::mem::take(&mut request.complaints);
    // The process ends next. Giving memory back piece by piece is an eighth of what our own code costs a pod's start.
    std::mem::forget(request);
    Ok(Outcome { stdout, notes, status: 0 })
}

fn decide(request: &mut Request, notes: &mut Vec<String>) -> Result<Fate, Error> {
    let nobody = PodName::default();
    let pod = request.environment.pod.as_ref().unwrap_or(&nobody);
    let mesh = Mesh {
        excluded_namespaces: std::mem::take(&mut request.entry.exclude_namespaces),
        enrolled_namespaces: request.entry.enrolled_namespaces.take(),
        ..Mesh::default()
    };
    match from_annotations(&pod.namespace, &pod.name, request.annotations.as_ref(), &mesh) {
        Early::Skip(reason) => Ok(Fate::Pass { reason, rung: "node" }),
        Early::Redirect(settings) => {
            let stamp = request.annotations.as_mut().and_then(|known| known.remove(STAMP_ANNOTATION));
            Ok(Fate::Redirect { settings, stamp: stamp.unwrap_or_default(), rung: "stamp" })
        }
        Early::Ask(unreadable) => {
            notes.extend(unreadable.map(|error| error.to_string()));
            match ask(request, pod) {
                Err(error) if request.entry.failure_policy == FailurePolicy::Open => {
                    notes.push(format!("started unprotected, as failurePolicy is Open: {error}"));
                    Ok(Fate::Pass { reason: Reason::FailedOpen, rung: "policy" })
                }
                other => other,
            }
        }
    }
}

fn ask(request: &Request, pod: &PodName) -> Result<Fate, Error> {
    let question = Question {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        container: request.environment.container.clone(),
        interface: request.environment.interface.clone(),
        netns: request.environment.netns.clone(),
        // The agent knows the pod; what a runtime hands over may fill a frame.
        annotations: None,
    };
    let who = format!("pod {}/{}", pod.namespace, pod.name);
    let socket = Path::new(&request.entry.agent_socket);
    let answer = socket::ask(socket, &question, request.entry.agent_timeout).map_err(|error| match error {
        socket::Error::Absent { .. } => Error::new(Code::TryAgain, format!("{who}: {error}")).because(
            "it may be in the mesh, so it does not start unprotected; see that the millrace agent runs on this node, \
             or exclude the namespace, or set failurePolicy to Open",
        ),
        socket::Error::Protocol(_) => Error::new(Code::Answer, format!("{who}: {error}"))
            .because("bring the agent and millrace-cni to the same release"),
    })?;
    let text = match answer {
        Answer::Decided(text) => text,
        Answer::Failed(failure) => {
            let code = if failure.code == Code::TryAgain as u16 { Code::TryAgain } else { Code::Answer };
            let message = format!("{who}: the node agent cannot decide: {}", failure.message);
            return Err(Error::new(code, message).because("see the agent's log on this node"));
        }
    };
    match stamp::read(&text) {
        Ok(Stamp::Redirect(settings)) => Ok(Fate::Redirect { settings, stamp: text, rung: "agent" }),
        Ok(Stamp::Skip(reason)) => Ok(Fate::Pass { reason, rung: "agent" }),
        Err(error) => {
            Err(Error::new(Code::Answer, format!("{who}: the node agent's answer cannot be used: {error}"))
                .because("bring the agent and millrace-cni to the same release"))
        }
    }
}

fn carry_out(fate: Fate, request: &mut Request) -> Result<Done, Error> {
    match fate {
        Fate::Pass { reason, rung } => Ok(Done { reason: reason.name(), rung, backend: None }),
        Fate::Redirect { settings, stamp, rung } => {
            let backend = redirect(&settings, stamp, request)?;
            Ok(Done { reason: "Redirected", rung, backend: Some(backend) })
        }
    }
}

fn redirect(settings: &Settings, stamp: String, request: &mut Request) -> Result<Backend, Error> {
    let path = request.environment.netns.clone();
    let netns = NetNs::open(Path::new(&path)).map_err(|error| {
        Error::new(Code::Io, format!("cannot redirect: {error}")).because("nothing was applied")
    })?;
    guard_own_namespace(request, &netns)?;
    let earlier = earlier(request);
    netns.enter_for_good().map_err(|error| refused(&path, &error))?;
    let families = families_of(request)?;
    let memory = Path::new(&request.entry.state_dir).join("backend");
    let plan = plan(settings, families);
    let how = How {
        choice: request.entry.backend,
        memory: Some(&memory),
        earlier: earlier.as_ref(),
        ..How::default()
    };
    let Applied { backend, left } =
        backend::apply_here(&netns, &plan, &how).map_err(|error| refused(&path, &error))?;
    request
        .complaints
        .extend(left.iter().map(|error| format!("an earlier ADD's rules may be left: {error}")));
    std::mem::forget(plan);
    let pod = request.environment.pod.clone().unwrap_or_default();
    let record = Record {
        key: key(request),
        netns: path,
        namespace: pod.namespace,
        name: pod.name,
        uid: pod.uid,
        stamp,
        families,
        backend,
        release: Some(RELEASE.to_owned()),
    };
    // The pod is protected; a record only lets CHECK and GC look again.
    if let Err(error) = records(request).keep(&record) {
        request.complaints.push(format!("CHECK will know nothing of it: {error}"));
    }
    Ok(backend)
}

/// A runtime that names its own namespace would have the node redirected. A pod that is left alone is not asked: nothing
/// is touched for it, and looking at two namespaces is a good part of what its start costs.
fn guard_own_namespace(request: &Request, netns: &NetNs) -> Result<(), Error> {
    let failed = |error: crate::netns::Error| Error::new(Code::Io, format!("cannot redirect: {error}"));
    if request.environment.own_namespace_allowed || !netns.is_own().map_err(failed)? {
        return Ok(());
    }
    let path = netns.path().display();
    let message = format!("plugin's netns and netns from CNI_NETNS should not be the same: {path}");
    Err(Error::new(Code::OwnNamespace, message)
        .because("the runtime named the network namespace it runs in; CNI_NETNS_OVERRIDE=1 allows that"))
}

/// What an earlier ADD put there, if there was one: settings, families and backend may all be others by now.
fn earlier(request: &mut Request) -> Option<Plan> {
    let unknown = |error: &dyn Display| format!("what an earlier ADD did is not known: {error}");
    match records(request).find(&key(request)) {
        Ok(record) => match stamp::read(&record.as_ref()?.stamp) {
            Ok(Stamp::Redirect(settings)) => Some(plan(&settings, record?.families)),
            Ok(Stamp::Skip(_)) => None,
            Err(error) => {
                request.complaints.push(unknown(&error));
                None
            }
        },
        Err(error) => {
            request.complaints.push(unknown(&error));
            None
        }
    }
}

fn refused(path: &str, error: &dyn Display) -> Error {
    Error::new(Code::Refused, format!("cannot redirect {path}: {error}"))
        .because("the pod does not start unprotected; the runtime will try again")
}

/// A result with an IPv6 address settles it. One without does not: a plugin further up the chain may have given the pod
/// an interface of which it says nothing (EKS' IPv6 egress does), any other interface than the default network's tells
/// only its own, and Multus's auxiliary chain tells none. The namespace, in which we are by now, is then asked itself.
fn families_of(request: &Request) -> Result<Families, Error> {
    match request.families() {
        Some(Families::Both) => Ok(Families::Both),
        _ => families::own()
            .map_err(|error| Error::new(Code::Io, format!("cannot tell the pod's addresses: {error}"))),
    }
}

/// Takes its words out of `request`, which nobody needs any more but for the result.
fn tell(request: &mut Request, done: &Result<Done, Error>, start: Instant) {
    let message = request.complaints.join("; ");
    let environment = &mut request.environment;
    let pod = environment.pod.take().unwrap_or_default();
    let mut event = Event {
        verb: environment.verb.name().to_owned(),
        network: std::mem::take(&mut request.network),
        container: std::mem::take(&mut environment.container),
        interface: std::mem::take(&mut environment.interface),
        namespace: pod.namespace,
        name: pod.name,
        uid: pod.uid.unwrap_or_default(),
        microseconds: u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
        message,
        ..Event::default()
    };
    match done {
        Ok(done) => {
            event.outcome = if done.backend.is_some() { "redirected" } else { "passed" }.to_owned();
            event.reason = done.reason.to_owned();
            event.rung = done.rung.to_owned();
            event.backend = done.backend.map_or("", Backend::name).to_owned();
        }
        Err(error) => {
            event.outcome = "failed".to_owned();
            event.code = error.code as u16;
            event.message = error.to_string();
        }
    }
    socket::tell(Path::new(&request.entry.event_socket), &event.write());
}
