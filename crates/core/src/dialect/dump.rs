//! What the kernel answers when asked for its chains and rules: one generation of the ruleset, or an error.
//!
//! It knows messages and attributes, never what a rule means.

use super::batch::{attribute, header, message};
use super::expressions::{self, Expression, verdict};
use super::wire::{self, ACK, Cut, DUMP, INTERRUPTED, Message, REQUEST, Writer, attributes};
use crate::rules::Content;
use std::fmt;

/// Everything that was answered.
#[derive(Debug, Default)]
pub(crate) struct Dump<'a> {
    pub(crate) generation: Option<u32>,
    pub(crate) chains: Vec<ChainFound<'a>>,
    pub(crate) rules: Vec<RuleFound<'a>>,
}

/// A chain.
#[derive(Debug)]
pub(crate) struct ChainFound<'a> {
    pub(crate) family: u8,
    pub(crate) table: &'a [u8],
    pub(crate) name: &'a [u8],
}

/// A rule.
#[derive(Debug)]
pub(crate) struct RuleFound<'a> {
    pub(crate) family: u8,
    pub(crate) table: &'a [u8],
    pub(crate) chain: &'a [u8],
    pub(crate) handle: u64,
    pub(crate) expressions: Vec<Expression<'a>>,
}

/// Why answers could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Something is cut short.
    Cut,
    /// The rules changed while they were read.
    Changed,
    /// A chain or rule came without what makes it one.
    Incomplete,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Cut => "cannot read the kernel's rules: a message is cut short; read them again",
            Error::Changed => "cannot read the kernel's rules: they changed meanwhile; read them again",
            Error::Incomplete => {
                "cannot read the kernel's rules: a chain or rule lacks its table, its name or its handle; \
                 this kernel speaks another nf_tables"
            }
        })
    }
}

impl std::error::Error for Error {}

impl From<Cut> for Error {
    fn from(_: Cut) -> Self {
        Error::Cut
    }
}

/// `NFTA_GEN_ID`
const GENERATION_ID: u16 = 1;
/// `struct nfgenmsg`
const GENERIC: usize = 4;

/// Asks for the generation, then for chains and rules of these families, of one table or of all.
pub(crate) fn requests(families: &[u8], table: Option<&str>) -> Vec<Vec<u8>> {
    let mut requests = vec![request(message::GET_GENERATION, ACK, 0, None)];
    for &family in families {
        // Chains can only be asked for all at once.
        requests.push(request(message::GET_CHAIN, DUMP, family, None));
        requests.push(request(message::GET_RULE, DUMP, family, table));
    }
    requests
}

fn request(kind: u16, flags: u16, family: u8, table: Option<&str>) -> Vec<u8> {
    let mut w = Writer::default();
    w.start(kind, REQUEST | flags, 1);
    w.fixed(&header(family, 0));
    if let Some(table) = table {
        w.string(attribute::RULE_TABLE, table);
    }
    w.finish()
}

impl<'a> Dump<'a> {
    /// Reads answers, one behind the other; messages of other kinds are passed over.
    pub(crate) fn read(answers: &'a [u8]) -> Result<Self, Error> {
        let mut dump = Dump::default();
        let mut seen = Vec::new();
        for message in wire::messages(answers) {
            let message = message?;
            if message.flags & INTERRUPTED != 0 {
                return Err(Error::Changed);
            }
            match message.kind {
                message::NEW_GENERATION => dump.generation = generation(message)?,
                message::NEW_CHAIN => dump.chains.push(chain(message)?),
                message::NEW_RULE => dump.rules.push(rule(message)?),
                _ => continue,
            }
            if let [_, _, high, low] = *message.body.get(..GENERIC).ok_or(Error::Cut)? {
                seen.push(u16::from_be_bytes([high, low]));
            }
        }
        // Every answer carries the low half of the generation it belongs to.
        let changed = seen.windows(2).any(|pair| pair[0] != pair[1]);
        if changed { Err(Error::Changed) } else { Ok(dump) }
    }
}

fn body<'a>(message: Message<'a>) -> Result<(u8, &'a [u8]), Error> {
    let family = *message.body.first().ok_or(Error::Cut)?;
    Ok((family, message.body.get(GENERIC..).ok_or(Error::Cut)?))
}

fn generation(message: Message<'_>) -> Result<Option<u32>, Error> {
    let (_, body) = body(message)?;
    for attribute in attributes(body) {
        if let (GENERATION_ID, value) = attribute? {
            return Ok(value.try_into().ok().map(u32::from_be_bytes));
        }
    }
    Ok(None)
}

fn chain(message: Message<'_>) -> Result<ChainFound<'_>, Error> {
    let (family, body) = body(message)?;
    let (mut table, mut name) = (None, None);
    for attribute in attributes(body) {
        match attribute? {
            (attribute::CHAIN_TABLE, value) => table = Some(expressions::text(value)),
            (attribute::CHAIN_NAME, value) => name = Some(expressions::text(value)),
            _ => {}
        }
    }
    match (table, name) {
        (Some(table), Some(name)) => Ok(ChainFound { family, table, name }),
        _ => Err(Error::Incomplete),
    }
}

fn rule(message: Message<'_>) -> Result<RuleFound<'_>, Error> {
    let (family, body) = body(message)?;
    let (mut table, mut chain, mut handle, mut list) = (None, None, None, &[][..]);
    for attribute in attributes(body) {
        match attribute? {
            (attribute::RULE_TABLE, value) => table = Some(expressions::text(value)),
            (attribute::RULE_CHAIN, value) => chain = Some(expressions::text(value)),
            (attribute::RULE_HANDLE, value) => handle = value.try_into().ok().map(u64::from_be_bytes),
            (attribute::RULE_EXPRESSIONS, value) => list = value,
            _ => {}
        }
    }
    let (Some(table), Some(chain), Some(handle)) = (table, chain, handle) else {
        return Err(Error::Incomplete);
    };
    let expressions = expressions::read(list).collect::<Result<Vec<_>, _>>()?;
    Ok(RuleFound { family, table, chain, handle, expressions })
}

impl RuleFound<'_> {
    /// Packets and bytes of its first counter.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let mut counters = self.expressions.iter().filter_map(|expression| match expression {
            Expression::Counter { packets, bytes } => Some((*packets, *bytes)),
            _ => None,
        });
        counters.next().unwrap_or_default()
    }

    /// It in words for people: the names of what it is made of.
    pub(crate) fn foreign(&self) -> Content {
        let mut words = Vec::new();
        let mut leads_to = None;
        for expression in &self.expressions {
            let word = String::from_utf8_lossy(expression.name());
            words.push(match expression {
                Expression::Match { name, .. } | Expression::Target { name, .. } => {
                    format!("{word} {}", String::from_utf8_lossy(name))
                }
                Expression::Verdict { code, chain } => {
                    leads_to = chain.map(|chain| String::from_utf8_lossy(chain).into_owned());
                    verdict_in_words(*code, leads_to.as_deref())
                }
                _ => word.into_owned(),
            });
        }
        Content::Foreign { text: words.join(" "), jump: leads_to }
    }
}

fn verdict_in_words(code: i32, chain: Option<&str>) -> String {
    match (code, chain) {
        (verdict::DROP, _) => "drop".to_owned(),
        (verdict::ACCEPT, _) => "accept".to_owned(),
        (verdict::RETURN, _) => "return".to_owned(),
        (verdict::JUMP, Some(chain)) => format!("jump {chain}"),
        (verdict::GOTO, Some(chain)) => format!("goto {chain}"),
        _ => format!("verdict {code}"),
    }
}
