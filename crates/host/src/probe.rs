//! One connection, opened inside a network namespace as somebody: what `verify` sends in order to see it counted.
//!
//! It says what became of the connection and never writes a byte into it. Nothing of it outlives the call.

use crate::netns::{self, NetNs};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use rustix::thread::{Gid, Uid};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Who opens the connection, as this machine's user namespace numbers him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// What became of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Somebody took it.
    Accepted,
    /// Nobody listens where it came out.
    Refused,
    /// Nothing was heard in time.
    Silent,
    /// It was never sent; why.
    Unsent(String),
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Accepted => f.write_str("accepted"),
            Fate::Refused => f.write_str("refused, as nobody listens there"),
            Fate::Silent => f.write_str("not answered"),
            Fate::Unsent(why) => write!(f, "not sent: {why}"),
        }
    }
}

/// Connects by TCP inside `netns` as `who`, and closes at once. `from` matters where the kernel would choose another source:
/// for a call to `::6` it would take `::6` itself.
///
/// The thread takes on the identity for good, and ends: an owner match looks at who opened the socket, so it is enough
/// that this thread is him. Needs CAP_SETUID and CAP_SETGID.
pub fn connect(
    netns: &NetNs,
    who: Who,
    from: Option<IpAddr>,
    to: SocketAddr,
    patience: Duration,
) -> Result<Fate, Error> {
    netns.within(|| {
        take_on(who)?;
        Ok(dial(from, to, patience))
    })?
}

fn dial(from: Option<IpAddr>, to: SocketAddr, patience: Duration) -> Fate {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let dialled =
        net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).and_then(|socket| {
            // It bounds connect(2) as well as sending (socket(7)).
            sockopt::set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
            if let Some(from) = from {
                net::bind(&socket, &SocketAddr::new(from, 0))?;
            }
            net::connect(&socket, &to)
        });
    match dialled {
        Ok(()) => Fate::Accepted,
        Err(Errno::CONNREFUSED | Errno::CONNRESET) => Fate::Refused,
        Err(Errno::INPROGRESS | Errno::AGAIN | Errno::TIMEDOUT | Errno::INTR) => Fate::Silent,
        Err(cause) => Fate::Unsent(cause.to_string()),
    }
}

/// Why nobody could be asked to connect.
#[derive(Debug)]
pub enum Error {
    /// The namespace cannot be entered.
    NetNs(netns::Error),
    /// The identity cannot be taken on.
    Identity(Who, Errno),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NetNs(error) => error.fmt(f),
            Error::Identity(who, cause) => {
                write!(f, "become user {} and group {}: {cause}; run it as root", who.uid, who.gid)
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<netns::Error> for Error {
    fn from(error: netns::Error) -> Self {
        Error::NetNs(error)
    }
}

fn take_on(who: Who) -> Result<(), Error> {
    let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
    let became = rustix::thread::set_thread_groups(&[])
        .and_then(|()| rustix::thread::set_thread_res_gid(gid, gid, gid))
        .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid));
    became.map_err(|cause| Error::Identity(who, cause))
}
