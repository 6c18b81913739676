//! Which way rules get into a network namespace: choose a backend, apply, inspect, clear.
//!
//! With `auto` the pod's own rules are the probe: a refusal has changed nothing, so the next backend is tried. Routes
//! come before the rules, and go after them. Never looks for a backend by the output of a program, never in another
//! namespace than the one it was given.

mod memory;
pub mod netfilter;

use crate::netns::{self, NetNs};
use crate::restore;
use crate::routes;
use millrace_core::dialect::{Backend, Choice};
use millrace_core::rules::compare::compare;
use millrace_core::rules::{Observed, Plan, Route, Rule, RuleSet};
use std::fmt;
use std::path::Path;

pub use crate::restore::Variant;

/// How a plan is put into effect.
#[derive(Clone, Copy, Debug, Default)]
pub struct How<'a> {
    /// The backends that may do it.
    pub choice: Choice,
    /// The only programs that the text backend may run, if not whichever suit the node.
    pub programs: Option<Variant>,
    /// A file on tmpfs in which the node's answer to [`Choice::Auto`] is kept.
    pub memory: Option<&'a Path>,
    /// What may be in effect already, whichever backend did it. Not told, nothing is looked for but our chains, and those
    /// only in the backend that takes the rules.
    pub earlier: Option<&'a Plan>,
}

/// What was done.
#[derive(Debug)]
pub struct Applied {
    /// Who took the rules.
    pub backend: Backend,
    /// Why something of the earlier plan may still be there.
    pub left: Vec<Error>,
}

/// Puts `plan` into effect in `netns`, in place of what is ours there. Doing so again changes nothing.
///
/// Ours are our chains, jumps to them, and rules at hooks as `plan` has them. A rule at a hook that only an earlier,
/// different plan had cannot be told from somebody else's (M11) unless that plan is told, see [`How::earlier`].
pub fn apply(netns: &NetNs, plan: &Plan, choice: Choice, memory: Option<&Path>) -> Result<Backend, Error> {
    let how = How { choice, memory, ..How::default() };
    netns.within(|| apply_here(netns, plan, &how))?.map(|applied| applied.backend)
}

/// The same on the calling thread, which must be in `netns` already.
pub fn apply_here(netns: &NetNs, plan: &Plan, how: &How<'_>) -> Result<Applied, Error> {
    let order = Order::new(how);
    let known = how.earlier.map(|earlier| known(&plan.rules, &earlier.rules));
    let applied = order.apply(plan, known.as_ref());
    let backend = order.learn(netns, applied, how.memory)?;
    let left = match (how.earlier, &known) {
        (Some(earlier), Some(known)) => sweep(backend, plan, earlier, known),
        _ => Vec::new(),
    };
    Ok(Applied { backend, left })
}

/// What `netns` holds, by the backend that would have written it. Looking makes no table. An error only if all that can
/// be read is bare: one backend that cannot be asked must not hide the others' rules (M8).
pub fn inspect(netns: &NetNs) -> Result<Vec<(Backend, Observed)>, Error> {
    let mut survey = survey(netns)?;
    survey.found.retain(|(_, observed)| !is_bare(observed));
    if survey.found.is_empty() && !survey.unread.is_empty() {
        return Err(survey.unread.remove(0));
    }
    Ok(survey.found)
}

/// All that can be seen of a namespace.
#[derive(Debug, Default)]
pub struct Survey {
    /// What there is, by the backend that would have written it.
    pub found: Vec<(Backend, Observed)>,
    /// Why others' could not be read.
    pub unread: Vec<Error>,
}

/// What `netns` holds, and what of it could not be read.
pub fn survey(netns: &NetNs) -> Result<Survey, Error> {
    Ok(netns.within(|| {
        let mut survey = Survey::default();
        for backend in Backend::ALL {
            match look(backend) {
                Ok(Some(observed)) if !is_bare(&observed) || !observed.redirectors.is_empty() => {
                    survey.found.push((backend, observed));
                }
                Ok(_) => {}
                Err(error) => survey.unread.push(error),
            }
        }
        survey
    })?)
}

