//! The floor under every plugin call: a static program that copies its input to its output and ends.
//!
//! The benchmarks measure it in the same run as `millrace-cni`, which can never be quicker than starting a process.

fn main() -> std::io::Result<()> {
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::stdout().lock()).map(drop)
}
