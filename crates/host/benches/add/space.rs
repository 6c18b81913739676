//! Namespaces made before anything is measured, each used once, and kept until the end: the kernel takes its time, and a
//! processor's, to be rid of one. Each is a bind mount, as container runtimes hand them over: a link in `/proc` takes
//! a tenth of an ADD to follow.

use millrace_rig::net::Namespace;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::LinkNameSpaceType;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// One network namespace with `lo` up and without a process in it. The mount keeps it. An open file of each would be copied by
/// every start of a program and closed by it, thousands of them: that would be the bench's cost, in the floor and in ours.
pub(crate) struct Space {
    path: PathBuf,
}

/// Namespaces not used yet.
pub(crate) struct Spaces {
    fresh: Vec<Space>,
    used: Vec<Space>,
    folder: PathBuf,
}

impl Space {
    fn new(path: PathBuf) -> Space {
        let holder = Namespace::new();
        File::create(&path).expect("the folder takes a file");
        mount_bind(holder.path(), &path).expect("root mounts a namespace");
        Space { path }
    }

    /// Where a plugin finds it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the calling thread inside, for good.
    pub(crate) fn enter(&self) {
        let kind = Some(LinkNameSpaceType::Network);
        let file = File::open(&self.path).expect("it is mounted");
        rustix::thread::move_into_link_name_space(file.as_fd(), kind).expect("root enters a namespace");
    }
}

impl Spaces {
    /// Makes that many.
    pub(crate) fn new(number: usize) -> Spaces {
        let folder = PathBuf::from(format!("/dev/shm/millrace-bench-{}-netns", std::process::id()));
        std::fs::create_dir(&folder).expect("/dev/shm takes a folder");
        let fresh = (0..number).map(|name| Space::new(folder.join(name.to_string()))).collect();
        Spaces { fresh, used: Vec::new(), folder }
    }

    /// A fresh one, for one use.
    pub(crate) fn take(&mut self) -> &Space {
        self.used.push(self.fresh.pop().expect("as many were made as the runs need"));
        self.used.last().expect("one was just put there")
    }

    /// Some at once.
    pub(crate) fn take_many(&mut self, number: usize) -> &[Space] {
        let from = self.used.len();
        let at = self.fresh.len() - number;
        self.used.extend(self.fresh.drain(at..));
        &self.used[from..]
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for space in self.fresh.iter().chain(&self.used) {
            let _ = unmount(&space.path, UnmountFlags::DETACH);
        }
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
