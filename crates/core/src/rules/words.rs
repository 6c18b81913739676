//! Rules in words, for reports: the same whatever the dialect. Nothing reads them back.

use super::{ConnectionState, Family, Match, Place, Protocol, Route, Rule, Verdict};
use std::fmt::{Display, Formatter, Result};

impl Display for Rule {
    /// `tcp, to port 15008: return`
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.matches().is_empty() {
            f.write_str("everything")?;
        }
        for (index, condition) in self.matches().iter().enumerate() {
            write!(f, "{}{condition}", if index > 0 { ", " } else { "" })?;
        }
        write!(f, ": {}", self.verdict())
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Match::Source { net, not } => write!(f, "{}from {net}", no(*not)),
            Match::Destination { net, not } => write!(f, "{}to {net}", no(*not)),
            Match::In { interface, not } => write!(f, "{}in by {interface}", no(*not)),
            Match::Out { interface, not } => write!(f, "{}out by {interface}", no(*not)),
            Match::Protocol(protocol) => protocol.fmt(f),
            Match::SourcePort { ports, not } => write!(f, "{}from port {ports}", no(*not)),
            Match::DestinationPort { ports, not } => write!(f, "{}to port {ports}", no(*not)),
            Match::DestinationPorts { ports, not } => {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                write!(f, "{}to one of the ports {}", no(*not), ports.join(" "))
            }
            Match::Uid { id, not } => write!(f, "{}by user {id}", no(*not)),
            Match::Gid { id, not } => write!(f, "{}by group {id}", no(*not)),
            Match::Mark { value, not } => write!(f, "{}marked {value}", no(*not)),
            Match::ConnectionMark { value, not } => write!(f, "{}connection marked {value}", no(*not)),
            Match::ConnectionState(ConnectionState::Invalid) => f.write_str("invalid to conntrack"),
            Match::ConnectionState(ConnectionState::RelatedOrEstablished) => {
                f.write_str("of a known connection")
            }
        }
    }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Verdict::Return => f.write_str("return"),
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Jump(chain) => write!(f, "go through {}", chain.name()),
            Verdict::Redirect(port) => write!(f, "redirect to port {port}"),
            Verdict::Tproxy { port, mark } => write!(f, "deliver to port {port}, mark {mark}"),
            Verdict::SetMark(mark) => write!(f, "mark {mark}"),
            Verdict::SaveMark => f.write_str("copy the mark to the connection"),
            Verdict::RestoreMark => f.write_str("copy the connection's mark to the packet"),
            Verdict::Zone(zone) => write!(f, "track in zone {zone}"),
        }
    }
}

impl Display for Place {
    /// `IPv4 nat ISTIO_OUTPUT`
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {} {}", self.family, self.table.name(), self.chain.name())
    }
}

impl Display for Family {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

impl Display for Route {
    /// `rule fwmark 1337 lookup 133 pref 1330 (ip -4)`, as `ip` would be told of it.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let flag = |family| if family == Family::V4 { "ip -4" } else { "ip -6" };
        match *self {
            Route::InboundSourceAddress => f.write_str("address ::6/128 on lo"),
            Route::Rule { family, mark, table, preference } => {
                write!(f, "rule fwmark {mark} lookup {table} pref {preference} ({})", flag(family))
            }
            Route::LocalDefault { family, table } => {
                write!(f, "route local default dev lo table {table} ({})", flag(family))
            }
        }
    }
}

fn no(not: bool) -> &'static str {
    if not { "not " } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Chain;
    use crate::settings::Interface;

    fn check(rule: Rule, words: &str) {
        assert_eq!(rule.to_string(), words);
    }

    #[test]
    fn a_rule_reads_as_a_sentence() {
        check(Rule::new([], Verdict::Jump(Chain::IstioOutput)), "everything: go through ISTIO_OUTPUT");
        let lo = Match::Out { interface: Interface::lo(), not: false };
        let tunnel = Match::DestinationPort { ports: 15008.into(), not: true };
        check(
            Rule::new(
                [lo, Match::Protocol(Protocol::Tcp), tunnel, Match::Uid { id: 1337, not: false }],
                Verdict::Return,
            ),
            "out by lo, tcp, not to port 15008, by user 1337: return",
        );
    }
}
