//! `nat` PREROUTING: what comes in from the network, and what a virtual machine behind the pod sends out.

use super::Draft;
use super::when::when;
use crate::rules::{Chain, Table, Verdict};
use crate::settings::{Inbound, Interface, Mode, Outbound};

pub(super) fn nat(draft: &mut Draft<'_>) {
    let settings = draft.settings;
    for interface in &settings.reroute_interfaces {
        reroute(draft, interface);
    }
    for interface in draft.excluded_inbound() {
        draft.add(Table::Nat, Chain::Prerouting, when().by(interface).then(Verdict::Return)); // P3
    }
    let redirects = settings.mode == Mode::Redirect;
    if redirects && settings.inbound != Inbound::Nothing {
        let jump = when().tcp().then(Verdict::Jump(Chain::IstioInbound));
        draft.add(Table::Nat, Chain::Prerouting, jump); // P4
    }
    // I1. There whatever the mode, as in the field, though under TPROXY nothing jumps here.
    let tunnel = when().tcp().port(settings.tunnel_port).then(Verdict::Return);
    draft.add(Table::Nat, Chain::IstioInbound, tunnel);
    if redirects {
        capture(draft);
    }
    targets(draft);
}

/// I2, I3: the exclusions, then the rest; or only what is listed.
fn capture(draft: &mut Draft<'_>) {
    let redirect = Verdict::Jump(Chain::IstioInRedirect);
    match &draft.settings.inbound {
        Inbound::AllExcept(ports) => {
            for &ports in ports {
                draft.add(Table::Nat, Chain::IstioInbound, when().tcp().port(ports).then(Verdict::Return));
            }
            draft.add(Table::Nat, Chain::IstioInbound, when().tcp().then(redirect));
        }
        Inbound::Only(ports) => {
            for &ports in ports {
                draft.add(Table::Nat, Chain::IstioInbound, when().tcp().port(ports).then(redirect));
            }
        }
        Inbound::Nothing => {}
    }
}

/// R1, R2: TCP only, so that everything else that gets here falls through unharmed.
fn targets(draft: &mut Draft<'_>) {
    let settings = draft.settings;
    let outbound = when().tcp().then(Verdict::Redirect(settings.outbound_port));
    draft.add(Table::Nat, Chain::IstioRedirect, outbound);
    let inbound = when().tcp().then(Verdict::Redirect(settings.inbound_port));
    draft.add(Table::Nat, Chain::IstioInRedirect, inbound);
}

/// P1, P2: what enters by this interface is outbound traffic, under the rules for outbound traffic.
///
/// It cannot jump to ISTIO_OUTPUT: xt_owner refuses a chain that PREROUTING reaches. DNS capture is left out: a redirect
/// in PREROUTING leads to the interface's own address, and the agent listens on loopback only.
fn reroute(draft: &mut Draft<'_>, interface: &Interface) {
    let settings = draft.settings;
    let redirect = Verdict::Jump(Chain::IstioRedirect);
    let add = |draft: &mut Draft<'_>, rule| draft.add(Table::Nat, Chain::Prerouting, rule);
    for &ports in &settings.exclude_outbound_ports {
        add(draft, when().by(interface).tcp().port(ports).then(Verdict::Return));
    }
    for range in draft.own(&settings.exclude_outbound_ranges) {
        add(draft, when().by(interface).to(range).then(Verdict::Return));
    }
    for &ports in &settings.include_outbound_ports {
        add(draft, when().by(interface).tcp().port(ports).then(redirect));
    }
    match &settings.outbound {
        Outbound::All => add(draft, when().by(interface).then(redirect)),
        Outbound::Only(ranges) => {
            for range in draft.own(ranges) {
                add(draft, when().by(interface).to(range).then(redirect));
            }
        }
        Outbound::Nothing => {}
    }
    add(draft, when().by(interface).then(Verdict::Return));
}
