//! The built `millrace-cni` from outside: as a runtime calls it, as a pod's init container, as a person on the node.

mod again;
mod call;
mod dry_run;
mod pod;
mod protocol;
mod redirect;

use millrace_rig::absent::not_run;
use millrace_rig::net::{NEEDS, missing};

/// The binary under test.
fn plugin() -> std::path::PathBuf {
    millrace_rig::plugin::plugin(env!("CARGO_BIN_EXE_millrace-cni"))
}

/// Whether namespaces, and the programs named besides, are lacking here; says so of the test if they are.
fn lacks(test: &str, besides: &[(&str, &str)]) -> bool {
    let missing = missing(&NEEDS).or_else(|| missing(besides));
    if let Some((what, how)) = missing {
        not_run(test, what, how);
    }
    missing.is_some()
}
