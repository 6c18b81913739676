//! What this machine's kernel does, in throw-away namespaces with real packets.
//!
//! Needs root and a few of Debian's programs; says so when they are missing, and touches no namespace but its own.

mod agree;
mod apply;
mod crowd;
mod deviations;
mod init;
mod packets;
mod rig;
mod routes;
mod scene;
mod strays;

use millrace_rig::{absent, net};

/// The program under test.
fn plugin() -> std::path::PathBuf {
    millrace_rig::plugin::plugin(env!("CARGO_BIN_EXE_millrace-cni"))
}

/// Whether the test `name` can run here; says why not otherwise.
fn runs(name: &str, programs: &[(&str, &str)]) -> bool {
    let needed: Vec<_> = net::NEEDS.iter().chain(programs).copied().collect();
    match net::missing(&needed) {
        Some((what, how)) => absent::not_run(name, what, how),
        None if !net::has_users() => absent::not_run(name, "root over many users", "sudo make test"),
        None => return true,
    }
    false
}
