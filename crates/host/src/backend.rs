//! Which way rules get into a network namespace: choose a backend, apply, inspect, clear.
//!
//! With `auto` the pod's own rules are the probe: a refusal has changed nothing, so the next backend is tried. Routes
//! come before the rules, and go after them. Never looks for a backend by the output of a program, never in another
//! namespace than the one it was given.

mod memory;
pub mod netfilter;

use crate::netns::{self, NetNs};
use crate::{restore, routes};
use millrace_core::dialect::{Backend, Choice};
use millrace_core::rules::{Observed, Plan, Route, RuleSet};
use std::fmt;
use std::path::Path;

/// Puts `plan` into effect in `netns`, in place of what is ours there. Doing so again changes nothing.
///
/// Ours are our chains, jumps to them, and rules at hooks as `plan` has them. A rule at a hook that only an earlier,
/// different plan had cannot be told from somebody else's (M11): clear by that plan first.
///
/// `memory` is a file on tmpfs in which the node's answer to [`Choice::Auto`] is kept.
pub fn apply(netns: &NetNs, plan: &Plan, choice: Choice, memory: Option<&Path>) -> Result<Backend, Error> {
    let order = Order::new(choice, memory);
    let applied = netns.within(|| order.apply(plan))?;
    order.learn(netns, applied, memory)
}

/// The same as [`apply`] on the calling thread, which must be in `netns` already.
pub fn apply_here(
    netns: &NetNs,
    plan: &Plan,
    choice: Choice,
    memory: Option<&Path>,
) -> Result<Backend, Error> {
    let order = Order::new(choice, memory);
    let applied = order.apply(plan);
    order.learn(netns, applied, memory)
}

/// What `netns` holds, by the backend that would have written it. Looking makes no table.
pub fn inspect(netns: &NetNs) -> Result<Vec<(Backend, Observed)>, Error> {
    netns.within(|| {
        let mut found = Vec::new();
        for backend in Backend::ALL {
            let observed = look(backend)?;
            found.extend(observed.filter(|observed| !is_bare(observed)).map(|observed| (backend, observed)));
        }
        Ok(found)
    })?
}

/// What `plan` needs of routing and `netns` does not have.
pub fn missing_routes(netns: &NetNs, plan: &Plan) -> Result<Vec<Route>, Error> {
    Ok(netns.within(|| routes::missing(&plan.routes))??)
}

/// Takes out of `netns` what is ours, whichever backend wrote it: our chains, jumps to them, rules and routes as
/// `plan` has them. Goes on after a failure and reports all of them; where there is nothing, it succeeds (M8).
pub fn clear(netns: &NetNs, plan: &Plan) -> Result<(), Errors> {
    let cleared = netns.within(|| {
        let mut errors: Vec<Error> =
            Backend::ALL.into_iter().flat_map(|backend| take(backend, &plan.rules)).collect();
        errors.extend(routes::clear(&plan.routes).into_iter().map(Error::Routes));
        errors
    });
    match cleared {
        Ok(errors) if errors.is_empty() => Ok(()),
        Ok(errors) => Err(Errors(errors)),
        Err(error) => Err(Errors(vec![error.into()])),
    }
}

/// Which backends are tried, and in which order.
struct Order {
    backends: Vec<Backend>,
}

impl Order {
    fn new(choice: Choice, memory: Option<&Path>) -> Order {
        let backends = match choice {
            Choice::Only(backend) => vec![backend],
            Choice::Auto => {
                let mut backends = Backend::ALL.to_vec();
                let last = memory::recall(memory);
                backends.sort_by_key(|backend| Some(*backend) != last);
                backends
            }
        };
        Order { backends }
    }

    /// In the namespace: what routing needs, then the rules.
    fn apply(&self, plan: &Plan) -> Result<Backend, Error> {
        routes::set(&plan.routes)?;
        first_of(&self.backends, |backend| put(backend, &plan.rules))
    }

    /// Keeps an answer that holds for the node, and names a refusal by its true cause.
    ///
    /// xtables' owner match does not load for a namespace of another user namespace (xt_owner.c), by whichever way it
    /// comes; nf_tables' own does. That says nothing about the node. Asked only after a refusal: whose a
    /// namespace is takes as long to find out as a twentieth of the rules, and most are the node's own.
    fn learn(
        &self,
        netns: &NetNs,
        applied: Result<Backend, Error>,
        memory: Option<&Path>,
    ) -> Result<Backend, Error> {
        match applied {
            Ok(backend) if backend != self.backends[0] && !netns.has_foreign_owner().unwrap_or(true) => {
                memory::remember(memory, backend);
                Ok(backend)
            }
            Err(Error::Refused(refusals)) if is_owner_match(netns, &refusals) => {
                Err(Error::OwnUsers(refusals))
            }
            applied => applied,
        }
    }
}

/// The first backend that does it. A failure that no other backend would mend ends the search.
fn first_of(backends: &[Backend], act: impl Fn(Backend) -> Result<(), Refusal>) -> Result<Backend, Error> {
    let mut refusals = Vec::new();
    for &backend in backends {
        match act(backend) {
            Ok(()) => return Ok(backend),
            Err(refusal) => {
                let hopeless = !refusal.leaves_hope();
                refusals.push((backend, refusal));
                if hopeless {
                    break;
                }
            }
        }
    }
    Err(Error::Refused(refusals))
}

/// Whether it is for its users that xtables refused this namespace.
fn is_owner_match(netns: &NetNs, refusals: &[(Backend, Refusal)]) -> bool {
    let xtables =
        refusals.iter().all(|(backend, refusal)| *backend != Backend::Nftables && refusal.leaves_hope());
    xtables && netns.has_foreign_owner().unwrap_or(false)
}

