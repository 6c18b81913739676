//! The style sheet, the script and the icon: written by hand, embedded, and named by their own digests so that a browser may
//! keep them for ever. PURE.

use crate::api::convert::text_digest;
use std::sync::LazyLock;

/// A file that pages name.
#[derive(Debug)]
pub(crate) struct Asset {
    name: &'static str,
    /// What it is.
    pub(crate) kind: &'static str,
    /// What is in it.
    pub(crate) text: &'static str,
}

const ALL: [Asset; 3] = [
    Asset { name: "console.css", kind: "text/css; charset=utf-8", text: include_str!("assets/console.css") },
    Asset {
        name: "console.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("assets/console.js"),
    },
    Asset { name: "icon.svg", kind: "image/svg+xml", text: include_str!("assets/icon.svg") },
];

static NAMED: LazyLock<Vec<(String, Asset)>> = LazyLock::new(|| {
    let named = |asset: Asset| (format!("{}-{}", text_digest(asset.text), asset.name), asset);
    ALL.into_iter().map(named).collect()
});

/// The path of the asset of that name; it changes with what is in it.
pub(crate) fn path(name: &str) -> String {
    let found = NAMED.iter().find(|(_, asset)| asset.name == name);
    found.map(|(hashed, _)| format!("/assets/{hashed}")).unwrap_or_default()
}

/// The asset at a path's last part.
pub(crate) fn find(hashed: &str) -> Option<&'static Asset> {
    NAMED.iter().find(|(known, _)| known == hashed).map(|(_, asset)| asset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_path_alone() {
        for asset in ALL {
            let path = path(asset.name);
            let hashed = path.strip_prefix("/assets/").unwrap();
            assert_eq!(find(hashed).unwrap().text, asset.text);
        }
        assert!(find("console.css").is_none());
    }
}
