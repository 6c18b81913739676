//! Whether a pod is as it should be, from all that was seen of it. Pure: it looks at nothing itself.
//!
//! A pod of the mesh is verified when its live rules are the planned ones, and when rules, proxy and programs give the
//! same number of connections, none of them nought, in each direction and family; and its programs saw nobody but
//! their proxy. A pod outside is verified when it has no rule at all and its program saw its callers' own addresses.

use crate::demo::counts::{Both, Counts};
use crate::demo::pods::Part;
use crate::demo::process::Privileges;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// Who put a pod's rules into its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Nobody: there were none.
    Nobody,
    /// The node's chain, before anything of the pod ran.
    Chain,
    /// Its own init container.
    Itself,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            By::Nobody => "nobody",
            By::Chain => "the node's chain",
            By::Itself => "its own istio-init",
        })
    }
}

/// All that was seen of one pod.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// Its part.
    pub(crate) part: Part,
    /// Who should put its rules there.
    pub(crate) wanted: By,
    /// Who did.
    pub(crate) by: By,
    /// What the injector says it gave to it, by its init containers.
    pub(crate) injected: Option<String>,
    /// The init containers that it has, each with the capabilities that it asks for.
    pub(crate) admitted: String,
    /// What admission decided, as the name of a reason or `redirect`.
    pub(crate) decided: String,
    /// What the plugin says it did, in the same words.
    pub(crate) done: String,
    /// Whether IPv6 is spoken here.
    pub(crate) v6: bool,
    /// The number of rules planned.
    pub(crate) planned: usize,
    /// The number of rules found.
    pub(crate) live: usize,
    /// How the rules found differ from those planned.
    pub(crate) drift: Option<String>,
    /// The three witnesses.
    pub(crate) witnesses: Witnesses,
    /// Whom its program saw as its peers.
    pub(crate) peers: BTreeSet<IpAddr>,
    /// The addresses of the other pods and of the node.
    pub(crate) neighbours: BTreeSet<IpAddr>,
    /// Its processes.
    pub(crate) processes: Vec<Privileges>,
}

/// What each witness says of the connections of the walk, probes subtracted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Witnesses {
    /// The counters of the redirecting rules.
    pub(crate) rules: Counts,
    /// The proxy's statistics.
    pub(crate) proxy: Counts,
    /// The programs' answers.
    pub(crate) programs: Counts,
}

/// What is left of the injector's init container where the node's chain redirects.
pub(crate) const UNPRIVILEGED: &str = "istio-validation without capabilities";
/// The sources of the hop from proxy to program.
const PROXY_SOURCES: [&str; 2] = ["127.0.0.6", "::6"];

/// What is wrong with the pod; nothing when it is verified.
pub(crate) fn faults(evidence: &Evidence) -> Vec<String> {
    let mut faults = Vec::new();
    if evidence.by != evidence.wanted {
        faults.push(format!("it should be redirected by {}, and was by {}", evidence.wanted, evidence.by));
    }
    faults.extend(misadmitted(evidence));
    if evidence.decided != evidence.done {
        faults.push(format!("admission decided {}, the plugin did {}", evidence.decided, evidence.done));
    }
    if let Some(drift) = &evidence.drift {
        faults.push(format!("its live rules are not the planned ones: {drift}"));
    }
    for process in evidence.processes.iter().filter(|process| !process.are_none()) {
        faults.push(format!("{} (uid {}) runs with privilege", process.name, process.uid));
    }
    match evidence.part {
        Part::Mesh | Part::Excluded => {
            witnessed(evidence, &mut faults);
            let strangers =
                evidence.peers.iter().filter(|peer| !PROXY_SOURCES.contains(&peer.to_string().as_str()));
            let strangers: Vec<String> = strangers.map(IpAddr::to_string).collect();
            if !strangers.is_empty() {
                faults.push(format!("its program was reached past the proxy by {}", strangers.join(", ")));
            }
        }
        Part::Outside => outside(evidence, &mut faults),
    }
    faults
}

/// What admission should have made of the privilege that the injector gave to it, and did not.
fn misadmitted(evidence: &Evidence) -> Option<String> {
    let admitted = &evidence.admitted;
    match (&evidence.injected, evidence.wanted) {
        (None, By::Nobody) => None,
        (None, _) => Some("no injector says that it gave it a sidecar".to_owned()),
        (Some(given), By::Nobody) => {
            Some(format!("it is outside the mesh, and the injector gave it {given}"))
        }
        (Some(given), By::Chain) if admitted != UNPRIVILEGED => {
            Some(format!("of the injector's {given} there should be {UNPRIVILEGED}, and is {admitted}"))
        }
        (Some(given), By::Itself) if given != admitted => {
            Some(format!("the injector gave it {given}, and it has {admitted}"))
        }
        _ => None,
    }
}

fn witnessed(evidence: &Evidence, faults: &mut Vec<String>) {
    let Witnesses { rules, proxy, programs } = evidence.witnesses;
    let directions = [
        ("in", rules.inbound, proxy.inbound, programs.inbound),
        ("out", rules.outbound, proxy.outbound, programs.outbound),
    ];
    for (direction, rules, proxy, programs) in directions {
        if rules != proxy || proxy != programs {
            faults.push(format!(
                "connections {direction}: rules count {rules}, Envoy {proxy}, the programs {programs}"
            ));
        }
        if rules.v4 == 0 || (evidence.v6 && rules.v6 == 0) {
            faults.push(format!("connections {direction}: not witnessed in each family: {rules}"));
        }
    }
}

