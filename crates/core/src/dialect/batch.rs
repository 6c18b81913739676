//! An nf_tables transaction (linux/netfilter/nfnetlink.h, nf_tables.h): messages the kernel takes or refuses as one,
//! and for each message what it was to do, so that a refusal can be put into words.
//!
//! It never decides what is in a transaction: that is the two netlink dialects' work.

use super::wire::{REQUEST, Writer};
use std::fmt;
use std::ops::Range;

/// A transaction, ready to be sent in one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The messages, begin and end included. Only the last between the two asks to be acknowledged; the kernel
    /// answers a message that it refuses in any case, and answers a failed commit with the begin message's number.
    pub bytes: Vec<u8>,
    /// What message `i`, which has the sequence number `i`, was to do.
    pub acts: Vec<Act>,
}

impl Batch {
    /// Whether it changes nothing; it is then not worth sending, and nothing in it would be acknowledged.
    pub fn is_empty(&self) -> bool {
        self.acts.iter().all(|act| matches!(act, Act::Begin | Act::End))
    }

    /// The sequence number of the message that is acknowledged when all went well.
    pub fn last(&self) -> Option<u32> {
        let at = self.acts.iter().rposition(|act| !matches!(act, Act::Begin | Act::End))?;
        u32::try_from(at).ok()
    }

    /// What the message with that sequence number was to do.
    pub fn act(&self, sequence: u32) -> Option<&Act> {
        self.acts.get(usize::try_from(sequence).ok()?)
    }
}

/// What one message was to do. Put into words only when asked: a pod's start has no time for texts nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Act {
    /// The begin message: what fails here fails for the transaction as a whole.
    Begin,
    /// To have a table, or to be rid of it.
    Table { does: Does, at: At },
    /// To have a chain, to empty it, or to be rid of it.
    Chain { does: Does, at: At, chain: &'static str },
    /// To have rule `number` of a chain, counted from 1.
    Rule { at: At, chain: &'static str, number: usize },
    /// To be rid of the rule with this handle.
    Remove { at: At, chain: &'static str, handle: u64 },
    /// The end message.
    End,
}

/// What is done to a table or chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It is made, or found to be there.
    Make,
    /// It loses its rules.
    Empty,
    /// It goes.
    Remove,
}

/// A table by its family and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are what their names say")]
pub struct At {
    pub family: &'static str,
    pub table: &'static str,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {} {}", self.family, self.table)
    }
}

impl fmt::Display for Does {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Does::Make => "make",
            Does::Empty => "empty",
            Does::Remove => "remove",
        })
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Begin | Act::End => f.write_str("commit the rules as a whole"),
            Act::Table { does, at } => write!(f, "{does} {at}"),
            Act::Chain { does, at, chain } => write!(f, "{does} chain {chain} of {at}"),
            Act::Rule { at, chain, number } => write!(f, "add rule {number} of chain {chain} of {at}"),
            Act::Remove { at, chain, handle } => {
                write!(f, "remove the rule with handle {handle} from chain {chain} of {at}")
            }
        }
    }
}

/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
/// `NFNL_SUBSYS_NFTABLES`
const SUBSYSTEM: u16 = 10;
/// `NFNL_BATCH_GENID`
const GENERATION: u16 = 1;

/// The message types of nf_tables, `NFT_MSG_*`.
#[allow(missing_docs, reason = "the kernel's names without their prefix")]
pub mod message {
    pub const NEW_TABLE: u16 = kind(0);
    pub const DEL_TABLE: u16 = kind(2);
    pub const NEW_CHAIN: u16 = kind(3);
    pub const GET_CHAIN: u16 = kind(4);
    pub const DEL_CHAIN: u16 = kind(5);
    pub const NEW_RULE: u16 = kind(6);
    pub const GET_RULE: u16 = kind(7);
    pub const DEL_RULE: u16 = kind(8);
    pub const NEW_GENERATION: u16 = kind(15);
    pub const GET_GENERATION: u16 = kind(16);

    const fn kind(message: u16) -> u16 {
        super::SUBSYSTEM << 8 | message
    }
}

/// The attributes of tables, chains and rules, `NFTA_*`.
pub(crate) mod attribute {
    pub(crate) const TABLE_NAME: u16 = 1;
    pub(crate) const CHAIN_TABLE: u16 = 1;
    pub(crate) const CHAIN_NAME: u16 = 3;
    pub(crate) const CHAIN_HOOK: u16 = 4;
    pub(crate) const CHAIN_TYPE: u16 = 7;
    pub(crate) const RULE_TABLE: u16 = 1;
    pub(crate) const RULE_CHAIN: u16 = 2;
    pub(crate) const RULE_HANDLE: u16 = 3;
    pub(crate) const RULE_EXPRESSIONS: u16 = 4;
    pub(crate) const RULE_COMPAT: u16 = 5;
    pub(crate) const RULE_POSITION: u16 = 6;
}

