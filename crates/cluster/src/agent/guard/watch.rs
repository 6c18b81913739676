//! Tells that something in a few folders may have changed: inotify on each, and on what a missing or replaced one appears in.
//!
//! It says only "look again", never what changed: events are merged, lost in an overflow and late, a look is not. It watches
//! and never touches.

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;

/// What can change a folder's meaning. ATTRIB for a mode or label that keeps a runtime from reading; no OPEN or ACCESS: every
/// pod's start would wake us.
const INSIDE: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(ENTRIES)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);
const ENTRIES: WatchFlags =
    WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVED_FROM).union(WatchFlags::MOVED_TO);
/// The watched folder itself is gone, or events were lost that may have said so.
const LOST: ReadFlags = ReadFlags::DELETE_SELF
    .union(ReadFlags::MOVE_SELF)
    .union(ReadFlags::IGNORED)
    .union(ReadFlags::UNMOUNT)
    .union(ReadFlags::QUEUE_OVERFLOW);

/// The watch on a few folders.
#[derive(Debug)]
pub(crate) struct Watch {
    places: Vec<PathBuf>,
    armed: Option<Armed>,
}

#[derive(Debug)]
struct Armed {
    inotify: AsyncFd<OwnedFd>,
    /// By watch descriptor.
    watched: BTreeMap<i32, Watched>,
    /// Device and inode of each place when it was armed.
    identities: Vec<Option<(u64, u64)>>,
}

/// What one descriptor tells of: an inode has only one, be it a place, above a place, or both.
#[derive(Debug, Default)]
struct Watched {
    /// Whether it is a place.
    inside: bool,
    /// The entries of it in which a place lies.
    above: Vec<OsString>,
}

impl Watch {
    /// One that is not armed yet.
    pub(crate) fn new(places: Vec<PathBuf>) -> Watch {
        Watch { places, armed: None }
    }

    /// Arms it anew if it was never armed, or a place is not the folder it was; whether it did. Look after it, not before: then
    /// nothing is missed.
    pub(crate) fn refresh(&mut self) -> io::Result<bool> {
        let current = self.places.iter().map(|place| identity(place));
        if self.armed.as_ref().is_some_and(|armed| current.eq(armed.identities.iter().copied())) {
            return Ok(false);
        }
        self.armed = None;
        self.armed = Some(Armed::new(&self.places)?);
        Ok(true)
    }

    /// Waits until something may have changed; for ever if it is not armed. Nothing is lost when the wait is given up.
    pub(crate) async fn changed(&mut self) {
        loop {
            let Some(armed) = &self.armed else { return std::future::pending().await };
            let Ok(mut ready) = armed.inotify.readable().await else {
                self.armed = None;
                return;
            };
            let told = armed.told();
            ready.clear_ready();
            match told {
                Ok(Told::Nothing) => {}
                Ok(Told::Changed) => return,
                Ok(Told::Lost) | Err(_) => {
                    self.armed = None;
                    return;
                }
            }
        }
    }
}

/// The place that was removed while it is mounted here, if one was: nothing written to it would be seen by anybody.
pub(crate) fn removed(places: &[PathBuf]) -> Option<&Path> {
    let gone = |place: &&PathBuf| fs::metadata(place).is_ok_and(|facts| facts.nlink() == 0);
    places.iter().find(gone).map(PathBuf::as_path)
}

enum Told {
    Nothing,
    Changed,
    Lost,
}

