//! What this node's kernel took last time: one word in a file that a reboot forgets (tmpfs).
//!
//! It only saves a refused attempt per pod: an unreadable, unwritable or senseless file is as good as none.

use millrace_core::dialect::Backend;
use std::path::Path;

/// The longest name of a backend, and a newline.
const LONGEST: u64 = 32;

/// What was taken last time, if known.
pub(super) fn recall(path: Option<&Path>) -> Option<Backend> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path?).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    Backend::from_name(text.trim_end())
}

/// Remembers it. The name of the new file is this process' own, for many run at once.
pub(super) fn remember(path: Option<&Path>, backend: Backend) {
    let Some(path) = path else { return };
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let kept = std::fs::write(&new, format!("{backend}\n")).and_then(|()| std::fs::rename(&new, path));
    if kept.is_err() {
        // Whether it is there or not, there is nothing better to do.
        drop(std::fs::remove_file(&new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_is_recalled_and_nonsense_is_not() {
        let folder = std::env::temp_dir().join(format!("millrace-memory-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("backend");
        assert_eq!(recall(Some(&path)), None);
        for backend in Backend::ALL {
            remember(Some(&path), backend);
            assert_eq!(recall(Some(&path)), Some(backend));
        }
        std::fs::write(&path, "ebtables\n").unwrap();
        assert_eq!(recall(Some(&path)), None);
        remember(Some(&folder.join("gone/backend")), Backend::Text);
        assert_eq!(recall(None), None);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
