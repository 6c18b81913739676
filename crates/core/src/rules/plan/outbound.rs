//! `nat` OUTPUT: what the pod's own processes send. The order of these rules is the algorithm; each step says
//! what must come before it.

use super::Draft;
use super::when::{Id, When, when};
use crate::rules::{Chain, Table, Verdict};
use crate::settings::{Interface, Mode, Outbound};

const DNS: u16 = 53;

pub(super) fn nat(draft: &mut Draft<'_>) {
    hook(draft);
    excluded_ports(draft);
    // O2. The proxy's hop to the application; before O3a, or that hop would go back to the proxy for ever.
    let hop = when().from(draft.proxy_source()).out(&Interface::lo()).then(Verdict::Return);
    add(draft, hop);
    if draft.settings.mode == Mode::Tproxy {
        // O2'. That hop with the client's address instead: it is known by the mark the proxy gives it.
        let borrowed = when().out(&Interface::lo()).tcp().mark(draft.settings.tproxy_mark);
        add(draft, borrowed.then(Verdict::Return));
    }
    if draft.is_plain() {
        plain_identities(draft)
    } else {
        all_identities(draft)
    }
    others(draft);
    super::dns::jump(draft);
    // O7. After O6, so that a resolver on loopback is captured; the rest of loopback never is.
    add(draft, when().to(draft.loopback()).then(Verdict::Return));
    destinations(draft);
}

fn hook(draft: &mut Draft<'_>) {
    let settings = draft.settings;
    for interface in &settings.exclude_interfaces {
        draft.add(Table::Nat, Chain::Output, when().out(interface).then(Verdict::Return));
    }
    if draft.is_asm() {
        super::dns::asm_hook(draft);
    }
    let everything = if draft.is_asm() { when().tcp() } else { when() };
    draft.add(Table::Nat, Chain::Output, everything.then(Verdict::Jump(Chain::IstioOutput)));
}

/// O1. Before O3a: an excluded port is not captured even when the proxy calls its own pod.
fn excluded_ports(draft: &mut Draft<'_>) {
    let settings = draft.settings;
    for &ports in &settings.exclude_outbound_ports {
        add(draft, when().tcp().port(ports).then(Verdict::Return));
        if !draft.is_asm() {
            add(draft, when().udp().port(ports).then(Verdict::Return));
        }
    }
}

/// The field's listing for one user and one group: O3a, O3b, O3c, then the same for the group as O4.
fn plain_identities(draft: &mut Draft<'_>) {
    let settings = draft.settings;
    let users = settings.proxy_uids.iter().map(|&uid| Id::User(uid));
    let groups = settings.proxy_gids.iter().map(|&gid| Id::Group(gid));
    for id in users.chain(groups) {
        // The field's listing forgets port 53 for groups; with the same number for user and group, as usual, it does not matter.
        let mind_dns = matches!(id, Id::User(_));
        self_call(draft, id, mind_dns);
        if !includes_loopback(draft) {
            let rest = local(draft);
            let rest = match id {
                Id::User(uid) => rest.not_uid(uid),
                Id::Group(gid) => rest.not_gid(gid),
            };
            add(draft, rest.then(Verdict::Return));
        }
        add(draft, when().id(id).then(Verdict::Return));
    }
}

/// Several identities, or TPROXY. In the field's order the second identity's self-calls never reach its O3a, because the
/// first one's O3b has returned them. With every O3a and O3c before O3b, O3b need not name anybody.
fn all_identities(draft: &mut Draft<'_>) {
    let settings = draft.settings;
    let users = settings.proxy_uids.iter().map(|&uid| Id::User(uid));
    let ids: Vec<Id> = users.chain(settings.proxy_gids.iter().map(|&gid| Id::Group(gid))).collect();
    for &id in &ids {
        self_call(draft, id, true);
    }
    for &id in &ids {
        add(draft, when().id(id).then(Verdict::Return));
    }
    if !includes_loopback(draft) {
        let rest = local(draft);
        add(draft, rest.then(Verdict::Return));
    }
}

/// O3a. The client side of the proxy calls its own pod: that must pass the server side. Not DNS, or the agent's query to
/// a resolver in this pod would be pulled into the proxy; not the tunnel, which has its own listener.
fn self_call(draft: &mut Draft<'_>, id: Id, mind_dns: bool) {
    let mut except = Vec::new();
    if draft.captures_dns() && mind_dns {
        except.push(DNS);
    }
    if !draft.is_asm() {
        except.push(draft.settings.tunnel_port);
    }
    let call = when().out(&Interface::lo()).not_to(draft.loopback());
    let call = if except.is_empty() { call } else { call.tcp().not_ports(&except) };
    add(draft, call.id(id).then(Verdict::Jump(Chain::IstioInRedirect)));
}

/// O3b without its owner: other traffic over `lo` stays direct, but queries to a resolver on loopback go on to O6.
fn local(draft: &Draft<'_>) -> When {
    let local = when().out(&Interface::lo());
    if draft.captures_dns() { local.tcp().not_ports(&[DNS]) } else { local }
}

/// Whether the user asked for loopback to be captured, by listing a range that starts there.
fn includes_loopback(draft: &Draft<'_>) -> bool {
    match &draft.settings.outbound {
        Outbound::Only(ranges) => ranges.iter().any(|range| range.addr().is_loopback()),
        Outbound::All | Outbound::Nothing => false,
    }
}

/// O5. Whose traffic is left alone; before O6, so that their DNS is left alone too.
fn others(draft: &mut Draft<'_>) {
    for rule in draft.unowned(when) {
        add(draft, rule.then(Verdict::Return));
    }
}

/// O8, O9, O10: exclusion beats an included port, which beats the list of ranges.
fn destinations(draft: &mut Draft<'_>) {
    let settings = draft.settings;
    let redirect = Verdict::Jump(Chain::IstioRedirect);
    for range in draft.own(&settings.exclude_outbound_ranges) {
        add(draft, when().to(range).then(Verdict::Return));
    }
    for &ports in &settings.include_outbound_ports {
        add(draft, when().tcp().port(ports).then(redirect));
    }
    match &settings.outbound {
        Outbound::All => add(draft, when().then(redirect)),
        Outbound::Only(ranges) => {
            for range in draft.own(ranges) {
                add(draft, when().to(range).then(redirect));
            }
            if draft.is_asm() {
                // The old listing ended a list of ranges with it.
                add(draft, when().then(Verdict::Return));
            }
        }
        Outbound::Nothing => {}
    }
}

fn add(draft: &mut Draft<'_>, rule: crate::rules::Rule) {
    draft.add(Table::Nat, Chain::IstioOutput, rule);
}
