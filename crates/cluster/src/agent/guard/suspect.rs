//! Who rewrote a node's plugin list, told by what it wrote: decides, and looks at nothing but two pictures of the lists.
//!
//! It is a guess from content, and says so; the audit profile can ask the kernel (`writers`). It never accuses us.

use super::seen::Seen;
use millrace_core::cni::entry::TYPE;
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};

/// Whoever is thought to have changed the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suspect {
    /// The program or product. The same one has the same words here, whatever it does.
    pub(crate) who: String,
    /// What it did, in words that follow `who`.
    pub(crate) deed: String,
    /// What an operator does about it.
    pub(crate) fix: String,
    /// The process, as the kernel named it.
    pub(crate) process: Option<String>,
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.who)?;
        if !self.deed.is_empty() {
            write!(f, ", which {}", self.deed)?;
        }
        self.process.iter().try_for_each(|process| write!(f, " (process {process})"))
    }
}

/// Who made `after` of `before`.
pub(crate) fn suspect(before: &Seen, after: &Seen) -> Suspect {
    renamed(before, after)
        .or_else(|| joined(before, after))
        .or_else(|| owner(before, after))
        .unwrap_or_else(|| named("an unknown writer", String::new(), UNKNOWN))
}

fn named(who: &str, deed: String, fix: &str) -> Suspect {
    Suspect { who: who.to_owned(), deed, fix: fix.to_owned(), process: None }
}

const OWN_LIST: &str = "set install.way to own-list: our own list, sorted before the owner's and following it, outlives its rewriting";
const EXCLUSIVE: &str =
    "set cni.exclusive=false in Cilium's values, or it renames or rewrites every list but its own at once";
const TWO_MESHES: &str =
    "let one mesh own the node's chain: uninstall its CNI plugin, or keep one of the two off this node";
const UNKNOWN: &str =
    "run the agent in the audit profile, which asks the kernel who writes, or set install.way to own-list";
const MULTUS: &str = "let Multus run us from its auxiliary chain: set install.way to auxiliary";

/// Plugins by type, whose product they are, and the way out. Before the types anyone may use: the first that is found names it.
const OWNERS: [(&str, &str, &str); 10] = [
    ("cilium-cni", "Cilium's agent", EXCLUSIVE),
    ("multus", "Multus", MULTUS),
    ("multus-shim", "Multus", MULTUS),
    ("calico", "Calico's install-cni", OWN_LIST),
    ("aws-cni", "the AWS VPC CNI (aws-node)", OWN_LIST),
    ("azure-vnet", "Azure's container networking service", OWN_LIST),
    ("antrea", "Antrea's agent", OWN_LIST),
    ("kube-ovn", "Kube-OVN's installer", OWN_LIST),
    ("weave-net", "Weave Net", OWN_LIST),
    ("flannel", "flannel's install-cni", OWN_LIST),
];

/// Other meshes' plugins by type.
const MESHES: [(&str, &str); 4] = [
    ("istio-cni", "Istio's CNI agent"),
    ("linkerd-cni", "Linkerd's CNI installer"),
    ("kuma-cni", "Kuma's CNI installer"),
    ("consul-cni", "Consul's CNI installer"),
];

/// Cilium is the only one that moves the lists of others away, and marks them by its name.
fn renamed(before: &Seen, after: &Seen) -> Option<Suspect> {
    let new = after.others.difference(&before.others);
    let mut marked = new.filter(|path| path.extension().is_some_and(|kind| kind == "cilium_bak"));
    marked
        .next()
        .map(|path| named("Cilium's agent", format!("renamed a list to {}", path.display()), EXCLUSIVE))
}

/// A mesh that was not in a list and now is, or whose entry changed while ours went.
fn joined(before: &Seen, after: &Seen) -> Option<Suspect> {
    changed(before, after).into_iter().find_map(|path| {
        let (old, new) = (entries(before.lists.get(&path)), entries(after.lists.get(&path)));
        let (kind, mesh) = MESHES.into_iter().find(|(kind, _)| {
            let of = |entries: &[Value]| {
                entries.iter().filter(|entry| entry["type"] == *kind).cloned().collect::<Vec<_>>()
            };
            !of(&new).is_empty() && of(&new) != of(&old)
        })?;
        Some(named(mesh, format!("put {kind} into {}", path.display()), TWO_MESHES))
    })
}

