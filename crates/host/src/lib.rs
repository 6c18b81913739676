//! This machine: network namespaces, netfilter, files and one socket. Blocking, Linux only.
//!
//! It spends what `millrace-core` decided and decides nothing itself; it never talks to an API server.

pub mod iptables;
pub mod netlink;
pub mod netns;
pub mod routes;
