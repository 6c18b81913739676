//! A network namespace of this machine, for the commands that look into one.

use crate::args::pod::Live;
use anyhow::{Context, Result};
use millrace_core::rules::{Content, Observed};
use millrace_host::inspect::container::{self, Roots};
use millrace_host::netns::NetNs;
use std::path::PathBuf;

/// A namespace, and a process in it if one was named.
pub(super) struct Opened {
    pub(super) netns: NetNs,
    pub(super) pid: Option<u32>,
}

/// The namespace that the arguments name, if they name one.
pub(super) fn open(live: &Live) -> Result<Option<Opened>> {
    if let Some(path) = &live.netns {
        let absolute = path.canonicalize();
        let absolute = absolute.with_context(|| format!("open network namespace {}", path.display()))?;
        return Ok(Some(Opened { netns: NetNs::open(&absolute)?, pid: None }));
    }
    let pid = match &live.container {
        Some(id) => Some(container::pid(id, &Roots::below(PathBuf::from("/")))?),
        None => live.pid,
    };
    pid.map(|pid| Ok(Opened { netns: NetNs::of_pid(pid)?, pid: Some(pid) })).transpose()
}

/// The values of flags as another program is given them.
pub(super) fn flag(name: &str, value: impl ToString) -> String {
    format!("--{name}={}", value.to_string())
}

/// The number of rules that the model cannot say, chains of others included.
pub(super) fn foreign(observed: &Observed) -> usize {
    let unread =
        observed.chains.values().flatten().filter(|rule| matches!(rule.content, Content::Foreign { .. }));
    unread.count() + observed.foreign_chains.iter().map(|chain| chain.rules).sum::<usize>()
}
