//! nf_tables' expressions (linux/netfilter/nf_tables.h) as bytes and back: what both netlink dialects are made of.
//!
//! An expression that carries anything this file has no field for is read as [`Expression::Other`], so that nothing a
//! rule says is silently left out. What a sequence of expressions means is `meaning`'s work.

pub mod meaning;
pub(crate) mod phrases;
mod registers;
mod short;

use super::wire::{Cut, Writer, attributes};

/// One expression. Registers are the kernel's numbers; values are as a packet holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Expression<'a> {
    /// Loads a fact about the packet (`NFT_META_*`).
    Meta { key: u32, register: u32 },
    /// Sets it.
    SetMeta { key: u32, register: u32 },
    /// Loads `length` bytes at `offset` of the header `base` (`NFT_PAYLOAD_*`).
    Payload { base: u32, offset: u32, length: u32, register: u32 },
    /// Goes on only if the register is (`not`: is not) `value`.
    Compare { register: u32, not: bool, value: &'a [u8] },
    /// Goes on only if the register compares so with `value`, both as big-endian numbers.
    Bound { register: u32, is: Order, value: &'a [u8] },
    /// Goes on only if the register is (`not`: is not) between `from` and `to`, both included.
    Range { register: u32, not: bool, from: &'a [u8], to: &'a [u8] },
    /// Puts `from & mask ^ xor` into `to`.
    Bitwise { from: u32, to: u32, mask: &'a [u8], xor: &'a [u8] },
    /// Loads a constant.
    Value { register: u32, value: &'a [u8] },
    /// Ends the rule with a verdict (`NF_*`, `NFT_*`), for some with a chain's name.
    Verdict { code: i32, chain: Option<&'a [u8]> },
    /// Counts.
    Counter { packets: u64, bytes: u64 },
    /// Loads a fact about the connection (`NFT_CT_*`).
    Ct { key: u32, register: u32 },
    /// Sets it.
    SetCt { key: u32, register: u32 },
    /// Redirects to the local port in the register.
    Redirect { register: u32 },
    /// Hands the packet to the local socket at the port in the register.
    Tproxy { family: u32, register: u32 },
    /// Goes on only if the register's value is (`not`: is not) in the set; a set made in the same transaction goes by
    /// its `id` as well.
    Lookup { set: &'a [u8], id: Option<u32>, register: u32, not: bool },
    /// An iptables match.
    Match { name: &'a [u8], revision: u32, info: &'a [u8] },
    /// An iptables target.
    Target { name: &'a [u8], revision: u32, info: &'a [u8] },
    /// Anything else.
    Other { name: &'a [u8] },
}

/// How two numbers compare, `NFT_CMP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's names in words")]
pub enum Order {
    Below = 2,
    AtMost = 3,
    Above = 4,
    AtLeast = 5,
}

/// `NFT_REG_1`, the one register of 16 bytes that our rules use.
pub const REGISTER: u32 = 1;
/// `NFT_REG_VERDICT`
const VERDICT: u32 = 0;

/// Facts about a packet, `NFT_META_*`.
#[allow(missing_docs, reason = "the kernel's names without their prefix")]
pub mod meta {
    pub const MARK: u32 = 3;
    pub const IIFNAME: u32 = 6;
    pub const OIFNAME: u32 = 7;
    pub const SKUID: u32 = 10;
    pub const SKGID: u32 = 11;
    pub const NFPROTO: u32 = 15;
    pub const L4PROTO: u32 = 16;
}

/// Facts about a connection, `NFT_CT_*`.
#[allow(missing_docs, reason = "the kernel's names without their prefix")]
pub mod ct {
    pub const STATE: u32 = 0;
    pub const MARK: u32 = 3;
    pub const ZONE: u32 = 17;
    /// Bits of the state, `NF_CT_STATE_*`.
    pub const INVALID: u32 = 1;
    pub const ESTABLISHED: u32 = 2;
    pub const RELATED: u32 = 4;
}

/// Headers of a packet, `NFT_PAYLOAD_*`.
#[allow(missing_docs, reason = "the kernel's names without their prefix")]
pub mod base {
    pub const NETWORK: u32 = 1;
    pub const TRANSPORT: u32 = 2;
}

/// Verdicts, `NF_*` and `NFT_*`.
#[allow(missing_docs, reason = "the kernel's names without their prefix")]
pub mod verdict {
    pub const DROP: i32 = 0;
    pub const ACCEPT: i32 = 1;
    pub const JUMP: i32 = -3;
    pub const GOTO: i32 = -4;
    pub const RETURN: i32 = -5;
}

/// `NFTA_LIST_ELEM`, `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`
const ELEMENT: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;
/// `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`
const VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
/// `NFT_CMP_*`
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

impl Expression<'_> {
    /// Its name in the kernel.
    pub fn name(&self) -> &[u8] {
        match self {
            Expression::Meta { .. } | Expression::SetMeta { .. } => b"meta",
            Expression::Payload { .. } => b"payload",
            Expression::Compare { .. } | Expression::Bound { .. } => b"cmp",
            Expression::Range { .. } => b"range",
            Expression::Bitwise { .. } => b"bitwise",
            Expression::Value { .. } | Expression::Verdict { .. } => b"immediate",
            Expression::Counter { .. } => b"counter",
            Expression::Ct { .. } | Expression::SetCt { .. } => b"ct",
            Expression::Redirect { .. } => b"redir",
            Expression::Tproxy { .. } => b"tproxy",
            Expression::Lookup { .. } => b"lookup",
            Expression::Match { .. } => b"match",
            Expression::Target { .. } => b"target",
            Expression::Other { name } => name,
        }
    }

    /// Appends it to a rule's expressions.
    pub fn write(&self, w: &mut Writer) {
        if short::write(self, w) {
            return;
        }
        w.nest(ELEMENT, |w| {
            w.name(NAME, self.name());
            w.nest(DATA, |w| self.write_data(w));
        });
    }

    fn write_data(&self, w: &mut Writer) {
        match *self {
            Expression::Meta { key, register } | Expression::Ct { key, register } => {
                numbers(w, &[(1, register), (2, key)]);
            }
            Expression::SetMeta { key, register } => numbers(w, &[(2, key), (3, register)]),
            Expression::SetCt { key, register } => numbers(w, &[(2, key), (4, register)]),
            Expression::Payload { base, offset, length, register } => {
                numbers(w, &[(1, register), (2, base), (3, offset), (4, length)]);
            }
            Expression::Compare { register, not, value } => {
                compare(w, register, if not { NOT_EQUAL } else { EQUAL }, value);
            }
            Expression::Bound { register, is, value } => compare(w, register, is as u32, value),
            Expression::Range { register, not, from, to } => {
                numbers(w, &[(1, register), (2, u32::from(not))]);
                constant(w, 3, from);
                constant(w, 4, to);
            }
            Expression::Bitwise { from, to, mask, xor } => {
                let length = u32::try_from(mask.len()).expect("a register holds 16 bytes");
                numbers(w, &[(1, from), (2, to), (3, length)]);
                constant(w, 4, mask);
                constant(w, 5, xor);
            }
            Expression::Value { register, value } => {
                w.be32(1, register);
                constant(w, 2, value);
            }
            Expression::Verdict { code, chain } => write_verdict(w, code, chain),
            Expression::Counter { packets, bytes } => {
                w.be64(1, bytes);
                w.be64(2, packets);
            }
            Expression::Redirect { register } => w.be32(1, register),
            Expression::Tproxy { family, register } => numbers(w, &[(1, family), (3, register)]),
            Expression::Lookup { set, id, register, not } => {
                w.name(1, set);
                w.be32(2, register);
                if let Some(id) = id {
                    w.be32(4, id);
                }
                if not {
                    w.be32(5, 1);
                }
            }
            Expression::Match { name, revision, info } | Expression::Target { name, revision, info } => {
                w.name(1, name);
                w.be32(2, revision);
                w.attribute(3, info);
            }
            Expression::Other { .. } => {}
        }
    }
}

fn numbers(w: &mut Writer, numbers: &[(u16, u32)]) {
    for (kind, number) in numbers {
        w.be32(*kind, *number);
    }
}

fn compare(w: &mut Writer, register: u32, operation: u32, value: &[u8]) {
    numbers(w, &[(1, register), (2, operation)]);
    constant(w, 3, value);
}

fn constant(w: &mut Writer, kind: u16, value: &[u8]) {
    w.nest(kind, |w| w.attribute(VALUE, value));
}

fn write_verdict(w: &mut Writer, code: i32, chain: Option<&[u8]>) {
    w.be32(1, VERDICT);
    w.nest(2, |w| {
        w.nest(DATA_VERDICT, |w| {
            w.attribute(1, &code.to_be_bytes());
            if let Some(chain) = chain {
                w.name(2, chain);
            }
        });
    });
}

/// The expressions in the value of a rule's `NFTA_RULE_EXPRESSIONS`.
pub fn read(list: &[u8]) -> impl Iterator<Item = Result<Expression<'_>, Cut>> {
    attributes(list).map(|element| {
        let (_, element) = element?;
        let mut name: &[u8] = b"";
        let mut data: &[u8] = b"";
        for attribute in attributes(element) {
            match attribute? {
                (NAME, value) => name = text(value),
                (DATA, value) => data = value,
                _ => {}
            }
        }
        Ok(read_data(name, &Fields::of(data)?).unwrap_or(Expression::Other { name }))
    })
}

/// A string attribute's value without its NUL.
pub(crate) fn text(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn read_data<'a>(name: &[u8], fields: &Fields<'a>) -> Option<Expression<'a>> {
    match name {
        b"meta" | b"ct" | b"payload" => read_load(name, fields),
        b"cmp" => {
            let [register, operation] = fields.numbers([1, 2], &[3])?;
            let value = fields.constant(3)?;
            let bound = |is| Some(Expression::Bound { register, is, value });
            match operation {
                EQUAL => Some(Expression::Compare { register, not: false, value }),
                NOT_EQUAL => Some(Expression::Compare { register, not: true, value }),
                2 => bound(Order::Below),
                3 => bound(Order::AtMost),
                4 => bound(Order::Above),
                5 => bound(Order::AtLeast),
                _ => None,
            }
        }
        b"range" => {
            let [register, operation] = fields.numbers([1, 2], &[3, 4])?;
            let (from, to) = (fields.constant(3)?, fields.constant(4)?);
            (operation < 2).then_some(Expression::Range { register, not: operation == 1, from, to })
        }
        b"bitwise" => {
            let [from, to] = fields.numbers([1, 2], &[3, 4, 5, 6])?;
            // NFT_BITWISE_MASK_XOR; older kernels do not say which operation it is.
            (fields.number(6).unwrap_or(0) == 0).then_some(())?;
            Some(Expression::Bitwise { from, to, mask: fields.constant(4)?, xor: fields.constant(5)? })
        }
        b"immediate" => read_immediate(fields),
        b"counter" => Some(Expression::Counter { bytes: fields.long(1)?, packets: fields.long(2)? }),
        b"redir" => read_redirect(fields),
        b"tproxy" => {
            let [family, register] = fields.numbers([1, 3], &[])?;
            Some(Expression::Tproxy { family, register })
        }
        b"lookup" => {
            let [register] = fields.numbers([2], &[1, 4, 5])?;
            let not = match fields.number(5) {
                None | Some(0) => false,
                Some(1) => true,
                Some(_) => return None,
            };
            Some(Expression::Lookup { set: text(fields.get(1)?), id: fields.number(4), register, not })
        }
        b"match" | b"target" => {
            let [revision] = fields.numbers([2], &[1, 3])?;
            let (own, info) = (text(fields.get(1)?), fields.get(3)?);
            Some(match name {
                b"match" => Expression::Match { name: own, revision, info },
                _ => Expression::Target { name: own, revision, info },
            })
        }
        _ => None,
    }
}

fn read_load<'a>(name: &[u8], fields: &Fields<'a>) -> Option<Expression<'a>> {
    let load = fields.numbers([1, 2], &[]);
    match name {
        b"meta" => match load {
            Some([register, key]) => Some(Expression::Meta { key, register }),
            None => fields.numbers([2, 3], &[]).map(|[key, register]| Expression::SetMeta { key, register }),
        },
        b"ct" => match load {
            Some([register, key]) => Some(Expression::Ct { key, register }),
            None => fields.numbers([2, 4], &[]).map(|[key, register]| Expression::SetCt { key, register }),
        },
        _ => {
            let [register, base, offset, length] = fields.numbers([1, 2, 3, 4], &[])?;
            Some(Expression::Payload { base, offset, length, register })
        }
    }
}

