//! One line's words to a rule, if the model can say it.

use crate::rules::{Chain, ConnectionState, Family, Match, Protocol, Rule, Verdict};
use crate::settings::{Interface, PortRange};
use ipnet::IpNet;
use std::net::IpAddr;

/// xt_multiport.h, `XT_MULTI_PORTS`; a range counts two.
const MOST_PORTS: usize = 15;

/// The words of a line: separated by blanks, `"` holding blanks together, `\` keeping what follows it. `None` if a
/// quotation mark is not closed.
pub(in crate::dialect) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().push(chars.next()?),
            ' ' | '\t' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (!quoted).then_some(words)
}

/// The target or chain that the rule names.
pub(super) fn target(words: &[String]) -> Option<&str> {
    let at = words.iter().position(|word| matches!(word.as_str(), "-j" | "-g"))?;
    words.get(at + 1).map(String::as_str)
}

/// The rule, or `None` if the model cannot say all of it.
pub(super) fn rule(family: Family, words: &[String]) -> Option<Rule> {
    let mut words = words.iter().map(String::as_str);
    let mut matches = Vec::new();
    // The match extension that the next options belong to.
    let mut module = "";
    let mut protocols = Vec::new();
    let mut not = false;
    while let Some(word) = words.next() {
        match word {
            "!" if !not => {
                not = true;
                continue;
            }
            "-m" => module = loaded(words.next()?, not)?,
            _ if word.starts_with("-m") => module = loaded(&word[2..], not)?,
            "-j" if !not => {
                let name = words.next()?;
                let options: Vec<&str> = words.collect();
                let verdict = verdict(family, name, &options)?;
                return is_whole(&matches, &protocols).then(|| Rule::new(matches, verdict));
            }
            option => {
                let (option, value) = match option.split_once('=') {
                    Some(both) => both,
                    None => (option, words.next()?),
                };
                matches.extend(condition(family, module, option, value, not)?);
            }
        }
        not = false;
        protocols.extend(protocol(module));
    }
    None
}

/// Whether the conditions go together: each of the basic ones once, ports and extensions of the rule's own protocol.
fn is_whole(matches: &[Match], extensions: &[Protocol]) -> bool {
    let mut basic = [0; 5];
    let mut own = None;
    let mut ported = false;
    for condition in matches {
        match condition {
            Match::Source { .. } => basic[0] += 1,
            Match::Destination { .. } => basic[1] += 1,
            Match::In { .. } => basic[2] += 1,
            Match::Out { .. } => basic[3] += 1,
            Match::Protocol(protocol) => {
                basic[4] += 1;
                own = Some(protocol);
            }
            Match::SourcePort { .. } | Match::DestinationPort { .. } | Match::DestinationPorts { .. } => {
                ported = true;
            }
            _ => {}
        }
    }
    let once = basic.iter().all(|count| *count <= 1);
    once && (own.is_some() || !ported) && extensions.iter().all(|extension| Some(extension) == own)
}

fn loaded(module: &str, not: bool) -> Option<&str> {
    const KNOWN: [&str; 7] = ["tcp", "udp", "multiport", "owner", "mark", "connmark", "conntrack"];
    (!not && KNOWN.contains(&module)).then_some(module)
}

/// One option with its value; `Some(None)` if it holds for every packet.
fn condition(family: Family, module: &str, option: &str, value: &str, not: bool) -> Option<Option<Match>> {
    let found = match (module, option) {
        (_, "-s") => return net(family, value, not).map(|net| net.map(|net| Match::Source { net, not })),
        (_, "-d") => {
            return net(family, value, not).map(|net| net.map(|net| Match::Destination { net, not }));
        }
        (_, "-i") => Match::In { interface: Interface::new(value)?, not },
        (_, "-o") => Match::Out { interface: Interface::new(value)?, not },
        (_, "-p") if !not => Match::Protocol(protocol(value)?),
        ("tcp" | "udp", "--sport") => Match::SourcePort { ports: range(value)?, not },
        ("tcp" | "udp", "--dport") => Match::DestinationPort { ports: range(value)?, not },
        ("multiport", "--dports") => Match::DestinationPorts { ports: list(value)?, not },
        ("owner", "--uid-owner") => Match::Uid { id: value.parse().ok()?, not },
        ("owner", "--gid-owner") => Match::Gid { id: value.parse().ok()?, not },
        ("mark", "--mark") => Match::Mark { value: full(value)?, not },
        ("connmark", "--mark") => Match::ConnectionMark { value: full(value)?, not },
        ("conntrack", "--ctstate") if !not => Match::ConnectionState(state(value)?),
        _ => return None,
    };
    Some(Some(found))
}

fn net(family: Family, text: &str, not: bool) -> Option<Option<IpNet>> {
    let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let right = matches!((family, net), (Family::V4, IpNet::V4(_)) | (Family::V6, IpNet::V6(_)));
    // Every address is no condition; none at all cannot be said.
    let some = net.prefix_len() > 0;
    (right && (some || !not)).then(|| some.then(|| net.trunc()))
}

fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "tcp" | "6" => Some(Protocol::Tcp),
        "udp" | "17" => Some(Protocol::Udp),
        _ => None,
    }
}

fn range(text: &str) -> Option<PortRange> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    PortRange::new(first.parse().ok()?, last.parse().ok()?)
}

fn list(text: &str) -> Option<Vec<PortRange>> {
    let ports = text.split(',').map(range).collect::<Option<Vec<_>>>()?;
    let count: usize = ports.iter().map(|ports| if ports.is_single() { 1 } else { 2 }).sum();
    (count <= MOST_PORTS).then_some(ports)
}

/// A number of which all 32 bits count: alone, or with a full mask.
fn full(text: &str) -> Option<u32> {
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    (number(mask)? == u32::MAX).then(|| number(value))?
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn state(text: &str) -> Option<ConnectionState> {
    match text {
        "INVALID" => Some(ConnectionState::Invalid),
        "RELATED,ESTABLISHED" | "ESTABLISHED,RELATED" => Some(ConnectionState::RelatedOrEstablished),
        _ => None,
    }
}

fn verdict(family: Family, name: &str, options: &[&str]) -> Option<Verdict> {
    let any = match family {
        Family::V4 => "0.0.0.0",
        Family::V6 => "::",
    };
    match (name, options) {
        ("RETURN", []) => Some(Verdict::Return),
        ("ACCEPT", []) => Some(Verdict::Accept),
        ("DROP", []) => Some(Verdict::Drop),
        ("REDIRECT", ["--to-ports" | "--to-port", port]) => Some(Verdict::Redirect(port.parse().ok()?)),
        ("MARK", ["--set-xmark" | "--set-mark", mark]) => Some(Verdict::SetMark(full(mark)?)),
        ("CONNMARK", ["--save-mark", masks @ ..]) => whole(masks).then_some(Verdict::SaveMark),
        ("CONNMARK", ["--restore-mark", masks @ ..]) => whole(masks).then_some(Verdict::RestoreMark),
        ("CT", ["--zone", zone]) => Some(Verdict::Zone(zone.parse().ok()?)),
        ("TPROXY", ["--on-port", port, "--on-ip", address, "--tproxy-mark", mark]) => {
            (*address == any).then_some(Verdict::Tproxy { port: port.parse().ok()?, mark: full(mark)? })
        }
        (name, []) => Chain::from_name(name).filter(|chain| !chain.is_hook()).map(Verdict::Jump),
        _ => None,
    }
}

fn whole(masks: &[&str]) -> bool {
    masks.chunks(2).all(|mask| matches!(mask, ["--nfmask" | "--ctmask", "0xffffffff"]))
}
