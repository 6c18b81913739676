//! Where a command's settings come from: a manifest, single settings, or arguments of `istio-init`.
//!
//! Reads the file it is told to read, and nothing else of this machine.

use crate::args::pod::{self as args, Source};
use crate::facts::{self, Found};
use anyhow::{Context, Result, bail};
use millrace_core::complaint::Complaint;
use millrace_core::knobs::{self, Defaults, Flags, Surroundings, Usage};
use millrace_core::policy::{Basis, Decision, PROXY};
use millrace_core::rules::Family;
use millrace_core::settings::{Families, Settings};
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The settings that a manifest or the arguments themselves name, and what is wrong with them.
pub(super) fn settings(source: &Source) -> Result<(Settings, Vec<Complaint>)> {
    if let Some(file) = &source.file {
        let found = one(manifest(file, "default")?, source.pod.as_deref())?;
        let (settings, complaints) = of_pod(&found);
        return Ok((settings, complaints));
    }
    if !source.init.is_empty() {
        let flags = of_init(&source.init, &BTreeMap::new(), None)?;
        return Ok((flags.settings, flags.complaints));
    }
    Ok(knobs::read(set(&source.set)?))
}

/// What an `istio-init` is told by its arguments and its environment, in the pod that a process is in.
pub(super) fn of_init(
    args: &[String],
    env: &BTreeMap<String, String>,
    pid: Option<u32>,
) -> Result<Flags, Usage> {
    let resolvers = || {
        let pid = pid.ok_or("only the pod's own counts")?;
        let path = format!("/proc/{pid}/root/etc/resolv.conf");
        std::fs::read_to_string(&path).map_err(|error| format!("read {path}: {error}"))
    };
    // The users are those of the container that the arguments are meant for, not this machine's.
    let around = Surroundings {
        env: &|name| env.get(name).cloned(),
        user: &|_| None,
        group: &|_| None,
        resolv_conf: &resolvers,
    };
    knobs::settings_from_flags(args, &around)
}

/// Whether the arguments name any settings.
pub(super) fn is_given(source: &Source) -> bool {
    source.subject.is_some() || source.file.is_some() || !source.set.is_empty() || !source.init.is_empty()
}

/// The pods of a manifest.
pub(super) fn manifest(file: &Path, namespace: &str) -> Result<Vec<Found>> {
    let named = || format!("read pods from {}", name(file));
    let text = read(file).with_context(named)?;
    facts::pods(&text, namespace).with_context(named)
}

/// The documents of a manifest.
pub(super) fn documents(file: &Path) -> Result<Vec<Value>> {
    let named = || format!("read {}", name(file));
    let text = read(file).with_context(named)?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).context("it is not YAML").with_context(named)?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// Single settings, text by key.
pub(super) fn set(set: &[String]) -> Result<Vec<(&str, &str)>> {
    let mut items = Vec::new();
    for item in set {
        let (key, value) = item.split_once('=').with_context(|| format!("--set {item}: write KEY=VALUE"))?;
        if !knobs::KNOBS.iter().any(|knob| knob.key == key) {
            bail!("--set {key}: there is no such setting; `millrace rules -o settings` lists all");
        }
        items.push((key, value));
    }
    Ok(items)
}

/// What a pod's stamp says, else what the pod says.
pub(super) fn of_pod(found: &Found) -> (Settings, Vec<Complaint>) {
    let (stated, mut complaints) = knobs::settings_of(&found.pod, PROXY, &Defaults::default());
    complaints.splice(0..0, found.complaints.iter().cloned());
    match found.pod.annotations.get(STAMP_ANNOTATION).map(|text| stamp::read(text)) {
        Some(Ok(Stamp::Redirect(settings))) => (*settings, complaints),
        _ => (stated, complaints),
    }
}

/// A complaint about a stamp that cannot be followed.
pub(super) fn about_stamp(decision: &Decision) -> Option<Complaint> {
    match &decision.basis {
        Basis::UnreadableStamp(error) => {
            let fix = "restart the pod to have it stamped anew";
            Some(Complaint::note(STAMP_ANNOTATION, "…", format!("cannot be followed: {error}"), fix))
        }
        Basis::Conditions | Basis::Stamp => None,
    }
}

/// The families to plan for, and of these the ones to show.
pub(super) fn families(family: args::Family) -> (Families, &'static [Family]) {
    match family {
        args::Family::V4 => (Families::V4, &[Family::V4]),
        args::Family::V6 => (Families::Both, &[Family::V6]),
        args::Family::Both => (Families::Both, &[Family::V4, Family::V6]),
    }
}

fn one(mut found: Vec<Found>, wanted: Option<&str>) -> Result<Found> {
    let full = |one: &Found| format!("{}/{}", one.pod.namespace, one.pod.name);
    if let Some(wanted) = wanted {
        found.retain(|one| one.pod.name == wanted || full(one) == wanted);
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => bail!("the manifest has no pod {}", wanted.unwrap_or_default()),
        _ => {
            let names: Vec<String> = found.iter().map(full).collect();
            bail!("the manifest has several pods; say --pod with one of {}", names.join(", "))
        }
    }
}

fn name(file: &Path) -> String {
    if file == Path::new("-") { "standard input".into() } else { file.display().to_string() }
}

fn read(file: &Path) -> Result<String> {
    let source: Box<dyn Read> =
        if file == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(File::open(file)?) };
    let mut text = String::new();
    source.take(facts::LARGEST as u64 + 1).read_to_string(&mut text)?;
    if text.len() > facts::LARGEST {
        bail!("it has more than {} MiB; split it", facts::LARGEST >> 20);
    }
    Ok(text)
}
