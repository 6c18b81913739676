//! Namespaces made before anything is measured, each used once, and kept until the end: the kernel takes its time, and a
//! processor's, to be rid of one.

use millrace_rig::net::Namespace;
use rustix::thread::LinkNameSpaceType;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

/// One network namespace with `lo` up, open and without a process in it.
pub(crate) struct Space(File);

/// Namespaces not used yet.
pub(crate) struct Spaces {
    fresh: Vec<Space>,
    used: Vec<Space>,
}

impl Space {
    fn new() -> Space {
        let holder = Namespace::new();
        Space(File::open(holder.path()).expect("the holder lives"))
    }

    /// Where a plugin finds it: a link in this process's own folder.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Moves the calling thread inside, for good.
    pub(crate) fn enter(&self) {
        let kind = Some(LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(self.0.as_fd(), kind).expect("root enters a namespace");
    }
}

impl Spaces {
    /// Makes that many.
    pub(crate) fn new(number: usize) -> Spaces {
        Spaces { fresh: (0..number).map(|_| Space::new()).collect(), used: Vec::new() }
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