/// Whose list was changed, made or taken away. One that cannot be read is half written: it is whose it was before.
fn owner(before: &Seen, after: &Seen) -> Option<Suspect> {
    let changed = changed(before, after);
    let path = changed.iter().find(|path| after.lists.contains_key(*path)).or_else(|| changed.first())?;
    let act = if after.lists.contains_key(path) { "rewrote" } else { "removed" };
    let deed = format!("{act} {}", path.display());
    let mut entries = entries(after.lists.get(path));
    if entries.is_empty() {
        entries = self::entries(before.lists.get(path));
    }
    let known = OWNERS.into_iter().find(|(kind, ..)| entries.iter().any(|entry| entry["type"] == *kind));
    if let Some((_, who, fix)) = known {
        return Some(named(who, deed, fix));
    }
    if let Some(who) = by_name(path) {
        return Some(named(who, deed, OWN_LIST));
    }
    let types: Vec<&str> =
        entries.iter().filter_map(|entry| entry["type"].as_str()).filter(|kind| *kind != TYPE).collect();
    Some(named(&format!("the owner of the list of {}", types.join(", ")), deed, UNKNOWN))
}

/// Owners whose lists hold only plugins that anyone may use.
fn by_name(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let known = [
        ("gke", "GKE's netd"),
        ("kindnet", "kindnet"),
        ("crio", "CRI-O's package"),
        ("podman", "podman's package"),
    ];
    known.into_iter().find(|(part, _)| name.contains(part)).map(|(_, who)| who)
}

/// Lists whose text is another, ours among them gone first: what we lost is what matters.
fn changed(before: &Seen, after: &Seen) -> Vec<PathBuf> {
    let all = before.lists.keys().chain(after.lists.keys().filter(|path| !before.lists.contains_key(*path)));
    let differ = all.filter(|path| before.lists.get(*path) != after.lists.get(*path));
    let mut changed: Vec<PathBuf> = differ.cloned().collect();
    let ours =
        |seen: &Seen, path: &Path| entries(seen.lists.get(path)).iter().any(|entry| entry["type"] == TYPE);
    changed.sort_by_key(|path| !ours(before, path) || ours(after, path));
    changed
}

