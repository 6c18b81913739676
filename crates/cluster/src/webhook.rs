//! The webhook: what happens to pods when they are admitted, so that the node's plugin redirects them without anything
//! privileged in them.
//!
//! `inject` decides, of plain data; it is the same offline (`millrace inject`). `spec` judges a MeshCNI. `serve` answers an API server, over TLS with
//! certificates of its own (`certs`).

pub(crate) mod alone;
pub(crate) mod answer;
pub(crate) mod certs;
pub(crate) mod edit;
pub(crate) mod init;
pub(crate) mod inject;
pub(crate) mod metrics;
mod network;
pub(crate) mod review;
pub(crate) mod serve;
pub(crate) mod settings;
mod spec;
pub(crate) mod tls;
pub(crate) mod wishes;

#[cfg(test)]
#[path = "../tests/webhook/live.rs"]
mod live;
#[cfg(test)]
#[path = "../tests/webhook/server.rs"]
mod server;
