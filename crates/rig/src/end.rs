//! The end of a child process, told by the kernel: nobody asks again and again, and nobody waits for ever.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// How `child` ended; nothing if it runs on after `patience`. Kills nobody.
pub fn within(patience: Duration, child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    // Until it is waited for, its number is nobody else's.
    let process =
        pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("a child of ours has a pidfd");
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()));
        let left = left.expect("a test's patience fits into a timespec");
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => {}
            Ok(0) => return None,
            Ok(_) => return Some(child.wait().expect("it is a child of ours")),
            Err(cause) => panic!("cannot wait for a child: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::within;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[test]
    fn an_end_is_told_and_a_life_is_not_waited_out() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat(1) is there");
        assert_eq!(within(Duration::ZERO, &mut child), None);
        drop(child.stdin.take());
        let status = within(Duration::from_secs(60), &mut child).expect("cat ends with its input");
        assert!(status.success(), "{status}");
    }
}
