//! The record of one redirected attachment: what was decided and what was put where, so that CHECK and GC need nobody.
//! A pod that was left alone has none.
//!
//! One JSON document per attachment, named after network, container and interface. The name is exact while it is short and
//! a hash beyond; the document repeats all three, so that two attachments that meet in one name are told apart, not mixed up.

use crate::dialect::Backend;
use crate::json;
use crate::settings::Families;
use serde_json::{Map, Value};
use std::fmt;

/// The version we write. A record lives as long as its pod, so a version that was ever released stays readable.
pub const VERSION: u64 = 1;
/// The longest record: a stamp within a pod's 256 KiB of annotations, escaped, and some names.
pub const LONGEST: usize = 1 << 20;

/// What identifies an attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The network's name.
    pub network: String,
    /// The container id.
    pub container: String,
    /// The interface.
    pub interface: String,
}

/// What was done for a redirected attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which one.
    pub key: Key,
    /// The path of its network namespace, as the runtime gave it.
    pub netns: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// Its UID, when known.
    pub uid: Option<String>,
    /// The decision, as the text of a stamp.
    pub stamp: String,
    /// The address families.
    pub families: Families,
    /// Who took the rules.
    pub backend: Backend,
    /// The release that planned them; another may plan differently for the same decision. Unknown in a record without it.
    pub release: Option<String>,
}

/// Why a record was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not the JSON it should be.
    Malformed(String),
    /// A newer plugin wrote it.
    Version(u64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed(why) => write!(f, "an attachment record is malformed: {why}"),
            Error::Version(version) => write!(
                f,
                "an attachment record is of version {version}, newer than {VERSION}; install the newer millrace-cni again"
            ),
        }
    }
}

impl std::error::Error for Error {}

impl Key {
    /// The longest exact name: `NAME_MAX` is 255, and a temporary name beside it needs some more.
    const LONGEST_EXACT: usize = 200;

    /// The name of its file. `:` parts it exactly: neither a network's name, a container's id nor an interface's name
    /// may hold one.
    pub fn file_name(&self) -> String {
        // What formats any text is three kilobytes of code, which nothing else of a pod's start needs.
        let exact = [&*self.network, &self.container, &self.interface].join(":");
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b'~';
        if exact.len() <= Self::LONGEST_EXACT && exact.bytes().all(plain) && !exact.starts_with('.') {
            return exact;
        }
        format!("~{:032x}", fnv1a(exact.as_bytes()))
    }
}

