//! What the tests stand on: throw-away network namespaces with real packets in them, and the list of tests
//! that could not run because a component is missing; which built plugin they run; make-believe nodes and real runtimes on
//! them; and waiting.
//!
//! Never part of a shipped binary: the product's crates name it under dev-dependencies only.

pub mod absent;
pub mod apiserver;
pub mod browser;
pub mod containerd;
pub mod crdserver;
pub mod embedded;
pub mod end;
pub mod figures;
pub mod injector;
mod kubectl;
pub mod large;
pub mod net;
pub mod node;
pub mod parts;
pub mod plugin;
pub mod wait;
