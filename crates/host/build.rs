//! Keeps `millrace-cni` small, and what an ADD touches of it together, where it is linked for a node: statically, by the profile
//! `cni`.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=no-unwinding.ld");
    println!("cargo::rerun-if-changed=add.ld");
    if var("CARGO_CFG_TARGET_ENV").as_deref() != Ok("musl") {
        return;
    }
    // Cargo does not tell the profile, but only `cni` optimises for size.
    if matches!(var("OPT_LEVEL").as_deref(), Ok("s" | "z")) {
        let folder = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!(
            "cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{folder}/no-unwinding.ld,-T,{folder}/add.ld"
        );
        // At a fixed address nothing is relocated and so nothing is protected afterwards; it only takes a page of its own.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,norelro");
    }
}
