//! The style sheet, the script and the icon, written by hand and embedded. The sheet is in each page, so that what comes first
//! is all that is needed to paint it; the others are named by their own digests, so that a browser may keep them for ever. PURE.

use crate::api::convert::text_digest;
use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use std::sync::LazyLock;

/// The style sheet.
pub(crate) const STYLE: &str = include_str!("assets/console.css");

/// No script or frame but our own, no style but the one sheet, known by its digest (CSP 3, section 2.3.1), nothing from elsewhere.
pub(crate) static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let sheet = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'sha256-{sheet}'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    HeaderValue::try_from(policy).expect("letters of ASCII")
});

/// A file that pages name.
#[derive(Debug)]
pub(crate) struct Asset {
    name: &'static str,
    /// What it is.
    pub(crate) kind: &'static str,
    /// What is in it.
    pub(crate) text: &'static str,
}

const ALL: [Asset; 2] = [
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
        assert!(find("console.js").is_none());
    }

    #[test]
    fn the_sheet_ends_where_its_element_does() {
        assert!(!STYLE.contains("</") && !STYLE.contains("<!--"));
    }
}
