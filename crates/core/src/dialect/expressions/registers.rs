//! What a rule has loaded so far. The kernel has four registers of 16 bytes, or, by other numbers, sixteen of 4 in
//! the same place; a load that overlaps an earlier one makes it void.

use super::{ct, meta};

/// What registers hold.
#[derive(Default)]
pub(super) struct Registers {
    held: Vec<(u32, u32, Loaded)>,
}

/// A fact, and the mask that was put on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    pub(super) fact: Fact,
    pub(super) mask: Option<Vec<u8>>,
}

/// What was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Meta(u32),
    Ct(u32),
    Payload { base: u32, offset: u32, length: u32 },
    Value(Vec<u8>),
}

impl Fact {
    pub(super) fn value(&self) -> Option<&[u8]> {
        match self {
            Fact::Value(value) => Some(value),
            _ => None,
        }
    }

    /// How many words it takes, or may take if it is none of ours.
    fn words(&self) -> u32 {
        match self {
            Fact::Payload { length, .. } => length.div_ceil(4).clamp(1, WORDS),
            Fact::Value(value) => u32::try_from(value.len().div_ceil(4)).unwrap_or(WORDS).clamp(1, WORDS),
            Fact::Meta(meta::MARK | meta::SKUID | meta::SKGID | meta::NFPROTO | meta::L4PROTO) => 1,
            Fact::Ct(ct::STATE | ct::MARK | ct::ZONE) => 1,
            Fact::Meta(_) | Fact::Ct(_) => 4,
        }
    }
}

/// `NFT_REG32_00`, and how many there are.
const FIRST_WORD: u32 = 8;
const WORDS: u32 = 16;

impl Registers {
    pub(super) fn load(&mut self, register: u32, fact: Fact) -> Option<()> {
        self.put(register, Loaded { fact, mask: None })
    }

    pub(super) fn get(&self, register: u32) -> Option<&Loaded> {
        let at = place(register)?;
        self.held.iter().find_map(|(start, _, loaded)| (*start == at).then_some(loaded))
    }

    pub(super) fn mask(&mut self, from: u32, to: u32, mask: &[u8], xor: &[u8]) -> Option<()> {
        let loaded = self.get(from)?;
        let plain = loaded.mask.is_none() && xor.iter().all(|byte| *byte == 0);
        let fact = plain.then(|| loaded.fact.clone())?;
        self.put(to, Loaded { fact, mask: Some(mask.to_vec()) })
    }

    fn put(&mut self, register: u32, loaded: Loaded) -> Option<()> {
        let (at, words) = (place(register)?, loaded.fact.words());
        self.held.retain(|(start, length, _)| start + length <= at || at + words <= *start);
        self.held.push((at, words, loaded));
        Some(())
    }
}

/// The register's first word.
fn place(register: u32) -> Option<u32> {
    match register {
        1..=4 => Some((register - 1) * 4),
        FIRST_WORD..=23 => Some(register - FIRST_WORD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What register `asked` holds after these loads.
    #[track_caller]
    fn check(loads: &[(u32, Fact)], asked: u32, expected: Option<&Fact>) {
        let mut registers = Registers::default();
        for (register, fact) in loads {
            registers.load(*register, fact.clone()).expect("a register");
        }
        assert_eq!(registers.get(asked).map(|loaded| &loaded.fact), expected);
    }

    #[test]
    fn a_register_by_its_old_and_its_new_number_is_one() {
        check(&[(1, Fact::Meta(meta::MARK))], 8, Some(&Fact::Meta(meta::MARK)));
        check(&[(12, Fact::Meta(meta::MARK))], 2, Some(&Fact::Meta(meta::MARK)));
    }

    #[test]
    fn a_load_voids_what_it_overlaps_and_nothing_else() {
        let (word, name) = (Fact::Meta(meta::L4PROTO), Fact::Meta(meta::OIFNAME));
        check(&[(9, word.clone()), (1, name.clone())], 9, None);
        check(&[(1, name.clone()), (9, word.clone())], 1, None);
        check(&[(8, word.clone()), (9, Fact::Ct(ct::STATE))], 8, Some(&word));
        check(&[(1, word.clone()), (2, name)], 1, Some(&word));
    }

    #[test]
    fn a_register_that_does_not_exist_holds_nothing() {
        for register in [0, 5, 7, 24, u32::MAX] {
            assert_eq!(Registers::default().load(register, Fact::Ct(ct::MARK)), None);
        }
    }
}
