//! One connection that should be redirected: who sends it, where it arrives, what it was meant for.
//!
//! Waits for the kernel's answers only, until a deadline.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::thread::{Gid, Uid};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Whom a socket belongs to; all that an owner match looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Why a connection was not seen redirected.
#[derive(Debug)]
pub enum Fault {
    /// The kernel knows no way there, so nothing was sent.
    NoRoute,
    /// It was sent out of the pod, and a router said that it knows no way there.
    Left,
    /// It was refused: it went where it was sent, or nobody listens where it was led.
    Refused,
    /// It was accepted by somebody, but not where it should have arrived.
    Elsewhere,
    /// Nothing happened until the deadline.
    Silent,
    /// A socket could not be used.
    Io(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoRoute => f.write_str("there is no route"),
            Fault::Left => f.write_str("the connection left the pod"),
            Fault::Refused => f.write_str("the connection was refused"),
            Fault::Elsewhere => f.write_str("the connection arrived elsewhere"),
            Fault::Silent => f.write_str("the connection got no answer in time"),
            Fault::Io(error) => write!(f, "a socket failed: {error}"),
        }
    }
}

impl From<Errno> for Fault {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ADDRNOTAVAIL => Fault::NoRoute,
            Errno::CONNREFUSED => Fault::Refused,
            Errno::TIMEDOUT => Fault::Silent,
            error => Fault::Io(error.into()),
        }
    }
}

/// Who the calling thread is.
pub(super) fn own_identity() -> Identity {
    Identity { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

/// A TCP socket that belongs to `who`, made on a thread that becomes them and ends; `None` if it may not.
pub(super) fn socket(v4: bool, who: Option<Identity>) -> Option<OwnedFd> {
    let family = if v4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let open = move || rustix::net::socket_with(family, SocketType::STREAM, flags, None);
    let Some(who) = who else { return open().ok() };
    let spent = std::thread::spawn(move || {
        let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        open()
    });
    spent.join().ok()?.ok()
}

/// The address we would send from.
pub(super) fn own_address(towards: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr =
        if towards.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    // Connecting a datagram socket sends nothing; it only asks the routes.
    socket.connect((towards, 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}

/// Lets the socket send from loopback. Left to itself, it would send to ::6 from ::6, which is the proxy's hop and spared.
pub(super) fn from_loopback(socket: &OwnedFd, v4: bool) -> Result<(), Fault> {
    Ok(rustix::net::bind(socket, &SocketAddr::new(loopback(v4), 0))?)
}

/// Connects `socket` to `target` and sees whether it arrives at `port` of our loopback; says who took it.
pub(super) fn send(
    socket: OwnedFd,
    target: SocketAddr,
    port: u16,
    deadline: Instant,
) -> Result<&'static str, Fault> {
    let listener = listen(target.is_ipv4(), port)?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    await_connected(&socket, deadline).map_err(|fault| match fault {
        // Of a connection that is under way, only an ICMP answer can say that.
        Fault::NoRoute => Fault::Left,
        fault => fault,
    })?;
    let Some(listener) = listener else {
        // Nobody has the target's address, or listens there: who answered sits at the port.
        return Ok("the proxy listens already");
    };
    let deadline = deadline.min(Instant::now() + QUEUED);
    while is_ready(&listener, PollFlags::IN, deadline)? {
        match rustix::net::accept(&listener) {
            Ok(taken) if meant_for(&taken, target.is_ipv4()) == Some(target) => return Ok("it arrived"),
            // A stranger's, or one that was reset before we got to it.
            Ok(_) | Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Fault::Elsewhere)
}

/// How long a connection that its sender calls done may take into its taker's queue: the handshake's last packet goes
/// through the receiving processor's backlog, which under load is served late.
const QUEUED: Duration = Duration::from_secs(1);

/// A listener on loopback; `None` if somebody, the proxy, has the port.
///
/// Without SO_REUSEPORT: with it, a running proxy and we would each get a part of the connections.
fn listen(v4: bool, port: u16) -> Result<Option<OwnedFd>, Fault> {
    let family = if v4 { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    match rustix::net::bind(&listener, &SocketAddr::new(loopback(v4), port)) {
        Err(Errno::ADDRINUSE) => return Ok(None),
        other => other?,
    }
    match rustix::net::listen(&listener, 16) {
        Err(Errno::ADDRINUSE) => Ok(None),
        other => Ok(other.map(|()| Some(listener))?),
    }
}

fn loopback(v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

fn await_connected(socket: &OwnedFd, deadline: Instant) -> Result<(), Fault> {
    if !is_ready(socket, PollFlags::OUT, deadline)? {
        return Err(Fault::Silent);
    }
    match sockopt::socket_error(socket)? {
        Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether it comes to that before the deadline.
fn is_ready(socket: &OwnedFd, wanted: PollFlags, deadline: Instant) -> Result<bool, Fault> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(socket, wanted)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What the connection was meant for before it was redirected.
fn meant_for(taken: &impl AsFd, v4: bool) -> Option<SocketAddr> {
    match v4 {
        true => sockopt::ip_original_dst(taken).ok().map(SocketAddr::V4),
        false => sockopt::ipv6_original_dst(taken).ok().map(SocketAddr::V6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn a_connection_that_nothing_redirects_is_refused_or_arrives_elsewhere() {
        let own = || socket(true, None).unwrap();
        let (nobody, ours) = (free_port(), free_port());
        let refused = send(own(), SocketAddr::new(Ipv4Addr::LOCALHOST.into(), nobody), ours, soon());
        assert!(matches!(refused, Err(Fault::Refused)), "{refused:?}");
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let elsewhere = send(own(), other.local_addr().unwrap(), ours, soon());
        assert!(matches!(elsewhere, Err(Fault::Elsewhere)), "{elsewhere:?}");
    }

    #[test]
    fn a_port_in_use_is_taken_for_the_proxys() {
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = proxy.local_addr().unwrap().port();
        assert!(listen(true, port).unwrap().is_none());
        let arrived = send(socket(true, None).unwrap(), proxy.local_addr().unwrap(), port, soon());
        assert_eq!(arrived.unwrap(), "the proxy listens already");
    }

    #[test]
    fn sockets_of_others_are_made_where_that_is_allowed() {
        let who = own_identity();
        assert!(socket(true, Some(who)).is_some(), "one may always be oneself");
        assert_eq!(own_identity(), who, "the caller's thread stays who it is");
    }
}