/// The kernel repeats the port's register as the range's end and adds `NF_NAT_RANGE_PROTO_SPECIFIED` by itself.
fn read_redirect<'a>(fields: &Fields<'a>) -> Option<Expression<'a>> {
    const PORT_GIVEN: u32 = 2;
    let [register] = fields.numbers([1], &[2, 3])?;
    let one_port = fields.number(2).is_none_or(|end| end == register);
    let plain = fields.number(3).is_none_or(|flags| flags & !PORT_GIVEN == 0);
    (one_port && plain).then_some(Expression::Redirect { register })
}

fn read_immediate<'a>(fields: &Fields<'a>) -> Option<Expression<'a>> {
    let [register] = fields.numbers([1], &[2])?;
    if register != VERDICT {
        return Some(Expression::Value { register, value: fields.constant(2)? });
    }
    let data = Fields::of(fields.get(2)?).ok()?;
    let verdict = Fields::of(data.get(DATA_VERDICT)?).ok()?;
    let code = i32::from_be_bytes(verdict.get(1)?.try_into().ok()?);
    Some(Expression::Verdict { code, chain: verdict.get(2).map(text) })
}

/// The attributes of one expression by their number. The kernel's expressions have fewer than 16.
struct Fields<'a> {
    values: [Option<&'a [u8]>; 16],
    beyond: bool,
}

