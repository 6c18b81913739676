//! The fuzzer on `readers::pod`; what it must survive is said there.
#![no_main]

#[path = "../../crates/cluster/src/agent/pods/facts.rs"]
#[allow(dead_code, reason = "the program uses more of it")]
mod facts;
#[path = "../../crates/cluster/tests/corpus/pod.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::pod(data));
