//! Listeners that tell whoever reaches them who they are and where the packet was meant to go.
//!
//! Each answers on a thread of its own until dropped, and answers nothing else.

use super::{Namespace, PATIENCE, Who};
use rustix::net::sockopt;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::str::FromStr;
use std::thread::JoinHandle;

/// A listener, deaf when dropped.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    thread: Option<JoinHandle<()>>,
}

/// What a listener says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The listener's name.
    pub by: String,
    /// Where the packet was meant to go.
    pub meant: SocketAddr,
    /// Where it came from.
    pub from: SocketAddr,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.by, self.meant, self.from)
    }
}

impl FromStr for Answer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let mut word = || words.next().ok_or_else(|| format!("not an answer: {text:?}"));
        let by = word()?.to_owned();
        let mut address = || word()?.parse().map_err(|_| format!("not an answer: {text:?}"));
        Ok(Answer { by, meant: address()?, from: address()? })
    }
}

impl Listener {
    /// Listens for TCP at `at`, as `who`: answers, too, have an owner.
    pub fn tcp(namespace: &Namespace, who: Who, by: &str, at: SocketAddr) -> Listener {
        Listener::stream(namespace, who, by, at, false)
    }

    /// Listens for TCP at `at`, taking connections meant for others (TPROXY).
    pub fn transparent(namespace: &Namespace, who: Who, by: &str, at: SocketAddr) -> Listener {
        Listener::stream(namespace, who, by, at, true)
    }

    fn stream(namespace: &Namespace, who: Who, by: &str, at: SocketAddr, transparent: bool) -> Listener {
        let socket = namespace.within_as(who, || {
            let socket = open(at, Type::STREAM);
            if transparent {
                // On an IPv6 socket too: both families share the flag (ip_sockglue.c).
                socket.set_ip_transparent_v4(true).expect("root may be transparent");
            }
            socket.bind(&at.into()).unwrap_or_else(|cause| panic!("{by} listens at {at}: {cause}"));
            socket.listen(128).expect("a bound socket listens");
            socket
        });
        let (by, ear) = (by.to_owned(), socket.try_clone().expect("a descriptor is free"));
        // The loop ends when `drop` shuts the socket down.
        let serve = move || {
            while let Ok((stream, from)) = ear.accept() {
                answer(&by, stream.into(), &from);
            }
        };
        Listener { socket, thread: Some(std::thread::spawn(serve)) }
    }

    /// Answers datagrams at `at`, from there, as `who`.
    pub fn udp(namespace: &Namespace, who: Who, by: &str, at: SocketAddr) -> Listener {
        let socket = namespace.within_as(who, || {
            let socket = open(at, Type::DGRAM);
            socket.bind(&at.into()).unwrap_or_else(|cause| panic!("{by} listens at {at}: {cause}"));
            socket
        });
        let (by, ear) = (by.to_owned(), UdpSocket::from(socket.try_clone().expect("a descriptor is free")));
        let serve = move || {
            let mut question = [0; 64];
            // Shut down, the socket receives nothing at once, again and again.
            while let Ok((1.., from)) = ear.recv_from(&mut question) {
                let answer = Answer { by: by.clone(), meant: at, from };
                drop(ear.send_to(answer.to_string().as_bytes(), from));
            }
        };
        Listener { socket, thread: Some(std::thread::spawn(serve)) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Of a datagram socket it reports ENOTCONN, and wakes the reader all the same (af_inet.c).
        drop(self.socket.shutdown(Shutdown::Both));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn open(at: SocketAddr, kind: Type) -> Socket {
    let socket = Socket::new(Domain::for_address(at), kind, None).expect("a socket opens");
    socket.set_reuse_address(true).expect("any socket can");
    if at.is_ipv6() {
        socket.set_only_v6(true).expect("an IPv6 socket can");
    }
    socket
}

fn answer(by: &str, mut stream: TcpStream, from: &SockAddr) {
    let (Some(from), Ok(local)) = (from.as_socket(), stream.local_addr()) else { return };
    let original = match local.ip() {
        IpAddr::V4(_) => sockopt::ip_original_dst(&stream).map(SocketAddr::V4),
        IpAddr::V6(_) => sockopt::ipv6_original_dst(&stream).map(SocketAddr::V6),
    };
    // Without an entry in conntrack nobody rewrote it, and the local address is the one that was meant.
    let answer = Answer { by: by.to_owned(), meant: original.unwrap_or(local), from };
    drop(stream.set_write_timeout(Some(PATIENCE)));
    drop(stream.write_all(answer.to_string().as_bytes()));
}
