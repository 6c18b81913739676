//! Pods start all at once, again and again, while something happens to the node; whoever makes it happen is told of each start.

use crate::node::{PATIENCE, Runtime, Started};
use crate::pod::Pod;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

/// One start of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// Which of the storm's pods.
    pub(crate) pod: usize,
    pub(crate) began: Instant,
    pub(crate) started: Started,
}

/// A storm that goes on, and what was heard of it so far.
pub(crate) struct Storm {
    pods: usize,
    told: Receiver<Start>,
    heard: Vec<Start>,
}

/// Starts each of `pods`, in parallel to all others and each time in a new namespace, again and again until `meanwhile` is
/// over. All starts, also those that were under way then.
pub(crate) fn storm(runtime: &Runtime, pods: &[Pod], meanwhile: impl FnOnce(&mut Storm)) -> Vec<Start> {
    let over = AtomicBool::new(false);
    let (tell, told) = channel();
    thread::scope(|scope| {
        for (number, pod) in pods.iter().enumerate() {
            let (tell, over) = (tell.clone(), &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let (began, started) = (Instant::now(), runtime.start(pod));
                    // Nobody listens any more when the test has failed.
                    if tell.send(Start { pod: number, began, started }).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        let mut storm = Storm { pods: pods.len(), told, heard: Vec::new() };
        meanwhile(&mut storm);
        over.store(true, Ordering::Relaxed);
        storm.heard.extend(storm.told.iter());
        storm.heard
    })
}

impl Storm {
    /// Waits until each pod was started once more, from now on.
    pub(crate) fn round(&mut self) {
        self.until("started again", |_| true);
    }

    /// Waits until each pod has a start of which `is` holds, from now on.
    pub(crate) fn until(&mut self, what: &str, is: impl Fn(&Start) -> bool) {
        let (now, deadline) = (Instant::now(), Instant::now() + PATIENCE);
        let mut missing: BTreeMap<usize, Option<Started>> = (0..self.pods).map(|pod| (pod, None)).collect();
        while !missing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(start) = self.told.recv_timeout(left) else {
                panic!("waited in vain until each pod was {what}; these were not: {missing:?}");
            };
            if start.began >= now {
                if is(&start) {
                    missing.remove(&start.pod);
                } else if let Some(last) = missing.get_mut(&start.pod) {
                    *last = Some(start.started.clone());
                }
            }
            self.heard.push(start);
        }
    }
}
