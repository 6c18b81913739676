//! CRI-O's `crio.conf` and the files of `crio.conf.d` beside it, in order; the later file wins by key.

use super::{Said, matching, strings, toml};
use crate::agent::platform::below;
use std::path::Path;

/// The most files read.
const MOST: usize = 256;

/// What `config` and the folder beside it say; nothing if neither is there.
pub(super) fn read(host_root: &Path, config: &str, notes: &mut Vec<String>) -> Option<Said> {
    let mut said = None;
    let main = below(host_root, config);
    let mut all = vec![main.clone()];
    all.extend(matching(&main.with_extension("conf.d"), "*"));
    if all.len() > MOST {
        notes.push(format!("{config}.d holds more than {MOST} files; the rest was passed over"));
        all.truncate(MOST);
    }
    for path in all {
        let Some(table) = toml(&path, notes) else { continue };
        let said: &mut Said = said.get_or_insert_default();
        let network = table.get("crio").and_then(|crio| crio.get("network")).and_then(toml::Value::as_table);
        let Some(network) = network else { continue };
        let folder = strings(network, "network_dir").and_then(|all| all.into_iter().next());
        said.conf_dir = folder.or(said.conf_dir.take());
        // `plugin_dir` is an older name for one of them.
        let folders = strings(network, "plugin_dirs").or_else(|| strings(network, "plugin_dir"));
        said.bin_dirs = folders.or(said.bin_dirs.take());
    }
    said
}
