//! How laws are tested here: the same seed for everybody, 10 000 cases, more by `MILLRACE_CASES`. Tests only.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// The configuration of every law.
pub(crate) fn config() -> ProptestConfig {
    let cases = std::env::var("MILLRACE_CASES").ok().and_then(|number| number.parse().ok()).unwrap_or(10_000);
    let rng_seed = RngSeed::Fixed(1337);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}
