//! A program that is run for a moment: its start while its file is still busy, its end by a deadline. It starts and kills none.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::process::Child;
use std::time::Instant;

/// A file that somebody's fork holds open for writing, for an instant, cannot be executed.
pub(crate) fn unless_busy(start: impl Fn() -> io::Result<Child>, deadline: Instant) -> io::Result<Child> {
    loop {
        match start() {
            Err(cause) if cause.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                // No event tells when a stranger's descriptor is closed.
                poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 5_000_000 }))?;
            }
            started => return started,
        }
    }
}

/// Whether it ended before the deadline.
pub(crate) fn ends(child: &mut Child, deadline: Instant) -> io::Result<bool> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| io::Error::other("the deadline is too far away"))?;
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
            Ok(count) => return Ok(count > 0),
        }
    }
}
