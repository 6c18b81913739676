//! A runtime's end of standard input, read without std's buffer and with a deadline for all of it (M10).
//!
//! Reads what is there; waits for nothing but the next piece or the end, and for no longer than it was given in all.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ReadWriteFlags};
use std::io::{self, ErrorKind, IoSliceMut, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long a runtime may take to say what it wants. It has written everything before we run, as a rule.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What is read, and until when. What is read is whole already, and each page that a buffer takes is a fault in every
/// pod's start.
#[derive(Debug)]
pub struct Input<F> {
    file: F,
    patience: Duration,
    deadline: Option<Instant>,
}

impl<F: AsFd> Input<F> {
    /// Reads `file`; the time counts from the first wait.
    pub fn new(file: F, patience: Duration) -> Input<F> {
        Input { file, patience, deadline: None }
    }

    fn wait(&mut self) -> io::Result<()> {
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + self.patience);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout =
                Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => {
                    let seconds = self.patience.as_secs();
                    let why = format!("the runtime did not close standard input within {seconds} s");
                    return Err(io::Error::new(ErrorKind::TimedOut, why));
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
    }
}

impl<F: AsFd> Read for Input<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // One call where the input is there, which it mostly is. A pipe can be read so since Linux 6.4; an older kernel
        // refuses, and is asked to wait first. The offset is the one that means none.
        let there =
            rustix::io::preadv2(&self.file, &mut [IoSliceMut::new(into)], u64::MAX, ReadWriteFlags::NOWAIT);
        match there {
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.wait()?;
                Ok(rustix::io::read(&self.file, into)?)
            }
            there => Ok(there?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;

    #[track_caller]
    fn check(file: impl AsFd, expected: &str) {
        let mut text = String::new();
        Input::new(file, PATIENCE).read_to_string(&mut text).unwrap();
        assert!(text == expected, "{} bytes", text.len());
    }

    #[test]
    fn a_pipe_is_read_to_its_end_however_long() {
        let long = "x".repeat(1 << 20);
        let (reader, mut writer) = io::pipe().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                writer.write_all(long.as_bytes()).unwrap();
                drop(writer);
            });
            check(reader, &long);
        });
    }

    #[test]
    fn a_file_and_a_device_are_read_too() {
        let path = std::env::temp_dir().join(format!("millrace-input-{}", std::process::id()));
        std::fs::write(&path, "{}").unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        check(file, "{}");
        check(File::open("/dev/null").unwrap(), "");
    }

    #[test]
    fn a_pipe_that_is_held_is_given_up_at_the_deadline() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"{").unwrap();
        let held = Input::new(reader, Duration::from_millis(20)).read_to_end(&mut Vec::new());
        let error = held.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("did not close standard input"), "{error}");
        drop(writer);
    }
}
