//! containerd's `config.toml`, in the layouts of versions 1 to 3, with what it imports; the later file wins by key.

use super::{Said, matching, strings, toml};
use crate::agent::platform::below;
use std::path::{Path, PathBuf};

/// Where each layout keeps the CNI table.
const TABLES: [&[&str]; 3] = [
    &["plugins", "io.containerd.cri.v1.runtime", "cni"],
    &["plugins", "io.containerd.grpc.v1.cri", "cni"],
    &["plugins", "cri", "cni"],
];
/// The most files read: an import may import.
const MOST: usize = 64;

/// What `config` below `host_root` says; nothing if it is not there.
pub(super) fn read(host_root: &Path, config: &str, notes: &mut Vec<String>) -> Option<Said> {
    let mut said = None;
    let mut open = vec![below(host_root, config)];
    let mut seen: Vec<PathBuf> = Vec::new();
    while !open.is_empty() {
        let path = open.remove(0);
        if seen.contains(&path) {
            continue;
        }
        if seen.len() >= MOST {
            notes.push(format!("{config} imports more than {MOST} files; the rest was passed over"));
            break;
        }
        seen.push(path.clone());
        let Some(table) = toml(&path, notes) else { continue };
        merge(said.get_or_insert_default(), &table);
        let folder = path.parent().unwrap_or(host_root);
        for import in strings(&table, "imports").unwrap_or_default() {
            open.extend(imported(host_root, folder, &import));
        }
    }
    said
}

fn merge(said: &mut Said, table: &toml::Table) {
    for path in TABLES.iter().rev() {
        let mut cni = Some(table);
        for key in *path {
            cni = cni.and_then(|table| table.get(*key)).and_then(toml::Value::as_table);
        }
        let Some(cni) = cni else { continue };
        let one = |key: &str| {
            strings(cni, key).map(|all| all.into_iter().map(|one| expand(&one)).collect::<Vec<_>>())
        };
        said.conf_dir = one("conf_dir").and_then(|all| all.into_iter().next()).or(said.conf_dir.take());
        // `bin_dirs` is containerd 2.1's; it goes before `bin_dir`.
        said.bin_dirs = one("bin_dirs").or_else(|| one("bin_dir")).or(said.bin_dirs.take());
    }
}

/// MicroK8s writes its configuration in the words of a snap.
fn expand(path: &str) -> String {
    let data = path.replace("${SNAP_DATA}", "/var/snap/microk8s/current");
    data.replace("${SNAP_COMMON}", "/var/snap/microk8s/common").replace("${SNAP}", "/snap/microk8s/current")
}

/// The files an import names: a path, absolute or from the importing file's folder, whose last part may have a `*`.
fn imported(host_root: &Path, folder: &Path, import: &str) -> Vec<PathBuf> {
    let path = if import.starts_with('/') { below(host_root, import) } else { folder.join(import) };
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(folder), Some(name)) => matching(folder, name),
        _ => Vec::new(),
    }
}
