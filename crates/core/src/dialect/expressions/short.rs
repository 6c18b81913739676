//! The expressions that most of a pod's rules are made of, written in one piece: nests whose lengths are known beforehand need
//! no looking back, and a pod's start pays for every word.
//!
//! Says nothing that the plain way of writing does not say: for every expression the bytes are the same.

use super::{DATA, DATA_VERDICT, ELEMENT, EQUAL, Expression, NAME, NOT_EQUAL, VALUE, VERDICT};
use crate::dialect::wire::{Writer, head, nested, padded};

/// Writes it, if it is one of them.
pub(super) fn write(expression: &Expression<'_>, w: &mut Writer) -> bool {
    match *expression {
        Expression::Meta { key, register } => {
            open(w, [word(b"meta"), 0], 5, 16);
            numbers(w, [(1, register), (2, key)]);
        }
        Expression::Payload { base, offset, length, register } => {
            open(w, [word(b"payl"), word(b"oad\0")], 8, 32);
            numbers(w, [(1, register), (2, base)]);
            numbers(w, [(3, offset), (4, length)]);
        }
        Expression::Compare { register, not, value } => {
            let length = 4 + padded(value.len());
            open(w, [word(b"cmp\0")], 4, 16 + 4 + length);
            numbers(w, [(1, register), (2, if not { NOT_EQUAL } else { EQUAL })]);
            w.words([nested(3, length), head(VALUE, value.len())]);
            w.fixed(value);
        }
        Expression::Verdict { code, chain } => {
            let name = chain.map_or(0, |chain| 4 + padded(chain.len() + 1));
            open(w, [word(b"imme"), word(b"diat"), word(b"e\0\0\0")], 10, 8 + 4 + 4 + 8 + name);
            let code = code.cast_unsigned().to_be();
            let register = [head(1, 4), VERDICT.to_be()];
            w.words([
                register[0],
                register[1],
                nested(2, 12 + name),
                nested(DATA_VERDICT, 8 + name),
                head(1, 4),
                code,
            ]);
            if let Some(chain) = chain {
                w.name(2, chain);
            }
        }
        Expression::Counter { packets: 0, bytes: 0 } => {
            open(w, [word(b"coun"), word(b"ter\0")], 8, 24);
            w.words([head(1, 8), 0, 0, head(2, 8), 0, 0]);
        }
        Expression::Match { name, revision, info } => {
            open(w, [word(b"matc"), word(b"h\0\0\0")], 6, extension(name, info));
            write_extension(w, name, revision, info);
        }
        Expression::Target { name, revision, info } => {
            open(w, [word(b"targ"), word(b"et\0\0")], 7, extension(name, info));
            write_extension(w, name, revision, info);
        }
        _ => return false,
    }
    true
}

/// What comes before an expression's own attributes, which take `data` bytes; its name has `length` bytes with its NUL.
fn open<const N: usize>(w: &mut Writer, name: [u32; N], length: usize, data: usize) {
    w.words([nested(ELEMENT, 4 + N * 4 + 4 + data), head(NAME, length)]);
    w.words(name);
    w.words([nested(DATA, data)]);
}

fn numbers(w: &mut Writer, [one, two]: [(u16, u32); 2]) {
    w.words([head(one.0, 4), one.1.to_be(), head(two.0, 4), two.1.to_be()]);
}

fn extension(name: &[u8], info: &[u8]) -> usize {
    4 + padded(name.len() + 1) + 8 + 4 + padded(info.len())
}

fn write_extension(w: &mut Writer, name: &[u8], revision: u32, info: &[u8]) {
    w.name(1, name);
    w.words([head(2, 4), revision.to_be(), head(3, info.len())]);
    w.fixed(info);
}

const fn word(bytes: &[u8; 4]) -> u32 {
    u32::from_ne_bytes(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &Expression<'_>) {
        let (mut short, mut plain) = (Writer::default(), Writer::default());
        assert!(write(expression, &mut short), "{expression:?}");
        plain.nest(ELEMENT, |w| {
            w.name(NAME, expression.name());
            w.nest(DATA, |w| expression.write_data(w));
        });
        assert_eq!(short.finish(), plain.finish(), "{expression:?}");
    }

    #[test]
    fn the_bytes_are_those_of_the_plain_way() {
        check(&Expression::Meta { key: 16, register: 1 });
        check(&Expression::Payload { base: 1, offset: 12, length: 4, register: 1 });
        check(&Expression::Counter { packets: 0, bytes: 0 });
        let bytes: Vec<u8> = (1..=170).collect();
        for length in 0..bytes.len() {
            let some = &bytes[..length];
            check(&Expression::Compare { register: 1, not: length % 2 == 0, value: some });
            for name in [&b"tcp"[..], b"mark", b"owner", b"REDIRECT"] {
                check(&Expression::Match { name, revision: 1, info: some });
                check(&Expression::Target { name, revision: 2, info: some });
            }
            check(&Expression::Verdict { code: -3, chain: Some(some) });
        }
        check(&Expression::Verdict { code: -5, chain: None });
    }
}
