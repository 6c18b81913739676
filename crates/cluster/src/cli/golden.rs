//! What commands print, held against golden files. For tests alone.

/// Compares it with a golden file; `UPDATE_GOLDEN=1` rewrites that.
pub(crate) fn check(name: &str, text: &str) {
    let path = format!("{}/tests/cli/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the golden file is writable");
    }
    let held = std::fs::read_to_string(&path).expect("a golden file; UPDATE_GOLDEN=1 makes it");
    assert!(held == text, "{name}: UPDATE_GOLDEN=1 rewrites it; found:\n{text}");
}
