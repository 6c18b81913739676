//! What is wrong with a running pod's redirection, and what is done about it.
//!
//! Facts in, one remedy out: it looks at nothing and acts on nothing. A pod that redirects itself or that others redirect
//! is never ours to mend (M11), nothing is deleted on a node that has not proved that it serves, and nothing is done
//! to one pod over and over: each try doubles the wait for the next.

mod history;
mod judge;

pub use history::History;
pub use judge::{Origin, State, judge};

use crate::knobs::settings_of;
use crate::pod::Pod;
use crate::policy::{Mesh, Reason, Verdict, decide};
use crate::settings::Settings;
use crate::stamp::{self, STAMP_ANNOTATION, Stamp};
use std::fmt;
use std::time::Duration;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finding {
    /// It should be redirected, and nothing redirects it.
    Bypass,
    /// It is redirected otherwise than it was.
    Drift,
}

/// What an operator wants done about a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Act {
    /// Look for nothing.
    Off,
    /// Tell of it, and touch nothing.
    Report,
    /// Put the rules right in the running pod.
    #[default]
    Repair,
    /// Evict the pod, so that another starts redirected.
    Delete,
    /// Put a label on the pod for others to act upon.
    Label,
}

/// What is done about which finding, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// About a pod that nothing redirects.
    pub bypass: Act,
    /// About a pod whose rules differ.
    pub drift: Act,
    /// How often.
    pub limits: Limits,
}

/// How often anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Acts of any kind in a minute, on the whole node.
    pub per_minute: usize,
    /// Evictions in a minute, on the whole node.
    pub deletions_per_minute: usize,
    /// Evictions in an hour, on the whole node: a node that is not mended by these is not mended by more.
    pub deletions_per_hour: usize,
    /// How long a finding must last before a pod is evicted for it.
    pub confirmed_after: Duration,
    /// The wait before a pod's second try; each further wait is twice as long.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

/// One pod as far as a remedy depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What a decision may look at.
    pub pod: &'a Pod,
    /// What it is called in the history: its UID.
    pub uid: &'a str,
    /// How far it has come.
    pub life: Life,
    /// Whether something would make another in its place.
    pub controlled: bool,
    /// Whether it is the mirror of a static pod, which an API server cannot end.
    pub mirror: bool,
    /// Whether it has the label that [`Act::Label`] puts on.
    pub labelled: bool,
}

/// How far a pod has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// Its network is not known to be there.
    #[default]
    Waiting,
    /// A container of it runs or has run, init containers included.
    Started,
    /// It is being ended.
    Ending,
    /// It has ended, as a completed job's pod does: there is nobody left to redirect.
    Ended,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing.
    Leave(Left),
    /// The rules are put right in the running pod.
    Reapply,
    /// It is evicted.
    Delete,
    /// It is labelled.
    Label,
}

/// Why a pod is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is not one that we redirect.
    NotOurs(Reason),
    /// Its network is not known to be there yet.
    Waiting,
    /// It is being ended.
    Ending,
    /// It has ended.
    Ended,
    /// All is as planned.
    AsPlanned,
    /// Somebody else redirects it.
    Others,
    /// Another release planned its rules, and they are there.
    OtherRelease,
    /// Its settings cannot be used, so there is no plan.
    Unusable(String),
    /// Nothing is looked for.
    Off,
    /// The policy is to tell of it and to touch nothing.
    Reported,
    /// It was tried a while ago, and it is too soon to try again.
    BackingOff(Duration),
    /// The node has had its share of acts.
    Capped,
    /// The finding is too fresh to evict a pod for it.
    Unconfirmed,
    /// The node has not proved that another pod would start redirected.
    NotServing,
    /// It is a static pod, which an API server cannot end.
    Static,
    /// Nothing would make another in its place.
    Uncontrolled,
    /// It has the label already.
    Labelled,
}

/// Whether a pod is looked at, before anything of it is.
pub fn may_judge(subject: &Subject<'_>) -> Result<(), Left> {
    match subject.life {
        _ if subject.pod.host_network => Err(Left::NotOurs(Reason::HostNetwork)),
        Life::Waiting => Err(Left::Waiting),
        Life::Ending => Err(Left::Ending),
        Life::Ended => Err(Left::Ended),
        Life::Started => Ok(()),
    }
}

