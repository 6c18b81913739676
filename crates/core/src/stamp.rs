//! The stamp on a pod, annotation `millrace.dev/redirect`: the decision about it and its resolved settings, so that
//! its network can be set up without asking anybody.
//!
//! Holds every setting as the knobs table writes it. Reading never guesses: whatever this version does not know is
//! an error, and the agent is asked instead.

pub use crate::knobs::STAMP_ANNOTATION;

use crate::complaint::Complaint;
use crate::json::{self, Members, Raw};
use crate::knobs::{self, KNOBS};
use crate::reason::Reason;
use crate::settings::Settings;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// The version this Millrace writes and reads. A new setting needs no new one as long as its default does what
/// versions without it did; the golden test in this file holds the defaults fast.
const VERSION: u64 = 1;

/// The longest stamp that is read (M10): Kubernetes' own bound on all annotations of an object together.
pub const LONGEST: usize = 256 * 1024;

/// The stamp of a pod that asks for nothing in a mesh whose defaults are ours.
const USUAL: &str = concat!(
    r#"{"v":1,"redirect":{"profile":"istio","mode":"REDIRECT","outboundPort":"15001","inboundPort":"15006","#,
    r#""tunnelPort":"15008","proxyUIDs":"1337","proxyGIDs":"1337","includeInboundPorts":"*","#,
    r#""excludeInboundPorts":"15020,15021,15090","includeOutboundIPRanges":"*","excludeOutboundIPRanges":"","#,
    r#""includeOutboundPorts":"","excludeOutboundPorts":"15020","excludeInterfaces":"","rerouteInterfaces":"","#,
    r#""includeOwnerGroups":"*","excludeOwnerGroups":"","excludeOutboundUIDs":"","dnsCapture":"off","#,
    r#""dropInvalid":"false","loopbackCidr":"127.0.0.1/32","tproxyMark":"1337","tproxyTable":"133"}}"#,
);

/// A decision, written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Redirect, like this.
    Redirect(Box<Settings>),
    /// Leave it alone.
    Skip(Reason),
}

/// Why a stamp cannot be followed. In each case whoever decides without stamps has to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is longer than [`LONGEST`].
    TooLong(usize),
    /// It is not JSON, or not of the right shape.
    Malformed(String),
    /// Another version wrote it.
    Version(String),
    /// It has a key that this version does not know.
    UnknownKey(String),
    /// It names a reason that this version does not know.
    UnknownReason(String),
    /// A setting in it cannot be used.
    Setting(Complaint),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read the stamp {STAMP_ANNOTATION}: ")?;
        match self {
            Error::TooLong(length) => write!(f, "it has {length} bytes, the most is {LONGEST}"),
            Error::Malformed(why) => write!(f, "{why}"),
            Error::Version(version) => write!(f, "it is of version {version}, this Millrace knows {VERSION}"),
            Error::UnknownKey(key) => write!(f, "this Millrace does not know the key {key:?}"),
            Error::UnknownReason(name) => write!(f, "this Millrace does not know the reason {name:?}"),
            Error::Setting(complaint) => write!(f, "{complaint}"),
        }?;
        write!(f, "; restart the pod to have it stamped anew")
    }
}

impl std::error::Error for Error {}

/// Writes a stamp.
pub fn write(stamp: &Stamp) -> String {
    let (key, value) = match stamp {
        Stamp::Redirect(settings) => {
            let items = knobs::write(settings).into_iter();
            let items = items.map(|(key, text)| (key.to_owned(), Value::String(text)));
            ("redirect", Value::Object(items.collect()))
        }
        Stamp::Skip(reason) => ("skip", Value::String(reason.name().to_owned())),
    };
    let mut object = Map::new();
    object.insert("v".to_owned(), VERSION.into());
    object.insert(key.to_owned(), value);
    Value::Object(object).to_string()
}

/// Reads a stamp.
pub fn read(text: &str) -> Result<Stamp, Error> {
    // Most pods of a node have this very text, and reading it is a sixth of what our own code costs a pod's start.
    if text == USUAL {
        return Ok(Stamp::Redirect(Box::default()));
    }
    read_any(text)
}

