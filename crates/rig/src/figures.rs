//! The lines of a bench, and what the kernel counts of a process. Measures nothing by itself.

use std::path::Path;
use std::time::Duration;

/// Whether every budget so far was kept.
#[derive(Debug, Default)]
pub struct Verdicts {
    over: usize,
}

impl Verdicts {
    /// Prints one line; a ratio, or a figure in its budget's unit, is over when it is above its budget.
    pub fn say(&mut self, name: &str, ratio: f64, budget: f64) {
        let verdict = if ratio <= budget { "ok" } else { "over" };
        self.over += usize::from(ratio > budget);
        // Hundredths of a core are a budget too.
        let decimals = if ratio < 0.1 { 4 } else { 2 };
        println!("bench: {name} ratio={ratio:.decimals$} budget={budget} {verdict}");
    }

    /// The process's exit status.
    pub fn code(&self) -> u8 {
        u8::from(self.over > 0)
    }
}

/// What a process has of the machine's memory, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// `VmRSS`: now.
    pub resident: f64,
    /// `VmHWM`: at most, since it began.
    pub peak: f64,
}

/// The processor time of a process.
pub fn processor(process: u32) -> Duration {
    ticks(&process.to_string(), 11)
}

/// That of all processes that this one has waited for.
pub fn processor_of_children() -> Duration {
    ticks("self", 13)
}

/// Two fields of `stat` that belong together, user's and system's, in ticks of 10 ms (proc(5); `USER_HZ` is 100 everywhere).
fn ticks(process: &str, first: usize) -> Duration {
    let stat = std::fs::read_to_string(Path::new("/proc").join(process).join("stat"));
    let stat = stat.expect("the process runs");
    let after = stat.rsplit(") ").next().expect("a name ends with a bracket");
    let fields = after.split(' ').skip(first).take(2).map(|field| field.parse::<u64>().expect("a number"));
    Duration::from_millis(fields.sum::<u64>() * 10)
}

/// The memory of a process, as proc(5) tells it.
pub fn memory(process: u32) -> Memory {
    let path = Path::new("/proc").join(process.to_string()).join("status");
    let text = std::fs::read_to_string(path).expect("the process runs");
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("proc(5) promises it");
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib / 1024.0
    };
    Memory { resident: field("VmRSS:"), peak: field("VmHWM:") }
}
