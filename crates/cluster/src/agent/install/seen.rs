//! What is on the node now: lists in the runtime's order, plugins, our own marks. It reads, bounded, and changes nothing.

use super::{AUXILIARY_FILE, Error, Memory, Target, plugin_in};
use millrace_host::files;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is on the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The directory of the lists, if it is not there. An image of ours has none: where it is not mounted from the node,
    /// nothing is installed into the container's own layer.
    pub(crate) no_conf_dir: Option<PathBuf>,
    /// Every file the runtime takes for a list, in its order.
    pub(crate) lists: Vec<List>,
    /// The names of all other files beside them.
    pub(crate) others: Vec<String>,
    /// The names of the plugins in all directories the runtime searches.
    pub(crate) plugins: BTreeSet<String>,
    /// The directory that gets ours.
    pub(crate) bin_dir: PathBuf,
    /// Whether ours is there and is the wanted one.
    pub(crate) plugin_is_right: bool,
    /// What was done here before.
    pub(crate) memory: Memory,
    /// The auxiliary chain's directory, and our file in it.
    pub(crate) auxiliary: Option<(String, Option<String>)>,
}

/// One list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List {
    /// The file's name.
    pub(crate) name: String,
    /// What it holds, or why that could not be read.
    pub(crate) text: Result<String, String>,
    /// Whether the name is a link to a file elsewhere.
    pub(crate) linked: bool,
}

/// The most a list may hold: the largest seen in the field has a few kilobytes.
pub(crate) const LONGEST_LIST: u64 = 1 << 20;
/// The most files a folder may hold.
const MOST_FILES: usize = 65_536;
/// The most lists read.
const MOST_LISTS: usize = 256;

/// Reads the node.
pub(crate) fn look(target: &Target) -> Result<Seen, Error> {
    let mut seen =
        survey(&target.conf_dir, &target.bin_dirs, &target.data_dir, target.wish.auxiliary.as_deref())?;
    if seen.bin_dir.as_os_str().is_empty() {
        return Err(Error::NoBinDir(target.bin_dirs.clone()));
    }
    seen.plugin_is_right = same(&target.wish.binary, &plugin_in(&seen.bin_dir))?;
    Ok(seen)
}

/// Reads the node as far as that needs nothing to install; without any directory for plugins, `bin_dir` is empty.
pub(crate) fn survey(
    conf_dir: &Path,
    bin_dirs: &[PathBuf],
    data_dir: &Path,
    auxiliary: Option<&str>,
) -> Result<Seen, Error> {
    let mut seen = Seen { memory: Memory::load(data_dir)?, ..Seen::default() };
    seen.bin_dir = bin_dirs.iter().find(|folder| folder.is_dir()).cloned().unwrap_or_default();
    for folder in bin_dirs {
        // A link may lead where only the node's own view reaches (k3s has all its plugins so).
        let is_there = |path: PathBuf| path.is_file() || path.is_symlink();
        seen.plugins.extend(names(folder)?.into_iter().filter(|name| is_there(folder.join(name))));
    }
    seen.no_conf_dir = (!conf_dir.is_dir()).then(|| conf_dir.to_owned());
    (seen.lists, seen.others) = lists(conf_dir)?;
    let named = || seen.lists.iter().find_map(auxiliary_chain);
    let chain = auxiliary.map(str::to_owned).or_else(named).or_else(|| seen.memory.auxiliary.clone());
    if let Some(chain) = chain {
        let path = conf_dir.join(&chain).join(AUXILIARY_FILE);
        let ours = read(&path, LONGEST_LIST).map_err(|cause| files::Error::new("read", &path, cause))?;
        seen.auxiliary = Some((chain, ours.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())));
    }
    Ok(seen)
}

/// The lists of a folder in the runtime's order, and the names of all else in it.
pub(crate) fn lists(folder: &Path) -> Result<(Vec<List>, Vec<String>), Error> {
    let (mut found, others): (Vec<_>, Vec<_>) = names(folder)?.into_iter().partition(|name| is_list(name));
    // Runtimes sort by bytes, and so does this.
    found.sort_unstable();
    if found.len() > MOST_LISTS {
        return Err(too_many(folder, MOST_LISTS, "lists"));
    }
    let mut lists = Vec::new();
    for name in found {
        let path = folder.join(&name);
        let text = match read(&path, LONGEST_LIST) {
            // Gone between listing and reading.
            Ok(None) => continue,
            Ok(Some(bytes)) => String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned()),
            Err(_) if path.is_dir() => continue,
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Err(format!(
                "it cannot be read: {cause}; chown it to root, or give the agent CAP_DAC_OVERRIDE"
            )),
            Err(cause) => Err(cause.to_string()),
        };
        let linked = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
        lists.push(List { name, text, linked });
    }
    Ok((lists, others))
}

