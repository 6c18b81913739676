//! One netlink socket in the calling thread's network namespace: send messages, collect the kernel's answers, dump.
//!
//! Knows no message's meaning: the bytes are written and read by the dialects and by `routes`. Never waits longer
//! than [`PATIENCE`] for an answer, never keeps more than [`LARGEST_DUMP`] of one, and says so when it would.

use millrace_core::dialect::wire;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::{fmt, io};

/// How long one answer may take. The kernel answers before `send` returns, so only a broken one is ever this slow.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The most that one dump may bring: two hundred times a large pod's rules.
pub const LARGEST_DUMP: usize = 16 << 20;

/// An open socket.
#[derive(Debug)]
pub struct Socket {
    file: OwnedFd,
    inbox: Vec<u8>,
}

/// Which part of the kernel to talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// nf_tables, in batches.
    Netfilter,
    /// Addresses, rules and routes.
    Route,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(part: Part) -> Result<Socket, Error> {
        let protocol: Option<Protocol> = match part {
            Part::Netfilter => Some(NETFILTER),
            // NETLINK_ROUTE is protocol 0.
            Part::Route => None,
        };
        let kind = (AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC);
        let file = rustix::net::socket_with(kind.0, kind.1, kind.2, protocol).map_err(Error::Open)?;
        sockopt::set_socket_timeout(&file, Timeout::Recv, Some(PATIENCE)).map_err(Error::Open)?;
        Ok(Socket { file, inbox: Vec::new() })
    }

    /// Sends messages and waits until each that asks for an acknowledgement has one.
    ///
    /// The first refusal is the result, and answers to later messages may then still be queued: after the refusal of
    /// more than one message, open another socket.
    pub fn send(&mut self, messages: &[u8]) -> Result<(), Error> {
        let mut awaited = 0;
        for message in wire::messages(messages) {
            awaited += usize::from(message.map_err(|_| Error::Cut)?.flags & wire::ACK != 0);
        }
        self.put(messages)?;
        let mut overrun = false;
        while awaited > 0 {
            let (length, whole) = match self.take(ANSWER) {
                // Every refused message comes back whole; should that fill the socket, the first ones still explain it.
                Err(Error::Receive(Errno::NOBUFS)) => {
                    overrun = true;
                    continue;
                }
                Err(Error::Silent) if overrun => return Err(Error::Receive(Errno::NOBUFS)),
                other => other?,
            };
            if length < whole && length >= HEADER {
                // One answer to a datagram (af_netlink.c, `netlink_ack`). A refusal repeats the refused message, of
                // which nobody needs more than fits: a page for all of it is a fault in every pod's start.
                let fits = u32::try_from(length).map_err(|_| Error::Cut)?;
                self.inbox[..4].copy_from_slice(&fits.to_ne_bytes());
            }
            for message in wire::messages(&self.inbox[..length]) {
                if let Some(answer) = answer(message.map_err(|_| Error::Cut)?)? {
                    answer?;
                    awaited = awaited.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    /// Sends one request that dumps, or that asks for an acknowledgement, and returns the messages it brings, whole.
    ///
    /// A dump that a change interrupted is begun again, `DUMPS` times at most.
    pub fn dump(&mut self, request: &[u8]) -> Result<Vec<u8>, Error> {
        for _ in 0..DUMPS {
            self.put(request)?;
            if let Some(messages) = self.gather()? {
                return Ok(messages);
            }
        }
        Err(Error::Restless)
    }

    /// Everything up to the end of one answer; `None` if a change made it inconsistent.
    fn gather(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut messages = Vec::new();
        let mut steady = true;
        loop {
            let (length, whole) = self.take(INBOX)?;
            if length < whole {
                return Err(Error::Cut);
            }
            let mut kept = 0;
            let mut ended = false;
            for message in wire::messages(&self.inbox[..length]) {
                let message = message.map_err(|_| Error::Cut)?;
                steady &= message.flags & wire::INTERRUPTED == 0;
                if let Some(answer) = answer(message)? {
                    answer?;
                    ended = true;
                    break;
                }
                // The end may share a datagram with the last that was asked for (af_netlink.c, `netlink_dump`).
                kept += (HEADER + message.body.len()).next_multiple_of(4);
            }
            if messages.len() + kept > LARGEST_DUMP {
                return Err(Error::TooMuch);
            }
            messages.extend_from_slice(&self.inbox[..kept.min(length)]);
            if ended {
                return Ok(steady.then_some(messages));
            }
        }
    }

    fn put(&self, messages: &[u8]) -> Result<(), Error> {
        if messages.len() > ROOMY {
            // A netlink message must fit the send buffer whole (af_netlink.c). FORCE needs CAP_NET_ADMIN on the node;
            // without it net.core.wmem_max is the limit, and `send` says EMSGSIZE.
            let room = messages.len() * 2;
            sockopt::set_socket_send_buffer_size_force(&self.file, room)
                .or_else(|_| sockopt::set_socket_send_buffer_size(&self.file, room))
                .map_err(Error::Send)?;
        }
        let kernel = SocketAddrNetlink::new(0, 0);
        let flags = SendFlags::empty();
        rustix::io::retry_on_intr(|| rustix::net::sendto(&self.file, messages, flags, &kernel))
            .map_err(Error::Send)?;
        Ok(())
    }

    /// The next datagram, as far as it fits into `room`, into the inbox; how long that is, and how long it was.
    fn take(&mut self, room: usize) -> Result<(usize, usize), Error> {
        self.inbox.clear();
        self.inbox.reserve(room);
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.file, spare_capacity(&mut self.inbox), RecvFlags::TRUNC)
        });
        match received {
            Err(Errno::AGAIN) => Err(Error::Silent),
            received => received.map_err(Error::Receive),
        }
    }
}