/// Builds a [`Batch`], message by message.
pub(crate) struct Builder {
    writer: Writer,
    acts: Vec<Act>,
}

impl Builder {
    /// Begins a transaction. With a generation, the kernel refuses it (`ERESTART`) when the ruleset is no longer the
    /// one that was looked at.
    pub(crate) fn begin(generation: Option<u32>, messages: usize) -> Self {
        let mut acts = Vec::with_capacity(messages + 2);
        // 240 bytes is a little more than a message of ours takes on average. The last to be made, so that what is not needed
        // of it parts nothing: each page of memory that is touched is a fault in every pod's start.
        let mut writer = Writer::with_capacity((messages + 2) * 240);
        writer.start(BEGIN, REQUEST, 0);
        writer.fixed(&header(0, SUBSYSTEM));
        if let Some(generation) = generation {
            writer.be32(GENERATION, generation);
        }
        acts.push(Act::Begin);
        Builder { writer, acts }
    }

    /// Starts the next message; what it holds is written into what this returns.
    pub(crate) fn message(&mut self, act: Act, kind: u16, flags: u16, family: u8) -> &mut Writer {
        let sequence = self.sequence();
        self.acts.push(act);
        self.writer.start(kind, REQUEST | flags, sequence);
        self.writer.words([u32::from_ne_bytes(header(family, 0))]);
        &mut self.writer
    }

    /// Says the same as the message that lies there, of another family.
    pub(crate) fn again(&mut self, act: Act, earlier: &Range<usize>, family: u8) {
        let sequence = self.sequence();
        self.acts.push(act);
        self.writer.again(earlier.start, earlier.end, family, sequence);
    }

    /// Where the next message begins.
    pub(crate) fn end_of_last(&self) -> usize {
        self.writer.end()
    }

    /// Ends the transaction.
    pub(crate) fn end(mut self) -> Batch {
        if self.acts.len() > 1 {
            self.writer.acknowledge();
        }
        let sequence = self.sequence();
        self.acts.push(Act::End);
        self.writer.start(END, REQUEST, sequence);
        self.writer.fixed(&header(0, SUBSYSTEM));
        Batch { bytes: self.writer.finish(), acts: self.acts }
    }

    fn sequence(&self) -> u32 {
        u32::try_from(self.acts.len()).expect("a transaction has fewer than 2^32 messages")
    }
}

/// `struct nfgenmsg`; `resource` is in network byte order.
pub(crate) fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

#[cfg(test)]
mod tests {
    use super::super::wire::{ACK, messages};
    use super::*;

    const AT: At = At { family: "ip", table: "nat" };

    #[track_caller]
    fn check(act: Act, words: &str) {
        assert_eq!(act.to_string(), words);
    }

    #[test]
    fn an_act_says_what_was_to_be_done_and_where() {
        let chain = "ISTIO_OUTPUT";
        check(Act::Rule { at: AT, chain, number: 3 }, "add rule 3 of chain ISTIO_OUTPUT of table ip nat");
        check(Act::Chain { does: Does::Empty, at: AT, chain }, "empty chain ISTIO_OUTPUT of table ip nat");
        check(Act::Table { does: Does::Make, at: AT }, "make table ip nat");
        check(Act::Begin, "commit the rules as a whole");
    }

    #[test]
    fn only_the_last_message_between_begin_and_end_is_acknowledged() {
        let mut builder = Builder::begin(Some(7), 2);
        for _ in 0..2 {
            builder
                .message(Act::Table { does: Does::Make, at: AT }, message::NEW_TABLE, 0, 2)
                .string(1, "nat");
        }
        let batch = builder.end();
        let asks = |message: Result<super::super::wire::Message<'_>, _>| {
            message.map(|m| (m.sequence, m.flags & ACK))
        };
        let asked: Vec<_> = messages(&batch.bytes).map(asks).collect();
        assert_eq!(asked, [Ok((0, 0)), Ok((1, 0)), Ok((2, ACK)), Ok((3, 0))]);
        assert_eq!((batch.last(), batch.is_empty()), (Some(2), false));
    }

    #[test]
    fn a_batch_that_does_nothing_says_so() {
        let batch = Builder::begin(None, 0).end();
        assert_eq!((batch.last(), batch.is_empty()), (None, true));
    }
}
