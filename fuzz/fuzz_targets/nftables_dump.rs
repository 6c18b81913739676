//! The fuzzer on `readers::nftables_dump`; what it must survive is said there.
#![no_main]

#[path = "../../crates/core/tests/corpus/mod.rs"]
#[allow(dead_code, reason = "each target uses one reader of them all")]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::nftables_dump(data));
