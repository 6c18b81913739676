//! What a rule has loaded so far. The kernel has four registers of 16 bytes, or, by other numbers, sixteen of 4 in
//! the same place; a load that overlaps an earlier one makes it void.

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

    /// How many words it takes, at most: of meta facts, only names of interfaces take more than one.
    fn words(&self) -> u32 {
        match self {
            Fact::Payload { length, .. } => length.div_ceil(4).clamp(1, WORDS),
            Fact::Value(value) => u32::try_from(value.len().div_ceil(4)).unwrap_or(WORDS).clamp(1, WORDS),
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
