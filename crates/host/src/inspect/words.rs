//! Observed rules in the words of nft, whichever backend wrote them.
//!
//! For reading: `nft list` itself shows iptables' matches as opaque extensions, this shows what they mean.

use super::report::places;
use millrace_core::dialect::Backend;
use millrace_core::rules::{
    Chain, ConnectionState, Content, Family, Match, Observed, ObservedRule, Protocol, Rule, Table, Verdict,
};
use millrace_core::settings::PortRange;
use std::fmt::Write;

/// One table.
pub fn table(backend: Backend, observed: &Observed, family: Family, table: Table) -> String {
    let kind = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let mut all = format!("table {kind} {} {{ # by {backend}\n", table.name());
    for (place, rules) in places(observed, family, table) {
        let _ = writeln!(all, "\tchain {} {{", place.chain.name());
        if let Some(hook) = hook(place.chain) {
            let kind = if table == Table::Nat { "nat" } else { "filter" };
            let _ = writeln!(
                all,
                "\t\ttype {kind} hook {hook} priority {}; policy accept;",
                priority(table, place.chain)
            );
        }
        for rule in rules {
            let _ = writeln!(all, "\t\t{}", line(kind, rule));
        }
        all.push_str("\t}\n");
    }
    all.push_str("}\n");
    all
}

fn hook(chain: Chain) -> Option<&'static str> {
    match chain {
        Chain::Prerouting => Some("prerouting"),
        Chain::Input => Some("input"),
        Chain::Forward => Some("forward"),
        Chain::Output => Some("output"),
        Chain::Postrouting => Some("postrouting"),
        _ => None,
    }
}

fn priority(table: Table, chain: Chain) -> &'static str {
    match (table, chain) {
        (Table::Raw, _) => "raw",
        (Table::Mangle, _) => "mangle",
        (Table::Nat, Chain::Input | Chain::Postrouting) => "srcnat",
        (Table::Nat, _) => "dstnat",
    }
}

fn line(kind: &str, rule: &ObservedRule) -> String {
    let counter = format!("counter packets {} bytes {}", rule.packets, rule.bytes);
    match &rule.content {
        Content::Known(known) => {
            let mut words = conditions(kind, known);
            words.push(counter);
            words.push(verdict(kind, known.verdict()));
            words.join(" ")
        }
        Content::Foreign { text, .. } => format!("# not ours: {text} {counter}"),
    }
}

fn conditions(kind: &str, rule: &Rule) -> Vec<String> {
    let mut transport = "th";
    let ported = rule.matches().iter().any(|condition| {
        matches!(
            condition,
            Match::SourcePort { .. } | Match::DestinationPort { .. } | Match::DestinationPorts { .. }
        )
    });
    let mut words = Vec::new();
    for condition in rule.matches() {
        if let Match::Protocol(protocol) = condition {
            transport = match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            };
            if ported {
                // `tcp dport` says both.
                continue;
            }
        }
        words.push(condition_words(kind, transport, condition));
    }
    words
}

fn condition_words(kind: &str, transport: &str, condition: &Match) -> String {
    let no = |not: &bool| if *not { "!= " } else { "" };
    match condition {
        Match::Source { net, not } => format!("{kind} saddr {}{net}", no(not)),
        Match::Destination { net, not } => format!("{kind} daddr {}{net}", no(not)),
        Match::In { interface, not } => format!("iifname {}\"{interface}\"", no(not)),
        Match::Out { interface, not } => format!("oifname {}\"{interface}\"", no(not)),
        Match::Protocol(_) => format!("meta l4proto {transport}"),
        Match::SourcePort { ports, not } => format!("{transport} sport {}{ports}", no(not)),
        Match::DestinationPort { ports, not } => format!("{transport} dport {}{ports}", no(not)),
        Match::DestinationPorts { ports, not } => {
            format!("{transport} dport {}{{ {} }}", no(not), list(ports))
        }
        Match::Uid { id, not } => format!("meta skuid {}{id}", no(not)),
        Match::Gid { id, not } => format!("meta skgid {}{id}", no(not)),
        Match::Mark { value, not } => format!("meta mark {}{value:#010x}", no(not)),
        Match::ConnectionMark { value, not } => format!("ct mark {}{value:#010x}", no(not)),
        Match::ConnectionState(ConnectionState::Invalid) => "ct state invalid".to_owned(),
        Match::ConnectionState(ConnectionState::RelatedOrEstablished) => {
            "ct state established,related".to_owned()
        }
    }
}

fn list(ports: &[PortRange]) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn verdict(kind: &str, verdict: Verdict) -> String {
    match verdict {
        Verdict::Return => "return".to_owned(),
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Jump(chain) => format!("jump {}", chain.name()),
        Verdict::Redirect(port) => format!("redirect to :{port}"),
        Verdict::Tproxy { port, mark } => {
            format!("tproxy {kind} to :{port} meta mark set {mark:#010x} accept")
        }
        Verdict::SetMark(mark) => format!("meta mark set {mark:#010x}"),
        Verdict::SaveMark => "ct mark set meta mark".to_owned(),
        Verdict::RestoreMark => "meta mark set ct mark".to_owned(),
        Verdict::Zone(zone) => format!("ct zone set {zone}"),
    }
}
