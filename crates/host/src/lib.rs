//! This machine: network namespaces, netfilter, files and one socket. Blocking, Linux only.
//!
//! It spends what `millrace-core` decided and decides nothing itself; it never talks to an API server.

pub mod backend;
pub mod netlink;
pub mod netns;
pub mod restore;
pub mod routes;
