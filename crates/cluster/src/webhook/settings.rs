//! The settings that a pod is stamped with: what its annotations and its sidecar say, and what the injector told its
//! `istio-init`. PURE.
//!
//! Reading is core's work; this only says who is believed. An injector folds the mesh's own settings into those arguments,
//! which no annotation repeats, and always writes all of them, so that what every pod's say is no statement.

use super::init::Told;
use millrace_core::complaint::Complaint;
use millrace_core::knobs::{self, KNOBS, Knob, Surroundings, Usage};
use millrace_core::pod::Pod;
use millrace_core::policy::Mesh;
use millrace_core::settings::Settings;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// The settings of a pod, and what is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) settings: Settings,
    /// What is wrong with what is stated.
    pub(super) complaints: Vec<Complaint>,
    /// Which containers run as the proxy.
    pub(super) clashes: Vec<Complaint>,
}

/// What an injector tells `istio-init` for a pod and a mesh that state nothing. One argument is empty.
const USUAL: &str = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020";

/// The same, as settings in words: they are asked for with every pod.
static USUALLY: LazyLock<Vec<(&str, String)>> = LazyLock::new(|| {
    let words: Vec<String> = USUAL.split(' ').map(str::to_owned).collect();
    let usual = from_flags(&words, &BTreeMap::new()).expect("these flags are known");
    knobs::write(&usual.settings)
});

/// Annotations that only Millrace knows, so that no injector can have told `istio-init` of them.
const OURS: &str = "millrace.dev/";

/// The settings of a pod; an error if what its init container is told cannot be understood.
pub(super) fn resolve(pod: &Pod, told: Option<&Told>, mesh: &Mesh) -> Result<Resolved, Usage> {
    let (mut settings, mut complaints) = knobs::settings_of(pod, &mesh.proxy_container, &mesh.defaults);
    let clashing = knobs::clashes(pod, &mesh.proxy_container, &settings);
    complaints.retain(|complaint| !clashing.contains(complaint));
    if let Some(told) = told.filter(|told| !told.flags.is_empty()) {
        let flags = from_flags(&told.flags, &told.env)?;
        complaints.extend(flags.complaints.into_iter().filter(|complaint| complaint.fatal));
        let items = merged(pod, &settings, &flags.settings);
        let (merged, fatal) = knobs::read(items.iter().map(|(key, text)| (*key, text.as_str())));
        complaints.extend(fatal.into_iter().filter(|complaint| complaint.fatal));
        settings = merged;
    }
    let clashes = knobs::clashes(pod, &mesh.proxy_container, &settings);
    Ok(Resolved { settings, complaints, clashes })
}

/// Whether what an init container is told can be understood.
pub(super) fn is_readable(told: &Told) -> bool {
    from_flags(&told.flags, &told.env).is_ok()
}

/// As whom the redirection can be validated without privilege: the proxy, unless it is root alone.
pub(super) fn validator(settings: &Settings) -> Option<(u32, u32)> {
    let unprivileged = |ids: &[u32]| ids.iter().copied().find(|id| *id != 0);
    let user = unprivileged(&settings.proxy_uids)?;
    Some((user, unprivileged(&settings.proxy_gids).unwrap_or(user)))
}

/// What an init container is told, as settings.
pub(crate) fn from_flags(flags: &[String], env: &BTreeMap<String, String>) -> Result<knobs::Flags, Usage> {
    let around = Surroundings {
        // A pod's resolvers are not known before it runs, so that all are captured, as the field's plugins do.
        env: &|name| if name == "CAPTURE_ALL_DNS" { Some("true".to_owned()) } else { env.get(name).cloned() },
        user: &|_| None,
        group: &|_| None,
        resolv_conf: &|| Err("only the pod's own counts".to_owned()),
    };
    knobs::settings_from_flags(flags, &around)
}

fn merged(pod: &Pod, stated: &Settings, told: &Settings) -> Vec<(&'static str, String)> {
    let (told, usual) = (knobs::write(told), &*USUALLY);
    let uids = told.iter().find(|(key, _)| *key == "proxyUIDs").map(|(_, text)| text.clone());
    let mut items = Vec::with_capacity(KNOBS.len());
    for (at, (key, text)) in knobs::write(stated).into_iter().enumerate() {
        // Groups that are not told are the users' numbers, which says nothing of the groups.
        let derived = key == "proxyGIDs" && Some(&told[at].1) == uids.as_ref();
        let silent = derived || same(&told[at].1, &usual[at].1) || is_ours(pod, &KNOBS[at]);
        items.push((key, if silent { text } else { told[at].1.clone() }));
    }
    items
}

/// Whether two texts of one setting say the same; in a list, order says nothing.
fn same(one: &str, other: &str) -> bool {
    let items = |text: &str| text.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
    one == other || items(one) == items(other)
}

fn is_ours(pod: &Pod, knob: &Knob) -> bool {
    knob.annotations.iter().any(|name| name.starts_with(OURS) && pod.annotations.contains_key(*name))
}
