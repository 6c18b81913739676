//! Whether the runtime read its lists again after ours changed: seen by whoever opens a list and closes it unwritten.
//!
//! containerd and CRI-O read their lists on events of the folder, and tell nobody without their sockets. A reader that is
//! seen may be another than the runtime, and no reader may mean that none runs: it is told, and the plugin stays where
//! that matters.

use crate::agent::install::seen::is_list;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// A folder of lists that is watched.
pub(super) struct Reload {
    events: OwnedFd,
}

impl Reload {
    /// From now on.
    pub(super) fn watch(folder: &Path) -> io::Result<Reload> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let kinds = WatchFlags::CLOSE_NOWRITE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        inotify::add_watch(&events, folder, kinds)?;
        Ok(Reload { events })
    }

    /// Waits until somebody has read a list after one was changed, and says what was seen.
    pub(super) fn wait(self, patience: Duration) -> String {
        let start = Instant::now();
        let mut changed = false;
        loop {
            match self.read(&mut changed) {
                Ok(Some(list)) => {
                    return format!(
                        "{list} was read again after {:?}, by the runtime if it runs",
                        start.elapsed()
                    );
                }
                Ok(None) => {}
                Err(cause) => {
                    return format!("whether the runtime read its lists again cannot be seen: {cause}");
                }
            }
            let left = patience.saturating_sub(start.elapsed());
            let Ok(timeout) = Timespec::try_from(left) else { return "the wait is too long".to_owned() };
            if left.is_zero() {
                return format!(
                    "nobody was seen reading the lists within {patience:?}: the runtime may not run"
                );
            }
            match poll(&mut [PollFd::new(&self.events, PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(cause) => {
                    return format!("whether the runtime read its lists again cannot be seen: {cause}");
                }
            }
        }
    }

    /// The list that was read after a change, if the events so far have one.
    fn read(&self, changed: &mut bool) -> io::Result<Option<String>> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        loop {
            let event = match reader.next() {
                Err(Errno::AGAIN) => return Ok(None),
                event => event?,
            };
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if !is_list(&name) {
                continue;
            }
            if !event.events().contains(ReadFlags::CLOSE_NOWRITE) {
                *changed = true;
            } else if *changed {
                return Ok(Some(name));
            }
        }
    }
}
