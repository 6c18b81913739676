//! `mangle`: what conntrack calls INVALID is dropped, and transparent proxying.

use super::when::{When, when};
use super::{Draft, SELF_CALL_MARK};
use crate::rules::{Chain, ConnectionState, Rule, Table, Verdict};
use crate::settings::{Inbound, Interface, Mode, PortRange};

const DNS: u16 = 53;

pub(super) fn plan(draft: &mut Draft<'_>) {
    let settings = draft.settings;
    if settings.drop_invalid {
        // First, so that it means every interface in both modes.
        let invalid = when().state(ConnectionState::Invalid);
        add(draft, Chain::Prerouting, invalid.then(Verdict::Jump(Chain::IstioDrop)));
        add(draft, Chain::IstioDrop, when().then(Verdict::Drop));
    }
    if settings.mode == Mode::Tproxy {
        prerouting(draft);
        inbound(draft);
        output(draft);
    }
}

fn prerouting(draft: &mut Draft<'_>) {
    let settings = draft.settings;
    // Rerouted interfaces carry outbound traffic, and this table comes before `nat`, which would say so.
    let rerouted = settings.reroute_interfaces.iter();
    for interface in rerouted.chain(draft.excluded_inbound()) {
        add(draft, Chain::Prerouting, when().by(interface).then(Verdict::Return));
    }
    if settings.inbound != Inbound::Nothing {
        add(draft, Chain::Prerouting, when().tcp().then(Verdict::Jump(Chain::IstioInbound)));
    }
    // After the jump, which accepts what it handles: only packets that the proxy itself has marked come here.
    let marked = when().tcp().mark(settings.tproxy_mark);
    add(draft, Chain::Prerouting, marked.then(Verdict::SaveMark));
}

fn inbound(draft: &mut Draft<'_>) {
    let settings = draft.settings;
    let lo = Interface::lo();
    let spared = [
        // Marked by the proxy: a second round would be one of infinitely many.
        when().tcp().mark(settings.tproxy_mark),
        // The proxy's hop to the application.
        when().from(draft.proxy_source()).by(&lo).tcp(),
        // The application's calls to its own pod stay direct; the proxy's carry this mark.
        when().by(&lo).tcp().not_mark(SELF_CALL_MARK),
        // The tunnel has its own listener.
        when().tcp().port(settings.tunnel_port),
    ];
    for rule in spared {
        add(draft, Chain::IstioInbound, rule.then(Verdict::Return));
    }
    match &settings.inbound {
        Inbound::AllExcept(ports) => {
            for &ports in ports {
                add(draft, Chain::IstioInbound, when().tcp().port(ports).then(Verdict::Return));
            }
            capture(draft, None);
        }
        Inbound::Only(ports) => {
            for &ports in ports {
                capture(draft, Some(ports));
            }
        }
        Inbound::Nothing => return,
    }
    add(draft, Chain::IstioDivert, when().then(Verdict::SetMark(settings.tproxy_mark)));
    add(draft, Chain::IstioDivert, when().then(Verdict::Accept));
    let target = Verdict::Tproxy { port: settings.inbound_port, mark: settings.tproxy_mark };
    let target = when().not_to(draft.loopback()).tcp().then(target);
    add(draft, Chain::IstioTproxy, target);
}

/// Packets of known connections keep the local route; only new ones need the listener looked up.
fn capture(draft: &mut Draft<'_>, ports: Option<PortRange>) {
    let tcp = || match ports {
        Some(ports) => when().tcp().port(ports),
        None => when().tcp(),
    };
    let known = tcp().state(ConnectionState::RelatedOrEstablished);
    add(draft, Chain::IstioInbound, known.then(Verdict::Jump(Chain::IstioDivert)));
    add(draft, Chain::IstioInbound, tcp().then(Verdict::Jump(Chain::IstioTproxy)));
}

fn output(draft: &mut Draft<'_>) {
    let settings = draft.settings;
    let lo = Interface::lo();
    for interface in &settings.exclude_interfaces {
        add(draft, Chain::Output, when().out(interface).then(Verdict::Return));
    }
    // The proxy's packets with the client's own address must keep their mark.
    add(draft, Chain::Output, when().out(&lo).tcp().mark(settings.tproxy_mark).then(Verdict::Return));
    // Calls that `nat` leaves alone must not get the mark, or ISTIO_INBOUND would take them for calls to capture.
    for &ports in &settings.exclude_outbound_ports {
        add(draft, Chain::Output, when().out(&lo).tcp().port(ports).then(Verdict::Return));
    }
    let except: &[u16] = if draft.captures_dns() { &[DNS] } else { &[] };
    let call =
        |draft: &Draft<'_>| -> When { when().not_to(draft.loopback()).out(&lo).tcp().not_ports(except) };
    let mark = Verdict::SetMark(SELF_CALL_MARK);
    for &uid in &settings.proxy_uids {
        add(draft, Chain::Output, call(draft).uid(uid).then(mark));
    }
    for &gid in &settings.proxy_gids {
        add(draft, Chain::Output, call(draft).gid(gid).then(mark));
    }
    // The application's answers on connections where the proxy took the client's address go back to the proxy.
    let answers = when().tcp().connection_mark(settings.tproxy_mark);
    add(draft, Chain::Output, answers.then(Verdict::RestoreMark));
}

fn add(draft: &mut Draft<'_>, chain: Chain, rule: Rule) {
    draft.add(Table::Mangle, chain, rule);
}
