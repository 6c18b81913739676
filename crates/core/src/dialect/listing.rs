//! The table that `iptables -t TABLE -L -n -v --line-numbers -x` prints, as its nft variant of 1.8.9 prints it.
//!
//! For people who know that table, and for comparing with it. It is read by nobody, so rules of others may be shown
//! in their own words, and chains of others with the number of their rules only.

use super::text::words;
use crate::rules::{
    Chain, ConnectionState, Content, Family, Match, Observed, ObservedRule, Place, Protocol, Rule,
};
use crate::rules::{Table, Verdict};
use crate::settings::PortRange;
use ipnet::IpNet;
use std::fmt::Write;

const HEADER: &str =
    "num      pkts      bytes target     prot opt in     out     source               destination         \n";

/// The listing of one table of one family.
pub fn list(observed: &Observed, family: Family, table: Table) -> String {
    let mut blocks: Vec<String> = Vec::new();
    let rules = |chain| observed.chains.get(&Place { family, table, chain }).map_or(&[][..], Vec::as_slice);
    for &chain in table.hooks() {
        let title = format!("Chain {} (policy ACCEPT 0 packets, 0 bytes)\n", chain.name());
        blocks.push(title + HEADER + &lines(family, rules(chain)));
    }
    let here = observed.chains.keys().filter(|place| (place.family, place.table) == (family, table));
    let ours = here.filter(|place| !place.chain.is_hook());
    let ours = ours.map(|place| (place.chain.name(), lines(family, rules(place.chain))));
    let others =
        observed.foreign_chains.iter().filter(|chain| (chain.family, chain.table) == (family, table));
    let others = others.map(|chain| (chain.name.as_str(), passed_over(chain.rules)));
    let mut chains: Vec<(&str, String)> = ours.chain(others).collect();
    // The nft variant sorts them by name.
    chains.sort_unstable();
    for (name, lines) in chains {
        let references = references(observed, family, table, name);
        blocks.push(format!("Chain {name} ({references} references)\n{HEADER}{lines}"));
    }
    blocks.join("\n")
}

fn passed_over(rules: usize) -> String {
    if rules == 0 { String::new() } else { format!("({rules} rules, not read)\n") }
}

fn references(observed: &Observed, family: Family, table: Table, name: &str) -> usize {
    let places = observed.chains.iter().filter(|(place, _)| (place.family, place.table) == (family, table));
    let targets = places.flat_map(|(_, rules)| rules).filter(|rule| match &rule.content {
        Content::Known(rule) => matches!(rule.verdict(), Verdict::Jump(chain) if chain.name() == name),
        Content::Foreign { jump, .. } => jump.as_deref() == Some(name),
    });
    targets.count()
}

fn lines(family: Family, rules: &[ObservedRule]) -> String {
    let mut lines = String::new();
    for (number, rule) in (1..).zip(rules) {
        let row = match &rule.content {
            Content::Known(known) => Row::known(family, known),
            Content::Foreign { text, .. } => Row::foreign(family, text),
        };
        let _ = writeln!(lines, "{number:<4} {:>8} {:>8} {row}", rule.packets, rule.bytes);
    }
    lines
}

/// The columns after the counters.
struct Row {
    target: String,
    protocol: (char, String),
    by: String,
    out: String,
    source: (char, String),
    destination: (char, String),
    rest: String,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Row { target, protocol, by, out, source, destination, rest } = self;
        write!(f, "{target:<9} {}{:<4} --  {by:<6} {out:<6} ", protocol.0, protocol.1)?;
        write!(f, "{}{:<19} {}{:<19} {rest}", source.0, source.1, destination.0, destination.1)
    }
}

impl Row {
    fn empty(family: Family) -> Row {
        let any = match family {
            Family::V4 => "0.0.0.0/0",
            Family::V6 => "::/0",
        };
        Row {
            target: String::new(),
            protocol: (' ', "0".to_owned()),
            by: "*".to_owned(),
            out: "*".to_owned(),
            source: (' ', any.to_owned()),
            destination: (' ', any.to_owned()),
            rest: String::new(),
        }
    }

    fn known(family: Family, rule: &Rule) -> Row {
        let mut row = Row::empty(family);
        let mut protocol = "";
        let mut ported = false;
        for condition in rule.matches() {
            let port = ports(condition);
            if !ported && port.is_some() {
                let _ = write!(row.rest, " {protocol}");
            }
            ported = port.is_some();
            match condition {
                Match::Source { net, not } => row.source = address(*net, *not),
                Match::Destination { net, not } => row.destination = address(*net, *not),
                Match::In { interface, not } => row.by = format!("{}{interface}", bang(*not)),
                Match::Out { interface, not } => row.out = format!("{}{interface}", bang(*not)),
                Match::Protocol(Protocol::Tcp) => (row.protocol.1, protocol) = ("6".to_owned(), "tcp"),
                Match::Protocol(Protocol::Udp) => (row.protocol.1, protocol) = ("17".to_owned(), "udp"),
                other => row.rest.push_str(&port.unwrap_or_else(|| extension(other))),
            }
        }
        let (target, options) = target(family, rule.verdict());
        row.target = target.to_owned();
        row.rest.push_str(&options);
        row
    }

