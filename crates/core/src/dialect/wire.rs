//! Netlink's bytes: messages, attributes, padding, batches (linux/netlink.h, linux/netfilter/nfnetlink.h). No socket.
//!
//! Lengths and headers are in host byte order, nf_tables' numbers mostly in network byte order; each writer says which.

/// Appends netlink messages to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    message: usize,
}

/// `NLM_F_REQUEST`
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`
pub const ACK: u16 = 0x4;
/// `NLM_F_DUMP_INTR`: what is dumped changed meanwhile.
pub const INTERRUPTED: u16 = 0x10;
/// `NLM_F_DUMP`
pub const DUMP: u16 = 0x300;
/// `NLM_F_EXCL`
pub const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`
pub const APPEND: u16 = 0x800;
/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;
/// `struct nlmsghdr`
const HEADER: usize = 16;

/// `nlmsg_flags` in a header.
const FLAGS: usize = 6;

impl Writer {
    /// A writer that need not grow before it holds `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Writer { bytes: Vec::with_capacity(capacity), message: 0 }
    }

    /// Starts a message; its length is filled in by the next [`Writer::start`] or by [`Writer::finish`].
    pub fn start(&mut self, kind: u16, flags: u16, sequence: u32) {
        self.close();
        self.message = self.bytes.len();
        let ([k0, k1], [f0, f1], [s0, s1, s2, s3]) =
            (kind.to_ne_bytes(), flags.to_ne_bytes(), sequence.to_ne_bytes());
        self.put(&[0, 0, 0, 0, k0, k1, f0, f1, s0, s1, s2, s3, 0, 0, 0, 0]);
    }

    /// Asks for an answer to the message last started, even if nothing is wrong with it.
    pub fn acknowledge(&mut self) {
        let at = self.message + FLAGS;
        let flags = half(&self.bytes, at).unwrap_or_default() | ACK;
        if let Some(place) = self.bytes.get_mut(at..at + 2) {
            place.copy_from_slice(&flags.to_ne_bytes());
        }
    }

    /// Appends the fixed part that follows a message's header, padded to four bytes.
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.put(bytes);
        self.pad();
    }

    /// Appends an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.head(kind, value.len());
        self.put(value);
        self.pad();
    }

    /// Appends a string attribute with its NUL.
    pub fn string(&mut self, kind: u16, value: &str) {
        self.name(kind, value.as_bytes());
    }

    /// Appends a string attribute with its NUL; the kernel's names need not be UTF-8.
    pub fn name(&mut self, kind: u16, value: &[u8]) {
        self.head(kind, value.len() + 1);
        self.put(value);
        self.bytes.push(0);
        self.pad();
    }

    /// Appends a 32-bit attribute in network byte order.
    pub fn be32(&mut self, kind: u16, value: u32) {
        let ([k0, k1], [v0, v1, v2, v3]) = (kind.to_ne_bytes(), value.to_be_bytes());
        let [l0, l1] = 8u16.to_ne_bytes();
        self.put(&[l0, l1, k0, k1, v0, v1, v2, v3]);
    }

    /// Appends a 64-bit attribute in network byte order.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Appends an attribute that holds the attributes `fill` writes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Writer)) {
        let start = self.bytes.len();
        let [k0, k1] = (kind | NESTED).to_ne_bytes();
        self.put(&[0, 0, k0, k1]);
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).expect("an attribute is shorter than 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// The finished bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.close();
        self.bytes
    }

    /// Byte by byte: nearly every piece is of four or eight, and musl's `memcpy` costs more to start (`rep movs`, some 50 ns)
    /// than they take. That was a fifth of an ADD's processor time.
    fn put(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.bytes.push(byte);
        }
    }

    fn head(&mut self, kind: u16, length: usize) {
        // No attribute of ours comes near 64 KiB: the longest is one rule of at most 128 expressions.
        let length = u16::try_from(length + 4).expect("an attribute is shorter than 64 KiB");
        let ([l0, l1], [k0, k1]) = (length.to_ne_bytes(), kind.to_ne_bytes());
        self.put(&[l0, l1, k0, k1]);
    }

    fn close(&mut self) {
        let length = self.bytes.len() - self.message;
        if length >= HEADER {
            let length = u32::try_from(length).expect("a message is shorter than 4 GiB");
            self.bytes[self.message..self.message + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }

    fn pad(&mut self) {
        let short = self.bytes.len() % 4;
        if short > 0 {
            self.put(&[0; 4][short..]);
        }
    }
}

/// One message as received.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `nlmsg_type`
    pub kind: u16,
    /// `nlmsg_flags`
    pub flags: u16,
    /// `nlmsg_seq`
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// The messages in `bytes`. A message cut short ends the iteration with an error.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Cut>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let all = std::mem::take(&mut rest);
        let Some((message, length)) = message(all) else { return Some(Err(Cut)) };
        rest = all.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Ok(message))
    })
}

fn message(bytes: &[u8]) -> Option<(Message<'_>, usize)> {
    let length = word(bytes, 0)? as usize;
    let body = bytes.get(HEADER..length)?;
    Some((Message { kind: half(bytes, 4)?, flags: half(bytes, 6)?, sequence: word(bytes, 8)?, body }, length))
}

/// The attributes in `bytes`, as (kind without flag bits, value). One cut short ends the iteration with an error.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), Cut>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let all = std::mem::take(&mut rest);
        let (Some(length), Some(kind)) = (half(all, 0), half(all, 2)) else { return Some(Err(Cut)) };
        let length = usize::from(length);
        let Some(value) = all.get(4..length) else { return Some(Err(Cut)) };
        rest = all.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Ok((kind & 0x3fff, value)))
    })
}

/// A message or attribute that claims to be longer than what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a netlink message is cut short")
    }
}

impl std::error::Error for Cut {}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
