//! What an ADD costs, as ratios to floors measured in the same run: starting a process (`echo`), and the kernel's own work on the very
//! netlink messages (`routes, then batch`).
//!
//! Everything is measured in rounds, each thing once a round, so that a noisy second hurts all alike, and on one processor: caller,
//! plugin and kernel in turn, so that the time is what all of it takes of a processor. With two, a start of a process is as quick as
//! the other happens to be woken, and at real-time priority (`scripts/bench`) that wakening widened the floor by half; on one
//! it costs at that priority what it costs without. Namespaces are made beforehand and used once. Ends with 1 if a budget of architecture.md §9 is exceeded. Measures only this machine,
//! in namespaces of its own.

mod agent;
mod batch;
mod calls;
mod crowd;
mod figures;
mod native;
mod process;
mod space;
mod transaction;

use calls::Calls;
use figures::Samples;
use millrace_host::routes;
use millrace_rig::figures::Verdicts;
use process::Call;
use rustix::thread::CpuSet;
use space::{Space, Spaces};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Rounds, and how often each thing is done in one: with half as many the lowest tenth of an ADD still moved by a tenth from run to
/// run. In blocks, so that each thing is measured in its own steady state and not right behind another's `nft`, and all see the
/// same noise.
const ROUNDS: usize = 20;
const BLOCK: usize = 8;

fn main() -> ExitCode {
    let everywhere = rustix::thread::sched_getaffinity(None).expect("a thread knows where it may run");
    let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|one| everywhere.is_set(*one)).collect();
    stay_on(processors[0]);
    let calls = Calls::new();
    let things = things(&calls);
    let fresh = ROUNDS * BLOCK * things.iter().filter(|thing| thing.fresh).count();
    let all = 1 + fresh + crowd::spaces(calls.beside.len(), processors.len());
    println!("bench: making {all} network namespaces");
    let mut spaces = Spaces::new(all);
    // On a node the first meshed pod has long been here: hooks are on, legacy tables exist. So one stays.
    hold(spaces.take(), &calls);

    let mut samples: Vec<Samples> = things.iter().map(|_| Samples::default()).collect();
    for round in 0..ROUNDS {
        for turn in 0..things.len() {
            // Another order every round, so that nobody always follows the same neighbour.
            let turn = if round % 2 == 0 { turn } else { things.len() - 1 - turn };
            let at = (turn + round) % things.len();
            for _ in 0..BLOCK {
                let space = things[at].fresh.then(|| spaces.take());
                samples[at].add((things[at].run)(space));
            }
        }
    }
    table(&things, &samples);

    let cost = |name: &str| {
        let at = things.iter().position(|thing| thing.name == name).expect("it was measured");
        samples[at].cost().as_secs_f64()
    };
    let mut verdicts = Verdicts::default();
    // A pod with IPv6 needs `::6/128` on `lo` before its rules (M3), which any implementation would have to set.
    let floor = cost(ECHO) + cost(KERNEL);
    verdicts.say("add-outside-mesh", cost(OUTSIDE) / cost(ECHO), 1.4);
    verdicts.say("add-stamped", cost(STAMPED) / floor, 1.5);
    verdicts.say("add-through-agent", cost(AGENT) / floor, 2.0);
    verdicts.say("default-encoding", cost(BATCH) / cost(NATIVE), 1.6);
    rustix::thread::sched_setaffinity(None, &everywhere).expect("a thread may run where it might before");
    crowd::run(&calls, &mut spaces, &processors, &mut verdicts);
    ExitCode::from(verdicts.code())
}

/// One thing to measure.
struct Thing<'a> {
    name: &'static str,
    /// Whether it needs a namespace of its own.
    fresh: bool,
    run: Run<'a>,
}

/// Does it, in a namespace if it needs one, and says how long it took.
type Run<'a> = Box<dyn Fn(Option<&Space>) -> Duration + 'a>;

