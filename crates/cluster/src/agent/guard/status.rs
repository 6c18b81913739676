//! What the guard says of the chain: to readiness, to people, and to whoever makes conditions and events of it.
//!
//! Plain data with its words; it decides nothing and sends nothing.

use super::suspect::Suspect;
use std::time::{Duration, Instant};

/// How the chain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Nobody has looked yet.
    Starting,
    /// It is right, and watched.
    Guarding,
    /// It is wrong and will be right in a moment.
    Repairing {
        /// What is wrong.
        what: String,
    },
    /// Its owner has no list here, by which it says that the node is not ready; making one would be a lie.
    Waiting {
        /// What is waited for.
        what: String,
    },
    /// It is wrong and stays so until then, as somebody keeps undoing repairs.
    BackedOff {
        /// What is wrong.
        what: String,
        /// When the next repair is tried.
        until: Instant,
        /// Who, and what to do about it.
        suspect: Suspect,
    },
    /// It cannot be told, or not be repaired.
    Broken {
        /// Why.
        error: String,
    },
}

/// The state as the fields of a Kubernetes condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Whether the chain is as it should be.
    pub(crate) holds: bool,
    /// One word, as conditions want it.
    pub(crate) reason: &'static str,
    /// A sentence for people.
    pub(crate) message: String,
}

impl Status {
    /// Whether pods may be started by the chain.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self, Status::Guarding)
    }

    /// The condition. Its words do not change while the state does not: no clock, no count.
    pub(crate) fn condition(&self) -> Condition {
        let (reason, message) = match self {
            Status::Starting => ("Starting", "the CNI chain has not been looked at yet".to_owned()),
            Status::Guarding => ("Guarding", "the CNI chain is installed".to_owned()),
            Status::Repairing { what } => ("Repairing", format!("the CNI chain is being repaired: {what}")),
            Status::Waiting { what } => {
                ("WaitingForOwner", format!("the CNI chain waits for its owner: {what}"))
            }
            Status::BackedOff { what, suspect, .. } => (
                "Fight",
                format!(
                    "the CNI chain is not repaired for a while: {what}; it is undone by {suspect}; {}",
                    suspect.fix
                ),
            ),
            Status::Broken { error } => ("Broken", format!("the CNI chain is not guarded: {error}")),
        };
        Condition { holds: self.is_ready(), reason, message }
    }
}

/// Something that happened once: the matter of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The chain was repaired.
    Repaired {
        /// What had been wrong.
        what: String,
        /// By whom, as it looks.
        suspect: Suspect,
    },
    /// Repairs stop for so long.
    BackedOff {
        /// What is wrong.
        what: String,
        /// For how long.
        pause: Duration,
        /// Who, and what to do about it.
        suspect: Suspect,
    },
    /// The chain could not be looked at or not be repaired.
    Failed {
        /// Why.
        error: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_who_must_act() {
        let what = || "10-x.conflist lacks our entry".to_owned();
        let suspect = Suspect {
            who: "Cilium's agent".into(),
            deed: "rewrote 05-cilium.conflist".into(),
            fix: "set cni.exclusive=false".into(),
            process: None,
        };
        let states = [
            (Status::Starting, "false Starting: the CNI chain has not been looked at yet"),
            (Status::Guarding, "true Guarding: the CNI chain is installed"),
            (
                Status::Repairing { what: what() },
                "false Repairing: the CNI chain is being repaired: 10-x.conflist lacks our entry",
            ),
            (
                Status::Waiting { what: "no list in net.d".into() },
                "false WaitingForOwner: the CNI chain waits for its owner: no list in net.d",
            ),
            (
                Status::BackedOff { what: what(), until: Instant::now(), suspect },
                "false Fight: the CNI chain is not repaired for a while: 10-x.conflist lacks our entry; it is undone by Cilium's \
                 agent, which rewrote 05-cilium.conflist; set cni.exclusive=false",
            ),
            (
                Status::Broken { error: "no space".into() },
                "false Broken: the CNI chain is not guarded: no space",
            ),
        ];
        for (status, wanted) in states {
            let Condition { holds, reason, message } = status.condition();
            assert_eq!(format!("{holds} {reason}: {message}"), wanted);
        }
    }
}
