//! iptables over netlink: the tables `raw`, `mangle` and `nat` of `ip` and `ip6`, in the encoding of `iptables-nft`,
//! so that the node's own tools list, save and restore what we write, and we read what they, or a stock init
//! container, have written. One transaction for both families, and no process started.
//!
//! Base chains that no rule of ours needs are not made: `iptables-nft` 1.8.9 lists and saves all hooks of a table that
//! exists, whether or not their chains do (tried with only `OUTPUT` there).
//!
//! It never touches a rule or chain that is not named in a [`Removal`](crate::rules::removal::Removal).

mod read;
mod write;

pub use read::{Error, read, requests};
pub use write::write;
