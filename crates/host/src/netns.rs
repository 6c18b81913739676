//! Network namespaces: open one, ask who owns it, act inside it on a thread that is spent afterwards.
//!
//! Never moves a thread back: where that failed, work meant for the node would go on inside a pod. Never waits: a
//! path that is not a namespace is refused, not read.

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::LinkNameSpaceType;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::{fmt, io, panic, thread};

/// An open network namespace. It lives at least as long as this value, even if every process in it is gone.
#[derive(Debug)]
pub struct NetNs {
    file: OwnedFd,
    path: PathBuf,
}

impl NetNs {
    /// Opens the namespace at `path`, which must be absolute: a bind mount, or a link in `/proc/PID/ns`.
    pub fn open(path: &Path) -> Result<NetNs, Error> {
        if !path.is_absolute() {
            return Err(Error::Relative(path.to_owned()));
        }
        // NONBLOCK: a path that happens to name a FIFO must not make us wait for its writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|cause| Error::open(path, cause))?;
        NetNs::opened(file, path)
    }

    /// Opens `ns/net` below the open folder of one process, `shown` in messages. Such a folder is that process's for ever:
    /// once it has ended nothing is below, whoever has its number.
    pub fn of_process(folder: BorrowedFd<'_>, shown: &Path) -> Result<NetNs, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(folder, "ns/net", flags, Mode::empty());
        NetNs::opened(file.map_err(|cause| Error::open(shown, cause))?, shown)
    }

