//! What a dialect is: it writes a [`RuleSet`](crate::rules::RuleSet) and reads one back. It decides nothing, and
//! never sees settings beyond their plain values (ports, interface names).
//!
//! For every set `r` a plan can make, `read(write(r)) == r`.

pub mod batch;
mod dump;
pub mod expressions;
mod hooks;
pub mod iptables;
pub mod listing;
pub mod nftables;
pub mod text;
pub mod wire;
pub mod xtables;

pub use batch::{Act, At, Batch, Does};

use std::fmt;

/// A way to put rules into a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backend {
    /// Tables `ip nat`, `ip6 nat`, `mangle` and `raw` over netlink, as the node's own `iptables-nft` would write them.
    Iptables,
    /// A table of our own, in nf_tables' native words.
    Nftables,
    /// `iptables-restore` and its kin, for kernels without nf_tables.
    Text,
}

impl Backend {
    /// All of them, in the order in which `auto` tries them.
    pub const ALL: [Backend; 3] = [Backend::Iptables, Backend::Nftables, Backend::Text];

    /// Its name in settings, records and reports.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Iptables => "iptables",
            Backend::Nftables => "nftables",
            Backend::Text => "iptables-text",
        }
    }

    /// The backend of that name.
    pub fn from_name(name: &str) -> Option<Backend> {
        Backend::ALL.into_iter().find(|backend| backend.name() == name)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which backend is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Choice {
    /// The first that the kernel takes.
    #[default]
    Auto,
    /// This one or none.
    Only(Backend),
}

impl Choice {
    /// Its name in settings, records and reports.
    pub fn name(self) -> &'static str {
        match self {
            Choice::Auto => "auto",
            Choice::Only(backend) => backend.name(),
        }
    }

    /// The choice of that name.
    pub fn from_name(name: &str) -> Option<Choice> {
        match name {
            "auto" => Some(Choice::Auto),
            other => Backend::from_name(other).map(Choice::Only),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_found_by_its_own_name() {
        let all = Backend::ALL.into_iter().map(Choice::Only).chain([Choice::Auto]);
        for choice in all {
            assert_eq!(Choice::from_name(choice.name()), Some(choice));
        }
        assert_eq!(Choice::from_name("legacy"), None);
    }
}
