//! The custom resources, as types: `MeshCNI` is the switch, `MeshCNINode` one node's report.
//!
//! Plain data and its schema. What may be written is refused by the schema and its rules as far as these can say it; what
//! they cannot is read by `core`. It never talks to anybody.

pub(crate) mod check;
pub(crate) mod cleared;
pub(crate) mod condition;
pub(crate) mod convert;
pub(crate) mod kinds;
pub(crate) mod mesh;
pub(crate) mod names;
pub(crate) mod node;
pub(crate) mod ours;
pub(crate) mod platform;
pub(crate) mod redirection;
mod rules;
pub(crate) mod status;
