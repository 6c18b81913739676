//! A pretended nf_tables: takes batches as the kernel does, whole or not at all, and answers dumps. It knows tables,
//! chains, rules, handles and generations, not what a rule means.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use millrace_core::dialect::Batch;
use millrace_core::dialect::batch::message;
use millrace_core::dialect::wire::{self, APPEND, EXCL, Message, Writer, attributes};
use std::collections::BTreeMap;

/// The rules of one network namespace.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    pub generation: u32,
    handle: u64,
    tables: BTreeMap<(u8, Name), BTreeMap<Name, Chain>>,
}

type Name = Vec<u8>;

#[derive(Clone, Debug, Default)]
struct Chain {
    rules: Vec<(u64, Vec<u8>)>,
}

/// A refusal: the message's sequence number, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub u32, pub &'static str);

impl Kernel {
    /// Takes a batch.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), Refused> {
        let mut draft = self.clone();
        for message in wire::messages(&batch.bytes) {
            let message = message.expect("whole messages");
            draft.take(message).map_err(|why| Refused(message.sequence, why))?;
        }
        draft.generation += 1;
        *self = draft;
        Ok(())
    }

    fn take(&mut self, message: Message<'_>) -> Result<(), &'static str> {
        let family = message.body[0];
        let fields: BTreeMap<u16, &[u8]> =
            attributes(&message.body[4..]).map(|attribute| attribute.expect("whole attributes")).collect();
        let name = |kind: u16| fields.get(&kind).map(|value| value[..value.len() - 1].to_vec());
        match message.kind {
            0x10 => match fields.get(&1) {
                Some(generation) if **generation != self.generation.to_be_bytes() => Err("ERESTART"),
                _ => Ok(()),
            },
            0x11 => Ok(()),
            message::NEW_TABLE => {
                let key = (family, name(1).expect("a table has a name"));
                let there = self.tables.contains_key(&key);
                self.tables.entry(key).or_default();
                if there && message.flags & EXCL != 0 { Err("EEXIST") } else { Ok(()) }
            }
            message::DEL_TABLE => {
                let key = (family, name(1).expect("a table has a name"));
                self.tables.remove(&key).map(drop).ok_or("ENOENT")
            }
            message::NEW_CHAIN | message::DEL_CHAIN => {
                let chain = name(3).expect("a chain has a name");
                let used = self.is_jumped_to(&(family, name(1).expect("a table")), &chain);
                let table = self.tables.get_mut(&(family, name(1).expect("a table"))).ok_or("ENOENT")?;
                if message.kind == message::NEW_CHAIN {
                    let there = table.contains_key(&chain);
                    table.entry(chain).or_default();
                    return if there && message.flags & EXCL != 0 { Err("EEXIST") } else { Ok(()) };
                }
                let rules = &table.get(&chain).ok_or("ENOENT")?.rules;
                if used || !rules.is_empty() {
                    return Err("EBUSY");
                }
                table.remove(&chain);
                Ok(())
            }
            message::NEW_RULE => self.new_rule(message, family, &fields),
            message::DEL_RULE => {
                let table = self.tables.get_mut(&(family, name(1).expect("a table"))).ok_or("ENOENT")?;
                let chain = table.get_mut(&name(2).expect("a chain")).ok_or("ENOENT")?;
                let Some(handle) = fields.get(&3) else {
                    chain.rules.clear();
                    return Ok(());
                };
                let handle = u64::from_be_bytes((*handle).try_into().expect("eight bytes"));
                let at = chain.rules.iter().position(|(known, _)| *known == handle).ok_or("ENOENT")?;
                chain.rules.remove(at);
                Ok(())
            }
            _ => Err("EINVAL"),
        }
    }

    fn new_rule(
        &mut self,
        message: Message<'_>,
        family: u8,
        fields: &BTreeMap<u16, &[u8]>,
    ) -> Result<(), &'static str> {
        let name = |kind: u16| fields.get(&kind).map(|value| value[..value.len() - 1].to_vec());
        self.handle += 1;
        let handle = self.handle;
        let list = fields.get(&4).copied().unwrap_or_default().to_vec();
        let table = self.tables.get_mut(&(family, name(1).expect("a table"))).ok_or("ENOENT")?;
        if jumps(&list).iter().any(|target| !table.contains_key(target)) {
            return Err("ENOENT");
        }
        let chain = table.get_mut(&name(2).expect("a chain")).ok_or("ENOENT")?;
        let at = match fields.get(&6) {
            None if message.flags & APPEND != 0 => chain.rules.len(),
            None => 0,
            Some(position) => {
                let position = u64::from_be_bytes((*position).try_into().expect("eight bytes"));
                chain.rules.iter().position(|(known, _)| *known == position).ok_or("ENOENT")?
            }
        };
        chain.rules.insert(at, (handle, list));
        Ok(())
    }

    fn is_jumped_to(&self, table: &(u8, Name), chain: &Name) -> bool {
        let chains = self.tables.get(table).into_iter().flat_map(BTreeMap::values);
        chains.flat_map(|chain| &chain.rules).any(|(_, list)| jumps(list).contains(chain))
    }

    /// What the kernel answers when asked for everything.
    pub fn dump(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.start(&mut w, message::NEW_GENERATION, 0);
        w.be32(1, self.generation);
        for ((family, table), chains) in &self.tables {
            for name in chains.keys() {
                self.start(&mut w, message::NEW_CHAIN, *family);
                w.name(1, table);
                w.name(3, name);
            }
        }
        for ((family, table), chains) in &self.tables {
            for (name, chain) in chains {
                for (handle, list) in &chain.rules {
                    self.start(&mut w, message::NEW_RULE, *family);
                    w.name(1, table);
                    w.name(2, name);
                    w.be64(3, *handle);
                    w.attribute(4, list);
                }
            }
        }
        w.finish()
    }

    fn start(&self, w: &mut Writer, kind: u16, family: u8) {
        let [.., high, low] = self.generation.to_be_bytes();
        w.start(kind, 2, 1);
        w.fixed(&[family, 0, high, low]);
    }

    /// Puts a rule of somebody else's behind what is in a chain, made if it is missing.
    pub fn append(&mut self, family: u8, table: &str, chain: &str, expressions: &[u8]) {
        self.handle += 1;
        let table = self.tables.entry((family, table.as_bytes().to_vec())).or_default();
        let chain = table.entry(chain.as_bytes().to_vec()).or_default();
        chain.rules.push((self.handle, expressions.to_vec()));
        self.generation += 1;
    }
}

/// The chains that a rule's expressions lead to.
fn jumps(list: &[u8]) -> Vec<Name> {
    use millrace_core::dialect::expressions::{Expression, read};
    read(list)
        .filter_map(|expression| match expression.expect("whole expressions") {
            Expression::Verdict { chain: Some(chain), .. } => Some(chain.to_vec()),
            _ => None,
        })
        .collect()
}
