//! Why a node's lists are left alone, each with the way out (M12).

use super::super::{Claim, OWN_LIST};
use std::fmt;
use std::path::PathBuf;

/// Why the lists were left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is none yet.
    NoList,
    /// There is no directory for one.
    NoFolder(PathBuf),
    /// The configured one is not there.
    NotThere(String),
    /// The one the runtime uses cannot be used by anybody, or not by us.
    Broken { list: String, why: String },
    /// It names a plugin that is not there.
    Missing { list: String, plugin: String, folder: PathBuf },
    /// It has another mesh's redirector.
    Redirector { list: String, plugin: String },
    /// A later installer was here.
    Newer(Claim),
    /// Cilium takes every other list out of the way.
    Exclusive { renamed: String },
    /// A list of our own would not come first.
    Outranked { list: String },
    /// Multus delegates to the list, and a list of our own would take its place.
    Delegated { list: String, multus: String },
    /// An auxiliary chain is wanted and nobody named it.
    NoAuxiliary,
    /// It belongs to a user to whom this process may give no file.
    Foreign { list: String, owner: (u32, u32) },
}

impl Refusal {
    /// Whether the node may come right by itself: its owner is about to write.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self,
            Refusal::NoList
                | Refusal::NoFolder(_)
                | Refusal::NotThere(_)
                | Refusal::Broken { .. }
                | Refusal::Missing { .. }
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoList => {
                f.write_str("there is no list to join yet; the node's own network plugin must come first")
            }
            Refusal::NoFolder(folder) => write!(
                f,
                "there is no directory {} and none is made, for no runtime would read it; in a container, mount the node's \
                 directory there; on the node, its own network plugin must come first, or name another with --conf-dir",
                folder.display()
            ),
            Refusal::NotThere(list) => {
                write!(
                    f,
                    "there is no {list} to join; name a list that is there, or none, to join the one in use"
                )
            }
            Refusal::Broken { list, why } => write!(f, "{list} cannot be joined: {why}"),
            Refusal::Missing { list, plugin, folder } => write!(
                f,
                "{list} cannot be joined: it names the plugin {plugin}, which is not in {}; install it there, or name \
                 the directory the runtime searches with --bin-dir",
                folder.display()
            ),
            Refusal::Redirector { list, plugin } => write!(
                f,
                "{list} cannot be joined: {plugin} redirects pods for another mesh, and what is redirected twice loops; \
                 remove one of the two meshes from this node"
            ),
            Refusal::Newer(claim) => write!(
                f,
                "{} (generation {}) has installed here after this one started; left alone, as this one is on its way out; \
                 if it is not, start it under a new --installer name",
                claim.installer, claim.generation
            ),
            Refusal::Exclusive { renamed } => write!(
                f,
                "Cilium took our list out of the way (it is {renamed} now); set cni.exclusive=false in Cilium's values \
                 and remove that file, or install with --way in-place"
            ),
            Refusal::Outranked { list } => write!(
                f,
                "a list of our own would not be used: {list} comes before {OWN_LIST}; install with --way in-place"
            ),
            Refusal::Delegated { list, multus } => write!(
                f,
                "a list of our own in front of {list} is not possible while {multus} delegates to it; install with --way \
                 in-place, or with --way auxiliary and the chain's name"
            ),
            Refusal::NoAuxiliary => f.write_str(
                "Multus's configuration names no auxiliaryCNIChainName; set it there, or name the chain with \
                 --auxiliary-chain",
            ),
            Refusal::Foreign { list, owner: (user, group) } => write!(
                f,
                "{list} cannot be joined: it belongs to user {user}, group {group}, and this process has no CAP_CHOWN to \
                 leave it so; chown it to root, give the agent that capability, or install with --way own-list"
            ),
        }
    }
}