/// Whether runtimes take a file of this name for a list (containerd and CRI-O; a dotfile is one, too).
pub(crate) fn is_list(name: &str) -> bool {
    [".conf", ".conflist", ".json"].iter().any(|ending| name.ends_with(ending))
}

/// The digest of a file's bytes; nothing without a file.
pub(crate) fn digest_of(path: &Path) -> Result<Option<String>, Error> {
    let bytes = read(path, LONGEST_LIST).map_err(|cause| files::Error::new("read", path, cause))?;
    Ok(bytes.map(|bytes| digest(&bytes)))
}

/// A number for these bytes (FNV-1a, 128 bits): it tells apart writers that mean no harm.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let (start, prime) =
        (0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, 0x0000_0000_0100_0000_0000_0000_0000_013b_u128);
    let hash = bytes.iter().fold(start, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(prime));
    format!("{hash:032x}")
}

/// A file's bytes, at most `most`; nothing without a file.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it holds more than {most} bytes")));
    }
    Ok(Some(bytes))
}

/// The names of the files in a folder; no folder holds none.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |cause| files::Error::new("list", folder, cause);
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        if names.len() >= MOST_FILES {
            return Err(too_many(folder, MOST_FILES, "files"));
        }
        // A name that is not text is no plugin's, and no list's that we could put into words.
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

fn too_many(folder: &Path, most: usize, what: &str) -> Error {
    files::Error::new("list", folder, io::Error::other(format!("it holds more than {most} {what}"))).into()
}

/// Multus says the chain's name in its own configuration.
fn auxiliary_chain(list: &List) -> Option<String> {
    let text = list.text.as_ref().ok().filter(|_| list.name.starts_with("00-multus"))?;
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let name = value.get("auxiliaryCNIChainName")?.as_str()?;
    is_plain(name).then(|| name.to_owned())
}

/// Whether a name leads to no other folder.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Whether both hold the same bytes, and the second has the mode of a plugin.
fn same(wanted: &Path, there: &Path) -> Result<bool, Error> {
    let failed = |path: &Path, cause| Error::from(files::Error::new("read", path, cause));
    let mut one = File::open(wanted).map_err(|cause| failed(wanted, cause))?;
    let mut other = match File::open(there) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(|cause| failed(there, cause))?,
    };
    let size = one.metadata().map_err(|cause| failed(wanted, cause))?.len();
    let found = other.metadata().map_err(|cause| failed(there, cause))?;
    if size != found.len() || found.mode() & 0o7777 != super::PLUGIN_MODE {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = one.read(&mut left).map_err(|cause| failed(wanted, cause))?;
        if count == 0 {
            return Ok(true);
        }
        if other.read_exact(&mut right[..count]).is_err() || left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runtimes_take_for_a_list() {
        for (name, is) in [
            ("10-x.conflist", true),
            (".10-x.conflist", true),
            ("x.conf", true),
            ("x.json", true),
            ("x.conflist.tmp", false),
            ("05-cilium.conf.cilium_bak", false),
            ("cni.lock", false),
        ] {
            assert_eq!(is_list(name), is, "{name}");
        }
    }

    #[test]
    fn a_plugin_may_be_a_link_to_where_only_the_node_sees() {
        let folder = std::env::temp_dir().join(format!("millrace-seen-{}", std::process::id()));
        let bin = folder.join("bin");
        fs::create_dir_all(bin.join("directory")).unwrap();
        fs::write(bin.join("file"), "").unwrap();
        std::os::unix::fs::symlink("/nonexistent/cni", bin.join("link")).unwrap();
        let seen = survey(&folder.join("net.d"), &[bin], &folder, None);
        let _ = fs::remove_dir_all(&folder);
        assert_eq!(seen.unwrap().plugins, BTreeSet::from(["file".to_owned(), "link".to_owned()]));
    }

    #[test]
    fn the_auxiliary_chain_is_named_by_multus_alone() {
        let list = |name: &str, chain: &str| List {
            name: name.to_owned(),
            text: Ok(serde_json::json!({ "type": "multus", "auxiliaryCNIChainName": chain }).to_string()),
            linked: false,
        };
        let named = auxiliary_chain(&list("00-multus.conf", "vendor-cni-chain"));
        assert_eq!(named.as_deref(), Some("vendor-cni-chain"));
        for (name, chain) in [("10-x.conf", "a"), ("00-multus.conf", "../a"), ("00-multus.conf", "")] {
            assert_eq!(auxiliary_chain(&list(name, chain)), None, "{name} {chain}");
        }
    }

    #[test]
    fn the_digest_is_fnv_1a() {
        // The offset basis, and the published value for "a".
        assert_eq!(digest(b""), "6c62272e07bb014262b821756295c58d");
        assert_eq!(digest(b"a"), "d228cb696f1a8caf78912b704e4a8964");
    }
}
