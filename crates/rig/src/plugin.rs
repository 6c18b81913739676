//! Which `millrace-cni` a test runs: the static file that ships, where `MILLRACE_CNI` names it, else the one cargo built.
//!
//! It builds nothing, and never falls back from a name that leads nowhere: that test fails when it runs it.

use std::path::PathBuf;

/// The plugin under test; `built` is cargo's own, which only the tests of its crate can name.
pub fn plugin(built: impl Into<PathBuf>) -> PathBuf {
    let named = std::env::var_os("MILLRACE_CNI").filter(|path| !path.is_empty());
    named.map_or_else(|| built.into(), PathBuf::from)
}
