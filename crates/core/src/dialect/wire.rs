//! Netlink's bytes: messages, attributes, padding, batches (linux/netlink.h, linux/netfilter/nfnetlink.h). No socket.
//!
//! Lengths and headers are in host byte order, nf_tables' numbers mostly in network byte order; each writer says which.

/// Appends netlink messages to a buffer.
///
/// Everything in a message is padded to four bytes, and is stored in pieces of four or eight: those take no call, while every
/// piece of another length costs one to `memcpy`, which is slow to start on musl and was half of a batch's writing.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    /// What is written; the rest is zeros in store.
    end: usize,
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
        Writer { bytes: Vec::with_capacity(capacity), end: 0, message: 0 }
    }

    /// Starts a message; its length is filled in by the next [`Writer::start`] or by [`Writer::finish`].
    pub fn start(&mut self, kind: u16, flags: u16, sequence: u32) {
        self.close();
        self.message = self.end;
        self.words([0, halves(kind, flags), sequence, 0]);
    }

    /// Asks for an answer to the message last started, even if nothing is wrong with it.
    pub fn acknowledge(&mut self) {
        let flags = self.message + 6;
        if let Some(place) = self.bytes.get_mut(flags..).and_then(<[u8]>::first_chunk_mut) {
            *place = (u16::from_ne_bytes(*place) | ACK).to_ne_bytes();
        }
    }

    /// Appends the fixed part that follows a message's header, padded to four bytes.
    pub fn fixed(&mut self, bytes: &[u8]) {
        let (pairs, rest) = bytes.as_chunks::<8>();
        for pair in pairs {
            self.push(*pair);
        }
        let (words, rest) = rest.as_chunks::<WORD>();
        for word in words {
            self.push(*word);
        }
        match *rest {
            [a] => self.push([a, 0, 0, 0]),
            [a, b] => self.push([a, b, 0, 0]),
            [a, b, c] => self.push([a, b, c, 0]),
            _ => {}
        }
    }

    /// Appends an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.word(head(kind, value.len()));
        self.fixed(value);
    }

    /// Appends a string attribute with its NUL.
    pub fn string(&mut self, kind: u16, value: &str) {
        self.name(kind, value.as_bytes());
    }

    /// Appends a string attribute with its NUL; the kernel's names need not be UTF-8.
    pub fn name(&mut self, kind: u16, value: &[u8]) {
        self.word(head(kind, value.len() + 1));
        self.fixed(value);
        // Else the padding holds the NUL.
        if value.len().is_multiple_of(WORD) {
            self.word(0);
        }
    }

    /// Appends a 32-bit attribute in network byte order.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.words([head(kind, WORD), value.to_be()]);
    }

    /// Appends a 64-bit attribute in network byte order.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.word(head(kind, 2 * WORD));
        self.push(value.to_be_bytes());
    }

    /// Appends an attribute that holds the attributes `fill` writes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Writer)) {
        let start = self.end;
        self.word(0);
        fill(self);
        self.put(start, halves(length(self.end - start), kind | NESTED));
    }

    /// The finished bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.close();
        self.bytes.truncate(self.end);
        self.bytes
    }

    fn close(&mut self) {
        let length = self.end - self.message;
        if length >= HEADER {
            self.put(self.message, u32::try_from(length).expect("a message is shorter than 4 GiB"));
        }
    }

    fn put(&mut self, at: usize, word: u32) {
        self.bytes[at..at + WORD].copy_from_slice(&word.to_ne_bytes());
    }

    fn word(&mut self, word: u32) {
        self.words([word]);
    }

    /// Appends words whose meaning the caller knows: what is often written and always the same but for some numbers.
    pub(super) fn words<const N: usize>(&mut self, words: [u32; N]) {
        loop {
            let end = self.end + N * WORD;
            if let Some(places) = self.bytes.get_mut(self.end..end) {
                for (place, word) in places.as_chunks_mut().0.iter_mut().zip(words) {
                    *place = word.to_ne_bytes();
                }
                self.end = end;
                return;
            }
            self.grow();
        }
    }

    /// Appends the message that begins at `from`, which ends before `to`, with another family and sequence number.
    pub(super) fn again(&mut self, from: usize, to: usize, family: u8, sequence: u32) {
        self.close();
        self.message = self.end;
        self.end += to - from;
        while self.bytes.len() < self.end {
            self.grow();
        }
        self.bytes.copy_within(from..to, self.message);
        self.put(self.message + 8, sequence);
        self.bytes[self.message + HEADER] = family;
    }

    /// Where the next message begins.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Built for size, a vector's own appending is a call, too.
    #[inline(always)]
    fn push<const N: usize>(&mut self, piece: [u8; N]) {
        loop {
            if let Some(place) = self.bytes.get_mut(self.end..).and_then(<[u8]>::first_chunk_mut) {
                *place = piece;
                self.end += N;
                return;
            }
            self.grow();
        }
    }

    /// By a little, or by what room there is: more would be touched for nothing.
    #[cold]
    fn grow(&mut self) {
        let room = match self.bytes.capacity() - self.bytes.len() {
            0 => GROWTH,
            room => room.min(GROWTH),
        };
        self.bytes.resize(self.bytes.len() + room, 0);
    }
}

/// A quarter of a page.
const GROWTH: usize = 1 << 10;
/// Everything in a message is padded to this many bytes (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const WORD: usize = 4;

/// The length of an attribute with its header.
fn length(bytes: usize) -> u16 {
    // None of ours comes near 64 KiB: the longest is one rule of at most 128 expressions.
    u16::try_from(bytes).expect("an attribute is shorter than 64 KiB")
}

/// What stands before an attribute's value.
pub(super) fn head(kind: u16, value: usize) -> u32 {
    halves(length(value + WORD), kind)
}

/// What stands before attributes that are an attribute's value.
pub(super) fn nested(kind: u16, value: usize) -> u32 {
    head(kind | NESTED, value)
}

/// How many bytes a value takes with its padding.
pub(super) fn padded(value: usize) -> usize {
    value.next_multiple_of(WORD)
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
