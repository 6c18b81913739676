//! All settings of a redirection in one table, and the ways in which people state them: annotations, the sidecar's
//! environment, flags of `istio-init`, the stamp. A setting is in the table or it does not exist.
//!
//! Decides nothing about pods and knows no rules. Reading never fails: it returns the value and a list of complaints.

mod check;
mod defaults;
mod flags;
mod of_pod;
mod options;
mod read;
mod resolv;
mod table;

pub use defaults::Defaults;
pub use flags::{Flags, InitOptions, IptablesBinary, Surroundings, Usage, help, settings_from_flags};
pub use of_pod::{STAMP_ANNOTATION, clashes, settings_of};
pub(crate) use read::go_bool;
pub use resolv::nameservers;
pub use table::KNOBS;

use crate::complaint::Complaint;
use crate::settings::{Inbound, Outbound, OwnerGroups, PortRange, Settings};
use ipnet::IpNet;
use read::Reader;
use std::borrow::Cow;
use std::mem::replace as take;

/// The most items one list may have; more is an error (M10).
pub const MOST_ITEMS: usize = 256;

/// One setting: its names everywhere, its default, and how its text is read and written.
pub struct Knob {
    /// Its name in the stamp, in output, and after `millrace.dev/` where Istio has no annotation for it.
    pub key: &'static str,
    /// Its annotations, preferred first; the rest is deprecated.
    pub annotations: &'static [&'static str],
    /// Variables of the container `istio-proxy` that state it when no annotation does.
    pub proxy_env: &'static [&'static str],
    /// Its long flag, without the dashes.
    pub flag: &'static str,
    /// Its short flag.
    pub short: Option<char>,
    /// Variables of `istio-init` that state it when no flag does, preferred first.
    pub env: &'static [&'static str],
    /// Whether the flag may stand without a value.
    pub switch: bool,
    /// Its value when a pod does not state it.
    pub default: &'static str,
    /// Its value when `istio-init` is not told; differs where the field's CNI plugins and `istio-init` differ.
    pub bare: &'static str,
    /// What it means, its range, and whose it is.
    pub doc: &'static str,
    read: fn(&mut Draft, &mut Reader<'_>, &str),
    write: fn(&Draft) -> String,
}

/// Settings while they are being read: the lists that only together make one setting are still apart.
#[derive(Clone, Debug)]
struct Draft {
    settings: Settings,
    include_inbound: Scope<PortRange>,
    exclude_inbound: Vec<PortRange>,
    include_outbound: Scope<IpNet>,
    include_groups: Scope<u32>,
    exclude_groups: Vec<u32>,
}

/// `*`, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope<T> {
    All,
    These(Vec<T>),
}

impl Draft {
    fn of(mut settings: Settings) -> Draft {
        let (include_inbound, exclude_inbound) = match take(&mut settings.inbound, Inbound::Nothing) {
            Inbound::AllExcept(ports) => (Scope::All, ports),
            Inbound::Only(ports) => (Scope::These(ports), Vec::new()),
            Inbound::Nothing => (Scope::These(Vec::new()), Vec::new()),
        };
        let include_outbound = match take(&mut settings.outbound, Outbound::Nothing) {
            Outbound::All => Scope::All,
            Outbound::Only(ranges) => Scope::These(ranges),
            Outbound::Nothing => Scope::These(Vec::new()),
        };
        let groups = take(&mut settings.owner_groups, OwnerGroups::Only(Vec::new()));
        let (include_groups, exclude_groups) = match groups {
            OwnerGroups::AllExcept(groups) => (Scope::All, groups),
            OwnerGroups::Only(groups) => (Scope::These(groups), Vec::new()),
        };
        Draft { settings, include_inbound, exclude_inbound, include_outbound, include_groups, exclude_groups }
    }

    fn settings(self) -> Settings {
        let inbound = match self.include_inbound {
            Scope::All => Inbound::AllExcept(self.exclude_inbound),
            Scope::These(ports) if ports.is_empty() => Inbound::Nothing,
            Scope::These(ports) => Inbound::Only(ports),
        };
        let outbound = match self.include_outbound {
            Scope::All => Outbound::All,
            Scope::These(ranges) if ranges.is_empty() => Outbound::Nothing,
            Scope::These(ranges) => Outbound::Only(ranges),
        };
        let owner_groups = match self.include_groups {
            Scope::All => OwnerGroups::AllExcept(self.exclude_groups),
            Scope::These(groups) => OwnerGroups::Only(groups),
        };
        Settings { inbound, outbound, owner_groups, ..self.settings }
    }
}

/// Where a text stands. It decides who could have meant what by it, and how strictly it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Annotation,
    Operator,
    ProxyEnv,
    Flag,
    Env,
    Stamp,
}

/// Every setting as text, by key, in the table's order: what the stamp holds and people are shown.
pub fn write(settings: &Settings) -> Vec<(&'static str, String)> {
    let draft = Draft::of(settings.clone());
    KNOBS.iter().map(|knob| (knob.key, (knob.write)(&draft))).collect()
}

/// Reads back what [`write()`] wrote. A setting that is not mentioned has its default; a key that is not in the table is
/// a fatal complaint.
pub fn read<'a>(items: impl IntoIterator<Item = (&'a str, &'a str)>) -> (Settings, Vec<Complaint>) {
    let mut draft = Draft::of(Settings::default());
    let mut complaints = Vec::new();
    let mut written = Vec::with_capacity(KNOBS.len());
    for (key, text) in items {
        match place_of(key, written.len()).map(|at| &KNOBS[at]) {
            Some(knob) => {
                written.push((knob.key, Cow::Borrowed(key)));
                let mut reader = Reader::new(key, Source::Stamp, &mut complaints);
                (knob.read)(&mut draft, &mut reader, text);
            }
            None => complaints.push(Complaint::fatal(
                key,
                text,
                "is not a setting of this version",
                "use the version of Millrace that wrote it",
            )),
        }
    }
    check::together(&draft, &written, &mut complaints);
    (draft.settings(), complaints)
}

/// Where in the table a key stands. It is looked for from `near` on, for whoever writes settings keeps to the table's order.
pub(crate) fn place_of(key: &str, near: usize) -> Option<usize> {
    let near = near.min(KNOBS.len());
    let found = |from: &[Knob]| from.iter().position(|knob| knob.key == key);
    found(&KNOBS[near..]).map(|at| near + at).or_else(|| found(&KNOBS[..near]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_defaults_of_the_table_are_the_defaults_of_settings() {
        let defaults = KNOBS.iter().map(|knob| (knob.key, knob.default));
        let (settings, complaints) = read(defaults);
        assert_eq!(complaints, []);
        // excludeInboundPorts is completed for pods only: see `of_pod`.
        let inbound = Inbound::AllExcept(vec![15020.into()]);
        assert_eq!(settings, Settings { inbound, ..Settings::default() });
    }

    #[test]
    fn no_name_is_used_twice() {
        let mut names = BTreeSet::new();
        for knob in KNOBS {
            let own = [knob.key.to_owned(), format!("--{}", knob.flag)];
            let short = knob.short.map(|short| format!("-{short}"));
            let given = knob.annotations.iter().chain(knob.env).map(|name| (*name).to_owned());
            for name in own.into_iter().chain(short).chain(given) {
                assert!(names.insert(name.clone()), "{name} is used twice");
            }
        }
    }

    #[test]
    fn every_setting_can_be_stated_on_a_pod_and_is_documented() {
        for knob in KNOBS {
            assert!(!knob.annotations.is_empty(), "{}", knob.key);
            assert!(knob.doc.len() > 20, "{}", knob.key);
        }
    }
}
