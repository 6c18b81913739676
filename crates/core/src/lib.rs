//! Millrace's decisions, as a pipeline of pure functions:
//!
//! ```text
//! pod facts + settings ─ decide ─▶ Decision ─ plan ─▶ Plan ─ write ─▶ bytes, text ─ apply ─▶ kernel
//!                           │                          │  ▲                                    │
//!                        Reason                     trace │ compare ◀── read ◀── inspect ◀─────┘
//! ```
//!
//! Everything above `apply` and `inspect` is here. This crate does no I/O, reads no clock and no environment,
//! draws no randomness and knows no Kubernetes types: whatever it needs is an argument, whatever it finds is a result.

pub mod ask;
pub mod cni;
pub mod complaint;
pub mod conflist;
pub mod dialect;
mod json;
pub mod knobs;
pub mod pod;
pub mod policy;
pub mod reason;
pub mod record;
pub mod repair;
pub mod rules;
pub mod settings;
pub mod stamp;
pub mod status;

#[cfg(test)]
mod laws {
    //! How laws are tested: the same seed for everybody, 10 000 cases, more by `MILLRACE_CASES`.

    use proptest::prelude::ProptestConfig;
    use proptest::test_runner::RngSeed;

    /// The configuration of every law.
    pub(crate) fn config() -> ProptestConfig {
        let cases =
            std::env::var("MILLRACE_CASES").ok().and_then(|number| number.parse().ok()).unwrap_or(10_000);
        let rng_seed = RngSeed::Fixed(1337);
        ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
    }
}