/// What the kernel says of a message, if `message` is such an answer: fine, or refused.
fn answer(message: wire::Message<'_>) -> Result<Option<Result<(), Error>>, Error> {
    let code = match message.kind {
        NLMSG_ERROR | NLMSG_DONE => message.body.get(..4),
        _ => return Ok(None),
    };
    // An empty NLMSG_DONE is a success (rtnetlink before 4.20 sends some).
    let code = match code {
        None if message.kind == NLMSG_DONE => 0,
        None => return Err(Error::Cut),
        Some(code) => i32::from_ne_bytes(code.try_into().expect("four bytes were taken")),
    };
    match code.checked_neg() {
        _ if code >= 0 => Ok(Some(Ok(()))),
        // MAX_ERRNO (linux/err.h)
        Some(number @ 1..4096) => {
            let cause = Errno::from_raw_os_error(number);
            Ok(Some(Err(Error::Refused { sequence: message.sequence, cause })))
        }
        _ => Err(Error::Cut),
    }
}

/// Why talking to the kernel failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Error {
    /// There is no such socket.
    Open(Errno),
    /// The messages could not be sent.
    Send(Errno),
    /// The answer could not be received.
    Receive(Errno),
    /// No answer in time.
    Silent,
    /// An answer ended in the middle of a message.
    Cut,
    /// A dump was larger than [`LARGEST_DUMP`].
    TooMuch,
    /// A dump was interrupted by changes time and again.
    Restless,
    /// The kernel refused the message with this sequence number.
    Refused { sequence: u32, cause: Errno },
}

impl Error {
    /// The error number behind it, if the kernel gave one.
    pub fn cause(&self) -> Option<Errno> {
        match *self {
            Error::Open(cause) | Error::Send(cause) | Error::Receive(cause) => Some(cause),
            Error::Refused { cause, .. } => Some(cause),
            Error::Silent | Error::Cut | Error::TooMuch | Error::Restless => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Open(cause) => write!(f, "no netlink socket: {}", io::Error::from(*cause)),
            Error::Send(Errno::MSGSIZE) => {
                f.write_str("too many rules for one netlink message; list fewer ports or ranges")
            }
            Error::Send(cause) => write!(f, "cannot send to netlink: {}", io::Error::from(*cause)),
            Error::Receive(cause) => write!(f, "cannot hear netlink's answer: {}", io::Error::from(*cause)),
            Error::Silent => write!(f, "the kernel did not answer within {} s", PATIENCE.as_secs()),
            Error::Cut => f.write_str("the kernel's answer is cut short"),
            Error::TooMuch => write!(f, "the kernel's answer is longer than {} MiB", LARGEST_DUMP >> 20),
            Error::Restless => {
                write!(f, "something keeps changing the rules while they are read ({DUMPS} times); try again")
            }
            Error::Refused { sequence, cause } => {
                write!(f, "the kernel refused message {sequence}: {}", io::Error::from(*cause))
            }
        }
    }
}

impl std::error::Error for Error {}

/// `NLMSG_ERROR`: also an acknowledgement, with code 0.
const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
const NLMSG_DONE: u16 = 3;
/// `struct nlmsghdr`
const HEADER: usize = 16;
/// How often a dump is begun.
const DUMPS: usize = 16;
/// No datagram of the kernel's is longer: a dump's are at most 32 KiB (af_netlink.c), a refusal holds the refused
/// message, whose attributes are at most 64 KiB.
const INBOX: usize = 80 << 10;
/// What an answer that is no refusal fits many times.
const ANSWER: usize = 512;
/// What fits a send buffer of the usual 208 KiB with room to spare.
const ROOMY: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// `RTM_GETLINK` by dump, `RTM_NEWADDR`.
    const GETLINK: u16 = 18;
    const NEWADDR: u16 = 20;

    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut writer = wire::Writer::default();
        writer.start(kind, flags, sequence);
        writer.fixed(body);
        writer.finish()
    }

    #[test]
    fn a_dump_ends_and_holds_the_loopback_link() {
        let mut socket = Socket::open(Part::Route).unwrap();
        let links = socket.dump(&message(GETLINK, wire::REQUEST | wire::DUMP, 7, &[0; 16])).unwrap();
        assert!(links.windows(3).any(|name| name == b"lo\0"));
        assert!(wire::messages(&links).all(|link| link.unwrap().sequence == 7));
    }

    #[test]
    fn a_refusal_names_the_message() {
        let mut socket = Socket::open(Part::Route).unwrap();
        // An address of no family on no link: refused, and so nothing changes here.
        let refused =
            socket.send(&message(NEWADDR, wire::REQUEST | wire::ACK, 9, &[255, 0, 0, 0, 0, 0, 0, 0]));
        assert!(matches!(refused, Err(Error::Refused { sequence: 9, .. })), "{refused:?}");
    }

    #[test]
    fn a_refusal_of_a_long_message_is_understood_without_its_end() {
        let mut socket = Socket::open(Part::Route).unwrap();
        let refused = socket.send(&message(NEWADDR, wire::REQUEST | wire::ACK, 10, &[255; 4 * ANSWER]));
        assert!(matches!(refused, Err(Error::Refused { sequence: 10, .. })), "{refused:?}");
    }

    #[test]
    fn silence_is_an_error_and_not_a_hang() {
        let mut socket = Socket::open(Part::Route).unwrap();
        sockopt::set_socket_timeout(&socket.file, Timeout::Recv, Some(Duration::from_millis(1))).unwrap();
        assert_eq!(socket.take(ANSWER), Err(Error::Silent));
    }
}
