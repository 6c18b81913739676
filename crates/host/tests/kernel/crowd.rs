//! Many at once, and somebody else at work in the same namespace.

use crate::runs;
use crate::scene::{Way, netns_of};
use millrace_core::rules::Plan;
use millrace_core::rules::compare::compare;
use millrace_core::rules::plan::plan;
use millrace_core::settings::{Dns, Families, Settings};
use millrace_host::backend;
use millrace_rig::net::Namespace;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn default() -> Plan {
    plan(&Settings::default(), Families::Both)
}

fn with_dns() -> Plan {
    plan(&Settings { dns: Dns::All, ..Settings::default() }, Families::Both)
}

fn holds(namespace: &Namespace, plan: &Plan, way: Way) -> bool {
    let found = backend::inspect(&netns_of(namespace)).expect("the namespace can be looked at");
    let mine = found.iter().find(|(backend, _)| *backend == way.found_by());
    mine.is_some_and(|(_, observed)| compare(&plan.rules, observed).is_clean())
}

#[test]
fn sixty_four_pods_at_once_are_all_redirected() {
    const CROWD: usize = 64;
    if !runs("sixty_four_pods_at_once_are_all_redirected", &[]) {
        return;
    }
    for way in [Way::Iptables, Way::Nftables] {
        let pods: Vec<Namespace> = (0..CROWD).map(|_| Namespace::new()).collect();
        let plan = with_dns();
        let gate = Barrier::new(CROWD);
        thread::scope(|scope| {
            for pod in &pods {
                scope.spawn(|| {
                    let netns = netns_of(pod);
                    gate.wait();
                    let applied = backend::apply(&netns, &plan, way.choice(), None);
                    applied.unwrap_or_else(|error| panic!("{way:?}: {error}"));
                });
            }
        });
        assert!(pods.iter().all(|pod| holds(pod, &plan, way)), "{way:?}");
    }
}

/// The runtime may call twice for one pod at the same time; whoever comes second finds it done.
#[test]
fn eight_at_once_for_one_pod_are_as_good_as_one() {
    if !runs("eight_at_once_for_one_pod_are_as_good_as_one", &[]) {
        return;
    }
    for way in [Way::Iptables, Way::Nftables] {
        let (pod, plan) = (Namespace::new(), default());
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let applied = backend::apply(&netns_of(&pod), &plan, way.choice(), None);
                    applied.unwrap_or_else(|error| panic!("{way:?}: {error}"));
                });
            }
        });
        assert!(holds(&pod, &plan, way), "{way:?}");
    }
}

#[test]
fn what_changes_between_looking_and_writing_is_looked_at_again() {
    let name = "what_changes_between_looking_and_writing_is_looked_at_again";
    if !runs(name, &[("nft", "apt-get install nftables")]) {
        return;
    }
    for way in [Way::Iptables, Way::Nftables] {
        let pod = Namespace::new();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    pod.sh("nft add table ip others; nft delete table ip others");
                }
            });
            let _end = End(&done);
            for plan in [default(), with_dns()].iter().cycle().take(40) {
                let applied = backend::apply(&netns_of(&pod), plan, way.choice(), None);
                // Either it is done, or it says that somebody else kept changing things; it never does half.
                if let Err(error) = applied {
                    assert!(error.to_string().contains("changed by something else"), "{way:?}: {error}");
                }
            }
        });
        assert!(holds(&pod, &default(), way) || holds(&pod, &with_dns(), way), "{way:?}");
    }
}

/// Ends the disturbance, also when the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
