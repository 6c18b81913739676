//! One packet's fate: connect or ask as somebody, and hear who answers.

use super::listen::Answer;
use super::{Namespace, PATIENCE, Who};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A listener answered.
    Answered(Answer),
    /// Nobody listens there.
    Refused,
    /// Nothing came back in time.
    Silent,
    /// The way was barred before the packet left.
    Barred(String),
}

impl Fate {
    /// Who answered; empty if nobody did.
    pub fn by(&self) -> &str {
        if let Fate::Answered(answer) = self { &answer.by } else { "" }
    }

    /// Where the probe was meant to go, as its listener sees it.
    pub fn meant(&self) -> Option<SocketAddr> {
        if let Fate::Answered(answer) = self { Some(answer.meant) } else { None }
    }
}

/// Opens a TCP connection in `namespace` as `who`, from address `from` if that matters.
pub fn tcp(namespace: &Namespace, who: Who, from: Option<IpAddr>, to: SocketAddr) -> Fate {
    namespace.within_as(who, || {
        let socket = socket(Type::STREAM, from, to);
        match socket.connect_timeout(&to.into(), PATIENCE) {
            Ok(()) => heard(TcpStream::from(socket)),
            Err(cause) => failed(&cause),
        }
    })
}

/// Opens a TCP connection in `namespace` from somebody else's address and with a mark, as a transparent proxy does.
pub fn borrowed(namespace: &Namespace, who: Who, from: IpAddr, mark: u32, to: SocketAddr) -> Fate {
    namespace.within_as(who, || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket opens");
        // On an IPv6 socket too: both families share the flag (ip_sockglue.c).
        socket.set_ip_transparent_v4(true).expect("root may be transparent");
        socket.set_mark(mark).expect("root may mark");
        socket.set_read_timeout(Some(PATIENCE)).expect("any socket can");
        socket.bind(&SocketAddr::new(from, 0).into()).expect("a transparent socket takes any address");
        match socket.connect_timeout(&to.into(), PATIENCE) {
            Ok(()) => heard(TcpStream::from(socket)),
            Err(cause) => failed(&cause),
        }
    })
}

/// Sends a datagram in `namespace` as `who`, and accepts an answer only from where it was sent to.
pub fn udp(namespace: &Namespace, who: Who, from: Option<IpAddr>, to: SocketAddr) -> Fate {
    namespace.within_as(who, || {
        let socket = UdpSocket::from(socket(Type::DGRAM, from, to));
        let asked = socket.connect(to).and_then(|()| socket.send(b"?"));
        let mut text = [0; 256];
        match asked.and_then(|_| socket.recv(&mut text)) {
            Ok(length) => parsed(&text[..length]),
            Err(cause) => failed(&cause),
        }
    })
}

fn socket(kind: Type, from: Option<IpAddr>, to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(to), kind, None).expect("a socket opens");
    socket.set_read_timeout(Some(PATIENCE)).expect("any socket can");
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into()).expect("the source address is this namespace's own");
    }
    socket
}

fn heard(mut stream: TcpStream) -> Fate {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => parsed(&text),
        Err(cause) => failed(&cause),
    }
}

fn parsed(text: &[u8]) -> Fate {
    Fate::Answered(String::from_utf8_lossy(text).parse().expect("only our own listeners answer"))
}

fn failed(cause: &std::io::Error) -> Fate {
    match cause.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Fate::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Fate::Silent,
        _ => Fate::Barred(cause.to_string()),
    }
}