fn put(backend: Backend, rules: &RuleSet) -> Result<(), Refusal> {
    match netfilter::dialect(backend) {
        Some(dialect) => dialect.apply(rules).map_err(Refusal::Netfilter),
        None => restore::apply(rules).map(drop).map_err(Refusal::Text),
    }
}

fn look(backend: Backend) -> Result<Option<Observed>, Error> {
    let looked = match netfilter::dialect(backend) {
        Some(dialect) => dialect.inspect().map_err(Refusal::Netfilter),
        None => restore::inspect().map_err(Refusal::Text),
    };
    looked.map_err(|refusal| Error::Refused(vec![(backend, refusal)]))
}

fn take(backend: Backend, planned: &RuleSet) -> Vec<Error> {
    let refusals: Vec<Refusal> = match netfilter::dialect(backend) {
        Some(dialect) => dialect.clear(planned).err().map(Refusal::Netfilter).into_iter().collect(),
        None => restore::clear(planned).into_iter().map(Refusal::Text).collect(),
    };
    refusals.into_iter().map(|refusal| Error::Refused(vec![(backend, refusal)])).collect()
}

/// Whether there is no rule and no chain but the kernel's own.
fn is_bare(observed: &Observed) -> bool {
    let empty = observed.chains.iter().all(|(place, rules)| place.chain.is_hook() && rules.is_empty());
    empty && observed.foreign_chains.is_empty()
}

/// Why the rules are not as wanted.
#[derive(Debug)]
pub enum Error {
    /// The namespace cannot be opened or entered.
    NetNs(netns::Error),
    /// Routing is not as the rules need it.
    Routes(routes::Error),
    /// What each backend that was tried says.
    Refused(Vec<(Backend, Refusal)>),
    /// The same, in a namespace with users of its own, by backends that cannot match those.
    OwnUsers(Vec<(Backend, Refusal)>),
}

/// Why one backend did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// One of the netlink dialects.
    Netfilter(netfilter::Error),
    /// The programs.
    Text(restore::Error),
}

impl Refusal {
    fn leaves_hope(&self) -> bool {
        match self {
            Refusal::Netfilter(error) => error.leaves_hope(),
            Refusal::Text(error) => error.leaves_hope(),
        }
    }
}

/// Everything that went wrong while clearing; never empty.
#[derive(Debug)]
pub struct Errors(pub Vec<Error>);

impl From<netns::Error> for Error {
    fn from(error: netns::Error) -> Self {
        Error::NetNs(error)
    }
}

impl From<routes::Error> for Error {
    fn from(error: routes::Error) -> Self {
        Error::Routes(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NetNs(error) => write!(f, "{error}"),
            Error::Routes(error) => write!(f, "{error}"),
            Error::Refused(refusals) => list(f, refusals),
            Error::OwnUsers(refusals) => {
                list(f, refusals)?;
                f.write_str(
                    "; the pod has users of its own (hostUsers: false), which only nf_tables can match: use backend \
                     auto or nftables",
                )
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, refusals: &[(Backend, Refusal)]) -> fmt::Result {
    for (number, (backend, refusal)) in refusals.iter().enumerate() {
        write!(f, "{}backend {backend}: {refusal}", if number > 0 { "; " } else { "" })?;
    }
    Ok(())
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Netfilter(error) => write!(f, "{error}"),
            Refusal::Text(error) => write!(f, "{error}"),
        }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if number > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
impl std::error::Error for Refusal {}
impl std::error::Error for Errors {}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::dialect::batch::Act;
    use rustix::io::Errno;
    use std::cell::RefCell;

    fn lack() -> Refusal {
        Refusal::Netfilter(netfilter::Error::Refused { act: Act::Begin, cause: Errno::OPNOTSUPP })
    }

    /// Which backends are asked, and what comes of it, when each answers so.
    fn check(answers: &[Option<Refusal>], asked: &[Backend], ends: Result<Backend, usize>) {
        let was_asked = RefCell::new(Vec::new());
        let outcome = first_of(&Backend::ALL, |backend| {
            was_asked.borrow_mut().push(backend);
            answers[was_asked.borrow().len() - 1].clone().map_or(Ok(()), Err)
        });
        assert_eq!(was_asked.into_inner(), asked);
        match outcome {
            Ok(backend) => assert_eq!(Ok(backend), ends),
            Err(Error::Refused(refusals)) => assert_eq!(Err(refusals.len()), ends),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_next_backend_is_asked_only_where_the_kernel_lacks_something() {
        use Backend::{Iptables, Nftables};
        let contended = Refusal::Netfilter(netfilter::Error::Contended);
        let not_allowed =
            Refusal::Netfilter(netfilter::Error::Refused { act: Act::Begin, cause: Errno::PERM });
        check(&[None], &[Iptables], Ok(Iptables));
        check(&[Some(lack()), None], &[Iptables, Nftables], Ok(Nftables));
        check(&[Some(contended)], &[Iptables], Err(1));
        check(&[Some(lack()), Some(not_allowed)], &[Iptables, Nftables], Err(2));
        check(&[Some(lack()), Some(lack()), Some(lack())], &Backend::ALL, Err(3));
    }

    #[test]
    fn a_refusal_tells_what_was_refused_and_the_way_out() {
        let error = Error::Refused(vec![(Backend::Iptables, lack())]);
        assert_eq!(
            error.to_string(),
            "backend iptables: the kernel refused to commit the rules as a whole: Operation not supported (os error \
             95); this kernel does not have what that needs; load its module or choose another backend"
        );
    }
}
