//! The node agent: what a node needs around the plugin. The list of its tasks is its table of contents.
//!
//! It decides nothing of its own: `core` decides about pods, chains and remedies. It never writes a credential to the node.
#![allow(dead_code, reason = "its parts land one by one; the run loop that uses them comes last")]

pub(crate) mod audit;
pub(crate) mod client;
pub(crate) mod flight;
pub(crate) mod guard;
pub(crate) mod health;
pub(crate) mod install;
pub(crate) mod metrics;
pub(crate) mod pods;
pub(crate) mod serve;
pub(crate) mod telemetry;
