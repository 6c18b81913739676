//! Netlink's bytes: messages, attributes, padding, batches (linux/netlink.h, linux/netfilter/nfnetlink.h). No socket.
//!
//! Lengths and headers are in host byte order, nf_tables' numbers mostly in network byte order; each writer says which.

/// Appends netlink messages to a buffer.
///
/// It is kept in words, for everything in a message is padded to four bytes: storing a word takes no call, while
/// every piece of bytes costs one to `memcpy`, which is slow to start on musl and was half of a batch's writing.
#[derive(Debug, Default)]
pub struct Writer {
    words: Vec<u32>,
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

impl Writer {
    /// A writer that need not grow before it holds `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Writer { words: Vec::with_capacity(capacity.div_ceil(WORD)), message: 0 }
    }

    /// Starts a message; its length is filled in by the next [`Writer::start`] or by [`Writer::finish`].
    pub fn start(&mut self, kind: u16, flags: u16, sequence: u32) {
        self.close();
        self.message = self.words.len();
        self.words.extend([0, halves(kind, flags), sequence, 0]);
    }

    /// Asks for an answer to the message last started, even if nothing is wrong with it.
    pub fn acknowledge(&mut self) {
        if let Some(word) = self.words.get_mut(self.message + 1) {
            *word |= halves(0, ACK);
        }
    }

    /// Appends the fixed part that follows a message's header, padded to four bytes.
    pub fn fixed(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<WORD>();
        for word in words {
            self.words.push(u32::from_ne_bytes(*word));
        }
        match *rest {
            [a] => self.words.push(u32::from_ne_bytes([a, 0, 0, 0])),
            [a, b] => self.words.push(u32::from_ne_bytes([a, b, 0, 0])),
            [a, b, c] => self.words.push(u32::from_ne_bytes([a, b, c, 0])),
            _ => {}
        }
    }

    /// Appends an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.head(kind, value.len());
        self.fixed(value);
    }

    /// Appends a string attribute with its NUL.
    pub fn string(&mut self, kind: u16, value: &str) {
        self.name(kind, value.as_bytes());
    }

    /// Appends a string attribute with its NUL; the kernel's names need not be UTF-8.
    pub fn name(&mut self, kind: u16, value: &[u8]) {
        self.head(kind, value.len() + 1);
        self.fixed(value);
        // Else the padding holds the NUL.
        if value.len().is_multiple_of(WORD) {
            self.words.push(0);
        }
    }

    /// Appends a 32-bit attribute in network byte order.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.head(kind, WORD);
        self.words.push(value.to_be());
    }

    /// Appends a 64-bit attribute in network byte order.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Appends an attribute that holds the attributes `fill` writes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Writer)) {
        let start = self.words.len();
        self.words.push(0);
        fill(self);
        self.words[start] = halves(length((self.words.len() - start) * WORD), kind | NESTED);
    }

    /// The finished bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.close();
        let mut bytes = vec![0; self.words.len() * WORD];
        for (place, word) in bytes.as_chunks_mut::<WORD>().0.iter_mut().zip(&self.words) {
            *place = word.to_ne_bytes();
        }
        bytes
    }

    fn head(&mut self, kind: u16, value: usize) {
        self.words.push(halves(length(value + WORD), kind));
    }

    fn close(&mut self) {
        let length = (self.words.len() - self.message) * WORD;
        if length >= HEADER {
            self.words[self.message] = u32::try_from(length).expect("a message is shorter than 4 GiB");
        }
    }
}

/// Everything in a message is padded to this many bytes (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const WORD: usize = 4;

/// The length of an attribute with its header.
fn length(bytes: usize) -> u16 {
    // None of ours comes near 64 KiB: the longest is one rule of at most 128 expressions.
    u16::try_from(bytes).expect("an attribute is shorter than 64 KiB")
}

/// Two numbers as they lie one behind the other.
fn halves(first: u16, second: u16) -> u32 {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
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
