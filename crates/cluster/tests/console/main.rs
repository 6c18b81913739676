//! The console in a real browser: every page in each of its states is looked at, in both languages, light and dark, wide and narrow.
//!
//! Nothing that a browser complains of passes: an error of the script, a request that fails, what the page's policy refused, and
//! what axe-core finds to keep people out.

#[allow(dead_code, reason = "other tests ask more of a cluster")]
#[path = "../cli/cluster.rs"]
mod cluster;
#[path = "../demo/kept.rs"]
#[allow(dead_code, reason = "other tests ask more of a demo")]
mod kept;
#[allow(dead_code, reason = "other tests ask more of the program")]
#[path = "../cli/program.rs"]
mod program;

mod bookinfo;
mod flow;
mod large;
mod pages;
mod pictures;
mod served;
mod sound;
