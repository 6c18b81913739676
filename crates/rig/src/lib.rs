//! What the tests stand on: throw-away network namespaces with real packets in them, and the list of tests
//! that could not run because a component is missing; and which built plugin they run.
//!
//! Never part of a shipped binary: the product's crates name it under dev-dependencies only.

pub mod absent;
pub mod apiserver;
pub mod end;
pub mod net;
pub mod plugin;