/// The plugins of a list, or the single one of a configuration; none where the text cannot be read.
fn entries(text: Option<&String>) -> Vec<Value> {
    let Some(Ok(mut list)) = text.map(|text| serde_json::from_str::<Value>(text)) else { return Vec::new() };
    match list.get_mut("plugins").map(Value::take) {
        Some(Value::Array(plugins)) => plugins,
        Some(_) => Vec::new(),
        None => vec![list],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn list(types: &str) -> String {
        let plugins: Vec<Value> = types
            .split(' ')
            .map(|word| {
                let (kind, setting) = word.split_once('=').unwrap_or((word, ""));
                serde_json::json!({"type": kind, "setting": setting})
            })
            .collect();
        serde_json::json!({"cniVersion": "1.0.0", "name": "n", "plugins": plugins}).to_string()
    }

    /// `10-x.conflist: types of its plugins`, one list a line; `+name` is another file, `name!` one that is no JSON.
    fn seen(picture: &str) -> Seen {
        let mut seen = Seen { others: BTreeSet::new(), ..Seen::default() };
        for line in picture.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.split_once(": ") {
                Some((name, types)) => drop(seen.lists.insert(name.into(), list(types))),
                None if line.starts_with('+') => drop(seen.others.insert(line[1..].into())),
                None => drop(seen.lists.insert(line.trim_end_matches('!').into(), "{".to_owned())),
            }
        }
        seen
    }

    fn check(before: &str, after: &str, who: &str, fix: &str) {
        let suspect = suspect(&seen(before), &seen(after));
        assert!(suspect.to_string().contains(who), "{before} → {after}: {suspect}");
        assert!(suspect.fix.contains(fix), "{before} → {after}: {}", suspect.fix);
    }

    #[test]
    fn by_what_it_wrote() {
        for (before, after, who, fix) in [
            (
                "05-cilium.conflist: cilium-cni millrace-cni",
                "05-cilium.conflist: cilium-cni",
                "Cilium",
                "cni.exclusive=false",
            ),
            (
                "02-millrace.conflist: cilium-cni millrace-cni\n05-cilium.conflist: cilium-cni",
                "05-cilium.conflist: cilium-cni\n+02-millrace.conflist.cilium_bak",
                "renamed a list to 02-millrace.conflist.cilium_bak",
                "cni.exclusive=false",
            ),
            (
                "10-calico.conflist: calico portmap millrace-cni",
                "10-calico.conflist: calico portmap",
                "Calico",
                "install.way to own-list",
            ),
            (
                "10-aws.conflist: aws-cni millrace-cni",
                "",
                "AWS VPC CNI (aws-node), which removed 10-aws",
                "own",
            ),
            (
                "10-azure.conflist: azure-vnet portmap millrace-cni",
                "10-azure.conflist: azure-vnet portmap",
                "Azure",
                "own",
            ),
            (
                "10-flannel.conflist: flannel portmap millrace-cni",
                "10-flannel.conflist: flannel portmap",
                "flannel",
                "own",
            ),
            (
                "10-gke-ptp.conflist: ptp portmap millrace-cni",
                "10-gke-ptp.conflist: ptp portmap",
                "GKE",
                "own",
            ),
            (
                "10-kindnet.conflist: ptp portmap millrace-cni",
                "10-kindnet.conflist: ptp portmap",
                "kindnet",
                "own",
            ),
            (
                "10-x.conflist: ptp millrace-cni",
                "10-x.conflist: ptp istio-cni",
                "Istio's CNI agent",
                "one mesh",
            ),
            // The other mesh is not the one to blame where only its list's owner wrote.
            (
                "10-calico.conflist: calico istio-cni millrace-cni",
                "10-calico.conflist: calico",
                "Calico",
                "own",
            ),
            (
                "10-x.conflist: ptp linkerd-cni=1 millrace-cni",
                "10-x.conflist: ptp linkerd-cni=2",
                "Linkerd",
                "one mesh",
            ),
            (
                "10-x.conflist: ptp millrace-cni",
                "10-x.conflist: ptp kuma-cni millrace-cni",
                "Kuma",
                "one mesh",
            ),
            ("10-x.conflist: ptp millrace-cni", "10-x.conflist: ptp consul-cni", "Consul", "one mesh"),
            (
                "00-multus.conflist: multus millrace-cni",
                "00-multus.conflist: multus",
                "Multus",
                "auxiliary chain",
            ),
            (
                "10-x.conflist: bridge millrace-cni",
                "10-x.conflist: bridge",
                "the owner of the list of bridge, which rewrote 10-x.conflist",
                "audit",
            ),
            (
                "10-x.conflist: bridge millrace-cni",
                "10-x.conflist!",
                "the owner of the list of bridge",
                "audit",
            ),
            // What we lost matters more than what else changed.
            (
                "01-a.conflist: flannel\n10-calico.conflist: calico millrace-cni",
                "01-a.conflist: flannel portmap\n10-calico.conflist: calico",
                "Calico",
                "own",
            ),
            // A list that sorts first hides ours, which nobody touched.
            (
                "10-x.conflist: bridge millrace-cni",
                "05-cilium.conflist: cilium-cni\n10-x.conflist: bridge millrace-cni",
                "Cilium",
                "",
            ),
            (
                "10-x.conflist: bridge millrace-cni",
                "10-x.conflist: bridge millrace-cni",
                "an unknown writer",
                "audit",
            ),
            ("", "", "an unknown writer", "audit"),
        ] {
            check(before, after, who, fix);
        }
    }

    #[test]
    fn a_process_is_named_behind_the_guess() {
        let suspect = Suspect { process: Some("7 cp".into()), ..named("Cilium", "rewrote x".into(), "") };
        assert_eq!(suspect.to_string(), "Cilium, which rewrote x (process 7 cp)");
    }
}
