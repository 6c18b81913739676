//! Reads one text of one setting into typed values, complaining about every item that is wrong.
//!
//! Never guesses silently: an item is used as written, used after putting it right with a complaint, or left out with
//! a fatal one.

use super::{MOST_ITEMS, Scope, Source};
use crate::complaint::Complaint;
use crate::settings::{Dns, Interface, Mode, PortRange, Profile};
use ipnet::{IpNet, Ipv4Net};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

/// Finds the number of a user or group by name; only `istio-init` stands where names mean what the author meant.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<u32>;

/// The mark of self-calls in TPROXY mode, fixed in the field; TPROXY's own mark must differ.
const SELF_CALL_MARK: u32 = 1338;

pub(super) struct Reader<'a> {
    what: Cow<'a, str>,
    source: Source,
    users: Option<Lookup<'a>>,
    groups: Option<Lookup<'a>>,
    complaints: &'a mut Vec<Complaint>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        what: impl Into<Cow<'a, str>>,
        source: Source,
        complaints: &'a mut Vec<Complaint>,
    ) -> Self {
        Reader { what: what.into(), source, users: None, groups: None, complaints }
    }

    pub(super) fn with_names(self, users: Lookup<'a>, groups: Lookup<'a>) -> Self {
        Reader { users: Some(users), groups: Some(groups), ..self }
    }

    pub(super) fn fatal(&mut self, value: &str, problem: impl Into<String>, fix: impl Into<String>) {
        self.complaints.push(Complaint::fatal(&self.what, value, problem, fix));
    }

    fn note(&mut self, value: &str, problem: impl Into<String>, fix: impl Into<String>) {
        self.complaints.push(Complaint::note(&self.what, value, problem, fix));
    }

    /// A list in which `*` alone means everything.
    pub(super) fn scope<T>(&mut self, text: &str, list: fn(&mut Self, &str) -> Vec<T>) -> Scope<T> {
        if text.trim() == "*" { Scope::All } else { Scope::These(list(self, text)) }
    }

    pub(super) fn ports(&mut self, text: &str) -> Vec<PortRange> {
        self.list(text, Reader::port_range)
    }

    pub(super) fn ranges(&mut self, text: &str) -> Vec<IpNet> {
        self.list(text, Reader::net)
    }

    pub(super) fn interfaces(&mut self, text: &str) -> Vec<Interface> {
        self.list(text, Reader::interface)
    }

    pub(super) fn uids(&mut self, text: &str) -> Vec<u32> {
        self.list(text, |reader, item| reader.id(item, reader.users, "user"))
    }

    pub(super) fn gids(&mut self, text: &str) -> Vec<u32> {
        self.list(text, |reader, item| reader.id(item, reader.groups, "group"))
    }

    /// A port to send traffic to.
    pub(super) fn target_port(&mut self, text: &str) -> Option<u16> {
        let port = digits(text.trim()).and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0);
        if port.is_none() {
            self.fatal(text, "is not a port", "write one number from 1 to 65535");
        }
        port
    }

    /// Go's spellings of true and false, as the field reads them.
    pub(super) fn switch(&mut self, text: &str) -> Option<bool> {
        let value = go_bool(text.trim());
        if value.is_none() {
            let (problem, fix) = ("is neither true nor false", "write true or false");
            // The field warns of a variable or stays silent, and goes on with the default.
            if matches!(self.source, Source::Env | Source::ProxyEnv) {
                self.note(text, format!("{problem}, so it is ignored"), fix);
            } else {
                self.fatal(text, problem, fix);
            }
        }
        value
    }

    pub(super) fn mode(&mut self, text: &str) -> Option<Mode> {
        match (text, self.source) {
            ("REDIRECT", _) | ("", Source::Flag | Source::Env) => Some(Mode::Redirect),
            ("TPROXY", _) => Some(Mode::Tproxy),
            // Deciding takes a pod with NONE out of the redirection; its settings do not matter then.
            ("NONE", Source::Annotation) => None,
            (_, Source::Flag | Source::Env) => {
                let problem = "is not a mode, so it means REDIRECT, as it does to istio-init";
                self.note(text, problem, "write REDIRECT or TPROXY");
                Some(Mode::Redirect)
            }
            _ => {
                let fix = match self.source {
                    Source::Annotation => "write REDIRECT, TPROXY or NONE",
                    _ => "write REDIRECT or TPROXY",
                };
                self.fatal(text, "is not an interception mode", fix);
                None
            }
        }
    }

    pub(super) fn profile(&mut self, text: &str) -> Option<Profile> {
        match text.trim() {
            "istio" => Some(Profile::Istio),
            "asm-1.14" => Some(Profile::Asm114),
            _ => {
                self.fatal(text, "is not a profile", "write istio or asm-1.14");
                None
            }
        }
    }

    /// `off`, `all` or resolvers; true and false as the sidecar's own variable has it.
    pub(super) fn dns(&mut self, text: &str) -> Option<Dns> {
        match text.trim() {
            "off" | "" => return Some(Dns::Off),
            "all" => return Some(Dns::All),
            _ if self.source == Source::ProxyEnv => {
                return self.switch(text).map(|on| if on { Dns::All } else { Dns::Off });
            }
            _ => {}
        }
        if let Some(on) = go_bool(text.trim()) {
            return Some(if on { Dns::All } else { Dns::Off });
        }
        let servers = self.list(text, Reader::resolver);
        if servers.is_empty() { None } else { Some(Dns::Servers(servers)) }
    }

    pub(super) fn loopback(&mut self, text: &str) -> Option<Ipv4Net> {
        let IpNet::V4(net) = self.net(text.trim())? else {
            self.fatal(text, "is not an IPv4 range", "write a part of 127.0.0.0/8; IPv6 has only ::1");
            return None;
        };
        if !net.addr().is_loopback() || net.prefix_len() < 8 {
            self.fatal(text, "is not within 127.0.0.0/8", "write a part of it, such as 127.0.0.1/32");
            return None;
        }
        if net.contains(&Ipv4Addr::new(127, 0, 0, 6)) {
            let problem =
                "covers 127.0.0.6, which the proxy uses as its own source, so istio-validation will fail";
            self.note(text, problem, "write a range without 127.0.0.6");
        }
        if !net.contains(&Ipv4Addr::LOCALHOST) {
            let problem = "does not cover 127.0.0.1, so the proxy's calls to localhost are captured";
            self.note(text, problem, "write a range with 127.0.0.1");
        }
        Some(net)
    }

    pub(super) fn mark(&mut self, text: &str) -> Option<u32> {
        match digits(text.trim()).and_then(|number| u32::try_from(number).ok()) {
            Some(mark) if mark != 0 && mark != SELF_CALL_MARK => Some(mark),
            _ => {
                let problem = "is not a mark that TPROXY can use";
                self.fatal(text, problem, "write a decimal number from 1 to 4294967295 other than 1338");
                None
            }
        }
    }

    /// A routing table of our own: `local default` in one of the kernel's tables would swallow all traffic.
    pub(super) fn table(&mut self, text: &str) -> Option<u32> {
        match digits(text.trim()).and_then(|number| u32::try_from(number).ok()) {
            Some(table) if table != 0 && !(253..=255).contains(&table) => Some(table),
            _ => {
                let fix = "write a decimal number from 1 to 4294967295 other than 253, 254 and 255";
                self.fatal(text, "is not a routing table that can be used here", fix);
                None
            }
        }
    }

    fn list<T: PartialEq>(&mut self, text: &str, item: fn(&mut Self, &str) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        if text.trim().is_empty() {
            return found;
        }
        let count = 1 + text.bytes().filter(|byte| *byte == b',').count();
        if count > MOST_ITEMS {
            let problem = format!("has {count} items, the most is {MOST_ITEMS}");
            self.fatal(text, problem, "write ranges instead of single items");
            return found;
        }
        // An empty list switches capture off. To istio-init, empty items are nothing; elsewhere this is a slip of the pen.
        let strict = !matches!(self.source, Source::Flag | Source::Env);
        if strict && text.split(',').all(|part| part.trim().is_empty()) {
            self.fatal(text, "lists nothing", "write the items, or leave it empty to mean none");
            return found;
        }
        for part in text.split(',').map(str::trim) {
            if part.is_empty() {
                self.note(text, "has an empty item, which is left out", "remove the extra comma");
            } else if part == "*" && count == 1 {
                self.fatal(part, "cannot mean everything here", "list the items or leave it empty");
            } else if part == "*" {
                let problem = "cannot be one of several, as it means everything";
                self.fatal(part, problem, "remove it or all others");
            } else if let Some(value) = item(self, part) {
                if found.contains(&value) {
                    self.note(part, "is in the list already", "remove the second one");
                } else {
                    found.push(value);
                }
            }
        }
        found
    }

    fn port_range(&mut self, item: &str) -> Option<PortRange> {
        let (first, last) = item.split_once(['-', ':']).unwrap_or((item, item));
        let port = |text: &str| digits(text.trim()).and_then(|number| u16::try_from(number).ok());
        let range = match (port(first), port(last)) {
            (Some(first), Some(last)) => PortRange::new(first, last),
            _ => {
                self.fatal(
                    item,
                    "is not a port",
                    "write numbers from 0 to 65535, or ranges such as 8000-8100",
                );
                return None;
            }
        };
        match range {
            Some(range) if range.last() == 0 => {
                self.note(item, "matches nothing, as no connection has port 0", "remove it");
            }
            Some(_) => {}
            None => self.fatal(item, "is an empty range", "write the lower port first"),
        }
        range
    }

    /// A range. One address is taken as the range of just that address, and bits beyond the prefix as zero: that is
    /// what the author can only have meant, but other programs refuse the one or the other, hence the complaint.
    fn net(&mut self, item: &str) -> Option<IpNet> {
        if let Ok(net) = item.parse::<IpNet>() {
            if net != net.trunc() {
                let fix = format!("write {}", net.trunc());
                self.note(item, "has bits set beyond its prefix, which are taken as zero", fix);
            }
            return Some(net.trunc());
        }
        match item.parse::<IpAddr>() {
            Ok(address) => {
                let net = IpNet::from(address);
                self.note(
                    item,
                    "has no prefix length, so it is taken as one address",
                    format!("write {net}"),
                );
                Some(net)
            }
            Err(_) => {
                self.fatal(item, "is not an address range", "write one such as 10.0.0.0/8 or fd00::/8");
                None
            }
        }
    }

    fn interface(&mut self, item: &str) -> Option<Interface> {
        let interface = Interface::new(item);
        if interface.is_none() {
            let fix = "write 1 to 15 letters, digits, _, . or -, a letter first; there are no wildcards";
            self.fatal(item, "is not the name of an interface", fix);
        }
        interface
    }

    fn id(&mut self, item: &str, lookup: Option<Lookup<'_>>, kind: &str) -> Option<u32> {
        // The highest number means "no change" to the kernel and is nobody's (setuid(2)).
        let number = digits(item).and_then(|number| u32::try_from(number).ok()).filter(|id| *id != u32::MAX);
        if number.is_some() {
            return number;
        }
        let name = item.chars().any(|c| !c.is_ascii_digit());
        let found = lookup.filter(|_| name).and_then(|lookup| lookup(item));
        if found.is_none() {
            let (problem, fix) = match (name, lookup.is_some()) {
                (true, true) => (format!("is not a {kind} known here"), "write its number"),
                (true, false) => {
                    (format!("is a {kind}'s name, which means nothing outside its image"), "write its number")
                }
                (false, _) => (format!("is not a {kind}'s number"), "write a number from 0 to 4294967294"),
            };
            self.fatal(item, problem, fix);
        }
        found
    }

    fn resolver(&mut self, item: &str) -> Option<IpAddr> {
        let address = item.parse().ok();
        if address.is_none() {
            self.fatal(item, "is not an address", "write off, all, or addresses of resolvers without a zone");
        }
        address
    }
}

/// What Go's `strconv.ParseBool` accepts, as the field does.
pub(crate) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// A decimal number without a sign.
pub(super) fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
