//! The shapes of rules, table by table. Conditions come in canonical order: source, destination, in, out, protocol,
//! then ports and the rest.

use super::Origin;
use crate::rules::Chain::{self, IstioDivert, IstioDrop, IstioInRedirect, IstioInbound, IstioOutput};
use crate::rules::Chain::{IstioOutputDns, IstioRedirect, IstioTproxy, Output, Prerouting};
use crate::rules::Match::{self, ConnectionMark, ConnectionState as State, Destination, DestinationPort};
use crate::rules::Match::{DestinationPorts, Gid, In, Mark, Out, Protocol, Source, SourcePort, Uid};
use crate::rules::Protocol::{Tcp, Udp};
use crate::rules::{ConnectionState, Verdict};
use crate::settings::{Interface, PortRange};

/// The tunnel's port in the field; a tunnel elsewhere looks like any excluded port.
const TUNNEL: u16 = 15008;
const DNS: u16 = 53;

pub(super) fn raw(chain: Chain, matches: &[Match], verdict: Verdict) -> Option<Origin> {
    let Verdict::Zone(_) = verdict else {
        let jump = (chain, verdict);
        let ours = matches!(
            jump,
            (Output, Verdict::Jump(IstioOutputDns)) | (Prerouting, Verdict::Jump(IstioInbound))
        );
        return (ours && matches.is_empty()).then_some(Origin::TrackDns);
    };
    match (chain, matches) {
        (IstioOutputDns | Output, [Protocol(Udp), DestinationPort { .. }, owner]) if is_owner(owner) => {
            Some(Origin::AgentToResolver)
        }
        (IstioOutputDns | Output, [Protocol(Udp), SourcePort { .. }, owner]) if is_owner(owner) => {
            Some(Origin::AgentToApplication)
        }
        (
            IstioOutputDns | Output,
            [Protocol(Udp), DestinationPort { .. }]
            | [Destination { .. }, Protocol(Udp), DestinationPort { .. }],
        ) => Some(Origin::ApplicationToAgent),
        (
            IstioInbound | Prerouting,
            [Protocol(Udp), SourcePort { .. }] | [Source { .. }, Protocol(Udp), SourcePort { .. }],
        ) => Some(Origin::ResolverToAgent),
        _ => None,
    }
}

pub(super) fn mangle(chain: Chain, matches: &[Match], verdict: Verdict) -> Option<Origin> {
    match (chain, verdict, matches) {
        (Prerouting, Verdict::Jump(IstioDrop), [State(ConnectionState::Invalid)]) => {
            Some(Origin::DropInvalid)
        }
        (IstioDrop, Verdict::Drop, []) => Some(Origin::Dropped),
        (Prerouting, Verdict::Return, [In { not: false, .. }]) => Some(Origin::TproxyInterface),
        (Prerouting, Verdict::Jump(IstioInbound), [Protocol(Tcp)]) => Some(Origin::TproxyInbound),
        (Prerouting, Verdict::SaveMark, [Protocol(Tcp), Mark { not: false, .. }]) => {
            Some(Origin::TproxySaveMark)
        }
        (IstioInbound, _, _) => tproxy_inbound(matches, verdict),
        (IstioDivert, Verdict::SetMark(_), []) => Some(Origin::DivertMark),
        (IstioDivert, Verdict::Accept, []) => Some(Origin::DivertAccept),
        (IstioTproxy, Verdict::Tproxy { .. }, [Destination { not: true, .. }, Protocol(Tcp)]) => {
            Some(Origin::Tproxy)
        }
        (Output, Verdict::Return, [Out { not: false, .. }]) => Some(Origin::TproxyOut),
        (Output, Verdict::Return, [out, Protocol(Tcp), Mark { not: false, .. }]) if is_lo(out) => {
            Some(Origin::TproxyKeepMark)
        }
        (
            Output,
            Verdict::Return,
            [out, Protocol(Tcp)] | [out, Protocol(Tcp), DestinationPort { not: false, .. }],
        ) if is_lo(out) => Some(Origin::TproxySpared),
        (
            Output,
            Verdict::SetMark(_),
            [Destination { not: true, .. }, out, Protocol(Tcp), owner]
            | [Destination { not: true, .. }, out, Protocol(Tcp), DestinationPort { not: true, .. }, owner],
        ) if is_lo(out) && is_owner(owner) => Some(Origin::TproxySelfCall),
        (Output, Verdict::RestoreMark, [Protocol(Tcp), ConnectionMark { not: false, .. }]) => {
            Some(Origin::TproxyRestoreMark)
        }
        _ => None,
    }
}

