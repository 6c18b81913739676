//! The lines of a bench, and what the kernel counts of a process. Measures nothing by itself.

use std::path::Path;

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
