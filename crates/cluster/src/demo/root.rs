//! The node's files: a root of its own below the demo's directory, with the directories that a node of kubeadm has.
//!
//! The machine's own /etc/cni, /opt/cni, /run and /var/lib are never touched. Nobody but the runtime, which is us, and the
//! agent's process writes here.

use crate::demo::chain::{self, Chain};
use anyhow::{Context, bail};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use serde_json::Value;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Where the runtime reads its lists.
pub(crate) const LISTS: &str = "/etc/cni/net.d";
/// Where it searches plugins.
const PLUGINS: &str = "/opt/cni/bin";
/// Where libcni remembers attachments.
const RESULTS: &str = "/var/lib/cni/results";
/// Where the agent keeps sockets and records.
pub(crate) const RUN: &str = "/run/millrace";
/// Where the agent keeps what outlasts a reboot, its flight recorder too.
pub(crate) const DATA: &str = "/var/lib/millrace";
/// What is there before any pod: kubelet makes none of these.
const DIRECTORIES: [&str; 5] = [LISTS, PLUGINS, RESULTS, "/etc/containerd", "/run"];

/// The root.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    /// What happens to lists.
    events: OwnedFd,
}

impl Root {
    /// One with the reference plugins, and a list of a bridge.
    pub(crate) fn build(path: &Path, plugins: &Path, v6: bool) -> anyhow::Result<Root> {
        let place = |name: &str| below(path, name);
        for directory in DIRECTORIES {
            let directory = place(directory);
            fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        for plugin in ["bridge", "host-local", "loopback"] {
            symlink(plugins.join(plugin), place(PLUGINS).join(plugin)).context("cannot link a plugin")?;
        }
        let list = chain::list(&place("/var/lib/cni/networks"), v6);
        fs::write(place(LISTS).join("10-demo.conflist"), format!("{list:#}\n"))
            .context("cannot write a list")?;
        let events =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).context("cannot watch lists")?;
        let kinds = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        inotify::add_watch(&events, place(LISTS), kinds).context("cannot watch lists")?;
        Ok(Root { path: path.to_owned(), events })
    }

    /// Where the node's `path` is.
    pub(crate) fn place(&self, path: &str) -> PathBuf {
        below(&self.path, path)
    }

    /// The root itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The chain as it is now: of the list whose name comes first, as containerd takes it.
    pub(crate) fn chain(&self) -> anyhow::Result<Chain> {
        let folder = self.place(LISTS);
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        let mut lists: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        lists.retain(|path| path.extension().is_some_and(|kind| kind == "conflist"));
        lists.sort();
        let Some(first) = lists.first() else { bail!("no list is in {}", folder.display()) };
        let text = fs::read_to_string(first).with_context(|| format!("cannot read {}", first.display()))?;
        let list: Value =
            serde_json::from_str(&text).with_context(|| format!("{} is no list", first.display()))?;
        let name = first.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Chain { path: vec![self.place(PLUGINS)], results: self.place(RESULTS), file: name, list })
    }

    /// Whether a list has changed since this was asked last.
    pub(crate) fn has_changed(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        let mut changed = false;
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            changed |= name.ends_with(".conflist") || event.events().contains(ReadFlags::QUEUE_OVERFLOW);
        }
        changed
    }
}

/// `path`, which is absolute, below `root`.
pub(crate) fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}