/// FNV-1a of 128 bits (RFC 9923). It need not resist an attacker: a record found under a name must say the same key.
fn fnv1a(bytes: &[u8]) -> u128 {
    let basis = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    bytes.iter().fold(basis, |hash: u128, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

impl Record {
    /// The document. Written word by word, as every pod's start pays for it.
    pub fn write(&self) -> Vec<u8> {
        let mut document = Vec::with_capacity(512 + 2 * self.stamp.len());
        document.extend_from_slice(br#"{"v":1"#);
        for (key, value) in [
            ("network", Some(&*self.key.network)),
            ("container", Some(&*self.key.container)),
            ("interface", Some(&*self.key.interface)),
            ("netns", Some(&*self.netns)),
            ("namespace", Some(&*self.namespace)),
            ("name", Some(&*self.name)),
            ("uid", self.uid.as_deref()),
            ("stamp", Some(&*self.stamp)),
            ("families", Some(families_name(self.families))),
            ("backend", Some(self.backend.name())),
            ("release", self.release.as_deref()),
        ] {
            document.extend_from_slice(b",");
            json::put(&mut document, key);
            document.extend_from_slice(b":");
            match value {
                Some(value) => json::put(&mut document, value),
                None => document.extend_from_slice(b"null"),
            }
        }
        document.extend_from_slice(b"}\n");
        document
    }

    /// Reads a document.
    pub fn read(bytes: &[u8]) -> Result<Record, Error> {
        if bytes.len() > LONGEST {
            return Err(Error::Malformed(format!("it is longer than {LONGEST} bytes")));
        }
        let map = match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => map,
            Ok(_) => return Err(Error::Malformed("it is not an object".to_owned())),
            Err(error) => return Err(Error::Malformed(error.to_string())),
        };
        match map.get("v").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(version) => return Err(Error::Version(version)),
            None => return Err(Error::Malformed("it has no version".to_owned())),
        }
        Ok(Record {
            key: Key {
                network: text(&map, "network")?,
                container: text(&map, "container")?,
                interface: text(&map, "interface")?,
            },
            netns: text(&map, "netns")?,
            namespace: text(&map, "namespace")?,
            name: text(&map, "name")?,
            uid: map.get("uid").and_then(Value::as_str).map(str::to_owned),
            stamp: text(&map, "stamp")?,
            families: families(&text(&map, "families")?)?,
            backend: backend(&text(&map, "backend")?)?,
            release: map.get("release").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

fn families(name: &str) -> Result<Families, Error> {
    let all = [Families::V4, Families::Both];
    let found = all.into_iter().find(|families| families_name(*families) == name);
    found.ok_or_else(|| Error::Malformed(format!("families is {name:?}")))
}

fn backend(name: &str) -> Result<Backend, Error> {
    Backend::from_name(name).ok_or_else(|| Error::Malformed(format!("backend is {name:?}")))
}

fn families_name(families: Families) -> &'static str {
    match families {
        Families::V4 => "4",
        Families::Both => "both",
    }
}

fn text(map: &Map<String, Value>, key: &str) -> Result<String, Error> {
    let value = map.get(key).and_then(Value::as_str).map(str::to_owned);
    value.ok_or_else(|| Error::Malformed(format!("{key} is not a string")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> Record {
        Record {
            key: Key { network: "net".into(), container: "c1".into(), interface: "eth0".into() },
            netns: "/var/run/netns/x".into(),
            namespace: "default".into(),
            name: "reviews".into(),
            uid: Some("u".into()),
            stamp: r#"{"v":1}"#.into(),
            families: Families::Both,
            backend: Backend::Iptables,
            release: Some("0.1.0".into()),
        }
    }

    fn file_name(network: &str, container: &str, interface: &str) -> String {
        Key { network: network.into(), container: container.into(), interface: interface.into() }.file_name()
    }

    #[test]
    fn a_record_reads_what_it_wrote() {
        for backend in Backend::ALL {
            for families in [Families::V4, Families::Both] {
                let record = Record { backend, families, ..record() };
                assert_eq!(Record::read(&record.write()), Ok(record));
            }
        }
        let unknown = Record { uid: None, release: None, ..record() };
        assert_eq!(Record::read(&unknown.write()), Ok(unknown));
    }

    #[test]
    fn names_are_exact_while_short_and_bounded_beyond() {
        assert_eq!(file_name("net", "c-1", "eth0"), "net:c-1:eth0");
        let long = file_name(&"n".repeat(255), &"c".repeat(255), "eth0");
        assert_eq!((long.len(), long.starts_with('~')), (33, true));
        assert_ne!(long, file_name(&"n".repeat(255), &"c".repeat(255), "eth1"));
        assert!(file_name("net", "c", "ünï0").starts_with('~'), "not every tmpfs reader knows UTF-8");
        assert!(file_name("net", "c", "a~b").starts_with('~'));
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(fnv1a(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv1a(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(fnv1a(b"foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }

    #[test]
    fn what_is_not_a_record_says_why() {
        for (text, why) in [
            ("", "malformed"),
            ("[]", "not an object"),
            ("{}", "no version"),
            (r#"{"v":2}"#, "version 2"),
            (r#"{"v":1}"#, "not a string"),
        ] {
            let error = Record::read(text.as_bytes()).expect_err("must be refused");
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn what_it_names_must_exist() {
        let text = String::from_utf8(record().write()).unwrap();
        for (from, to) in [("\"both\"", "\"six\""), ("\"iptables\"", "\"ebpf\"")] {
            let error = Record::read(text.replace(from, to).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(to.trim_matches('"')), "{error}");
        }
    }

    proptest! {
        #![proptest_config(crate::laws::config())]

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::read(&bytes);
        }

        #[test]
        fn no_mutation_makes_it_panic(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = record().write();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Record::read(&bytes);
        }
    }
}
