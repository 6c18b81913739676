//! Which pods are evicted because they can never start: their network was made before the node served, their validate
//! container says so (exit 126), and only another sandbox helps. PURE.
//!
//! Few at a time, and each owner ever more slowly: a workload that fails for another reason must not be evicted for ever. A
//! disruption budget is the API server's to keep.

use super::workloads::Pod;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// A pod whose validation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Its identity: another pod of that name is not meant.
    pub(crate) uid: String,
    /// Where it is.
    pub(crate) node: String,
    /// Who makes another; a pod that nobody owns would only be gone.
    pub(crate) owner: String,
}

/// What was evicted of an owner, and when.
#[derive(Clone, Copy, Debug)]
struct Past {
    times: u32,
    last: Instant,
}

/// What was evicted.
#[derive(Debug, Default)]
pub(crate) struct Healing {
    owners: HashMap<String, Past>,
    recent: Vec<Instant>,
}

/// How validate says that the pod is not redirected (`host::validate`, as istio-validation does).
const UNREDIRECTED: i32 = 126;
/// The container that validates: the injector's, or what our webhook made of istio-init.
const VALIDATES: &str = "istio-validation";
/// How many are evicted in a minute, in the whole cluster.
const A_MINUTE: usize = 10;
/// Until the same owner is helped again; doubled each time.
const PAUSE: Duration = Duration::from_secs(60);
/// After so many doublings it stays.
const MOST_DOUBLINGS: u32 = 6;
/// An owner that was quiet for so long begins anew.
const FORGET: Duration = Duration::from_secs(24 * 60 * 60);
/// The most owners that are remembered (M10); the oldest are forgotten beyond.
const MOST_OWNERS: usize = 4096;

/// Whether, and how, a pod is stuck.
pub(crate) fn stuck(pod: &Pod) -> Option<Stuck> {
    let status = pod.status.as_ref()?;
    let failed = status.init_container_statuses.iter().any(|container| {
        let ends = [&container.state, &container.last_state];
        let end = ends
            .iter()
            .filter_map(|state| state.terminated.as_ref())
            .any(|end| end.exit_code == UNREDIRECTED);
        container.name == VALIDATES && end
    });
    let owner = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let owner = owner.iter().find(|owner| owner.controller == Some(true))?;
    (failed && status.phase == "Pending" && pod.metadata.deletion_timestamp.is_none()).then(|| Stuck {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        node: pod.spec.node_name.clone(),
        owner: owner.uid.clone(),
    })
}

impl Healing {
    /// The pods to evict now, of those that are stuck on nodes that serve. What is returned counts as evicted.
    pub(crate) fn decide(
        &mut self,
        stuck: &BTreeMap<String, Stuck>,
        serving: &BTreeSet<&str>,
        now: Instant,
    ) -> Vec<Stuck> {
        let age = |then: &Instant| now.saturating_duration_since(*then);
        self.recent.retain(|then| age(then) < Duration::from_secs(60));
        self.owners.retain(|_, past| age(&past.last) < FORGET);
        let mut chosen: Vec<Stuck> = Vec::new();
        for pod in stuck.values().filter(|pod| serving.contains(pod.node.as_str())) {
            if self.recent.len() >= A_MINUTE {
                break;
            }
            let past = self.owners.get(&pod.owner).copied();
            let pause = |past: Past| PAUSE * 2_u32.pow((past.times - 1).min(MOST_DOUBLINGS));
            if past.is_some_and(|past| age(&past.last) < pause(past)) {
                continue;
            }
            self.note(&pod.owner, past.map_or(1, |past| past.times.saturating_add(1)), now);
            chosen.push(pod.clone());
        }
        chosen
    }

    fn note(&mut self, owner: &str, times: u32, now: Instant) {
        self.recent.push(now);
        if self.owners.len() >= MOST_OWNERS {
            let oldest = self.owners.iter().min_by_key(|(_, past)| past.last).map(|(owner, _)| owner.clone());
            oldest.map(|owner| self.owners.remove(&owner));
        }
        self.owners.insert(owner.to_owned(), Past { times, last: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_stuck_when_its_validation_says_so() {
        let check = |name: &str, code: i32, phase: &str, owned: bool, expected: bool| {
            let owner = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "o", "controller": owned }]);
            let pod: Pod = serde_json::from_value(json!({
                "metadata": { "namespace": "n", "name": "p", "uid": "u", "ownerReferences": owner },
                "spec": { "nodeName": "a" },
                "status": { "phase": phase, "initContainerStatuses": [
                    { "name": name, "restartCount": 3, "state": { "waiting": {} }, "lastState": { "terminated": { "exitCode": code } } }
                ] },
            }))
            .expect("it is a pod");
            assert_eq!(stuck(&pod).is_some(), expected, "{name} {code} {phase} {owned}");
        };
        check("istio-validation", 126, "Pending", true, true);
        check("istio-validation", 1, "Pending", true, false);
        check("setup", 126, "Pending", true, false);
        check("istio-validation", 126, "Running", true, false);
        check("istio-validation", 126, "Pending", false, false);
    }

    /// How many of so many stuck pods, each with an owner of its own or all with one, are evicted at these seconds.
    fn check(pods: usize, one_owner: bool, seconds: &[u64], expected: &[usize]) {
        let mut healing = Healing::default();
        let start = Instant::now();
        let pod = |at: usize| {
            let owner = if one_owner { "o".to_owned() } else { at.to_string() };
            let (namespace, name, uid) = ("n".to_owned(), at.to_string(), at.to_string());
            (format!("{at:03}"), Stuck { namespace, name, uid, node: "a".to_owned(), owner })
        };
        let mut stuck: BTreeMap<String, Stuck> = (0..pods).map(pod).collect();
        let found = seconds.iter().map(|second| {
            let now = start + Duration::from_secs(*second);
            let evicted = healing.decide(&stuck, &["a"].into(), now);
            evicted.iter().for_each(|pod| {
                stuck.retain(|_, other| one_owner || other.uid != pod.uid);
            });
            evicted.len()
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{pods} {one_owner}");
    }

    #[test]
    fn few_at_a_time_and_an_owner_ever_more_slowly() {
        check(3, false, &[0, 1], &[3, 0]);
        check(25, false, &[0, 30, 61, 125], &[10, 0, 10, 5]);
        check(3, true, &[0, 59, 61, 120, 182, 300, 423], &[1, 0, 1, 0, 1, 0, 1]);
        let nowhere = Healing::default().decide(&BTreeMap::new(), &BTreeSet::new(), Instant::now());
        assert_eq!(nowhere, []);
    }
}
