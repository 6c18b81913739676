//! nf_tables over netlink, in either of its two dialects: apply, inspect and clear in the calling thread's namespace.
//!
//! Every change is one transaction of both families. A pod's first rules are sent without looking first; what was
//! looked at before a change is guarded by the ruleset's generation, and looked at again if it moved.

use crate::netlink::{self, Part, Socket};
use millrace_core::dialect::batch::{Act, Batch};
use millrace_core::dialect::{Backend, iptables, nftables};
use millrace_core::rules::removal::{Removal, removal};
use millrace_core::rules::{Observed, RuleSet};
use rustix::io::Errno;
use std::{fmt, io};

/// How often a change is begun before somebody else's are blamed.
const ATTEMPTS: usize = 8;
/// How often the rules are looked at until nobody changed them meanwhile.
const LOOKS: usize = 16;

/// One of the two ways to say rules in nf_tables.
#[derive(Clone, Copy)]
pub(super) struct Dialect {
    write: fn(&RuleSet, &Removal) -> Batch,
    requests: fn() -> Vec<Vec<u8>>,
    read: fn(&[u8]) -> Result<Observed, iptables::Error>,
}

/// The dialect of a backend, if it is one of netlink's.
pub(super) fn dialect(backend: Backend) -> Option<Dialect> {
    match backend {
        Backend::Iptables => {
            Some(Dialect { write: iptables::write, requests: iptables::requests, read: iptables::read })
        }
        Backend::Nftables => {
            Some(Dialect { write: nftables::write, requests: nftables::requests, read: nftables::read })
        }
        Backend::Text => None,
    }
}

impl Dialect {
    /// Makes the namespace hold `rules`, and nothing else of ours, in this dialect.
    pub(super) fn apply(&self, rules: &RuleSet) -> Result<(), Error> {
        self.change(rules, rules, Removal::default())
    }

    /// The same where others may be; `known` tells which rules at hooks are ours.
    pub(super) fn replace(&self, rules: &RuleSet, known: &RuleSet) -> Result<(), Error> {
        let observed = self.inspect()?.unwrap_or_default();
        self.change(rules, known, removal(&observed, known))
    }

    /// Takes what is ours out; `planned` tells which rules at hooks are.
    pub(super) fn clear(&self, planned: &RuleSet) -> Result<(), Error> {
        match self.inspect()? {
            Some(observed) => self.change(&RuleSet::default(), planned, removal(&observed, planned)),
            None => Ok(()),
        }
    }

    /// What the namespace holds in the tables of this dialect; `None` if the kernel has no nf_tables.
    pub(super) fn inspect(&self) -> Result<Option<Observed>, Error> {
        for _ in 0..LOOKS {
            let Some(answers) = self.answers()? else { return Ok(None) };
            match (self.read)(&answers) {
                Err(iptables::Error::Changed) => {}
                read => return read.map(Some).map_err(Error::Read),
            }
        }
        Err(Error::Contended)
    }

    fn answers(&self) -> Result<Option<Vec<u8>>, Error> {
        let mut socket = match Socket::open(Part::Netfilter) {
            Err(netlink::Error::Open(Errno::PROTONOSUPPORT)) => return Ok(None),
            other => other?,
        };
        let mut answers = Vec::new();
        for request in (self.requests)() {
            match socket.dump(&request) {
                // The first asks for the generation, in which nothing can be invalid but the subsystem.
                Err(netlink::Error::Refused { cause: Errno::INVAL, .. }) if answers.is_empty() => {
                    return Ok(None);
                }
                other => answers.extend_from_slice(&other?),
            }
        }
        Ok(Some(answers))
    }

    fn change(&self, wanted: &RuleSet, planned: &RuleSet, found: Removal) -> Result<(), Error> {
        let mut found = found;
        for _ in 0..ATTEMPTS {
            let batch = (self.write)(wanted, &found);
            match send(&batch) {
                Ok(()) => return Ok(()),
                // Nothing has changed since we looked, so what is in the way is none of ours.
                Err(error @ Error::Refused { cause: Errno::EXIST, .. }) if found.generation.is_some() => {
                    return Err(error);
                }
                // Ours are there already, or what we looked at has changed.
                Err(Error::Refused { cause: Errno::EXIST | Errno::RESTART, .. }) => {}
                Err(error) => return Err(error),
            }
            let observed = self.inspect()?.unwrap_or_default();
            found = removal(&observed, planned);
        }
        Err(Error::Contended)
    }
}

