//! TCP segments written by hand and sent past the sender's own TCP, to be what no connection would send.
//!
//! What comes back is read off the wire; whole connections are the business of `probe`.

use super::{Namespace, PATIENCE};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};

/// A segment without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The sender's port.
    pub source: u16,
    /// The receiver's port.
    pub destination: u16,
    /// The sequence number.
    pub sequence: u32,
    /// The number acknowledged.
    pub acknowledged: u32,
    /// [`SYN`], [`RST`], [`ACK`] and others.
    pub flags: u8,
}

/// Opens a connection.
pub const SYN: u8 = 0x02;
/// Breaks one off.
pub const RST: u8 = 0x04;
/// Acknowledges.
pub const ACK: u8 = 0x10;

/// Two addresses between which segments go.
#[derive(Debug)]
pub struct Line {
    socket: Socket,
    from: IpAddr,
    to: IpAddr,
}

impl Line {
    /// From an address of `namespace` to another. From now on it hears all that the other sends.
    pub fn new(namespace: &Namespace, from: IpAddr, to: IpAddr) -> Line {
        let ends = [from, to].map(|address| SocketAddr::new(address, 0));
        let socket = namespace.within(|| {
            let domain = Domain::for_address(ends[0]);
            let socket =
                Socket::new(domain, Type::RAW, Some(Protocol::TCP)).expect("root takes a raw socket");
            socket.bind(&ends[0].into()).expect("the source address is this namespace's own");
            socket.connect(&ends[1].into()).expect("there is a route");
            socket.set_read_timeout(Some(PATIENCE)).expect("any socket can");
            socket
        });
        Line { socket, from, to }
    }

    /// Sends one.
    pub fn send(&self, segment: &Segment) {
        let bytes = segment.bytes(self.from, self.to);
        assert_eq!(self.socket.send(&bytes).expect("the wire takes it"), bytes.len());
    }

    /// The next that the other side sends; nothing if it says no more in time.
    pub fn receive(&self) -> Option<Segment> {
        let mut buffer = [0; 2048];
        let length = (&self.socket).read(&mut buffer).ok()?;
        // Raw IPv4 comes with its own header, IPv6 without (raw(7), ipv6(7)).
        let start = if self.from.is_ipv4() { usize::from(buffer[0] & 0x0f) * 4 } else { 0 };
        Segment::read(&buffer[start..length])
    }
}

impl Segment {
    fn read(bytes: &[u8]) -> Option<Segment> {
        let two = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let four = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Segment {
            source: two(0)?,
            destination: two(2)?,
            sequence: four(4)?,
            acknowledged: four(8)?,
            flags: *bytes.get(13)?,
        })
    }

    /// As RFC 9293 has it, with the sum that makes it worth looking at.
    fn bytes(&self, from: IpAddr, to: IpAddr) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[0..2].copy_from_slice(&self.source.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.destination.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.acknowledged.to_be_bytes());
        bytes[12] = 5 << 4;
        bytes[13] = self.flags;
        bytes[14..16].copy_from_slice(&1024u16.to_be_bytes());
        let mut covered = [octets(from), octets(to)].concat();
        covered.extend([0, 6, 0, 20]);
        covered.extend(bytes);
        bytes[16..18].copy_from_slice(&sum(&covered).to_be_bytes());
        bytes
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The Internet's checksum of an even number of bytes (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
