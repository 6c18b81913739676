//! A server of custom resources at a current release's level, on loopback: definitions with rules in CEL, defaults, apply.
//!
//! It is what a kube-apiserver of that level does with custom resources, and nothing else of one: no core types, and whoever
//! shows a certificate may do everything. For whatever the older kube-apiserver of the tests lacks.

use crate::apiserver::{Apiserver, Kind};

/// Starts one and waits until it is ready. `None` after saying that `test` is not run where a program is missing.
pub fn start(test: &str) -> Option<Apiserver> {
    Apiserver::of(Kind::Custom, test)
}