impl<'a> Fields<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, Cut> {
        let mut fields = Fields { values: [None; 16], beyond: false };
        for attribute in attributes(bytes) {
            let (kind, value) = attribute?;
            match fields.values.get_mut(usize::from(kind)) {
                Some(place) => *place = Some(value),
                None => fields.beyond = true,
            }
        }
        Ok(fields)
    }

    fn get(&self, kind: u16) -> Option<&'a [u8]> {
        *self.values.get(usize::from(kind))?
    }

    fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    fn long(&self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    fn constant(&self, kind: u16) -> Option<&'a [u8]> {
        Fields::of(self.get(kind)?).ok()?.get(VALUE)
    }

    /// The numbers of these kinds, if all are there and nothing is beside them and `others`.
    fn numbers<const N: usize>(&self, kinds: [u16; N], others: &[u16]) -> Option<[u32; N]> {
        let strange = |(kind, value): (u16, &Option<&[u8]>)| {
            value.is_some() && !kinds.contains(&kind) && !others.contains(&kind)
        };
        if self.beyond || (0u16..).zip(&self.values).any(strange) {
            return None;
        }
        let mut numbers = [0; N];
        for (place, kind) in numbers.iter_mut().zip(kinds) {
            *place = self.number(kind)?;
        }
        Some(numbers)
    }
}
