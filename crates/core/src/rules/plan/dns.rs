//! DNS capture: queries go to the proxy's agent, and `raw` keeps the flows apart.
//!
//! The application's query to the resolver and the agent's own may share addresses and ports, so conntrack must see
//! them in two zones: 2 between application and agent, 1 between agent and resolver. The first zone given wins, so rules for
//! the agent come before those for everybody.

use super::Draft;
use super::when::{Id, When, when};
use crate::rules::{Chain, Protocol, Table, Verdict};
use crate::settings::{DNS_PORT, Dns};
use ipnet::IpNet;
use std::net::IpAddr;

const PORT: u16 = 53;
const TO_RESOLVER: Verdict = Verdict::Zone(1);
const TO_AGENT: Verdict = Verdict::Zone(2);

pub(super) fn plan(draft: &mut Draft<'_>) {
    if !draft.captures_dns() {
        return;
    }
    if !draft.is_asm() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for server in servers(draft) {
                draft.add(Table::Nat, Chain::IstioOutputDns, redirect(protocol, server));
            }
        }
    }
    zones(draft);
}

/// O6: the place of DNS in ISTIO_OUTPUT.
pub(super) fn jump(draft: &mut Draft<'_>) {
    if draft.is_asm() {
        for server in servers(draft) {
            draft.add(Table::Nat, Chain::IstioOutput, redirect(Protocol::Tcp, server));
        }
    } else if !servers(draft).is_empty() {
        draft.add(Table::Nat, Chain::IstioOutput, when().then(Verdict::Jump(Chain::IstioOutputDns)));
    }
}

/// The old listing's place for UDP, of which its ISTIO_OUTPUT saw nothing: OUTPUT itself.
pub(super) fn asm_hook(draft: &mut Draft<'_>) {
    if !draft.captures_dns() {
        return;
    }
    let query = || when().udp().port(PORT);
    let agent = ids(draft).into_iter().map(|id| query().id(id));
    let spared: Vec<When> = agent.chain(draft.unowned(query)).collect();
    for rule in spared {
        draft.add(Table::Nat, Chain::Output, rule.then(Verdict::Return));
    }
    for server in servers(draft) {
        draft.add(Table::Nat, Chain::Output, redirect(Protocol::Udp, server));
    }
}

fn zones(draft: &mut Draft<'_>) {
    let (output, prerouting) = if draft.is_asm() {
        (Chain::Output, Chain::Prerouting)
    } else {
        (Chain::IstioOutputDns, Chain::IstioInbound)
    };
    let servers = servers(draft);
    if !draft.is_asm() {
        draft.add(Table::Raw, Chain::Output, when().then(Verdict::Jump(output)));
        if !servers.is_empty() {
            draft.add(Table::Raw, Chain::Prerouting, when().then(Verdict::Jump(prerouting)));
        }
    }
    for id in ids(draft) {
        draft.add(Table::Raw, output, when().udp().port(PORT).id(id).then(TO_RESOLVER));
        draft.add(Table::Raw, output, when().udp().source_port(DNS_PORT).id(id).then(TO_AGENT));
    }
    for server in servers {
        let (to, from) = match server {
            Some(server) => (when().to(server), when().from(server)),
            None => (when(), when()),
        };
        draft.add(Table::Raw, output, to.udp().port(PORT).then(TO_AGENT));
        draft.add(Table::Raw, prerouting, from.udp().source_port(PORT).then(TO_RESOLVER));
    }
}

/// Whose queries are captured in this family: one entry per resolver, or one for all.
fn servers(draft: &Draft<'_>) -> Vec<Option<IpNet>> {
    match &draft.settings.dns {
        Dns::Off => Vec::new(),
        Dns::All => vec![None],
        Dns::Servers(servers) => {
            let own = servers.iter().filter(|server: &&IpAddr| draft.is_own(**server));
            own.map(|server| Some(IpNet::from(*server))).collect()
        }
    }
}

fn redirect(protocol: Protocol, server: Option<IpNet>) -> crate::rules::Rule {
    let query = server.map_or_else(when, |server| when().to(server));
    let query = match protocol {
        Protocol::Tcp => query.tcp(),
        Protocol::Udp => query.udp(),
    };
    query.port(PORT).then(Verdict::Redirect(DNS_PORT))
}

fn ids(draft: &Draft<'_>) -> Vec<Id> {
    let users = draft.settings.proxy_uids.iter().map(|&uid| Id::User(uid));
    users.chain(draft.settings.proxy_gids.iter().map(|&gid| Id::Group(gid))).collect()
}
