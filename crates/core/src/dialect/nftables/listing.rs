//! Rules as `nft list table inet millrace` prints them (as nft 1.0.6 does), for people to read.
//!
//! Rules of another dialect are shown as this one would hold them. Nothing reads a listing back; rules of others are
//! comments in it.

use super::families::{Reach, lines};
use super::write::family_of;
use super::{TABLE, chain_name, chain_named};
use crate::dialect::hooks::{chain_type, priority};
use crate::rules::{
    Chain, ConnectionState, Content, Family, Match, Observed, ObservedRule, Place, Protocol, Rule, RuleSet,
    Table, Verdict,
};
use crate::settings::PortRange;
use std::fmt::Write;

/// What was found.
pub fn listing(observed: &Observed) -> String {
    let reach = Reach::of(&jumps(observed));
    let mut blocks = Vec::new();
    for table in Table::ALL {
        for chain in Chain::ALL {
            let at = |family| observed.chains.get(&Place { family, table, chain }).map(Vec::as_slice);
            let (v4, v6) = (at(Family::V4), at(Family::V6));
            if v4.is_none() && v6.is_none() {
                continue;
            }
            let mut block = head(table, chain);
            let unsaid = reach.unsaid(table, chain);
            for (family, found) in lines(v4.unwrap_or_default(), v6.unwrap_or_default(), unsaid) {
                for text in texts(table, family, found) {
                    // Nothing fails in writing to a string.
                    _ = writeln!(block, "\t\t{text}");
                }
            }
            blocks.push(block + "\t}\n");
        }
    }
    format!("table inet {TABLE} {{\n{}}}\n", blocks.join("\n"))
}

/// What is planned: as found once it is there, with nothing counted.
pub fn draft(rules: &RuleSet) -> String {
    let mut observed = Observed::default();
    for (place, rules) in rules.iter() {
        let found = rules.iter().map(|rule| ObservedRule {
            handle: 0,
            packets: 0,
            bytes: 0,
            content: Content::Known(rule.clone()),
        });
        observed.chains.insert(place, found.collect());
    }
    listing(&observed)
}

/// All jumps between chains, as the reader of the table would find them.
fn jumps(observed: &Observed) -> Vec<(Table, Chain, Option<Family>, Chain)> {
    let rules = observed.chains.iter().flat_map(|(place, rules)| rules.iter().map(move |rule| (place, rule)));
    rules
        .filter_map(|(place, rule)| {
            let to = match &rule.content {
                Content::Known(rule) => match rule.verdict() {
                    Verdict::Jump(to) => to,
                    _ => return None,
                },
                Content::Foreign { jump, .. } => {
                    let name = jump.as_deref()?;
                    Chain::from_name(name).or_else(|| chain_named(name.as_bytes()).map(|(_, chain)| chain))?
                }
            };
            Some((place.table, place.chain, Some(place.family), to))
        })
        .collect()
}

fn head(table: Table, chain: Chain) -> String {
    let name = chain_name(table, chain);
    if !chain.is_hook() {
        return format!("\tchain {name} {{\n");
    }
    let hook = chain.name().to_ascii_lowercase();
    let kind = chain_type(table, chain);
    let priority = match (table, chain) {
        (Table::Raw, _) => "raw".to_owned(),
        (Table::Mangle, _) => "mangle".to_owned(),
        (Table::Nat, Chain::Prerouting) => "dstnat".to_owned(),
        (Table::Nat, Chain::Postrouting) => "srcnat".to_owned(),
        _ => priority(table, chain).to_string(),
    };
    format!("\tchain {name} {{\n\t\ttype {kind} hook {hook} priority {priority}; policy accept;\n")
}

/// The lines that one of our rules is.
fn texts(table: Table, family: Option<Family>, found: &ObservedRule) -> Vec<String> {
    let counter = format!("counter packets {} bytes {}", found.packets, found.bytes);
    let rule = match &found.content {
        Content::Known(rule) => rule,
        Content::Foreign { text, .. } => return vec![format!("# {text} {counter}")],
    };
    let mut texts = Vec::new();
    for rule in one_port_each(rule) {
        let mut words = conditions(family, &rule);
        words.push(counter.clone());
        let open = words.join(" ");
        texts.push(format!("{open} {}", verdict(table, family.or_else(|| family_of(&rule)), rule.verdict())));
        if matches!(rule.verdict(), Verdict::Tproxy { .. }) {
            texts.push(format!("{open} drop"));
        }
    }
    texts
}

