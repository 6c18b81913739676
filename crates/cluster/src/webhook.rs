//! The webhook: what happens to pods when they are admitted, so that the node's plugin redirects them without anything
//! privileged in them.
//!
//! `inject` decides, of plain data; it is the same offline (`millrace inject`).

pub(crate) mod answer;
mod edit;
mod init;
pub(crate) mod inject;
mod network;
mod settings;
pub(crate) mod wishes;
