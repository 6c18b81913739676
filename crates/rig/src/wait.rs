//! Waiting in tests: for files by the kernel's word, for what nobody tells of by asking again.
//!
//! Every wait has an end, and then says what it was for and how things stood.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two questions; each is a process, mostly.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until there is an answer; how things stand otherwise is the error. For what no event tells of: whether a daemon
/// serves, what an API server's caches have heard, the end of processes that are not ours.
pub fn until<T>(what: &str, patience: Duration, ask: impl FnMut() -> Result<T, String>) -> T {
    asked(what, patience, ask, |left| std::thread::sleep(PAUSE.min(left)))
}

/// The same for what is in the files of `folder`: asked once, and whenever one of them is another.
pub fn until_in<T>(
    folder: &Path,
    what: &str,
    patience: Duration,
    ask: impl FnMut() -> Result<T, String>,
) -> T {
    let events = inotify::init(CreateFlags::CLOEXEC).expect("the kernel has inotify");
    let changes = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::CLOSE_WRITE;
    inotify::add_watch(&events, folder, changes).expect("the folder is there");
    asked(what, patience, ask, |left| {
        let left = Timespec::try_from(left).expect("a test's patience fits into a timespec");
        match poll(&mut [PollFd::new(&events, PollFlags::IN)], Some(&left)) {
            // What it was does not matter.
            Ok(1..) => drop(rustix::io::read(&events, &mut [0; 4096])),
            Ok(0) | Err(Errno::INTR) => {}
            Err(cause) => panic!("cannot wait for changes in {}: {cause}", folder.display()),
        }
    })
}

fn asked<T>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> Result<T, String>,
    pause: impl Fn(Duration),
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        let stands = match ask() {
            Ok(answer) => return answer,
            Err(stands) => stands,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "waited {patience:?} in vain until {what}: {stands}");
        pause(left);
    }
}

#[cfg(test)]
mod tests {
    use super::{until, until_in};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_file_is_told_of() {
        let folder = std::env::temp_dir().join(format!("millrace-rig-wait-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("file");
        let mut asked = 0;
        let text = until_in(&folder, "there is a file", PATIENCE, || {
            asked += 1;
            if asked == 1 {
                // Between a question and the wait for a change.
                std::fs::write(folder.join("file.new"), "text").unwrap();
                std::fs::rename(folder.join("file.new"), &file).unwrap();
                return Err("not yet".to_owned());
            }
            std::fs::read_to_string(&file).map_err(|error| error.to_string())
        });
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(text, "text");
    }

    #[test]
    #[should_panic(expected = "in vain until pigs fly: they walk")]
    fn what_never_comes_is_told_with_how_things_stood() {
        until("pigs fly", Duration::ZERO, || Err::<(), _>("they walk".to_owned()));
    }
}