fn read_any(text: &str) -> Result<Stamp, Error> {
    if text.len() > LONGEST {
        return Err(Error::TooLong(text.len()));
    }
    let members = Members::read(text).map_err(not_an_object)?;
    match members.get("v").map(Raw::get) {
        Some(version) if version.parse() == Ok(VERSION) => {}
        Some(version) => return Err(Error::Version(version.to_owned())),
        None => return Err(Error::Malformed("it has no version".to_owned())),
    }
    let settings = members.get("redirect").map(Raw::members);
    let skip = members.get("skip").map(Raw::text);
    let stamp = match (settings, skip) {
        (Some(Some(settings)), None) => Stamp::Redirect(Box::new(read_settings(&settings)?)),
        (None, Some(Some(name))) => {
            Stamp::Skip(Reason::from_name(&name).ok_or_else(|| Error::UnknownReason(name.into_owned()))?)
        }
        _ => {
            return Err(Error::Malformed(
                "it has not one of redirect, with settings, and skip, with a reason".to_owned(),
            ));
        }
    };
    let known = |key: &str| matches!(key, "v" | "redirect" | "skip");
    match members.iter().find(|(key, _)| !known(key)) {
        Some((key, _)) => Err(Error::UnknownKey(key.to_owned())),
        None => Ok(stamp),
    }
}

fn not_an_object(error: json::Error) -> Error {
    Error::Malformed(match error {
        json::Error::Malformed(why) => format!("it is not JSON: {why}"),
        json::Error::Other => "it is not a JSON object".to_owned(),
    })
}