fn tproxy_inbound(matches: &[Match], verdict: Verdict) -> Option<Origin> {
    let known = ConnectionState::RelatedOrEstablished;
    match (verdict, matches) {
        (Verdict::Return, [Protocol(Tcp), Mark { not: false, .. }]) => Some(Origin::TproxyMarked),
        (Verdict::Return, [Source { not: false, .. }, by, Protocol(Tcp)]) if is_by_lo(by) => {
            Some(Origin::TproxyHop)
        }
        (Verdict::Return, [by, Protocol(Tcp), Mark { not: true, .. }]) if is_by_lo(by) => {
            Some(Origin::TproxyLocal)
        }
        (Verdict::Return, [Protocol(Tcp), port]) => match port {
            port if is_port(port, TUNNEL) => Some(Origin::TproxyTunnel),
            DestinationPort { not: false, .. } => Some(Origin::TproxyExcluded),
            _ => None,
        },
        (Verdict::Return, [Protocol(Tcp)]) => Some(Origin::TproxyExcluded),
        (
            Verdict::Jump(IstioDivert),
            [Protocol(Tcp), State(state)] | [Protocol(Tcp), DestinationPort { not: false, .. }, State(state)],
        ) if *state == known => Some(Origin::TproxyKnown),
        (
            Verdict::Jump(IstioTproxy),
            [Protocol(Tcp)] | [Protocol(Tcp), DestinationPort { not: false, .. }],
        ) => Some(Origin::TproxyNew),
        _ => None,
    }
}

pub(super) fn nat(chain: Chain, matches: &[Match], verdict: Verdict) -> Option<Origin> {
    match chain {
        Prerouting => nat_prerouting(matches, verdict),
        IstioInbound => nat_inbound(matches, verdict),
        Output => nat_output_hook(matches, verdict),
        IstioOutput => nat_output(matches, verdict),
        IstioOutputDns => dns(matches, verdict),
        IstioRedirect => redirect(matches, verdict).then_some(Origin::ToOutboundListener),
        IstioInRedirect => redirect(matches, verdict).then_some(Origin::ToInboundListener),
        _ => None,
    }
}

fn nat_prerouting(matches: &[Match], verdict: Verdict) -> Option<Origin> {
    match (verdict, matches) {
        (Verdict::Jump(IstioInbound), [Protocol(Tcp)]) => Some(Origin::Inbound),
        (Verdict::Return, [In { not: false, .. }]) => Some(Origin::InterfaceIn),
        (Verdict::Return, rest) if is_rerouted(rest) => Some(Origin::RerouteExcluded),
        (Verdict::Jump(IstioRedirect), [In { not: false, .. }]) => Some(Origin::Rerouted),
        (Verdict::Jump(IstioRedirect), rest) if is_rerouted(rest) => Some(Origin::Rerouted),
        _ => None,
    }
}

/// By an interface, to a port or a range.
fn is_rerouted(matches: &[Match]) -> bool {
    matches!(
        matches,
        [In { not: false, .. }, Protocol(Tcp)]
            | [In { not: false, .. }, Protocol(Tcp), DestinationPort { not: false, .. }]
            | [Destination { not: false, .. }, In { not: false, .. }]
    )
}

fn nat_inbound(matches: &[Match], verdict: Verdict) -> Option<Origin> {
    match (verdict, matches) {
        (Verdict::Return, [Protocol(Tcp), port]) if is_port(port, TUNNEL) => Some(Origin::InboundTunnel),
        (Verdict::Return, [Protocol(Tcp)] | [Protocol(Tcp), DestinationPort { not: false, .. }]) => {
            Some(Origin::InboundExcluded)
        }
        (Verdict::Jump(IstioInRedirect), [Protocol(Tcp)]) => Some(Origin::InboundRest),
        (Verdict::Jump(IstioInRedirect), [Protocol(Tcp), DestinationPort { not: false, .. }]) => {
            Some(Origin::InboundPort)
        }
        _ => None,
    }
}

fn redirect(matches: &[Match], verdict: Verdict) -> bool {
    matches!((verdict, matches), (Verdict::Redirect(_), [Protocol(Tcp)]))
}

