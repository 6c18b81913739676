//! The text backend: apply, inspect and clear by `iptables-restore` and `iptables-save`, legacy or nft.
//!
//! For nodes whose kernel has no nf_tables. It is the only part that starts programs, each of which is stopped at a
//! deadline, and it never makes a table by looking. What one family's table gets, it gets at once; two families
//! are two commits, so if the second is refused the first is taken back.

mod run;
mod script;

use millrace_core::dialect::text;
use millrace_core::rules::removal::removal;
use millrace_core::rules::{Family, Observed, RuleSet};
use std::fmt;

/// Which of the programs is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// What the node calls `iptables`.
    Node,
    /// `iptables-legacy`
    Legacy,
    /// `iptables-nft`
    Nft,
}

/// Puts `rules` into the calling thread's namespace in place of what is ours there, unless they are there already.
/// `known` tells which rules at hooks are ours; `only`, that no other variant will do. Returns the variant that did it.
pub fn apply(rules: &RuleSet, known: &RuleSet, only: Option<Variant>) -> Result<Variant, Error> {
    // The node's own choice is what its people look with; but legacy tables once there go on being consulted.
    let order: &[Variant] = match only {
        Some(Variant::Node) => &[Variant::Node],
        Some(Variant::Legacy) => &[Variant::Legacy],
        Some(Variant::Nft) => &[Variant::Nft],
        None if has_legacy_tables() => &[Variant::Legacy, Variant::Node, Variant::Nft],
        None => &[Variant::Node, Variant::Legacy, Variant::Nft],
    };
    let mut first = None;
    for &variant in order {
        match apply_by(variant, rules, known) {
            Ok(()) => return Ok(variant),
            Err(error) if !error.leaves_hope() => return Err(error),
            // A program that is there says more than one that is not.
            Err(error) => match first {
                None | Some(Error::Missing(_)) => first = Some(error),
                Some(_) => {}
            },
        }
    }
    Err(first.expect("at least one was tried"))
}

fn apply_by(variant: Variant, rules: &RuleSet, known: &RuleSet) -> Result<(), Error> {
    let mut new = Vec::new();
    for family in FAMILIES {
        let wanted = rules.family(family);
        match replace_by(variant, &wanted, &known.family(family), family) {
            Ok(true) => new.push(family),
            Ok(false) => {}
            Err(error) => {
                for family in new {
                    // What cannot be taken back is reported by the failure that made it necessary.
                    drop(clear_by(variant, &rules.family(family), family));
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Whether it put rules where none of ours were. Where some were, a failure of the other family must not leave the pod
/// without any.
fn replace_by(variant: Variant, wanted: &RuleSet, known: &RuleSet, family: Family) -> Result<bool, Error> {
    if known.is_empty() {
        return Ok(false);
    }
    let removal = removal(&observe(variant, family)?, known);
    if removal.says(wanted) {
        return Ok(false);
    }
    let new = removal.is_empty();
    if let Err(error) = run::restore(variant, family, &script::replace(&removal, wanted, family)) {
        if new {
            // Each table is a commit of its own: those before the refused one hold their rules already.
            drop(clear_by(variant, wanted, family));
        }
        return Err(error);
    }
    Ok(new)
}

/// What the legacy tables of the calling thread's namespace hold, if it has any. What the nft variant wrote is
/// found by netlink.
pub fn inspect() -> Result<Option<Observed>, Error> {
    if !has_legacy_tables() {
        return Ok(None);
    }
    let mut all = Observed::default();
    for family in FAMILIES.into_iter().filter(|family| has_tables(*family)) {
        let observed = observe(Variant::Legacy, family)?;
        all.chains.extend(observed.chains);
        all.foreign_chains.extend(observed.foreign_chains);
        all.held.extend(observed.held);
    }
    Ok(Some(all))
}

/// Takes what is ours out of the legacy tables, going on after a failure (M8).
pub fn clear(rules: &RuleSet) -> Vec<Error> {
    let families = FAMILIES.into_iter().filter(|family| has_tables(*family));
    families.filter_map(|family| clear_by(Variant::Legacy, rules, family).err()).collect()
}

fn clear_by(variant: Variant, rules: &RuleSet, family: Family) -> Result<(), Error> {
    let script = script::clear(&removal(&observe(variant, family)?, rules), family);
    if script.is_empty() { Ok(()) } else { run::restore(variant, family, &script) }
}

fn observe(variant: Variant, family: Family) -> Result<Observed, Error> {
    text::read(&run::save(variant, family)?, family).map_err(Error::Text)
}

/// Whether the namespace has tables of the legacy kind; asking makes none.
fn has_legacy_tables() -> bool {
    FAMILIES.into_iter().any(has_tables)
}

fn has_tables(family: Family) -> bool {
    let path = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    // A kernel without them has no such file.
    std::fs::read(path).is_ok_and(|names| !names.is_empty())
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Why the programs did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Error {
    /// There is no such program.
    Missing(String),
    /// It cannot be started or waited for.
    Start { program: String, cause: String },
    /// It was stopped after so many seconds.
    Slow { program: String, seconds: u64 },
    /// It ended with a failure.
    Failed { program: String, code: Option<i32>, complaint: String },
    /// It printed more than can be true.
    TooMuch(String),
    /// What it printed cannot be read.
    Text(text::Error),
}

impl Error {
    /// Whether another variant may do better. Not where time ran out.
    pub(crate) fn leaves_hope(&self) -> bool {
        !matches!(self, Error::Slow { .. }) && !self.is_lock()
    }

    /// Whether the lock did not come free. The exit code alone does not say so: 4 is any lack of resources.
    fn is_lock(&self) -> bool {
        matches!(self, Error::Failed { code: Some(4), complaint, .. } if complaint.contains("xtables lock"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing(program) => {
                write!(f, "{program} is not on this node; install iptables, or use a kernel with nf_tables")
            }
            Error::Start { program, cause } => write!(f, "cannot run {program}: {cause}; look at its file"),
            Error::Slow { program, seconds } => {
                write!(f, "{program} was stopped after {seconds} s; look for who holds the xtables lock")
            }
            Error::Failed { program, complaint, .. } if self.is_lock() => {
                write!(f, "{program} did not get the xtables lock: {complaint}; look for who holds it")
            }
            Error::Failed { program, code, complaint } => {
                match code {
                    Some(code) => write!(f, "{program} ended with {code}: {complaint}")?,
                    None => write!(f, "{program} was killed: {complaint}")?,
                }
                f.write_str("; check that the kernel has what the rules need")
            }
            Error::TooMuch(program) => write!(f, "{program} printed more than a pod's tables can hold"),
            Error::Text(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {}