fn read_settings(members: &Members<'_>) -> Result<Settings, Error> {
    let mut items: Vec<(&str, Cow<'_, str>)> = Vec::with_capacity(KNOBS.len());
    let mut stated = [false; KNOBS.len()];
    for (key, raw) in members.iter() {
        let Some(at) = knobs::place_of(key, items.len()) else {
            return Err(Error::UnknownKey(key.to_owned()));
        };
        // Who knows which of the two is meant?
        if std::mem::replace(&mut stated[at], true) {
            return Err(Error::Malformed(format!("the setting {key} is stated twice")));
        }
        match raw.text() {
            Some(text) => items.push((key, text)),
            None => return Err(Error::Malformed(format!("the setting {key} is not a text"))),
        }
    }
    let (settings, complaints) = knobs::read(items.iter().map(|(key, text)| (*key, &**text)));
    match complaints.into_iter().find(|complaint| complaint.fatal) {
        Some(complaint) => Err(Error::Setting(complaint)),
        None => Ok(settings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Dns, Inbound, Interface, Mode, Outbound, OwnerGroups, PortRange, Profile};
    use ipnet::{IpNet, Ipv4Net};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use std::net::IpAddr;

    fn check(text: &str, expected: Result<Stamp, &str>) {
        let expected = expected.map_err(|why| format!("read the stamp {STAMP_ANNOTATION}: {why}"));
        let found = read(text).map_err(|error| error.to_string());
        match (found, expected) {
            (Err(found), Err(expected)) => assert!(found.starts_with(&expected), "{text}: {found}"),
            (found, expected) => assert_eq!(found, expected, "{text}"),
        }
    }

    #[test]
    fn the_default_stamp_never_changes() {
        let stamp = Stamp::Redirect(Box::default());
        assert_eq!(write(&stamp), USUAL);
        check(USUAL, Ok(stamp.clone()));
        assert_eq!(read_any(USUAL), Ok(stamp), "the short way and the long way");
        check(r#"{"v":1,"redirect":{}}"#, Ok(Stamp::Redirect(Box::default())));
    }

    #[test]
    fn a_skip_keeps_its_reason() {
        for reason in Reason::ALL {
            check(&write(&Stamp::Skip(reason)), Ok(Stamp::Skip(reason)));
        }
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        check("", Err("it is not JSON"));
        check("[]", Err("it is not a JSON object"));
        check("{}", Err("it has no version"));
        check(r#"{"v":2,"redirect":{}}"#, Err("it is of version 2, this Millrace knows 1"));
        check(r#"{"v":1}"#, Err("it has not one of redirect"));
        check(r#"{"v":1,"redirect":{},"skip":"NotInjected"}"#, Err("it has not one of redirect"));
        check(r#"{"v":1,"skip":"Tired"}"#, Err(r#"this Millrace does not know the reason "Tired""#));
        check(r#"{"v":1,"redirect":{},"why":""}"#, Err(r#"this Millrace does not know the key "why""#));
        check(r#"{"v":1,"redirect":{"speed":"1"}}"#, Err(r#"this Millrace does not know the key "speed""#));
        let twice = r#"{"v":1,"redirect":{"mode":"TPROXY","mode":"REDIRECT"}}"#;
        check(twice, Err("the setting mode is stated twice"));
        check(r#"{"v":1,"redirect":{"outboundPort":1}}"#, Err("the setting outboundPort is not a text"));
        check(r#"{"v":1,"redirect":{"outboundPort":"x"}}"#, Err(r#"outboundPort: "x": is not a port"#));
        check(&" ".repeat(LONGEST + 1), Err("it has 262145 bytes"));
    }

    proptest! {
        #![proptest_config(crate::laws::config())]

        #[test]
        fn what_is_written_is_read(settings in settings()) {
            let stamp = Stamp::Redirect(Box::new(settings));
            prop_assert_eq!(read(&write(&stamp)), Ok(stamp));
        }
    }

    fn settings() -> impl Strategy<Value = Settings> {
        let flat = (any::<bool>(), any::<bool>(), any::<bool>(), 1..=u16::MAX, 1..=u16::MAX, 1..=u16::MAX);
        let ids = (some(id()), some(id()), any_of(id()));
        let ports = (any_of(port()), any_of(port()));
        let lists = (any_of(net()), any_of(interface()), any_of(interface()));
        let modes = (inbound(), outbound(), groups(), dns());
        let rest = (loopback(), (1..=u32::MAX).prop_filter("taken", |mark| *mark != 1338), 1..253u32);
        (flat, ids, ports, lists, modes, rest).prop_map(|(flat, ids, ports, lists, modes, rest)| Settings {
            profile: if flat.0 { Profile::Asm114 } else { Profile::Istio },
            mode: if flat.1 { Mode::Tproxy } else { Mode::Redirect },
            drop_invalid: flat.2,
            outbound_port: flat.3,
            inbound_port: flat.4,
            tunnel_port: flat.5,
            proxy_uids: ids.0,
            proxy_gids: ids.1,
            exclude_uids: ids.2,
            include_outbound_ports: ports.0,
            exclude_outbound_ports: ports.1,
            exclude_outbound_ranges: lists.0,
            exclude_interfaces: lists.1,
            reroute_interfaces: lists.2,
            inbound: modes.0,
            outbound: modes.1,
            owner_groups: modes.2,
            dns: modes.3,
            loopback: rest.0,
            tproxy_mark: rest.1,
            tproxy_table: rest.2,
        })
    }

    fn any_of<T: Clone + fmt::Debug + PartialEq>(
        item: impl Strategy<Value = T>,
    ) -> impl Strategy<Value = Vec<T>> {
        vec(item, 0..5).prop_map(once)
    }

    fn some<T: Clone + fmt::Debug + PartialEq>(
        item: impl Strategy<Value = T>,
    ) -> impl Strategy<Value = Vec<T>> {
        vec(item, 1..5).prop_map(once)
    }

    /// A list without repetition, as every reader makes it.
    fn once<T: PartialEq>(items: Vec<T>) -> Vec<T> {
        let mut once = Vec::new();
        for item in items {
            if !once.contains(&item) {
                once.push(item);
            }
        }
        once
    }

    fn id() -> impl Strategy<Value = u32> {
        0..u32::MAX
    }

    fn port() -> impl Strategy<Value = PortRange> {
        (any::<u16>(), any::<u16>())
            .prop_map(|(one, two)| PortRange::new(one.min(two), one.max(two)).unwrap())
    }

    fn net() -> impl Strategy<Value = IpNet> {
        (any::<IpAddr>(), 0..=128u8).prop_map(|(address, length)| {
            let length = if address.is_ipv4() { length % 33 } else { length };
            IpNet::new(address, length).unwrap().trunc()
        })
    }

    fn interface() -> impl Strategy<Value = Interface> {
        vec(select(b"abcXYZ019_.-".to_vec()), 0..Interface::LONGEST)
            .prop_map(|rest| Interface::new(&format!("e{}", String::from_utf8(rest).unwrap())).unwrap())
    }

    fn loopback() -> impl Strategy<Value = Ipv4Net> {
        (0..1u32 << 24, 8..=32u8)
            .prop_map(|(host, length)| Ipv4Net::new((0x7f00_0000 | host).into(), length).unwrap().trunc())
    }

    fn inbound() -> impl Strategy<Value = Inbound> {
        let only = some(port()).prop_map(Inbound::Only);
        prop_oneof![any_of(port()).prop_map(Inbound::AllExcept), only, Just(Inbound::Nothing)]
    }

    fn outbound() -> impl Strategy<Value = Outbound> {
        prop_oneof![Just(Outbound::All), some(net()).prop_map(Outbound::Only), Just(Outbound::Nothing)]
    }

    fn groups() -> impl Strategy<Value = OwnerGroups> {
        prop_oneof![any_of(id()).prop_map(OwnerGroups::AllExcept), any_of(id()).prop_map(OwnerGroups::Only)]
    }

    fn dns() -> impl Strategy<Value = Dns> {
        prop_oneof![Just(Dns::Off), Just(Dns::All), some(any::<IpAddr>()).prop_map(Dns::Servers)]
    }
}
