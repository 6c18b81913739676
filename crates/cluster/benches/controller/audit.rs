//! What one user asked of an API server, counted by what and by why.
//!
//! Requests that were refused count as well.

use millrace_rig::apiserver::Apiserver;
use millrace_rig::apiserver::asked::{Asked, Log};
use std::collections::BTreeMap;
use std::fmt;

/// The requests of one user, in their order.
pub(crate) struct Audit {
    log: Log,
    all: Vec<Asked>,
}

/// Requests by verb and resource.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(BTreeMap<(String, String), usize>);

/// What is asked for by the clock, whatever happens: the Lease, what the webhook looks at, and every five minutes the
/// cluster's own settings.
const BY_THE_CLOCK: [(&str, &str); 11] = [
    ("get", "leases"),
    ("update", "leases"),
    ("get", "meshcnis"),
    ("get", "secrets"),
    ("get", "/version"),
    ("get", "felixconfigurations"),
    ("get", "configmaps"),
    ("list", "mutatingwebhookconfigurations"),
    ("list", "deployments"),
    ("list", "daemonsets"),
    ("list", "namespaces"),
];

impl Audit {
    pub(crate) fn new(api: &Apiserver, user: &str) -> Audit {
        Audit { log: Log::of(api, user), all: Vec::new() }
    }

    /// How many there were so far.
    pub(crate) fn now(&mut self) -> usize {
        self.all.extend(self.log.more());
        self.all.len()
    }

    /// Those since there were `before`.
    pub(crate) fn since(&mut self, before: usize) -> &[Asked] {
        self.now();
        &self.all[before..]
    }

    /// Those since there were `before` that something else than the clock was the cause of.
    pub(crate) fn caused(&mut self, before: usize) -> Counts {
        Counts::of(self.since(before).iter().filter(|one| !is_by_the_clock(one)))
    }
}

impl Counts {
    pub(crate) fn of<'a>(requests: impl Iterator<Item = &'a Asked>) -> Counts {
        let mut counts = Counts::default();
        requests.for_each(|one| *counts.0.entry((one.verb.clone(), one.resource.clone())).or_default() += 1);
        counts
    }

    pub(crate) fn all(&self) -> usize {
        self.such(|_, _| true)
    }

    /// Those of which that holds, by verb and resource.
    pub(crate) fn such(&self, holds: impl Fn(&str, &str) -> bool) -> usize {
        let found = self.0.iter().filter(|((verb, resource), _)| holds(verb, resource));
        found.map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let mut between = "";
        for ((verb, resource), count) in &self.0 {
            write!(f, "{between}{verb} {resource} {count}")?;
            between = ", ";
        }
        Ok(())
    }
}

/// Whether it is one of that.
pub(crate) fn is(one: &Asked, verb: &str, resource: &str) -> bool {
    one.verb == verb && one.resource == resource
}

/// A watch that its server ended after some minutes is begun again where it was: that is by the clock too.
pub(crate) fn is_by_the_clock(one: &Asked) -> bool {
    one.verb == "watch" || BY_THE_CLOCK.iter().any(|(verb, resource)| is(one, verb, resource))
}