    /// A new namespace that nobody else is in, gone with this value. It has nothing but a `lo` that is down.
    pub fn scratch() -> Result<NetNs, Error> {
        let made = thread::Builder::new().name("scratch".to_owned()).spawn(|| {
            leave_net().map_err(Error::Make)?;
            NetNs::own()
        });
        made.map_err(Error::Thread)?.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    fn opened(file: OwnedFd, path: &Path) -> Result<NetNs, Error> {
        let kind = rustix::fs::fstatfs(&file).map_err(|cause| Error::open(path, cause))?;
        if kind.f_type == NSFS {
            Ok(NetNs { file, path: path.to_owned() })
        } else {
            Err(not_one(&file, path))
        }
    }

    /// The namespace that process `pid` lives in.
    pub fn of_pid(pid: u32) -> Result<NetNs, Error> {
        NetNs::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// The namespace that the calling thread is in.
    pub fn own() -> Result<NetNs, Error> {
        NetNs::open(Path::new(own_net()))
    }

    /// Where it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells it from every other namespace that is open: its device and inode on nsfs (namespaces(7)).
    pub fn id(&self) -> Result<(u64, u64), Error> {
        let stat = rustix::fs::fstat(&self.file).map_err(|cause| self.ask(cause))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Whether the calling thread is in it already.
    pub fn is_own(&self) -> Result<bool, Error> {
        is_at(self.file.as_fd(), own_net()).map_err(|cause| self.ask(cause))
    }

    /// Whether it belongs to another user namespace than ours: a pod with `hostUsers: false`.
    ///
    /// There xtables' `owner` match is refused (xt_owner.c, `owner_check`, since 3.9), while nf_tables' `skuid` works.
    pub fn has_foreign_owner(&self) -> Result<bool, Error> {
        match owner::of(self.file.as_fd()) {
            Ok(user) => Ok(!is_at(user.as_fd(), OWN_USER).map_err(|cause| self.ask(cause))?),
            // The owner is not below our own user namespace (ioctl_ns(2)): foreign for certain.
            Err(Errno::PERM) => Ok(true),
            Err(cause) => Err(self.ask(cause)),
        }
    }

    /// Runs `act` inside the namespace, on a thread of its own that ends with it. A panic of `act` goes on here.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T, Error> {
        thread::scope(|scope| {
            let spent = thread::Builder::new().name("within".to_owned()).spawn_scoped(scope, || {
                self.enter_for_good()?;
                Ok(act())
            });
            spent.map_err(Error::Thread)?.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
        })
    }

    /// Spends the calling thread: it is in the namespace from now on.
    ///
    /// For a process of one thread with nothing left to do outside but what the network namespace does not change:
    /// files, and sockets that are named by a path. A thread of its own would cost a pod's start as much as a fifth
    /// of its rules, mostly in telling two processors about each other's unmapped memory.
    pub fn enter_for_good(&self) -> Result<(), Error> {
        let kind = Some(LinkNameSpaceType::Network);
        match rustix::thread::move_into_link_name_space(self.file.as_fd(), kind) {
            Ok(()) => Ok(()),
            // An init container has NET_ADMIN but not the SYS_ADMIN that entering takes; it is there already.
            Err(Errno::PERM) if self.is_own()? => Ok(()),
            Err(cause) => Err(Error::Enter { path: self.path.clone(), cause }),
        }
    }

    fn ask(&self, cause: Errno) -> Error {
        Error::Ask { path: self.path.clone(), cause }
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Why a namespace could not be opened, asked or entered.
#[derive(Debug)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Error {
    /// A namespace was named by a relative path.
    Relative(PathBuf),
    /// Nothing is at `path`.
    Gone(PathBuf),
    /// `path` cannot be opened.
    Open { path: PathBuf, cause: Errno },
    /// What is at `path` is not a namespace but `what`.
    NotOne { path: PathBuf, what: &'static str },
    /// The kernel did not say who owns the namespace.
    Ask { path: PathBuf, cause: Errno },
    /// The kernel did not let us in.
    Enter { path: PathBuf, cause: Errno },
    /// There is no thread to enter with.
    Thread(io::Error),
    /// The kernel did not make one.
    Make(Errno),
}

impl Error {
    fn open(path: &Path, cause: Errno) -> Error {
        match cause {
            Errno::NOENT | Errno::SRCH => Error::Gone(path.to_owned()),
            cause => Error::Open { path: path.to_owned(), cause },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Relative(path) => {
                write!(
                    f,
                    "network namespace {}: the path is relative; name it by an absolute one",
                    path.display()
                )
            }
            Error::Gone(path) => write!(
                f,
                "network namespace {}: nothing is there; its pod has probably ended, start it again",
                path.display()
            ),
            Error::Open { path, cause } => write!(
                f,
                "cannot open network namespace {}: {}; run as root on the pod's own node",
                path.display(),
                io::Error::from(*cause)
            ),
            Error::NotOne { path, what } => write!(
                f,
                "{} is {what}, not a network namespace; name a mount below /run/netns or a link /proc/PID/ns/net",
                path.display()
            ),
            Error::Ask { path, cause } => {
                let cause = io::Error::from(*cause);
                write!(
                    f,
                    "cannot tell who owns network namespace {}: {cause}; is /proc mounted?",
                    path.display()
                )
            }
            Error::Enter { path, cause: Errno::INVAL } => {
                write!(f, "{} is a namespace, but not one of the network; name that instead", path.display())
            }
            Error::Enter { path, cause } => write!(
                f,
                "cannot enter network namespace {}: {}; CAP_SYS_ADMIN is needed here and in its owner",
                path.display(),
                io::Error::from(*cause)
            ),
            Error::Make(cause) => write!(
                f,
                "cannot make a network namespace: {}; CAP_SYS_ADMIN is needed, and room in user.max_net_namespaces",
                io::Error::from(*cause)
            ),
            Error::Thread(cause) => {
                write!(
                    f,
                    "cannot start a thread to enter a network namespace: {cause}; raise the limit on tasks"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

/// `NSFS_MAGIC` (linux/magic.h)
const NSFS: rustix::fs::FsWord = 0x6e73_6673;

/// The calling thread's, not the process': inside [`NetNs::within`] they differ. The first thread's are the process', and
/// shorter to look up: every step is made anew for a new process.
fn own_net() -> &'static str {
    if rustix::thread::gettid() == rustix::process::getpid() {
        "/proc/self/ns/net"
    } else {
        "/proc/thread-self/ns/net"
    }
}

const OWN_USER: &str = "/proc/thread-self/ns/user";

/// A namespace is its inode on nsfs (namespaces(7)).
fn is_at(file: BorrowedFd<'_>, path: &str) -> Result<bool, Errno> {
    let (one, other) = (rustix::fs::fstat(file)?, rustix::fs::stat(path)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn not_one(file: &OwnedFd, path: &Path) -> Error {
    let kind = rustix::fs::fstat(file).map(|stat| FileType::from_raw_mode(stat.st_mode));
    let what = match kind {
        // What a bind mount leaves behind when it is taken away: the sandbox is gone, its file is not.
        Ok(FileType::RegularFile) => "a plain file (a pod's sandbox that was taken down leaves one)",
        Ok(FileType::Directory) => "a directory",
        _ => "something else",
    };
    Error::NotOne { path: path.to_owned(), what }
}

/// Moves the calling thread, which is spent by it, into a network namespace of its own.
#[allow(
    unsafe_code,
    reason = "unshare may take a thread's files from under safe code; what is asked for here does not"
)]
fn leave_net() -> Result<(), Errno> {
    // SAFETY: only CLONE_FILES and the like break what other code relies upon. The network namespace is the thread's own,
    // no descriptor changes its meaning by it, and the thread ends with what it opens next.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
}

/// The other unsafe act of the house.
#[allow(
    unsafe_code,
    reason = "JUSTIFICATION: only this ioctl tells a pod with hostUsers: false from others, and rustix has no wrapper of it"
)]
mod owner {
    use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd};
    use rustix::io::Errno;
    use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};
    use std::ffi::c_void;

    /// The user namespace that owns the namespace `file` (ioctl_ns(2), since Linux 4.9).
    pub(super) fn of(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        // SAFETY: `GetUserNamespace` describes NS_GET_USERNS truly, and on a file that is not a namespace the
        // request is refused with ENOTTY.
        unsafe { ioctl(file, GetUserNamespace) }
    }

    struct GetUserNamespace;

    // SAFETY: NS_GET_USERNS takes no argument, reads and writes no memory of ours, and returns a new descriptor,
    // close-on-exec, which nobody else knows.
    unsafe impl Ioctl for GetUserNamespace {
        type Output = OwnedFd;
        const IS_MUTATING: bool = false;

        fn opcode(&self) -> Opcode {
            // `NSIO` and `NS_GET_USERNS` (linux/nsfs.h)
            opcode::none(0xb7, 0x1)
        }

        fn as_ptr(&mut self) -> *mut c_void {
            std::ptr::null_mut()
        }

        unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> Result<OwnedFd, Errno> {
            // SAFETY: the request succeeded, so `out` is a descriptor that only we hold.
            Ok(unsafe { OwnedFd::from_raw_fd(out) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, says: &str) {
        let error = NetNs::open(Path::new(path)).expect_err(path);
        assert!(error.to_string().contains(says), "{path}: {error}");
    }

    #[test]
    fn what_is_not_a_namespace_is_refused_with_what_it_is() {
        check("ns/net", "relative");
        check("/proc/0/ns/net", "nothing is there");
        check("/run/netns/millrace-was-never-here", "nothing is there");
        check("/proc", "is a directory");
        check("/proc/self/maps", "is a plain file");
        check("/dev/null", "is something else");
    }

    #[test]
    fn a_namespace_of_another_kind_is_refused_on_entering() {
        let uts = NetNs::open(Path::new("/proc/self/ns/uts")).unwrap();
        let error = uts.within(|| ()).unwrap_err();
        assert!(error.to_string().contains("not one of the network"), "{error}");
    }

    #[test]
    fn our_own_is_own_and_not_foreign() {
        let own = NetNs::own().unwrap();
        assert!(own.is_own().unwrap());
        assert!(!own.has_foreign_owner().unwrap());
        assert!(NetNs::of_pid(std::process::id()).unwrap().is_own().unwrap());
    }

    #[test]
    fn a_panic_inside_goes_on_outside() {
        let own = NetNs::own().unwrap();
        let caught = panic::catch_unwind(|| own.within(|| panic!("from inside")));
        let payload = caught.expect_err("the panic goes on");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"from inside"));
    }
}
