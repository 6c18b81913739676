//! Files put in place whole: written beside their place under a name nobody reads, made durable, then renamed.
//!
//! The final path is never open for writing: a reader sees the old file or the new one, also after a crash or a power
//! cut, and nobody who executes it meets a writer. Mode, owner and security label come from the file that is replaced.
//! What the place held at the instant of the exchange is handed back, so that an owner's own write is never lost unseen;
//! where the file system cannot exchange, nothing is done.

use rustix::fs::{CWD, Mode, RenameFlags, XattrFlags};
use rustix::io::Errno;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a file has beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Like {
    /// Its permission bits.
    pub mode: u32,
    /// Its user and group, if they are to be set.
    pub owner: Option<(u32, u32)>,
    /// Its `security.selinux`, if it has one.
    pub label: Option<Vec<u8>>,
}

impl Like {
    /// A new file with these permissions; owner and label are what the folder gives.
    pub fn new(mode: u32) -> Like {
        Like { mode, owner: None, label: None }
    }

    /// What the file at `path` has; nothing if there is none.
    pub fn of(path: &Path) -> Result<Option<Like>, Error> {
        let failed = |cause: io::Error| Error::new("look at", path, cause);
        let found = match fs::metadata(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(failed)?,
        };
        let label = label(path).map_err(failed)?;
        Ok(Some(Like { mode: found.mode() & 0o7777, owner: Some((found.uid(), found.gid())), label }))
    }
}

/// The steps of putting a file in place, in order; each is told before it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names are what they do")]
pub enum Step {
    Create,
    Write,
    Owner,
    Label,
    Mode,
    Sync,
    Rename,
    Clear,
    SyncFolder,
}

/// Told before each step; an error from it is as one of the step itself. For tests that fail or die at every step.
pub type Hook<'a> = dyn FnMut(Step) -> io::Result<()> + 'a;

/// What an [`Error`] says was tried when the owner of the file that is replaced could not be given to the new one.
pub const GIVE_OWNER: &str = "give its owner to";

/// Why a file could not be put in place. Nothing is half done: the place is as it was.
#[derive(Debug)]
pub struct Error {
    /// What was tried.
    pub act: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why it failed.
    pub cause: io::Error,
}

impl Error {
    /// `act` on `path` failed because of `cause`.
    pub fn new(act: &'static str, path: &Path, cause: impl Into<io::Error>) -> Error {
        Error { act, path: path.to_owned(), cause: cause.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.act, self.path.display(), self.cause)?;
        let way_out = match self.cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space there",
            io::ErrorKind::ReadOnlyFilesystem => {
                "mount it writable, or name the directory that the runtime uses on this platform"
            }
            io::ErrorKind::CrossesDevices | io::ErrorKind::ResourceBusy => {
                "mount the directory into the container, not the single file"
            }
            io::ErrorKind::Unsupported => "join by a list of our own, with --way own-list",
            io::ErrorKind::PermissionDenied => {
                "it must belong to root, and SELinux or AppArmor must let this process write there"
            }
            io::ErrorKind::NotFound => "mount the node's directory there, or name another",
            _ => return Ok(()),
        };
        write!(f, "; {way_out}")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// A whole, durable file beside its place. It is discarded by [`Staged::discard`] only: a process that dies leaves it to
/// [`sweep`].
#[derive(Debug)]
#[must_use = "a staged file is put in place or discarded"]
pub struct Staged {
    path: PathBuf,
}

/// What every staged file's name begins with. Runtimes take every file for a list that ends as lists do, dot or no dot.
const PREFIX: &str = ".millrace-staged.";
/// What it ends with.
const SUFFIX: &str = ".tmp";
/// The most names tried: each that is taken is another process's, or was left by a dead one.
const NAMES: u32 = 1000;
/// The most files a folder of lists or of plugins may hold.
const MOST: usize = 65_536;

/// Writes what `content` gives into a new file in `folder`.
pub fn stage(
    folder: &Path,
    content: &mut dyn Read,
    like: &Like,
    hook: &mut Hook<'_>,
) -> Result<Staged, Error> {
    hook(Step::Create).map_err(|cause| Error::new("create a file in", folder, cause))?;
    let (mut file, path) = create(folder)?;
    let staged = Staged { path };
    match fill(&mut file, &staged.path, content, like, hook) {
        Ok(()) => Ok(staged),
        Err(error) => {
            staged.discard();
            Err(error)
        }
    }
}

impl Staged {
    /// Where it is for now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it at `path`, whatever is there. After an error nothing is left beside it.
    pub fn put(self, path: &Path, hook: &mut Hook<'_>) -> Result<(), Error> {
        let renamed = hook(Step::Rename).and_then(|()| fs::rename(&self.path, path));
        if let Err(cause) = renamed {
            self.discard();
            return Err(Error::new("put a file in place at", path, cause));
        }
        sync_folder(path, hook)
    }

