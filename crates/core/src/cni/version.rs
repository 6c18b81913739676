//! Which versions of the specification we speak, and how a result is restated in another.
//!
//! A version is compared as a string: the specification knows no "compatible" one. Restating touches `cniVersion` and
//! `ips[].version` only; it never drops or reorders anything else (M7).

use serde_json::{Map, Value};
use std::fmt;

/// A version of the specification. 0.3.0 is among them because all of Azure's Linux lists but one say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 0.3.0
    V030,
    /// 0.3.1
    V031,
    /// 0.4.0: brings CHECK.
    V040,
    /// 1.0.0: drops `ips[].version`.
    V100,
    /// 1.1.0: brings GC and STATUS.
    V110,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Version; 5] = [Version::V030, Version::V031, Version::V040, Version::V100, Version::V110];
    /// The newest.
    pub const NEWEST: Version = Version::V110;

    /// Its text.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V030 => "0.3.0",
            Version::V031 => "0.3.1",
            Version::V040 => "0.4.0",
            Version::V100 => "1.0.0",
            Version::V110 => "1.1.0",
        }
    }

    /// The version with exactly that text.
    pub fn from_text(text: &str) -> Option<Version> {
        Version::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// Whether an address of a result says its family in `version`.
    fn names_families(self) -> bool {
        self < Version::V100
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Restates a result in `version`. libcni hands on a result whose version differs from the list's unconverted, and
/// plugins built on `pkg/skel` then fail to read it; so what leaves us always says the list's.
pub fn restate(result: &mut Map<String, Value>, version: Version) {
    let before = result.get("cniVersion").and_then(Value::as_str);
    if before == Some(version.as_str()) {
        return;
    }
    let other_layout = match before {
        None => false,
        Some(text) => Version::from_text(text).is_none_or(|v| v.names_families() != version.names_families()),
    };
    let text = Value::from(version.as_str());
    match result.get_mut("cniVersion") {
        Some(value) => *value = text,
        None => drop(result.shift_insert(0, "cniVersion".to_owned(), text)),
    }
    if other_layout {
        relabel_addresses(result, version);
    }
}

fn relabel_addresses(result: &mut Map<String, Value>, version: Version) {
    let addresses = result.get_mut("ips").and_then(Value::as_array_mut);
    for address in addresses.into_iter().flatten().filter_map(Value::as_object_mut) {
        if !version.names_families() {
            address.shift_remove("version");
        } else if !address.contains_key("version") {
            let text = address.get("address").and_then(Value::as_str).unwrap_or_default();
            let family = if text.contains(':') { "6" } else { "4" };
            address.shift_insert(0, "version".to_owned(), family.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, version: Version, after: &str) {
        let mut value: Value = serde_json::from_str(before).expect("the test's text is JSON");
        restate(value.as_object_mut().expect("the test's text is an object"), version);
        assert_eq!(value.to_string(), after);
    }

    #[test]
    fn a_result_in_the_same_version_keeps_every_byte() {
        let text = r#"{"x":1.50,"cniVersion":"1.0.0","ips":[{"version":"4","address":"10.0.0.2/24","interface":-1}],"big":9007199254740993}"#;
        check(text, Version::V100, text);
    }

    #[test]
    fn a_result_without_a_version_gets_one_in_front() {
        check(r#"{"ips":[]}"#, Version::V031, r#"{"cniVersion":"0.3.1","ips":[]}"#);
    }

    #[test]
    fn older_layouts_name_the_family_and_newer_ones_do_not() {
        let old = r#"{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.0.0.2/24"},{"version":"6","address":"fd00::2/64"}],"dns":{}}"#;
        let new =
            r#"{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.2/24"},{"address":"fd00::2/64"}],"dns":{}}"#;
        check(old, Version::V110, new);
        check(new, Version::V040, old);
    }

    #[test]
    fn within_a_layout_only_the_version_changes() {
        let text = |v: &str| format!(r#"{{"cniVersion":"{v}","ips":[{{"address":"10.0.0.2/24"}}]}}"#);
        check(&text("1.0.0"), Version::V110, &text("1.1.0"));
        check(&text("0.3.0"), Version::V040, &text("0.4.0"));
    }

    #[test]
    fn nonsense_in_ips_is_left_alone() {
        let text = |v: &str| format!(r#"{{"cniVersion":"{v}","ips":[7,null,"x",{{}}]}}"#);
        check(&text("0.3.1"), Version::V100, &text("1.0.0"));
        check(r#"{"cniVersion":"0.3.1","ips":"x"}"#, Version::V100, r#"{"cniVersion":"1.0.0","ips":"x"}"#);
    }

    #[test]
    fn versions_are_compared_exactly() {
        for text in ["", "1", "1.0", "1.0.00", " 1.0.0", "0.2.0", "1.2.0", "v1.0.0"] {
            assert_eq!(Version::from_text(text), None, "{text:?}");
        }
        for version in Version::ALL {
            assert_eq!(Version::from_text(version.as_str()), Some(version));
        }
    }
}
