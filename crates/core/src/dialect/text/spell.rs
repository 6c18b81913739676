//! One rule in the spelling of `iptables-save` 1.8, which `iptables-restore` also takes.

use crate::rules::{ConnectionState, Family, Match, Protocol, Rule, Verdict};
use crate::settings::PortRange;

/// With more conditions than this, a line might have more words than `iptables-restore` takes.
const MANY: usize = 40;

/// What follows `-A CHAIN`.
pub fn arguments(family: Family, rule: &Rule) -> String {
    let mut words = Vec::new();
    let close = rule.matches().len() > MANY;
    let mut protocol = "";
    let mut ported = false;
    for condition in rule.matches() {
        if let Match::Protocol(named) = condition {
            protocol = name(*named);
        }
        let is_port = matches!(condition, Match::SourcePort { .. } | Match::DestinationPort { .. });
        if is_port && !ported {
            words.push(format!("-m {protocol}"));
        }
        ported = is_port;
        words.push(match condition {
            // xshared.h, MAX_ARGC: 255 words a line. 64 groups of five words each are too many, of three are not.
            Match::Uid { id, not } if close => format!("-mowner {}--uid-owner={id}", bang(*not)),
            Match::Gid { id, not } if close => format!("-mowner {}--gid-owner={id}", bang(*not)),
            condition => spell(condition),
        });
    }
    words.push(verdict(family, rule.verdict()));
    words.join(" ")
}

fn spell(condition: &Match) -> String {
    match condition {
        Match::Source { net, not } => format!("{}-s {net}", bang(*not)),
        Match::Destination { net, not } => format!("{}-d {net}", bang(*not)),
        Match::In { interface, not } => format!("{}-i {interface}", bang(*not)),
        Match::Out { interface, not } => format!("{}-o {interface}", bang(*not)),
        Match::Protocol(protocol) => format!("-p {}", name(*protocol)),
        Match::SourcePort { ports, not } => format!("{}--sport {}", bang(*not), range(*ports)),
        Match::DestinationPort { ports, not } => format!("{}--dport {}", bang(*not), range(*ports)),
        Match::DestinationPorts { ports, not } => {
            let ports: Vec<String> = ports.iter().map(|ports| range(*ports)).collect();
            format!("-m multiport {}--dports {}", bang(*not), ports.join(","))
        }
        Match::Uid { id, not } => format!("-m owner {}--uid-owner {id}", bang(*not)),
        Match::Gid { id, not } => format!("-m owner {}--gid-owner {id}", bang(*not)),
        Match::Mark { value, not } => format!("-m mark {}--mark {value:#x}", bang(*not)),
        Match::ConnectionMark { value, not } => format!("-m connmark {}--mark {value:#x}", bang(*not)),
        Match::ConnectionState(ConnectionState::Invalid) => "-m conntrack --ctstate INVALID".to_owned(),
        Match::ConnectionState(ConnectionState::RelatedOrEstablished) => {
            "-m conntrack --ctstate RELATED,ESTABLISHED".to_owned()
        }
    }
}

fn verdict(family: Family, verdict: Verdict) -> String {
    const ALL: &str = "--nfmask 0xffffffff --ctmask 0xffffffff";
    match verdict {
        Verdict::Return => "-j RETURN".to_owned(),
        Verdict::Accept => "-j ACCEPT".to_owned(),
        Verdict::Drop => "-j DROP".to_owned(),
        Verdict::Jump(chain) => format!("-j {}", chain.name()),
        Verdict::Redirect(port) => format!("-j REDIRECT --to-ports {port}"),
        Verdict::Tproxy { port, mark } => {
            let any = match family {
                Family::V4 => "0.0.0.0",
                Family::V6 => "::",
            };
            format!("-j TPROXY --on-port {port} --on-ip {any} --tproxy-mark {mark:#x}/0xffffffff")
        }
        Verdict::SetMark(mark) => format!("-j MARK --set-xmark {mark:#x}/0xffffffff"),
        Verdict::SaveMark => format!("-j CONNMARK --save-mark {ALL}"),
        Verdict::RestoreMark => format!("-j CONNMARK --restore-mark {ALL}"),
        Verdict::Zone(zone) => format!("-j CT --zone {zone}"),
    }
}

fn bang(not: bool) -> &'static str {
    if not { "! " } else { "" }
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn range(ports: PortRange) -> String {
    if ports.is_single() { ports.first().to_string() } else { format!("{}:{}", ports.first(), ports.last()) }
}
