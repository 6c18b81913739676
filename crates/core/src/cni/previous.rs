//! The result of the plugins before us, kept as the text it came as.
//!
//! Most pods are passed through, and for them nobody looks inside: what leaves us is then what came in, byte for
//! byte (M7). Only a redirection needs the addresses, and only a result in another version than the list's is opened
//! and restated.

use super::version::{Version, restate};
use crate::json::{Members, Raw};
use crate::settings::Families;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::net::IpAddr;

/// A JSON object that is a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous(String);

impl Previous {
    /// The result in `raw`; `None` if it is no object.
    pub(crate) fn of(raw: Raw<'_>) -> Option<Previous> {
        raw.get().starts_with('{').then(|| Previous(raw.get().to_owned()))
    }

    /// The address families of the pod; `None` when the result says nothing of addresses.
    pub fn families(&self) -> Option<Families> {
        let result = self.members()?;
        let list = |key: &str| result.get(key)?.items();
        let addresses = list("ips")?;
        let interfaces = list("interfaces").unwrap_or_default();
        let mut found = None;
        for address in addresses {
            let Some(address) = address.members() else { continue };
            if !is_inside(&address, &interfaces) {
                continue;
            }
            let text = address.get("address").and_then(Raw::text).unwrap_or_default();
            match text.split('/').next().unwrap_or_default().parse() {
                Ok(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_none() => return Some(Families::Both),
                Ok(_) => found = Some(Families::V4),
                Err(_) => {}
            }
        }
        found
    }

    /// The result in `version`.
    pub fn stated_in(self, version: Version) -> String {
        if self.version().as_deref() == Some(version.as_str()) {
            return self.0;
        }
        match self.open() {
            Some(mut result) => {
                restate(&mut result, version);
                Value::Object(result).to_string()
            }
            // Nested deeper than the 128 levels that are opened: no result of a plugin is, so whoever reads it next may say so.
            None => self.0,
        }
    }

    fn version(&self) -> Option<Cow<'_, str>> {
        self.members()?.get("cniVersion")?.text()
    }

    fn members(&self) -> Option<Members<'_>> {
        Raw::known(&self.0).members()
    }

    fn open(&self) -> Option<Map<String, Value>> {
        serde_json::from_str(&self.0).ok()
    }
}

/// An address is the pod's unless it says that it belongs to an interface outside the sandbox, as `portmap` has it.
fn is_inside(address: &Members<'_>, interfaces: &[Raw<'_>]) -> bool {
    let index = address.get("interface").and_then(|raw| raw.get().parse::<usize>().ok());
    let Some(interface) = index.and_then(|index| interfaces.get(index)) else { return true };
    let sandbox = interface.members().and_then(|interface| interface.get("sandbox"));
    sandbox.and_then(Raw::text).is_some_and(|sandbox| !sandbox.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, version: Version, stated: &str) {
        let outer = format!("{{\"it\":{text}}}");
        let members = Members::read(&outer).expect("the test's text is JSON");
        let previous = members.get("it").and_then(Previous::of).expect("the test's text is an object");
        assert_eq!(previous.stated_in(version), stated);
    }

    #[test]
    fn in_the_same_version_every_byte_stays() {
        let text =
            "{ \"ips\" : [ 1.50,\n 9007199254740993 ], \"cniVersion\":\"\\u0031.0.0\", \"x\":1, \"x\":2 }";
        check(text, Version::V100, text);
    }

    #[test]
    fn in_another_version_it_is_restated() {
        check(r#"{"cniVersion":"0.4.0","a":1}"#, Version::V100, r#"{"cniVersion":"1.0.0","a":1}"#);
        check("{}", Version::V031, r#"{"cniVersion":"0.3.1"}"#);
        check(r#"{"cniVersion":7}"#, Version::V031, r#"{"cniVersion":"0.3.1"}"#);
    }

    #[test]
    fn what_is_nested_too_deep_is_passed_through() {
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
        check(&deep, Version::V100, &deep);
    }
}