impl Armed {
    fn new(places: &[PathBuf]) -> io::Result<Armed> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let mut watched = BTreeMap::<i32, Watched>::new();
        let mut identities = Vec::new();
        for place in places {
            // From above: what appears below a folder that is watched already is told, what was there before is found.
            if let Some((above, name)) = nearest(place) {
                let descriptor =
                    add(&inotify, above, ENTRIES | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF)?;
                let entries = descriptor.map(|descriptor| &mut watched.entry(descriptor).or_default().above);
                entries.into_iter().for_each(|entries| entries.push(name.to_owned()));
            }
            if let Some(descriptor) = add(&inotify, place, INSIDE)? {
                watched.entry(descriptor).or_default().inside = true;
            }
            identities.push(identity(place));
        }
        Ok(Armed { inotify: polled(inotify)?, watched, identities })
    }

    /// Reads all that waits to be read.
    fn told(&self) -> io::Result<Told> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(self.inotify.get_ref(), &mut buffer);
        let mut told = Told::Nothing;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => return Ok(told),
                Err(Errno::INTR) => continue,
                Err(cause) => return Err(cause.into()),
            };
            if event.events().intersects(LOST) {
                return Ok(Told::Lost);
            }
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            let Some(watched) = self.watched.get(&event.wd()) else { continue };
            if name.is_some_and(|name| watched.above.iter().any(|above| above == name)) {
                return Ok(Told::Lost);
            }
            if watched.inside && matters(name) {
                told = Told::Changed;
            }
        }
    }
}

/// A descriptor the runtime waits for.
#[expect(
    deprecated,
    reason = "unsound for what may close or change its descriptor, which an OwnedFd does not; the function that takes its place is \
              unsafe to call"
)]
pub(crate) fn polled(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}

/// Whether an entry of a folder can change what it means. Locks and files in the making cannot: runtimes lock in the folder of
/// lists at every pod's start, and what is made is told once more when it is renamed. The folder itself always matters.
fn matters(name: Option<&OsStr>) -> bool {
    let passing =
        |name: &OsStr| [".lock", ".tmp"].iter().any(|end| name.as_bytes().ends_with(end.as_bytes()));
    !name.is_some_and(passing)
}

