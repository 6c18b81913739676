//! Where the tests of this crate find the real programs they call, and the plugin that cargo built.

use millrace_rig::parts::Parts;
use std::path::{Path, PathBuf};

/// None yet of the parts that the test of that name stands on.
pub(crate) fn of(test: &'static str) -> Parts {
    Parts::of(test, kept())
}

/// The folder of what the installer unpacked and built: `callers` in Cargo's target directory.
pub(crate) fn kept() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("callers")
}

/// The plugin under test.
pub(crate) fn plugin() -> PathBuf {
    millrace_rig::plugin::plugin(env!("CARGO_BIN_EXE_millrace-cni"))
}