/// How a pod should be redirected. What its ADD was told (`stamped`, of its record) outlives what is said of it since.
pub fn wanted(pod: &Pod, mesh: &Mesh, stamped: Option<&str>) -> Result<Box<Settings>, Left> {
    if let Some(Ok(Stamp::Redirect(settings))) = stamped.map(stamp::read) {
        return Ok(settings);
    }
    match decide(pod, mesh).verdict {
        Verdict::Skip(reason) => return Err(Left::NotOurs(reason)),
        Verdict::Redirect => {}
    }
    if let Some(Ok(Stamp::Redirect(settings))) =
        pod.annotations.get(STAMP_ANNOTATION).map(|text| stamp::read(text))
    {
        return Ok(settings);
    }
    let (settings, complaints) = settings_of(pod, &mesh.proxy_container, &mesh.defaults);
    match complaints.into_iter().find(|complaint| complaint.fatal) {
        Some(complaint) => Err(Left::Unusable(complaint.to_string())),
        None => Ok(Box::new(settings)),
    }
}

/// What is done about `finding`.
pub fn remedy(
    subject: &Subject<'_>,
    finding: Finding,
    policy: &Policy,
    serving: bool,
    history: &History,
    now: Duration,
) -> Remedy {
    let act = match finding {
        Finding::Bypass => policy.bypass,
        Finding::Drift => policy.drift,
    };
    let limits = &policy.limits;
    let refused = match act {
        Act::Off => Some(Left::Off),
        Act::Report => Some(Left::Reported),
        Act::Repair => None,
        Act::Label => subject.labelled.then_some(Left::Labelled),
        Act::Delete if subject.mirror => Some(Left::Static),
        Act::Delete if !subject.controlled => Some(Left::Uncontrolled),
        Act::Delete if !serving => Some(Left::NotServing),
        Act::Delete if history.age(subject.uid, now) < limits.confirmed_after => Some(Left::Unconfirmed),
        Act::Delete => None,
    };
    let wait = history.wait(subject.uid, limits, now);
    match refused {
        Some(left) => Remedy::Leave(left),
        None if !wait.is_zero() => Remedy::Leave(Left::BackingOff(wait)),
        None if history.is_capped(act, limits, now) => Remedy::Leave(Left::Capped),
        None => act.remedy(),
    }
}

impl Policy {
    /// `act` for each of `findings`; the others are told of.
    pub fn of(act: Act, findings: &[Finding], limits: Limits) -> Policy {
        let chosen = |finding| if findings.contains(&finding) { act } else { Act::Report };
        Policy { bypass: chosen(Finding::Bypass), drift: chosen(Finding::Drift), limits }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // A node's worth of pods in some minutes, should all of them have been missed.
            per_minute: 60,
            deletions_per_minute: 2,
            deletions_per_hour: 20,
            confirmed_after: Duration::from_secs(30),
            first_wait: Duration::from_secs(15),
            longest_wait: Duration::from_secs(15 * 60),
        }
    }
}

impl Act {
    fn remedy(self) -> Remedy {
        match self {
            Act::Off => Remedy::Leave(Left::Off),
            Act::Report => Remedy::Leave(Left::Reported),
            Act::Repair => Remedy::Reapply,
            Act::Delete => Remedy::Delete,
            Act::Label => Remedy::Label,
        }
    }

    /// The act of that name, as configured.
    pub fn from_name(name: &str) -> Option<Act> {
        let all = [Act::Off, Act::Report, Act::Repair, Act::Delete, Act::Label];
        all.into_iter().find(|act| act.name() == name)
    }

    /// Its name, as configured.
    pub fn name(self) -> &'static str {
        match self {
            Act::Off => "Off",
            Act::Report => "Report",
            Act::Repair => "Repair",
            Act::Delete => "Delete",
            Act::Label => "Label",
        }
    }
}

impl Finding {
    /// Both.
    pub const ALL: [Finding; 2] = [Finding::Bypass, Finding::Drift];

