//! The number of a user or group by name, out of `/etc/passwd` or `/etc/group` themselves.
//!
//! No name service is asked: that may wait on the very network being set up.

use std::path::Path;

/// The number that the file gives to the name; the third field in both files.
pub(super) fn number(file: &Path, name: &str) -> Option<u32> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_0_and_nobody_else_is_made_up() {
        assert_eq!(number(Path::new("/etc/passwd"), "root"), Some(0));
        assert_eq!(number(Path::new("/etc/group"), "root"), Some(0));
        assert_eq!(number(Path::new("/etc/passwd"), "millrace-was-never-here"), None);
        assert_eq!(number(Path::new("/nonexistent"), "root"), None);
    }
}