/// What `netns` holds by one backend.
pub fn inspect_by(netns: &NetNs, backend: Backend) -> Result<Observed, Error> {
    Ok(netns.within(|| look(backend))??.unwrap_or_default())
}

/// What `plan` needs of routing and `netns` does not have.
pub fn missing_routes(netns: &NetNs, plan: &Plan) -> Result<Vec<Route>, Error> {
    Ok(netns.within(|| routes::missing(&plan.routes))??)
}

/// Takes out of `netns` what is ours, whichever backend wrote it: our chains, jumps to them, rules and routes as
/// `plan` has them. Goes on after a failure and reports all of them; where there is nothing, it succeeds (M8). What it
/// returns is worth a note: programs that are lacking where little speaks for their having been used.
pub fn clear(netns: &NetNs, plan: &Plan) -> Result<Vec<Error>, Errors> {
    let cleared = netns.within(|| {
        let mut errors: Vec<Error> =
            Backend::ALL.into_iter().flat_map(|backend| take(backend, &plan.rules)).collect();
        errors.extend(routes::clear(&plan.routes).into_iter().map(Error::Routes));
        errors
    });
    match cleared {
        Ok(errors) if errors.iter().all(Error::is_missing_program) => Ok(errors),
        Ok(errors) => Err(Errors(errors)),
        Err(error) => Err(Errors(vec![error.into()])),
    }
}

/// Which backends are tried, and in which order.
struct Order {
    backends: Vec<Backend>,
    programs: Option<Variant>,
}

/// Who took the rules, and what those that were asked before said.
type Taken = (Backend, Vec<(Backend, Refusal)>);

impl Order {
    fn new(how: &How<'_>) -> Order {
        let backends = match how.choice {
            Choice::Only(backend) => vec![backend],
            Choice::Auto => {
                let last = memory::recall(how.memory);
                let others = Backend::ALL.into_iter().filter(|backend| Some(*backend) != last);
                last.into_iter().chain(others).collect()
            }
        };
        Order { backends, programs: how.programs }
    }

    /// In the namespace: what routing needs, then the rules.
    fn apply(&self, plan: &Plan, known: Option<&RuleSet>) -> Result<Taken, Error> {
        routes::set(&plan.routes)?;
        first_of(&self.backends, |backend| self.put(backend, &plan.rules, known))
    }

    fn put(&self, backend: Backend, rules: &RuleSet, known: Option<&RuleSet>) -> Result<(), Refusal> {
        match (netfilter::dialect(backend), known) {
            (Some(dialect), None) => dialect.apply(rules).map_err(Refusal::Netfilter),
            (Some(dialect), Some(known)) => dialect.replace(rules, known).map_err(Refusal::Netfilter),
            (None, known) => {
                let put = restore::apply(rules, known.unwrap_or(rules), self.programs);
                put.map(drop).map_err(Refusal::Text)
            }
        }
    }

    /// Keeps an answer that holds for the node, and names a refusal by its true cause.
    ///
    /// xtables' owner match does not load for a namespace of another user namespace (xt_owner.c), by whichever way it
    /// comes; nf_tables' own does. That says nothing about the node. Asked only after a refusal: whose a
    /// namespace is takes as long to find out as a twentieth of the rules, and most are the node's own.
    fn learn(
        &self,
        netns: &NetNs,
        applied: Result<Taken, Error>,
        memory: Option<&Path>,
    ) -> Result<Backend, Error> {
        match applied {
            Ok((backend, refusals)) => {
                let lasting = || refusals.iter().all(|(_, refusal)| refusal.is_of_node());
                if !refusals.is_empty() && lasting() && !netns.has_foreign_owner().unwrap_or(true) {
                    memory::remember(memory, backend);
                }
                Ok(backend)
            }
            Err(Error::Refused(refusals)) if is_owner_match(netns, &refusals) => {
                Err(Error::OwnUsers(refusals))
            }
            Err(error) => Err(error),
        }
    }
}

