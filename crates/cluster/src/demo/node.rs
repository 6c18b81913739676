//! The node's and the pods' network namespaces.
//!
//! The node is a namespace of its own, so that bridge, addresses and forwarding never touch the machine's. All names
//! begin with one prefix; nothing without it is ever removed.

use crate::demo::process;
use anyhow::Context;
use millrace_host::netns::NetNs;
use std::path::{Path, PathBuf};

/// Where the machine keeps its named namespaces, in the spelling container runtimes use.
const DIRECTORY: &str = "/var/run/netns";
/// What all our namespaces' names begin with.
const PREFIX: &str = "millrace-demo-";

/// The path of our namespace `name`.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{PREFIX}{name}"))
}

/// Makes the namespace `name` and opens it. IPv6 addresses in it are usable at once.
pub(crate) fn make(name: &str) -> anyhow::Result<NetNs> {
    process::must("ip", &["netns", "add", &format!("{PREFIX}{name}")])?;
    let namespace = NetNs::open(&path(name))?;
    // Duplicate address detection takes a second for each address, and here nobody else could have it. Machines that
    // switch IPv6 off for new interfaces have it on here.
    for (setting, value) in [("accept_dad", "0"), ("disable_ipv6", "0")] {
        for interface in ["all", "default", "lo"].into_iter().filter(|_| has_ipv6()) {
            let file = format!("/proc/sys/net/ipv6/conf/{interface}/{setting}");
            namespace
                .within(|| std::fs::write(&file, value))?
                .with_context(|| format!("cannot set {file}"))?;
        }
    }
    Ok(namespace)
}

/// Removes the namespace `name` and with it what is left inside; succeeds when there is none.
pub(crate) fn remove(name: &str) -> anyhow::Result<()> {
    if !path(name).exists() {
        return Ok(());
    }
    process::must("ip", &["netns", "delete", &format!("{PREFIX}{name}")])
}

/// The names of our namespaces that are there.
pub(crate) fn names() -> Vec<String> {
    let entries = std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(PREFIX)?.to_owned()))
        .collect();
    names.sort();
    names
}

/// Whether this kernel speaks IPv6 at all.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}
