//! The fuzzer on `readers::flight`; what it must survive is said there.
#![no_main]

#[path = "../../crates/cluster/src/agent/flight/entry.rs"]
#[allow(dead_code, reason = "the program uses more of it")]
mod entry;
#[path = "../../crates/cluster/tests/corpus/flight.rs"]
mod readers;
#[path = "../../crates/cluster/src/agent/flight/segment.rs"]
#[allow(dead_code, reason = "the program uses more of it")]
mod segment;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::flight(data));