    /// Swaps it with what is at `path` at that very instant, which is returned. Where the file system cannot swap, the place
    /// is left alone: put there, it could bring back what its owner took away, or hide what he wrote.
    pub fn exchange(self, path: &Path, hook: &mut Hook<'_>) -> Result<Staged, Error> {
        let swapped = hook(Step::Rename)
            .and_then(|()| Ok(rustix::fs::renameat_with(CWD, &self.path, CWD, path, RenameFlags::EXCHANGE)?));
        match swapped {
            Ok(()) => sync_folder(path, hook).map(|()| self),
            Err(cause) => {
                self.discard();
                // NFS, 9p and ZFS before 2.2 among others.
                let cannot = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP].map(Errno::raw_os_error);
                let cause = match cause.raw_os_error() {
                    Some(number) if cannot.contains(&number) => io::Error::new(
                        io::ErrorKind::Unsupported,
                        "its file system cannot swap two files in one instant (RENAME_EXCHANGE)",
                    ),
                    _ => cause,
                };
                Err(Error::new("put a file in place at", path, cause))
            }
        }
    }

    /// Removes it.
    pub fn discard(self) {
        // It is named so that nobody reads it, and swept later.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes a file and makes that durable; no file is no error.
pub fn remove(path: &Path, hook: &mut Hook<'_>) -> Result<bool, Error> {
    match hook(Step::Clear).and_then(|()| fs::remove_file(path)) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(Error::new("remove", path, cause)),
        Ok(()) => sync_folder(path, hook).map(|()| true),
    }
}

/// What processes that died left staged in `folder`, to be put in place or discarded. Only for whoever holds the lock under
/// which files are staged.
pub fn left(folder: &Path) -> Result<Vec<Staged>, Error> {
    Ok(staged_in(folder)?.into_iter().map(|path| Staged { path }).collect())
}

/// Removes what processes that died left staged in `folder`. Only for whoever holds the lock under which files are staged.
pub fn sweep(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let left = staged_in(folder)?;
    for path in &left {
        fs::remove_file(path).map_err(|cause| Error::new("remove the abandoned", path, cause))?;
    }
    Ok(left)
}

/// What is staged in `folder`; no folder holds nothing.
pub fn staged_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |cause| Error::new("list", folder, cause);
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for (count, entry) in entries.enumerate() {
        let entry = entry.map_err(failed)?;
        if count >= MOST {
            return Err(failed(io::Error::other(format!("it holds more than {MOST} files"))));
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn create(folder: &Path) -> Result<(File, PathBuf), Error> {
    for number in 0..NAMES {
        let path = folder.join(format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id()));
        match File::options().write(true).create_new(true).mode(0o600).open(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((opened.map_err(|cause| Error::new("create", &path, cause))?, path)),
        }
    }
    Err(Error::new("create a file in", folder, io::Error::other(format!("{NAMES} names are taken"))))
}

fn fill(
    file: &mut File,
    path: &Path,
    content: &mut dyn Read,
    like: &Like,
    hook: &mut Hook<'_>,
) -> Result<(), Error> {
    let failed = |act: &'static str| move |cause: io::Error| Error::new(act, path, cause);
    hook(Step::Write).and_then(|()| io::copy(content, file)).map_err(failed("write"))?;
    if let Some((user, group)) = like.owner {
        hook(Step::Owner).and_then(|()| own(file, user, group)).map_err(failed(GIVE_OWNER))?;
    }
    if let Some(label) = &like.label {
        hook(Step::Label).and_then(|()| relabel(file, path, label)).map_err(failed("give its label to"))?;
    }
    // After the owner: changing that takes the set-user bits away.
    let mode = Mode::from_raw_mode(like.mode);
    hook(Step::Mode)
        .and_then(|()| Ok(rustix::fs::fchmod(&*file, mode)?))
        .map_err(failed("give its mode to"))?;
    hook(Step::Sync)
        .and_then(|()| file.flush())
        .and_then(|()| file.sync_all())
        .map_err(failed("make durable"))
}

fn own(file: &File, user: u32, group: u32) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (user, group) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(user), Some(group))
}