    /// Its name: of metrics, logs and configuration.
    pub fn name(self) -> &'static str {
        match self {
            Finding::Bypass => "bypass",
            Finding::Drift => "drift",
        }
    }

    /// The finding of that name.
    pub fn from_name(name: &str) -> Option<Finding> {
        Finding::ALL.into_iter().find(|finding| finding.name() == name)
    }
}

impl Remedy {
    /// Its name: of metrics, logs and events.
    pub fn name(&self) -> &'static str {
        match self {
            Remedy::Leave(_) => "leave",
            Remedy::Reapply => "reapply",
            Remedy::Delete => "delete",
            Remedy::Label => "label",
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Left::NotOurs(reason) => f.write_str(reason.sentence()),
            Left::Waiting => f.write_str("its network is not known to be there yet"),
            Left::Ending => f.write_str("it is being ended"),
            Left::Ended => f.write_str("it has ended"),
            Left::AsPlanned => f.write_str("all is as planned"),
            Left::Others => f.write_str("rules that are not ours redirect it"),
            Left::OtherRelease => {
                f.write_str("another release planned its rules, so today's plan is no measure")
            }
            Left::Unusable(complaint) => write!(f, "there is no plan for it: {complaint}"),
            Left::Off => f.write_str("the audit is off"),
            Left::Reported => f.write_str("the audit's policy is to report this finding only"),
            Left::BackingOff(wait) => write!(f, "it is tried again in {} s", wait.as_secs().max(1)),
            Left::Capped => f.write_str("this node has had its share of acts for now"),
            Left::Unconfirmed => f.write_str("a pod is only evicted for what lasts"),
            Left::NotServing => f.write_str(
                "this node has not proved that another pod would start redirected; see the agent's readiness",
            ),
            Left::Static => f.write_str("it is a static pod, which cannot be evicted; use policy Repair"),
            Left::Uncontrolled => f.write_str(
                "nothing would make another in its place; delete it by hand, or use policy Repair",
            ),
            Left::Labelled => f.write_str("it has the label already"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::Container;
    use crate::status::STATUS_ANNOTATION;

    const UID: &str = "u-1";
    const NOW: Duration = Duration::from_secs(1_000);

    fn policy(act: Act) -> Policy {
        Policy::of(act, &Finding::ALL, Limits::default())
    }

    /// What is done about a bypass of a pod of a deployment that was found a minute ago, on a node that serves, when
    /// `change` says what is otherwise.
    fn check(act: Act, expected: Remedy, change: impl FnOnce(&mut Case<'_>)) {
        let pod = Pod::default();
        let subject = Subject {
            pod: &pod,
            uid: UID,
            life: Life::Started,
            controlled: true,
            mirror: false,
            labelled: false,
        };
        let mut history = History::default();
        history.found(UID, Finding::Bypass, NOW - MINUTE);
        let mut case =
            Case { subject, policy: policy(act), serving: true, history, finding: Finding::Bypass };
        change(&mut case);
        let Case { subject, policy, serving, history, finding } = case;
        assert_eq!(remedy(&subject, finding, &policy, serving, &history, NOW), expected, "{act:?}");
    }

    struct Case<'a> {
        subject: Subject<'a>,
        policy: Policy,
        serving: bool,
        history: History,
        finding: Finding,
    }

    const MINUTE: Duration = Duration::from_secs(60);
    const ACTS: [(Act, Remedy); 3] =
        [(Act::Repair, Remedy::Reapply), (Act::Delete, Remedy::Delete), (Act::Label, Remedy::Label)];

    fn leave(left: Left) -> Remedy {
        Remedy::Leave(left)
    }

    #[test]
    fn each_policy_has_its_remedy_for_each_finding_chosen() {
        for (act, done) in ACTS {
            check(act, done.clone(), |_| {});
            check(act, done.clone(), |case| case.finding = Finding::Drift);
            check(act, done.clone(), |case| {
                case.policy = Policy::of(act, &[Finding::Bypass], Limits::default());
            });
            check(act, leave(Left::Reported), |case| {
                case.policy = Policy::of(act, &[Finding::Bypass], Limits::default());
                case.finding = Finding::Drift;
            });
        }
        check(Act::Report, leave(Left::Reported), |_| {});
        check(Act::Off, leave(Left::Off), |_| {});
    }

    #[test]
    fn only_an_eviction_needs_a_node_that_serves_a_finding_that_lasts_and_somebody_to_make_another() {
        type Change = fn(&mut Case<'_>);
        let cells: [(Left, Change); 4] = [
            (Left::NotServing, |case| case.serving = false),
            (Left::Unconfirmed, |case| case.history = History::default()),
            (Left::Static, |case| case.subject.mirror = true),
            (Left::Uncontrolled, |case| case.subject.controlled = false),
        ];
        for (left, change) in cells {
            check(Act::Delete, leave(left), change);
            check(Act::Repair, Remedy::Reapply, change);
            check(Act::Label, Remedy::Label, change);
        }
        check(Act::Label, leave(Left::Labelled), |case| case.subject.labelled = true);
        check(Act::Delete, Remedy::Delete, |case| case.subject.labelled = true);
        check(Act::Repair, Remedy::Reapply, |case| case.subject.labelled = true);
    }

    #[test]
    fn each_try_doubles_the_wait_for_the_next() {
        for (act, done) in ACTS {
            let tried = |times: u32, ago: u64| {
                move |case: &mut Case<'_>| {
                    for _ in 0..times {
                        // Not as an eviction, whose caps are not the matter here.
                        case.history.tried(UID, &Remedy::Reapply, NOW - Duration::from_secs(ago));
                    }
                }
            };
            let waits = |seconds| leave(Left::BackingOff(Duration::from_secs(seconds)));
            check(act, waits(5), tried(1, 10));
            check(act, done.clone(), tried(1, 61));
            check(act, waits(60), tried(4, 60));
            check(act, done.clone(), tried(4, 120));
            check(act, waits(899), tried(40, 1));
            check(act, done.clone(), tried(40, 900));
        }
    }

    #[test]
    fn a_node_has_its_share() {
        let acts = |count: usize, done: Remedy, ago: u64| {
            move |case: &mut Case<'_>| {
                for number in 0..count {
                    case.history.tried(&format!("other-{number}"), &done, NOW - Duration::from_secs(ago));
                }
            }
        };
        for (act, done) in ACTS {
            check(act, leave(Left::Capped), acts(60, Remedy::Reapply, 59));
            check(act, done.clone(), acts(60, Remedy::Reapply, 60));
            check(act, done.clone(), acts(1, Remedy::Delete, 59));
        }
        check(Act::Delete, leave(Left::Capped), acts(2, Remedy::Delete, 59));
        check(Act::Delete, leave(Left::Capped), acts(20, Remedy::Delete, 900));
        check(Act::Delete, Remedy::Delete, acts(19, Remedy::Delete, 900));
        check(Act::Repair, Remedy::Reapply, acts(20, Remedy::Delete, 900));
    }

    #[test]
    fn peace_is_forgiven_only_after_a_while() {
        let mut history = History::default();
        let limits = Limits::default();
        let at = Duration::from_secs;
        history.tried(UID, &Remedy::Reapply, at(0));
        history.tried(UID, &Remedy::Reapply, at(20));
        history.well(UID, &limits, at(25));
        assert_eq!(
            history.wait(UID, &limits, at(25)),
            at(25),
            "whoever undoes it at once keeps us busy for ever"
        );
        history.well(UID, &limits, at(81));
        assert_eq!(history.wait(UID, &limits, at(81)), at(0));
        history.found(UID, Finding::Drift, at(90));
        assert_eq!(history.age(UID, at(100)), at(10));
        history.keep(|uid| uid != UID);
        assert_eq!(history.age(UID, at(100)), at(0));
    }

    #[test]
    fn what_is_found_is_new_once_and_again_after_a_while_of_peace() {
        let (mut history, limits) = (History::default(), Limits::default());
        let at = Duration::from_secs;
        assert!(history.found(UID, Finding::Bypass, at(10)));
        assert!(!history.found(UID, Finding::Bypass, at(20)));
        assert!(history.found(UID, Finding::Drift, at(30)), "something else");
        assert_eq!(history.age(UID, at(30)), at(20), "and yet it is not well for so long");
        assert!(!history.found(UID, Finding::Drift, at(40)));
        history.tried(UID, &Remedy::Reapply, at(40));
        history.well(UID, &limits, at(40));
        assert!(history.found(UID, Finding::Drift, at(41)), "it was put right meanwhile");
        assert_eq!(history.age(UID, at(45)), at(4));
    }

    #[test]
    fn a_pod_is_judged_between_its_start_and_its_end() {
        let node = Pod { host_network: true, ..Pod::default() };
        let own = Pod::default();
        for (life, pod, expected) in [
            (Life::Started, &own, Ok(())),
            (Life::Waiting, &own, Err(Left::Waiting)),
            (Life::Ending, &own, Err(Left::Ending)),
            (Life::Ended, &own, Err(Left::Ended)),
            (Life::Started, &node, Err(Left::NotOurs(Reason::HostNetwork))),
            (Life::Waiting, &node, Err(Left::NotOurs(Reason::HostNetwork))),
        ] {
            let subject = Subject { pod, uid: UID, life, controlled: true, mirror: false, labelled: false };
            assert_eq!(may_judge(&subject), expected, "{life:?}");
        }
    }

    fn meshed() -> Pod {
        let container = |name: &str| Container { name: name.to_owned(), ..Container::default() };
        Pod {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            annotations: [(STATUS_ANNOTATION.to_owned(), "{}".to_owned())].into(),
            containers: vec![container("app"), container("istio-proxy")],
            ..Pod::default()
        }
    }

    #[test]
    fn what_add_was_told_outlives_what_is_said_since() {
        let port = |port: u16| Settings { outbound_port: port, ..Settings::default() };
        let stamp = |settings: Settings| stamp::write(&Stamp::Redirect(Box::new(settings)));
        let excluded = Mesh { excluded_namespaces: vec!["default".to_owned()], ..Mesh::default() };
        let own = || Mesh::default();
        let mut stamped = meshed();
        stamped.annotations.insert(STAMP_ANNOTATION.to_owned(), stamp(port(2)));
        let mut skipped = meshed();
        let skip = stamp::write(&Stamp::Skip(Reason::NamespaceExcluded));
        skipped.annotations.insert(STAMP_ANNOTATION.to_owned(), skip.clone());
        let mut broken = meshed();
        let annotation = "traffic.sidecar.istio.io/includeOutboundIPRanges".to_owned();
        broken.annotations.insert(annotation, "300.0.0.0/8".to_owned());
        let mut itself = meshed();
        itself.containers.push(Container { name: "istio-init".to_owned(), ..Container::default() });

        let recorded = stamp(port(1));
        let port_of = |pod: &Pod, mesh: Mesh, record: Option<&str>| {
            wanted(pod, &mesh, record).map(|settings| settings.outbound_port)
        };
        assert_eq!(port_of(&meshed(), own(), None), Ok(15001));
        assert_eq!(port_of(&meshed(), own(), Some(&recorded)), Ok(1));
        assert_eq!(port_of(&meshed(), excluded.clone(), Some(&recorded)), Ok(1));
        assert_eq!(port_of(&stamped, excluded.clone(), None), Ok(2));
        assert_eq!(port_of(&stamped, own(), Some("{")), Ok(2));
        let not_ours = |reason| Err(Left::NotOurs(reason));
        assert_eq!(port_of(&meshed(), excluded, None), not_ours(Reason::NamespaceExcluded));
        assert_eq!(port_of(&skipped, own(), None), not_ours(Reason::NamespaceExcluded));
        assert_eq!(port_of(&itself, own(), None), not_ours(Reason::InitContainerPresent));
        assert_eq!(
            port_of(&Pod { containers: vec![], ..meshed() }, own(), None),
            not_ours(Reason::NoProxyContainer)
        );
        assert!(matches!(port_of(&broken, own(), None), Err(Left::Unusable(_))));
    }

    #[test]
    fn names_lead_back() {
        for act in [Act::Off, Act::Report, Act::Repair, Act::Delete, Act::Label] {
            assert_eq!(Act::from_name(act.name()), Some(act));
        }
        for finding in Finding::ALL {
            assert_eq!(Finding::from_name(finding.name()), Some(finding));
        }
        assert_eq!((Act::from_name("repair"), Finding::from_name("")), (None, None));
    }
}