fn nat_output_hook(matches: &[Match], verdict: Verdict) -> Option<Origin> {
    match (verdict, matches) {
        (Verdict::Jump(IstioOutput), [] | [Protocol(_)]) => Some(Origin::Outbound),
        (Verdict::Return, [Out { not: false, .. }]) => Some(Origin::InterfaceOut),
        (Verdict::Return, [Protocol(Udp), port, owners @ ..]) if is_port(port, DNS) && is_owners(owners) => {
            Some(Origin::DnsSpared)
        }
        _ => dns(matches, verdict),
    }
}

fn dns(matches: &[Match], verdict: Verdict) -> Option<Origin> {
    let query = match matches {
        [Protocol(_), port] | [Destination { not: false, .. }, Protocol(_), port] => is_port(port, DNS),
        _ => false,
    };
    (query && matches!(verdict, Verdict::Redirect(_))).then_some(Origin::DnsCaptured)
}

fn nat_output(matches: &[Match], verdict: Verdict) -> Option<Origin> {
    match (verdict, matches) {
        (Verdict::Return, _) => returned(matches),
        (Verdict::Jump(IstioInRedirect), [Destination { not: true, .. }, out, rest @ .., owner])
            if is_lo(out) =>
        {
            match (rest, owner) {
                (rest, Uid { not: false, .. }) if is_except(rest) => Some(Origin::SelfCallUser),
                (rest, Gid { not: false, .. }) if is_except(rest) => Some(Origin::SelfCallGroup),
                _ => None,
            }
        }
        (Verdict::Jump(IstioOutputDns), []) => Some(Origin::DnsOutbound),
        (Verdict::Jump(IstioRedirect), []) => Some(Origin::OutboundRest),
        (Verdict::Jump(IstioRedirect), [Destination { not: false, .. }]) => Some(Origin::RangeIncluded),
        (
            Verdict::Jump(IstioRedirect),
            [Protocol(Tcp)] | [Protocol(Tcp), DestinationPort { not: false, .. }],
        ) => Some(Origin::PortIncluded),
        _ => dns(matches, verdict),
    }
}

fn returned(matches: &[Match]) -> Option<Origin> {
    match matches {
        [] => Some(Origin::Nothing),
        [Protocol(_)] | [Protocol(_), DestinationPort { not: false, .. }] => Some(Origin::PortExcluded),
        [Source { not: false, .. }, out] if is_lo(out) => Some(Origin::ProxyHop),
        [out, Protocol(Tcp), Mark { not: false, .. }] if is_lo(out) => Some(Origin::ProxyBorrowedHop),
        [Uid { not: false, .. }] => Some(Origin::SentByUser),
        [Gid { not: false, .. }] => Some(Origin::SentByGroup),
        [Destination { net, not: false }] if net.addr().is_loopback() => Some(Origin::Loopback),
        [Destination { not: false, .. }] => Some(Origin::RangeExcluded),
        [out, rest @ .., Gid { not: true, .. }] if is_lo(out) && is_except(rest) => Some(Origin::LocalGroup),
        [out, rest @ .., Uid { not: true, .. }] if is_lo(out) && is_except(rest) => Some(Origin::LocalUser),
        [out, rest @ ..] if is_lo(out) && is_except(rest) => Some(Origin::LocalUser),
        groups if groups.iter().all(|group| matches!(group, Gid { not: true, .. })) => {
            Some(Origin::OtherGroups)
        }
        _ => None,
    }
}

/// Nothing, or TCP to other ports than some.
fn is_except(matches: &[Match]) -> bool {
    matches!(
        matches,
        [] | [Protocol(Tcp), DestinationPort { not: true, .. } | DestinationPorts { not: true, .. }]
    )
}

fn is_owner(condition: &Match) -> bool {
    matches!(condition, Uid { not: false, .. } | Gid { not: false, .. })
}

/// One owner, or none of several groups, or nobody at all.
fn is_owners(matches: &[Match]) -> bool {
    let others = matches.iter().all(|condition| matches!(condition, Gid { not: true, .. }));
    others || matches!(matches, [owner] if is_owner(owner))
}

fn is_lo(condition: &Match) -> bool {
    matches!(condition, Out { interface, not: false } if *interface == Interface::lo())
}

fn is_by_lo(condition: &Match) -> bool {
    matches!(condition, In { interface, not: false } if *interface == Interface::lo())
}

fn is_port(condition: &Match, port: u16) -> bool {
    matches!(condition, DestinationPort { ports, not: false } if *ports == PortRange::from(port))
}