    /// The columns that can be told from save text; everything else as it was written.
    fn foreign(family: Family, text: &str) -> Row {
        let mut row = Row::empty(family);
        let words = words(text).unwrap_or_default();
        if !words.first().is_some_and(|word| word.starts_with(['-', '!'])) {
            row.rest = format!(" {text}");
            return row;
        }
        let mut rest = Vec::new();
        let mut words = words.into_iter();
        let mut not = false;
        while let Some(word) = words.next() {
            let sign = if not { '!' } else { ' ' };
            let value = |words: &mut dyn Iterator<Item = String>| words.next().unwrap_or_default();
            match word.as_str() {
                "!" => {
                    not = true;
                    continue;
                }
                "-j" | "-g" => row.target = value(&mut words),
                "-p" => row.protocol = (sign, number(&value(&mut words))),
                "-i" => row.by = bang(not).to_owned() + &value(&mut words),
                "-o" => row.out = bang(not).to_owned() + &value(&mut words),
                "-s" => row.source = (sign, host(value(&mut words))),
                "-d" => row.destination = (sign, host(value(&mut words))),
                _ => rest.push(format!(" {}{word}", if not { "! " } else { "" })),
            }
            not = false;
        }
        row.rest = rest.concat();
        row
    }
}

fn ports(condition: &Match) -> Option<String> {
    let (name, ports, not) = match condition {
        Match::SourcePort { ports, not } => ("spt", ports, not),
        Match::DestinationPort { ports, not } => ("dpt", ports, not),
        _ => return None,
    };
    let plural = if ports.is_single() { "" } else { "s" };
    Some(format!(" {name}{plural}:{}{}", bang(*not), range(*ports)))
}

fn extension(condition: &Match) -> String {
    match condition {
        Match::DestinationPorts { ports, not } => {
            let ports: Vec<String> = ports.iter().map(|ports| range(*ports)).collect();
            format!(" multiport dports {}{}", if *not { " !" } else { "" }, ports.join(","))
        }
        Match::Uid { id, not } => format!("{} owner UID match {id}", spaced(*not)),
        Match::Gid { id, not } => format!("{} owner GID match {id}", spaced(*not)),
        Match::Mark { value, not } => format!(" mark match{} {value:#x}", spaced(*not)),
        Match::ConnectionMark { value, not } => format!(" connmark match {} {value:#x}", bang(*not)),
        Match::ConnectionState(ConnectionState::Invalid) => " ctstate INVALID".to_owned(),
        Match::ConnectionState(ConnectionState::RelatedOrEstablished) => {
            " ctstate RELATED,ESTABLISHED".to_owned()
        }
        // These have columns of their own.
        Match::Source { .. }
        | Match::Destination { .. }
        | Match::In { .. }
        | Match::Out { .. }
        | Match::Protocol(_)
        | Match::SourcePort { .. }
        | Match::DestinationPort { .. } => String::new(),
    }
}

fn target(family: Family, verdict: Verdict) -> (&'static str, String) {
    match verdict {
        Verdict::Return => ("RETURN", String::new()),
        Verdict::Accept => ("ACCEPT", String::new()),
        Verdict::Drop => ("DROP", String::new()),
        Verdict::Jump(chain) => (Chain::name(chain), String::new()),
        Verdict::Redirect(port) => ("REDIRECT", format!(" redir ports {port}")),
        Verdict::Tproxy { port, mark } => {
            let any = match family {
                Family::V4 => "0.0.0.0",
                Family::V6 => "::",
            };
            ("TPROXY", format!(" TPROXY redirect {any}:{port} mark {mark:#x}/0xffffffff"))
        }
        Verdict::SetMark(mark) => ("MARK", format!(" MARK set {mark:#x}")),
        Verdict::SaveMark => ("CONNMARK", " CONNMARK save".to_owned()),
        Verdict::RestoreMark => ("CONNMARK", " CONNMARK restore".to_owned()),
        Verdict::Zone(zone) => ("CT", format!(" CT zone {zone}")),
    }
}

fn address(net: IpNet, not: bool) -> (char, String) {
    (if not { '!' } else { ' ' }, host(net.to_string()))
}

/// A single address is shown without its length.
fn host(text: String) -> String {
    match text.parse::<IpNet>() {
        Ok(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        _ => text,
    }
}

/// `-n` shows protocols by number.
fn number(name: &str) -> String {
    const NUMBERS: [(&str, &str); 9] = [
        ("icmp", "1"),
        ("tcp", "6"),
        ("udp", "17"),
        ("gre", "47"),
        ("esp", "50"),
        ("ah", "51"),
        ("ipv6-icmp", "58"),
        ("sctp", "132"),
        ("udplite", "136"),
    ];
    NUMBERS.iter().find(|(known, _)| *known == name).map_or(name, |(_, number)| number).to_owned()
}

fn range(ports: PortRange) -> String {
    if ports.is_single() { ports.first().to_string() } else { format!("{}:{}", ports.first(), ports.last()) }
}

fn bang(not: bool) -> &'static str {
    if not { "!" } else { "" }
}

fn spaced(not: bool) -> &'static str {
    if not { " !" } else { "" }
}