fn send(batch: &Batch) -> Result<(), Error> {
    if batch.is_empty() {
        return Ok(());
    }
    let sent = Socket::open(Part::Netfilter).and_then(|mut socket| socket.send(&batch.bytes));
    sent.map_err(|error| match error {
        netlink::Error::Refused { sequence, cause } => {
            Error::Refused { act: batch.act(sequence).copied().unwrap_or(Act::Begin), cause }
        }
        error => Error::Talk(error),
    })
}

/// Why nf_tables did not do it. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Error {
    /// The kernel refused one message of the transaction, and so all of it.
    Refused { act: Act, cause: Errno },
    /// The kernel cannot be talked to.
    Talk(netlink::Error),
    /// What is there cannot be read.
    Read(iptables::Error),
    /// Something else kept changing the rules at the same time.
    Contended,
}

impl Error {
    /// Whether the kernel lacks what this dialect needs, so that another may do better.
    pub(super) fn leaves_hope(&self) -> bool {
        match self {
            // Another dialect has other names.
            Error::Refused { act, cause } => is_taken(*act, *cause) || is_lack(*cause),
            Error::Talk(netlink::Error::Open(cause)) => is_lack(*cause),
            _ => false,
        }
    }

    /// Whether every pod of the node will be told the same, not only one that has such rules in its plan (or such
    /// chains in its namespace) as this one. All plans have rules in `nat`, and all of them of the same few kinds.
    pub(super) fn is_of_node(&self) -> bool {
        match self {
            Error::Refused { act: Act::Begin | Act::Table { .. }, .. } => true,
            Error::Refused { act, cause } if is_taken(*act, *cause) => false,
            Error::Refused { act: Act::Chain { at, .. } | Act::Rule { at, .. }, .. } => at.table == "nat",
            error => error.leaves_hope(),
        }
    }
}

impl From<netlink::Error> for Error {
    fn from(error: netlink::Error) -> Self {
        Error::Talk(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused { act, cause } => {
                let way_out = if is_taken(*act, *cause) { TAKEN } else { way_out(*cause) };
                write!(f, "the kernel refused to {act}: {}; {way_out}", io::Error::from(*cause))
            }
            Error::Talk(error) => write!(f, "{error}"),
            Error::Read(error) => write!(f, "{error}"),
            Error::Contended => write!(
                f,
                "the rules were changed by something else each of {ATTEMPTS} times; find what writes rules into this \
                 namespace"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// An expression, a match or a whole part of the kernel that is not there, or that is not for this namespace.
fn is_lack(cause: Errno) -> bool {
    // ENOTSUPP, which is not for user space but gets there.
    const NOTSUPP: i32 = 524;
    matches!(
        cause,
        Errno::INVAL | Errno::NOENT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT
    ) || cause.raw_os_error() == NOTSUPP
}

/// Whether a chain of that name is there and has another type, hook or priority: EOPNOTSUPP since Linux 6.4, EEXIST
/// before (nf_tables_api.c).
fn is_taken(act: Act, cause: Errno) -> bool {
    matches!(act, Act::Chain { .. }) && matches!(cause, Errno::EXIST | Errno::OPNOTSUPP)
}

const TAKEN: &str =
    "a chain of that name is there and hooks in differently; look at it with `nft list ruleset`";

fn way_out(cause: Errno) -> &'static str {
    match cause {
        Errno::PERM => "CAP_NET_ADMIN is needed in the user namespace that owns the network namespace",
        Errno::NOMEM | Errno::NOBUFS => "the node is short of memory; try again",
        cause if is_lack(cause) => {
            "this kernel does not have what that needs; load its module or choose another backend"
        }
        _ => "look at the namespace with `nft list ruleset`",
    }
}
