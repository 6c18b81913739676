//! Real callers with our plugin in their list: containerd's CRI, podman, libcni's cnitool, and Docker's containers.
//!
//! Each runs on a node of its own (`millrace_rig::node`); the machine's own network and containers are never touched. Every
//! test says which versions it met. A caller that is not there makes its tests "not run", never passed.

#[path = "callers/chain.rs"]
mod chain;
#[path = "callers/cnitool.rs"]
mod cnitool;
#[path = "callers/cri.rs"]
mod cri;
#[path = "callers/docker.rs"]
mod docker;
#[path = "callers/parts.rs"]
mod parts;
#[path = "callers/podman.rs"]
mod podman;
#[path = "callers/rules.rs"]
mod rules;
