//! The frame of a transaction on an `inet` table, for encodings that only the bench writes.

use millrace_core::dialect::wire::{REQUEST, Writer};

/// `NFPROTO_INET`
const INET: u8 = 1;

/// The messages so far.
#[derive(Default)]
pub(crate) struct Transaction {
    pub(crate) w: Writer,
    sequence: u32,
}

impl Transaction {
    /// The begin or end message.
    pub(crate) fn bound(&mut self, kind: u16) {
        self.w.start(kind, REQUEST, self.sequence);
        self.w.fixed(&[0, 0, 0, 10]);
        self.sequence += 1;
    }

    /// One message of nf_tables.
    pub(crate) fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Writer)) {
        self.w.start(10 << 8 | kind, REQUEST | flags, self.sequence);
        self.w.fixed(&[INET, 0, 0, 0]);
        fill(&mut self.w);
        self.sequence += 1;
    }
}
