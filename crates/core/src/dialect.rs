//! What a dialect is: it writes a [`RuleSet`](crate::rules::RuleSet) and reads one back. It decides nothing, and never sees settings.
//!
//! For every set `r` a plan can make, `read(write(r)) == r`.

pub mod wire;
