//! Whether this program is the plugin, or what is left of it after an uninstallation: it says so in its own bytes.
//!
//! The uninstaller writes `ENDED` over `ALIVE` in a copy of the program. So nothing is read to know it, and it is known
//! after a reboot, on a node of which nothing else remembers us.

use std::hint::black_box;

/// The length of the mark.
pub const LENGTH: usize = 32;
/// The mark of a plugin at work.
pub const ALIVE: [u8; LENGTH] = *b"millrace-cni as installed: alive";
/// The mark of one that passes everything through.
pub const ENDED: [u8; LENGTH] = *b"millrace-cni as installed: ended";

/// Where it is looked.
const LAST: u8 = ENDED[LENGTH - 1];
static MARK: [u8; LENGTH] = ALIVE;

/// Whether this program only passes through.
pub fn is_ended() -> bool {
    // Opaque to the compiler, which would otherwise know the answer.
    black_box(&MARK)[LENGTH - 1] == LAST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_differ_where_it_is_looked() {
        assert_ne!(ALIVE[LENGTH - 1], LAST);
        assert!(!is_ended());
    }
}
