//! Many at once: all succeed, ours and the programs beside us, and our throughput is near what the processors can do at best.
//!
//! The best is known from ADDs one after another on each processor, a few before every crowd: whatever else the machine does then is
//! done to both, and where a neighbour of this virtual machine slows down one processor, that one is known to be slow. Of the
//! crowds the quickest counts, for a neighbour can only take time from one; dozens of ADDs are in it, so that it is no luck
//! of a single one.

use crate::calls::{self, Calls};
use crate::figures::Samples;
use crate::process::{Call, Running};
use crate::space::{Space, Spaces};
use crate::{on_a_thread, stay_on, timed};
use millrace_rig::figures::Verdicts;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How many at once, how often ours, and how often each of the programs beside us.
const CROWDS: [(usize, usize, usize); 3] = [(1, 16, 8), (8, 64, 3), (64, 20, 2)];
/// ADDs alone on each processor before every crowd of ours.
const ALONE: usize = 4;

/// How many namespaces all of it takes, beside so many programs.
pub(crate) fn spaces(beside: usize, processors: usize) -> usize {
    let of = |(size, ours, theirs): (usize, usize, usize)| {
        ours * (size + ALONE * processors) + theirs * size * beside
    };
    CROWDS.into_iter().map(of).sum()
}

/// Measures all of it, and judges ours.
pub(crate) fn run(calls: &Calls, spaces: &mut Spaces, processors: &[usize], verdicts: &mut Verdicts) {
    let cores = processors.len();
    let mut alone: Vec<Samples> = processors.iter().map(|_| Samples::default()).collect();
    let mut quickest = Vec::new();
    for (size, ours, theirs) in CROWDS {
        let mut walls = Samples::default();
        for _ in 0..ours {
            for (processor, samples) in processors.iter().zip(&mut alone) {
                on_a_thread(|| self::alone(calls, spaces, *processor, samples));
            }
            let adds = spaces.take_many(size).iter();
            let adds: Vec<Job<'_>> = adds.map(|space| Job::add(&calls.stamped, space)).collect();
            walls.add(at_once(&adds, cores));
        }
        quickest.push((size, tell("millrace-cni", size, &walls)));
        for (name, runs) in &calls.beside {
            let mut walls = Samples::default();
            for _ in 0..theirs {
                let jobs = spaces.take_many(size).iter();
                let jobs: Vec<Job<'_>> = jobs.map(|space| Job::inside(runs, space)).collect();
                walls.add(at_once(&jobs, cores));
            }
            tell(name, size, &walls);
        }
    }
    let costs: Vec<f64> = alone.iter().map(|samples| samples.cost().as_secs_f64()).collect();
    for (processor, one) in processors.iter().zip(&costs) {
        println!("bench: one ADD takes {:.0} us of processor {processor}", one * 1e6);
    }
    // ADDs in a second, all processors together.
    let most: f64 = costs.iter().map(|one| 1.0 / one).sum();
    for (size, wall) in quickest.into_iter().filter(|(size, _)| *size > cores) {
        // Architecture: throughput at least 0.8 x cores / processor time of one. Turned over, so that less is better.
        verdicts.say(&format!("add-{size}-at-once"), wall * most / size as f64, 1.25);
    }
}

fn tell(name: &str, size: usize, walls: &Samples) -> f64 {
    let wall = walls.quantile(0.0).as_secs_f64();
    let rate = size as f64 / wall;
    println!("bench: {size:>2} at once, {name:<24} {:>8.2} ms, {rate:>5.0} pods a second", wall * 1e3);
    wall
}

/// What is done for one pod: programs one after another.
struct Job<'a> {
    space: &'a Space,
    runs: Vec<Call>,
    /// Whether they must be started inside, as a container's entry point would be.
    inside: bool,
}

impl<'a> Job<'a> {
    fn add(call: &Call, space: &'a Space) -> Job<'a> {
        Job { space, runs: vec![calls::on(call, space)], inside: false }
    }

    fn inside(runs: &[Call], space: &'a Space) -> Job<'a> {
        Job { space, runs: runs.to_vec(), inside: true }
    }

    fn start(&self, step: usize) -> Option<Running<'_>> {
        let call = self.runs.get(step)?;
        if self.inside {
            self.space.enter();
        }
        Some(call.start())
    }
}

/// The time from the first start to the last end. As many threads start them as there are processors: a runtime's own cost of
/// starting a process from hundreds of threads is not ours.
fn at_once(jobs: &[Job<'_>], cores: usize) -> Duration {
    let line = Barrier::new(cores);
    let share = jobs.len().div_ceil(cores);
    let steps = jobs.iter().map(|job| job.runs.len()).max().unwrap_or(0);
    std::thread::scope(|scope| {
        let starters: Vec<_> = (0..cores)
            .map(|starter| {
                let line = &line;
                let jobs = jobs.iter().skip(starter * share).take(share);
                scope.spawn(move || {
                    line.wait();
                    let start = Instant::now();
                    for step in 0..steps {
                        let running: Vec<_> = jobs.clone().filter_map(|job| job.start(step)).collect();
                        running.into_iter().for_each(Running::finish);
                    }
                    (start, Instant::now())
                })
            })
            .collect();
        let ran = starters.into_iter().map(|starter| starter.join().expect("every one succeeds"));
        let (starts, ends): (Vec<_>, Vec<_>) = ran.unzip();
        let ends = ends.into_iter().max().zip(starts.into_iter().min());
        ends.map_or(Duration::ZERO, |(end, start)| end - start)
    })
}

/// The processor time of one ADD, the starting of its process included: its wall time where caller and plugin have one
/// processor between them. The kernel's own account of children leaves the starting out.
fn alone(calls: &Calls, spaces: &mut Spaces, processor: usize, samples: &mut Samples) {
    stay_on(processor);
    for _ in 0..ALONE {
        let call = calls::on(&calls.stamped, spaces.take());
        samples.add(timed(|| call.run()));
    }
}