/// Watches a folder; nothing where there is none.
fn add(inotify: &OwnedFd, folder: &Path, flags: WatchFlags) -> io::Result<Option<i32>> {
    match inotify::add_watch(inotify, folder, flags | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD) {
        Ok(descriptor) => Ok(Some(descriptor)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}

/// The closest folder above that exists, and the entry of it that leads to `folder`.
fn nearest(folder: &Path) -> Option<(&Path, &OsStr)> {
    let mut below = folder;
    while let (Some(above), Some(name)) = (below.parent(), below.file_name()) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        if above.is_dir() {
            return Some((above, name));
        }
        below = above;
    }
    None
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    fs::metadata(folder).ok().map(|facts| (facts.dev(), facts.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::guard::scratch::Scratch;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn watch(folders: &[&Path]) -> Watch {
        let mut watch = Watch::new(folders.iter().map(|folder| folder.to_path_buf()).collect());
        assert!(watch.refresh().unwrap(), "it is armed at first");
        assert!(!watch.refresh().unwrap(), "and once is enough");
        watch
    }

    /// Something may have changed; then it is looked at once more, as the guard does.
    async fn told(watch: &mut Watch, why: &str) {
        tokio::time::timeout(PATIENCE, watch.changed())
            .await
            .unwrap_or_else(|_| panic!("{why} was not told"));
        watch.refresh().unwrap();
    }

    /// Nothing has been told. The kernel queues an event before the call that caused it returns, so one look is enough.
    fn untold(watch: &Watch, why: &str) {
        let told = watch.armed.as_ref().map(|armed| armed.told().unwrap());
        assert!(matches!(told, Some(Told::Nothing)), "{why} was told");
    }

    #[tokio::test]
    async fn what_changes_a_list_is_told_and_nothing_else() {
        let scratch = Scratch::new("told");
        let folder = scratch.folder("net.d");
        let list = folder.join("10-x.conflist");
        fs::write(&list, "{}").unwrap();
        let mut watch = watch(&[&folder]);

        fs::read(&list).unwrap();
        fs::write(folder.join("cni.lock"), "").unwrap();
        fs::write(folder.join(".10-x.conflist.77.tmp"), "{}").unwrap();
        untold(&watch, "reading, a lock or a file in the making");

        fs::rename(folder.join(".10-x.conflist.77.tmp"), &list).unwrap();
        told(&mut watch, "a rename").await;
        fs::write(&list, "{ }").unwrap();
        told(&mut watch, "writing in place").await;
        fs::hard_link(&list, folder.join("20-y.conflist")).unwrap();
        told(&mut watch, "a hard link").await;
        fs::remove_file(&list).unwrap();
        told(&mut watch, "removal").await;
    }

    #[tokio::test]
    async fn a_folder_may_be_missing_replaced_and_come_again() {
        let scratch = Scratch::new("replaced");
        let folder = scratch.path.join("etc/cni/net.d");
        let mut watch = watch(&[&folder]);
        for above in ["etc", "etc/cni", "etc/cni/net.d"] {
            fs::create_dir(scratch.path.join(above)).unwrap();
            told(&mut watch, above).await;
        }
        fs::write(folder.join("a"), "").unwrap();
        told(&mut watch, "a file in the folder that came").await;

        fs::rename(&folder, scratch.path.join("aside")).unwrap();
        told(&mut watch, "the folder moved away").await;
        fs::create_dir(&folder).unwrap();
        told(&mut watch, "another in its place").await;
        fs::write(folder.join("b"), "").unwrap();
        told(&mut watch, "a file in that one").await;
        fs::write(scratch.path.join("aside/c"), "").unwrap();
        untold(&watch, "the one that moved away");

        fs::remove_dir_all(&folder).unwrap();
        told(&mut watch, "its removal").await;
        fs::create_dir(&folder).unwrap();
        told(&mut watch, "its return").await;
        fs::write(folder.join("d"), "").unwrap();
        told(&mut watch, "a file in the one that returned").await;
    }

    /// Nothing tells that a folder above the one above was replaced; the regular look sees it.
    #[tokio::test]
    async fn a_folder_replaced_from_further_above_is_noticed_by_the_regular_look() {
        let scratch = Scratch::new("above");
        let folder = scratch.folder("etc/cni/net.d");
        let mut watch = watch(&[&folder]);
        fs::rename(scratch.path.join("etc"), scratch.path.join("old")).unwrap();
        fs::create_dir_all(&folder).unwrap();
        assert!(watch.refresh().unwrap());
        fs::write(folder.join("a"), "").unwrap();
        told(&mut watch, "a file in the new one").await;
    }

    #[tokio::test]
    async fn a_folder_below_another_has_a_watch_of_its_own() {
        let scratch = Scratch::new("below");
        let folder = scratch.folder("net.d");
        let chain = folder.join("vendor-cni-chain");
        let mut watch = watch(&[&chain, &folder]);
        fs::create_dir(&chain).unwrap();
        told(&mut watch, "the inner one").await;
        fs::write(chain.join("50-x.conf"), "").unwrap();
        told(&mut watch, "a file in the inner one").await;
        fs::write(folder.join("10-x.conflist"), "").unwrap();
        told(&mut watch, "a file in the outer one").await;
    }

    #[tokio::test]
    async fn an_overflow_is_a_reason_to_look() {
        let scratch = Scratch::new("overflow");
        let folder = scratch.folder("net.d");
        let mut watch = watch(&[&folder]);
        let room = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        // Of locks nothing is told, but they fill the queue: three events for each, and only equal neighbours are merged.
        for count in 0..room.trim().parse::<u32>().unwrap() / 2 + 2 {
            let file = folder.join(if count % 2 == 0 { "a.lock" } else { "b.lock" });
            fs::write(&file, "").unwrap();
            fs::remove_file(&file).unwrap();
        }
        told(&mut watch, "the overflow").await;
        untold(&watch, "what was in the queue");
        fs::write(folder.join("10-x.conflist"), "").unwrap();
        told(&mut watch, "a file after it").await;
    }

    #[test]
    fn a_folder_removed_under_its_mount_is_noticed() {
        let scratch = Scratch::new("removed");
        let folder = scratch.folder("net.d");
        // An open descriptor holds it as a mount does.
        let held = fs::File::open(&folder).unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held)));
        let places = [path.clone()];
        assert_eq!(removed(&places), None);
        fs::remove_dir(&folder).unwrap();
        assert_eq!(removed(&places), Some(path.as_path()));
    }
}
