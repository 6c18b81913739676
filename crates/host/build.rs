//! Keeps `millrace-cni` small where it is linked for a node: statically, by the profile `cni`.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=no-unwinding.ld");
    if var("CARGO_CFG_TARGET_ENV").as_deref() != Ok("musl") {
        return;
    }
    // Cargo does not tell the profile, but only `cni` optimises for size.
    if matches!(var("OPT_LEVEL").as_deref(), Ok("s" | "z")) {
        let script = format!("{}/no-unwinding.ld", var("CARGO_MANIFEST_DIR").unwrap_or_default());
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{script}");
    }
}
