//! The container `istio-init` and its unprivileged twin `istio-validation`, each made out of the other: the same image, with
//! other arguments and another security context. PURE.
//!
//! It does as it is told and decides nothing about the pod.

use super::edit::Edit;
use millrace_core::knobs::{self, KNOBS};
use millrace_core::policy::INIT;
use millrace_core::settings::{Dns, Settings};
use millrace_core::status::STATUS_ANNOTATION;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The container that validates, without privilege, that somebody else has redirected.
pub(crate) const VALIDATION: &str = "istio-validation";

/// What makes Istio's own program validate instead of redirect.
const VALIDATE_ONLY: [&str; 2] = ["--run-validation", "--skip-rule-apply"];

/// What one of the two containers is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    program: Program,
    /// Its arguments without the word that names the job.
    pub(crate) flags: Vec<String>,
    /// Its variables that have a literal value.
    pub(crate) env: BTreeMap<String, String>,
}

/// Whose program it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// `pilot-agent istio-iptables`, of every image of a sidecar in the field.
    Istio { named: bool },
    /// `millrace-cni`.
    Millrace,
}

/// What a container is told; `None` if it runs something that is not known here, and might not be able to do the other's job.
pub(crate) fn told(container: &Value) -> Option<Told> {
    let words = |field: &str| match &container[field] {
        Value::Null => Some(Vec::new()),
        list => list.as_array()?.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
    };
    let (command, mut args): (Vec<String>, Vec<String>) = (words("command")?, words("args")?);
    let file = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
    let command: Vec<String> = command.iter().map(file).collect();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let word = args.first().map(String::as_str);
    let (program, named) = match (command.as_slice(), word) {
        ([] | ["pilot-agent"], Some("istio-iptables")) => (Program::Istio { named: true }, true),
        (["pilot-agent", "istio-iptables"] | ["istio-iptables"], _) => {
            (Program::Istio { named: false }, false)
        }
        ([] | ["millrace-cni"], Some("init" | "validate")) => (Program::Millrace, true),
        _ => return None,
    };
    if named {
        args.remove(0);
    }
    let env = container["env"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| Some((one["name"].as_str()?.to_owned(), one["value"].as_str()?.to_owned())));
    Some(Told { program, flags: args, env: env.collect() })
}

/// Makes the init container at `index` the one that validates, as the proxy's user and group.
pub(super) fn validate(edit: &mut Edit, index: usize, told: &Told, (user, group): (u32, u32)) {
    let mut args = told.flags.clone();
    args.retain(|arg| !is_validation(arg));
    match told.program {
        Program::Istio { named } => {
            args.extend(VALIDATE_ONLY.map(str::to_owned));
            if named {
                args.insert(0, "istio-iptables".to_owned());
            }
        }
        Program::Millrace => args.insert(0, "validate".to_owned()),
    }
    edit.set_of_init_container(index, "name", json!(VALIDATION));
    edit.set_of_init_container(index, "args", json!(args));
    let context = json!({
        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "privileged": false,
        "readOnlyRootFilesystem": true, "runAsGroup": group, "runAsNonRoot": true, "runAsUser": user,
    });
    secure(edit, index, context);
    rename(edit, INIT, VALIDATION);
}

/// Makes the init container at `index` the one that redirects, with the privilege that takes. The settings are for one
/// that is told nothing.
pub(super) fn redirect(edit: &mut Edit, index: usize, told: &Told, settings: &Settings) {
    let mut args = told.flags.clone();
    args.retain(|arg| !is_validation(arg));
    if args.is_empty() {
        args = flags(settings, told.program);
    }
    match told.program {
        Program::Istio { named: true } => args.insert(0, "istio-iptables".to_owned()),
        Program::Istio { named: false } => {}
        Program::Millrace => args.insert(0, "init".to_owned()),
    }
    edit.set_of_init_container(index, "name", json!(INIT));
    edit.set_of_init_container(index, "args", json!(args));
    let context = json!({
        "allowPrivilegeEscalation": false, "capabilities": { "add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"] },
        "privileged": false, "readOnlyRootFilesystem": false, "runAsGroup": 0, "runAsNonRoot": false, "runAsUser": 0,
    });
    secure(edit, index, context);
    rename(edit, VALIDATION, INIT);
}

/// Says in the injector's own list that `from` is called `to` now. A list that cannot be read stays as it is.
pub(super) fn rename(edit: &mut Edit, from: &str, to: &str) {
    let Some(mut status) =
        edit.annotation(STATUS_ANNOTATION).and_then(|text| serde_json::from_str(text).ok())
    else {
        return;
    };
    if renamed(&mut status, from, to) {
        edit.annotate(STATUS_ANNOTATION, Some(&status.to_string()));
    }
}

fn renamed(status: &mut Value, from: &str, to: &str) -> bool {
    let Some(names) = status.get_mut("initContainers").and_then(Value::as_array_mut) else { return false };
    let Some(place) = names.iter().position(|name| name == from) else { return false };
    if names.iter().any(|name| name == to) {
        names.remove(place);
    } else {
        names[place] = json!(to);
    }
    true
}

/// Sets what matters of the security context; what else it says (seccomp, SELinux) stays.
fn secure(edit: &mut Edit, index: usize, wanted: Value) {
    let mut context: Map<String, Value> =
        edit.init_container_at(index)["securityContext"].as_object().cloned().unwrap_or_default();
    context.extend(wanted.as_object().cloned().unwrap_or_default());
    edit.set_of_init_container(index, "securityContext", Value::Object(context));
}

fn is_validation(arg: &str) -> bool {
    let name = arg.split_once('=').map_or(arg, |(name, _)| name);
    VALIDATE_ONLY.contains(&name)
}

/// Settings as flags, of those that the program knows.
fn flags(settings: &Settings, program: Program) -> Vec<String> {
    let mut flags = Vec::new();
    for (knob, (key, text)) in KNOBS.iter().zip(knobs::write(settings)) {
        // Istio's program has a letter for each setting that it takes by flag, and a switch for one more.
        let known = program == Program::Millrace || knob.short.is_some() || knob.switch;
        if known && text != knob.bare {
            flags.push(format!("--{}={text}", knob.flag));
        } else if key == "dnsCapture" && settings.dns != Dns::Off {
            flags.extend(["--redirect-dns".to_owned(), "--capture-all-dns".to_owned()]);
        }
    }
    flags
}