/// The label a file gets in its folder is right more often than not, and setting one needs a privilege.
fn relabel(file: &File, path: &Path, wanted: &[u8]) -> io::Result<()> {
    if label(path)?.as_deref() == Some(wanted) {
        return Ok(());
    }
    Ok(rustix::fs::fsetxattr(file, LABEL, wanted, XattrFlags::empty())?)
}

const LABEL: &str = "security.selinux";

fn label(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; 512];
    match rustix::fs::getxattr(path, LABEL, &mut buffer[..]) {
        Ok(length) => Ok(Some(buffer[..length].to_vec())),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}

/// A rename is durable once its folder is.
fn sync_folder(path: &Path, hook: &mut Hook<'_>) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let synced = hook(Step::SyncFolder).and_then(|()| File::open(folder)?.sync_all());
    synced.map_err(|cause| Error::new("make durable", folder, cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("millrace-files-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Folder(path)
        }

        fn stage(&self, text: &str, like: &Like) -> Staged {
            stage(&self.0, &mut text.as_bytes(), like, &mut |_| Ok(())).expect("staged")
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).expect("a folder");
            let mut names: Vec<String> = entries
                .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                .collect();
            names.sort_unstable();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_a_file_has_beside_its_bytes_is_kept() {
        let folder = Folder::new("kept");
        let path = folder.0.join("list");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        // Another's file, and a label, as far as this process may make them.
        let _ = std::os::unix::fs::chown(&path, Some(65_534), Some(65_533));
        let _ = rustix::fs::setxattr(&path, LABEL, b"system_u:object_r:etc_t:s0", XattrFlags::empty());
        let like = Like::of(&path).unwrap().unwrap();
        folder.stage("new", &like).put(&path, &mut |_| Ok(())).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(Like::of(&path).unwrap(), Some(like));
        assert_eq!(folder.names(), ["list"]);
        assert_eq!(Like::of(&folder.0.join("none")).unwrap(), None);
    }

    #[test]
    fn what_was_there_comes_out() {
        let folder = Folder::new("swapped");
        let path = folder.0.join("list");
        fs::write(&path, "theirs").unwrap();
        let out = folder.stage("ours", &Like::new(0o600)).exchange(&path, &mut |_| Ok(())).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
        assert_eq!(fs::read_to_string(out.path()).unwrap(), "theirs");
        out.discard();
        fs::remove_file(&path).unwrap();
        let refused = folder.stage("ours", &Like::new(0o600)).exchange(&path, &mut |_| Ok(()));
        assert_eq!(refused.unwrap_err().cause.kind(), io::ErrorKind::NotFound);
        assert_eq!(folder.names(), [""; 0], "what its owner took away does not come back");
    }

    #[test]
    fn where_files_cannot_be_swapped_nothing_is_done() {
        let folder = Folder::new("unswapped");
        let path = folder.0.join("list");
        for there in [true, false] {
            fs::write(&path, "theirs").unwrap();
            let mut hook = |step| {
                // What the kernel says there, at the instant at which the owner takes his file away.
                if step == Step::Rename && !there {
                    fs::remove_file(&path)?;
                }
                if step == Step::Rename { Err(Errno::INVAL.into()) } else { Ok(()) }
            };
            let refused = folder.stage("ours", &Like::new(0o600)).exchange(&path, &mut hook).unwrap_err();
            assert!(refused.to_string().contains("--way own-list"), "{refused}");
            assert_eq!(fs::read_to_string(&path).ok().as_deref(), there.then_some("theirs"));
        }
        assert_eq!(folder.names(), [""; 0]);
    }

    #[test]
    fn what_a_dead_process_staged_is_swept_and_nothing_else() {
        let folder = Folder::new("swept");
        let staged = folder.stage("half", &Like::new(0o600));
        for name in ["10-x.conflist", ".millrace-staged", "x.tmp"] {
            fs::write(folder.0.join(name), "").unwrap();
        }
        assert_eq!(staged_in(&folder.0).unwrap(), [staged.path()]);
        assert_eq!(sweep(&folder.0).unwrap().len(), 1);
        assert_eq!(folder.names(), [".millrace-staged", "10-x.conflist", "x.tmp"]);
        assert!(sweep(&folder.0.join("none")).unwrap().is_empty());
    }
}
