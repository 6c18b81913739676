//! This machine: network namespaces, netfilter, files and one socket. Blocking, Linux only.
//!
//! It spends what `millrace-core` decided and decides nothing itself; it never talks to an API server.

pub mod backend;
pub mod families;
pub mod files;
pub mod init;
pub mod inspect;
pub mod netlink;
pub mod netns;
pub mod outcome;
pub mod plugin;
pub mod probe;
pub mod records;
pub mod restore;
pub mod routes;
pub mod socket;
pub mod tombstone;
pub mod validate;
