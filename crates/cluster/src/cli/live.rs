//! A network namespace of this machine, for the commands that look into one.

use crate::args::Live;
use anyhow::{Context, Result};
use millrace_core::rules::{Content, Observed};
use millrace_host::netns::NetNs;

/// The namespace that the arguments name, if they name one.
pub(super) fn open(live: &Live) -> Result<Option<NetNs>> {
    match (&live.netns, live.pid) {
        (Some(path), _) => {
            let path =
                path.canonicalize().with_context(|| format!("open network namespace {}", path.display()))?;
            Ok(Some(NetNs::open(&path)?))
        }
        (None, Some(pid)) => Ok(Some(NetNs::of_pid(pid)?)),
        (None, None) => Ok(None),
    }
}

/// The number of rules that the model cannot say, chains of others included.
pub(super) fn foreign(observed: &Observed) -> usize {
    let unread =
        observed.chains.values().flatten().filter(|rule| matches!(rule.content, Content::Foreign { .. }));
    unread.count() + observed.foreign_chains.iter().map(|chain| chain.rules).sum::<usize>()
}
