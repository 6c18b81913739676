//! The plugin that stays where attachments still name it: the same program, told in its own bytes to pass everything through.
//!
//! docs/decisions/0007 says why it is no second program and no switch on disk.

use crate::agent::install::publish::put_plugin;
use crate::agent::install::seen;
use millrace_host::files::Hook;
use millrace_host::tombstone::{ALIVE, ENDED, LENGTH};
use std::io::Read;
use std::path::Path;

/// The most a plugin may hold: ours has a megabyte, one with debug information some tens.
const LONGEST: u64 = 256 << 20;

/// Puts a passing plugin, made of the one at `from`, at `to`; what was done, if anything had to be.
pub(super) fn put(from: &Path, to: &Path, hook: &mut Hook<'_>) -> Result<Option<String>, String> {
    let failed = |why: String| format!("cannot make {} pass everything through: {why}", to.display());
    let bytes = seen::read(from, LONGEST).map_err(|cause| failed(format!("{}: {cause}", from.display())))?;
    let mut bytes = bytes.ok_or_else(|| failed(format!("{} is not there", from.display())))?;
    if from == to && is_ended(&bytes) {
        return Ok(None);
    }
    let [at] = find(&bytes, &ALIVE)[..] else {
        return Err(failed("it is not a plugin of this kind; it was left as it is".to_owned()));
    };
    bytes[at..at + LENGTH].copy_from_slice(&ENDED);
    put_plugin(&mut bytes.as_slice() as &mut dyn Read, to, &[], hook)
        .map_err(|error| failed(error.to_string()))?;
    Ok(Some(format!("{} passes everything through from now on", to.display())))
}

/// Whether the plugin at `path` is one that passes everything through.
pub(super) fn is_one(path: &Path) -> bool {
    matches!(seen::read(path, LONGEST), Ok(Some(bytes)) if is_ended(&bytes))
}

/// A plugin at work may hold both marks: it compares them.
fn is_ended(bytes: &[u8]) -> bool {
    find(bytes, &ALIVE).is_empty() && !find(bytes, &ENDED).is_empty()
}

fn find(bytes: &[u8], mark: &[u8; LENGTH]) -> Vec<usize> {
    let windows = bytes.windows(LENGTH).enumerate();
    windows.filter(|(_, window)| window == mark).map(|(at, _)| at).collect()
}