const ECHO: &str = "echo";
const BATCH: &str = "batch";
const KERNEL: &str = "routes, then batch";
const NATIVE: &str = "batch, natively encoded";
const LEANEST: &str = "batch, fewest rules";
const OUTSIDE: &str = "ADD, outside the mesh";
const STAMPED: &str = "ADD, stamped, both families";
const AGENT: &str = "ADD, through the agent";

fn things(calls: &Calls) -> Vec<Thing<'_>> {
    let leanest = batch::leanest();
    let native = native::native(&calls.plan.rules);
    let mut things = vec![
        Thing { name: ECHO, fresh: false, run: Box::new(|_| timed(|| calls.echo.run())) },
        Thing { name: OUTSIDE, fresh: true, run: Box::new(|space| add(&calls.outside, space)) },
        Thing { name: BATCH, fresh: true, run: Box::new(|space| replay(space, &calls.batch)) },
        Thing { name: KERNEL, fresh: true, run: Box::new(|space| routes_and_batch(space, calls)) },
        Thing { name: STAMPED, fresh: true, run: Box::new(|space| add(&calls.stamped, space)) },
        Thing { name: NATIVE, fresh: true, run: Box::new(move |space| replay(space, &native)) },
        Thing { name: LEANEST, fresh: true, run: Box::new(move |space| replay(space, &leanest)) },
        Thing { name: AGENT, fresh: true, run: Box::new(|space| add(&calls.through_agent, space)) },
    ];
    for (name, runs) in &calls.beside {
        things.push(Thing { name, fresh: true, run: Box::new(|space| inside(space, runs)) });
    }
    things
}

/// The calling thread and whatever it starts, from now on.
fn stay_on(processor: usize) {
    let mut one = CpuSet::new();
    one.set(processor);
    rustix::thread::sched_setaffinity(None, &one).expect("a thread may stay on a processor it may use");
}

fn timed(act: impl FnOnce()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

fn add(call: &Call, space: Option<&Space>) -> Duration {
    let call = calls::on(call, space.expect("an ADD needs a namespace"));
    timed(|| call.run())
}

fn replay(space: Option<&Space>, bytes: &[u8]) -> Duration {
    let space = space.expect("a batch needs a namespace");
    on_a_thread(|| timed(|| batch::replay(space, bytes)))
}

/// All that the kernel is asked for by a stamped pod's ADD.
fn routes_and_batch(space: Option<&Space>, calls: &Calls) -> Duration {
    let space = space.expect("routes need a namespace");
    on_a_thread(|| {
        timed(|| {
            space.enter();
            routes::set(&calls.plan.routes).expect("root sets routes");
            batch::replay(space, &calls.batch);
        })
    })
}

/// Programs that must be started inside, one after another, as a container's entry point would be.
fn inside(space: Option<&Space>, runs: &[Call]) -> Duration {
    on_a_thread(|| {
        space.expect("a program needs a namespace").enter();
        timed(|| runs.iter().for_each(Call::run))
    })
}

/// On a thread of its own, as whoever entered a namespace does not come back.
fn on_a_thread<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(act).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn hold(space: &Space, calls: &Calls) {
    calls::on(&calls.stamped, space).run();
    for (_, runs) in &calls.beside {
        inside(Some(space), runs);
    }
}

fn table(things: &[Thing<'_>], samples: &[Samples]) {
    println!("bench: {:<34} {:>9} {:>9} {:>9} {:>9}   (us)", "", "lowest", "tenth", "median", "p99");
    for (thing, samples) in things.iter().zip(samples) {
        let us = |share| samples.quantile(share).as_secs_f64() * 1e6;
        let (lowest, tenth, median, worst) = (us(0.0), us(0.1), us(0.5), us(0.99));
        println!("bench: {:<34} {lowest:>9.0} {tenth:>9.0} {median:>9.0} {worst:>9.0}", thing.name);
    }
}