fn outside(evidence: &Evidence, faults: &mut Vec<String>) {
    if evidence.live > 0 {
        faults.push(format!("it is outside the mesh and has {} rules", evidence.live));
    }
    let Both { v4, v6 } = evidence.witnesses.programs.outbound;
    if v4 == 0 || (evidence.v6 && v6 == 0) {
        faults.push("its own requests were not answered in each family".to_owned());
    }
    let strangers = evidence.peers.iter().filter(|peer| !evidence.neighbours.contains(peer));
    let strangers: Vec<String> = strangers.map(IpAddr::to_string).collect();
    if !strangers.is_empty() || evidence.peers.is_empty() {
        faults.push(format!(
            "its callers were to be seen by their own addresses, not as [{}]",
            strangers.join(", ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(number: u64) -> Counts {
        let both = Both { v4: number, v6: number };
        Counts { inbound: both, outbound: both }
    }

    fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn meshed() -> Evidence {
        Evidence {
            part: Part::Mesh,
            wanted: By::Chain,
            by: By::Chain,
            injected: Some("istio-init with NET_ADMIN".to_owned()),
            admitted: UNPRIVILEGED.to_owned(),
            decided: "redirect".to_owned(),
            done: "redirect".to_owned(),
            v6: true,
            planned: 40,
            live: 40,
            drift: None,
            witnesses: Witnesses { rules: counts(2), proxy: counts(2), programs: counts(2) },
            peers: addresses(&["127.0.0.6", "::6"]),
            neighbours: addresses(&["10.88.7.1", "10.88.7.2"]),
            processes: vec![Privileges {
                name: "envoy".to_owned(),
                uid: 1337,
                bounding: 0,
                effective: 0,
                no_new: true,
            }],
        }
    }

    fn visitor() -> Evidence {
        Evidence {
            part: Part::Outside,
            wanted: By::Nobody,
            by: By::Nobody,
            injected: None,
            admitted: "no init container".to_owned(),
            planned: 0,
            live: 0,
            peers: addresses(&["10.88.7.1", "10.88.7.2"]),
            ..meshed()
        }
    }

    /// Nothing is wrong with `good`; after `change`, exactly one thing is, and it is told so.
    fn check(good: Evidence, change: impl FnOnce(&mut Evidence), told: &str) {
        assert_eq!(faults(&good), [] as [String; 0]);
        let mut bad = good;
        change(&mut bad);
        let faults = faults(&bad);
        assert!(faults.len() == 1 && faults[0].contains(told), "{faults:?} do not tell {told:?}");
    }

    #[test]
    fn a_pod_of_the_mesh_fails_by_each_of_its_proofs() {
        check(meshed(), |pod| pod.by = By::Itself, "by the node's chain, and was by its own istio-init");
        check(meshed(), |pod| pod.injected = None, "no injector says");
        check(
            meshed(),
            |pod| pod.admitted = "istio-init with NET_ADMIN".to_owned(),
            "and is istio-init with",
        );
        check(meshed(), |pod| pod.done = "NotInjected".to_owned(), "the plugin did NotInjected");
        check(meshed(), |pod| pod.drift = Some("a rule is missing".to_owned()), "a rule is missing");
        check(meshed(), |pod| pod.processes[0].bounding = 1 << 12, "envoy (uid 1337) runs with privilege");
        check(meshed(), |pod| pod.peers = addresses(&["::6", "10.88.7.2"]), "past the proxy by 10.88.7.2");
        check(
            meshed(),
            |pod| pod.witnesses.rules.inbound.v6 = 3,
            "connections in: rules count 5 (v4 2, v6 3)",
        );
        check(meshed(), |pod| pod.witnesses.proxy.outbound.v4 = 1, "connections out: ");
        check(meshed(), |pod| pod.witnesses.programs.outbound.v4 = 1, "connections out: ");
    }

    #[test]
    fn three_witnesses_of_nothing_prove_nothing() {
        let nothing = Both { v4: 2, v6: 0 };
        let silent = |pod: &mut Evidence| {
            pod.witnesses.rules.outbound = nothing;
            pod.witnesses.proxy.outbound = nothing;
            pod.witnesses.programs.outbound = nothing;
        };
        check(meshed(), silent, "connections out: not witnessed in each family");
        let mut without_ipv6 = Evidence { v6: false, ..meshed() };
        silent(&mut without_ipv6);
        assert_eq!(faults(&without_ipv6), [] as [String; 0]);
    }

    #[test]
    fn a_pod_that_redirects_itself_keeps_what_the_injector_gave() {
        let given = "istio-init with NET_ADMIN".to_owned();
        let good = Evidence {
            part: Part::Excluded,
            wanted: By::Itself,
            by: By::Itself,
            admitted: given,
            ..meshed()
        };
        check(good, |pod| pod.admitted = UNPRIVILEGED.to_owned(), "and it has istio-validation");
    }

    #[test]
    fn a_pod_outside_fails_if_it_is_touched() {
        check(visitor(), |pod| pod.injected = Some("x".to_owned()), "the injector gave it x");
        check(visitor(), |pod| pod.live = 1, "outside the mesh and has 1 rules");
        check(visitor(), |pod| pod.peers = addresses(&["127.0.0.6"]), "not as [127.0.0.6]");
        check(visitor(), |pod| pod.peers.clear(), "not as []");
        check(visitor(), |pod| pod.witnesses.programs.outbound.v6 = 0, "were not answered");
    }
}