/// A choice of ports is a rule for each.
fn one_port_each(rule: &Rule) -> Vec<Rule> {
    let choice = rule.matches().iter().enumerate().find_map(|(at, condition)| match condition {
        Match::DestinationPorts { ports, not: false } => Some((at, ports)),
        _ => None,
    });
    let Some((at, ports)) = choice else { return vec![rule.clone()] };
    let one = |&ports: &PortRange| {
        let mut matches = rule.matches().to_vec();
        matches[at] = Match::DestinationPort { ports, not: false };
        Rule::new(matches, rule.verdict())
    };
    ports.iter().map(one).collect()
}

fn conditions(family: Option<Family>, rule: &Rule) -> Vec<String> {
    let mut words = Vec::new();
    // An address says its family.
    if let (Some(family), None) = (family, family_of(rule)) {
        words.push(format!("meta nfproto {}", if family == Family::V4 { "ipv4" } else { "ipv6" }));
    }
    let has_port = rule.matches().iter().any(|condition| {
        matches!(
            condition,
            Match::SourcePort { .. } | Match::DestinationPort { .. } | Match::DestinationPorts { .. }
        )
    });
    let mut protocol = "th";
    for condition in rule.matches() {
        if let Match::Protocol(known) = condition {
            protocol = match known {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            };
            if !has_port {
                words.push(format!("meta l4proto {protocol}"));
            }
            continue;
        }
        words.push(match_text(condition, protocol));
    }
    words
}

fn match_text(condition: &Match, protocol: &str) -> String {
    let is = |not: bool| if not { "!= " } else { "" };
    let ip = |net: &ipnet::IpNet| if net.addr().is_ipv4() { "ip" } else { "ip6" };
    let range = |net: &ipnet::IpNet| {
        if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
    };
    match condition {
        Match::Source { net, not } => format!("{} saddr {}{}", ip(net), is(*not), range(net)),
        Match::Destination { net, not } => format!("{} daddr {}{}", ip(net), is(*not), range(net)),
        Match::In { interface, not } => format!("iifname {}\"{interface}\"", is(*not)),
        Match::Out { interface, not } => format!("oifname {}\"{interface}\"", is(*not)),
        Match::Protocol(_) => String::new(),
        Match::SourcePort { ports, not } => format!("{protocol} sport {}{ports}", is(*not)),
        Match::DestinationPort { ports, not } => format!("{protocol} dport {}{ports}", is(*not)),
        Match::DestinationPorts { ports, not } => {
            let each: Vec<String> =
                ports.iter().map(|ports| format!("{protocol} dport {}{ports}", is(*not))).collect();
            each.join(" ")
        }
        Match::Uid { id, not } => format!("meta skuid {}{id}", is(*not)),
        Match::Gid { id, not } => format!("meta skgid {}{id}", is(*not)),
        Match::Mark { value, not } => format!("meta mark {}{value:#010x}", is(*not)),
        Match::ConnectionMark { value, not } => format!("ct mark {}{value:#010x}", is(*not)),
        Match::ConnectionState(ConnectionState::Invalid) => "ct state invalid".to_owned(),
        Match::ConnectionState(ConnectionState::RelatedOrEstablished) => {
            "ct state established,related".to_owned()
        }
    }
}

fn verdict(table: Table, family: Option<Family>, verdict: Verdict) -> String {
    match verdict {
        Verdict::Return => "return".to_owned(),
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Jump(chain) => format!("jump {}", chain_name(table, chain)),
        Verdict::Redirect(port) => format!("redirect to :{port}"),
        Verdict::Tproxy { port, mark } => {
            let family = match family {
                None => "",
                Some(Family::V4) => "ip ",
                Some(Family::V6) => "ip6 ",
            };
            format!("tproxy {family}to :{port} meta mark set {mark:#010x} accept")
        }
        Verdict::SetMark(mark) => format!("meta mark set {mark:#010x}"),
        Verdict::SaveMark => "ct mark set meta mark".to_owned(),
        Verdict::RestoreMark => "meta mark set ct mark".to_owned(),
        Verdict::Zone(zone) => format!("ct zone set {zone}"),
    }
}