/// The first backend that does it. A failure that no other backend would mend ends the search.
fn first_of(backends: &[Backend], act: impl Fn(Backend) -> Result<(), Refusal>) -> Result<Taken, Error> {
    let mut refusals = Vec::new();
    for &backend in backends {
        match act(backend) {
            Ok(()) => return Ok((backend, refusals)),
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

/// The rules of `plan`, and those at hooks that only `earlier` has: what is ours in a namespace that may hold either.
fn known(plan: &RuleSet, earlier: &RuleSet) -> RuleSet {
    let mut known = plan.clone();
    for (place, rules) in earlier.iter().filter(|(place, _)| place.chain.is_hook()) {
        for rule in rules {
            let times = |rules: &[Rule]| rules.iter().filter(|other| *other == rule).count();
            if times(known.rules(place)) < times(rules) {
                known.push(place, rule.clone());
            }
        }
    }
    known
}

/// Takes out what an earlier plan may have left beside the rules of this one: with another backend, and in routing. Only
/// now, so that the pod is never without rules.
fn sweep(backend: Backend, plan: &Plan, earlier: &Plan, known: &RuleSet) -> Vec<Error> {
    let shared = |other: Backend| {
        // What the programs write may be found by netlink, and is then no other's.
        backend == Backend::Text && other == Backend::Iptables && !is_in_legacy_tables(&plan.rules)
    };
    let others = Backend::ALL.into_iter().filter(|other| *other != backend && !shared(*other));
    let mut errors: Vec<Error> = others.flat_map(|other| take(other, known)).collect();
    let gone: Vec<Route> =
        earlier.routes.iter().filter(|route| !plan.routes.contains(route)).copied().collect();
    errors.extend(routes::clear(&gone).into_iter().map(Error::Routes));
    errors
}

fn is_in_legacy_tables(rules: &RuleSet) -> bool {
    restore::inspect().is_ok_and(|found| found.is_some_and(|found| compare(rules, &found).is_intact()))
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

impl Error {
    fn is_missing_program(&self) -> bool {
        let missing = |refusal: &Refusal| matches!(refusal, Refusal::Text(restore::Error::Missing(_)));
        matches!(self, Error::Refused(refusals) if refusals.iter().all(|(_, refusal)| missing(refusal)))
    }
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

    /// Whether every pod of the node will be told the same.
    fn is_of_node(&self) -> bool {
        match self {
            Refusal::Netfilter(error) => error.is_of_node(),
            Refusal::Text(error) => matches!(error, restore::Error::Missing(_)),
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
    use millrace_core::dialect::batch::{Act, At, Does};
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
            Ok((backend, _)) => assert_eq!(Ok(backend), ends),
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
    fn what_one_pods_plan_needs_says_nothing_of_the_node() {
        let refused = |act, cause| Refusal::Netfilter(netfilter::Error::Refused { act, cause });
        let at = |table| At { family: "ip", table };
        let rule = |table| Act::Rule { at: at(table), chain: "X", number: 1 };
        let chain = |table| Act::Chain { does: Does::Make, at: at(table), chain: "X" };
        for (refusal, lasting) in [
            (lack(), true),
            (refused(rule("nat"), Errno::NOENT), true),
            (refused(chain("nat"), Errno::NOENT), true),
            (refused(rule("mangle"), Errno::NOENT), false),
            (refused(rule("raw"), Errno::INVAL), false),
            (refused(chain("nat"), Errno::EXIST), false),
            (refused(chain("nat"), Errno::OPNOTSUPP), false),
            (Refusal::Text(restore::Error::Missing("iptables-restore".to_owned())), true),
        ] {
            assert_eq!(refusal.is_of_node(), lasting, "{refusal}");
        }
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
