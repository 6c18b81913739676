//! What the audit's tests stand on: a `/proc` of which only what is read is made up.
//!
//! Its namespaces are real ones, and it is gone when dropped.

use millrace_rig::absent;
use millrace_rig::net::{NEEDS, missing};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Whether real namespaces can be had here.
pub(super) fn runs(name: &str) -> bool {
    match missing(&NEEDS) {
        Some((what, how)) => absent::not_run(name, what, how),
        None if !rustix::process::geteuid().is_root() => {
            absent::not_run(name, "root", "sudo make test");
        }
        None => return true,
    }
    false
}

/// A `/proc` with what is read of it, its namespaces real ones.
pub(super) struct Proc(pub(super) PathBuf);

impl Proc {
    pub(super) fn new(name: &str) -> Proc {
        let path = std::env::temp_dir().join(format!("millrace-find-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Proc(path)
    }

    pub(super) fn process(&self, pid: u32, cgroup: &str, netns: &Path) {
        let ns = self.0.join(pid.to_string()).join("ns");
        fs::create_dir_all(&ns).unwrap();
        symlink(netns, ns.join("net")).unwrap();
        fs::write(self.0.join(format!("{pid}/cgroup")), cgroup).unwrap();
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
