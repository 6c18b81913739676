//! Settings to rules: the only place where the redirect algorithm is written.
//!
//! Rules are appended in the order in which a packet meets them; the names in comments (P1, O3a, …) are those of
//! [`origin`](super::origin). Where the rules differ on purpose from the field's, `docs/deviations.md` says so.
//! Planning knows nothing of pods and of how rules are written down.

mod dns;
mod inbound;
mod mangle;
mod outbound;
mod when;

use super::{Chain, Family, Place, Plan, Route, Rule, RuleSet, Table};
use crate::settings::{Dns, Families, Inbound, Interface, Mode, OwnerGroups, Profile, Settings};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use when::When;

/// The preference of the routing rule that TPROXY needs. A number of our own, because the kernel gives a rule without
/// one a new number each time and duplicates pile up; a small one, because other plugins' rules get theirs from
/// the kernel, counting down from 32765, and must not come first.
pub const ROUTE_PREFERENCE: u32 = 1330;
/// The mark of the proxy's packets to the pod's own address under TPROXY; fixed in the field.
pub const SELF_CALL_MARK: u32 = 1338;

/// What redirection needs in a pod's network namespace.
pub fn plan(settings: &Settings, families: Families) -> Plan {
    let mut rules = RuleSet::default();
    for &family in members(families) {
        let mut draft = Draft { settings, family, rules: &mut rules };
        inbound::nat(&mut draft);
        outbound::nat(&mut draft);
        dns::plan(&mut draft);
        mangle::plan(&mut draft);
    }
    Plan { routes: routes(settings, families), rules }
}

/// The families as a list.
pub fn members(families: Families) -> &'static [Family] {
    match families {
        Families::V4 => &[Family::V4],
        Families::Both => &[Family::V4, Family::V6],
    }
}

fn routes(settings: &Settings, families: Families) -> Vec<Route> {
    let mut routes = Vec::new();
    if families == Families::Both {
        routes.push(Route::InboundSourceAddress);
    }
    if settings.mode == Mode::Tproxy && settings.inbound != Inbound::Nothing {
        let (mark, table) = (settings.tproxy_mark, settings.tproxy_table);
        for &family in members(families) {
            routes.push(Route::Rule { family, mark, table, preference: ROUTE_PREFERENCE });
            routes.push(Route::LocalDefault { family, table });
        }
    }
    routes
}

/// The rules of one family while they are being written.
struct Draft<'a> {
    settings: &'a Settings,
    family: Family,
    rules: &'a mut RuleSet,
}

impl<'a> Draft<'a> {
    fn add(&mut self, table: Table, chain: Chain, rule: Rule) {
        self.rules.push(Place { family: self.family, table, chain }, rule);
    }

    /// The conditions of O5, each added to what `start` gives.
    fn unowned(&self, start: impl Fn() -> When) -> Vec<When> {
        let settings = self.settings;
        let mut rules: Vec<When> = settings.exclude_uids.iter().map(|&uid| start().uid(uid)).collect();
        match &settings.owner_groups {
            OwnerGroups::AllExcept(groups) => rules.extend(groups.iter().map(|&gid| start().gid(gid))),
            OwnerGroups::Only(groups) => {
                rules.push(groups.iter().fold(start(), |rule, &gid| rule.not_gid(gid)))
            }
        }
        rules
    }

    /// What counts as the application's own loopback.
    fn loopback(&self) -> IpNet {
        match self.family {
            Family::V4 => self.settings.loopback.into(),
            Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST).into(),
        }
    }

    /// The address the proxy binds when it passes an inbound request on to the application.
    fn proxy_source(&self) -> IpNet {
        match self.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)).into(),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)).into(),
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        address.is_ipv4() == (self.family == Family::V4)
    }

    /// Those of `ranges` that are of this family.
    fn own(&self, ranges: &[IpNet]) -> Vec<IpNet> {
        ranges.iter().filter(|range| self.is_own(range.addr())).copied().collect()
    }

    /// Excluded interfaces on which packets still count as coming in: rerouting an interface wins over excluding it.
    fn excluded_inbound(&self) -> Vec<&'a Interface> {
        let settings = self.settings;
        let rerouted = |interface: &&Interface| !settings.reroute_interfaces.contains(*interface);
        settings.exclude_interfaces.iter().filter(rerouted).collect()
    }

    fn captures_dns(&self) -> bool {
        self.settings.dns != Dns::Off
    }

    fn is_asm(&self) -> bool {
        self.settings.profile == Profile::Asm114
    }

    /// Whether the field's listing gives every proxy identity its self-calls: one user, one group, and the proxy
    /// really running as that user, which it does not under TPROXY (there it is root in the proxy's group).
    fn is_plain(&self) -> bool {
        let settings = self.settings;
        settings.mode == Mode::Redirect && settings.proxy_uids.len() == 1 && settings.proxy_gids.len() == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Verdict;

    /// The number of rules in `chain` of `nat`, IPv4.
    fn check(settings: &Settings, families: Families, chain: Chain, count: usize) {
        let plan = plan(settings, families);
        let place = Place { family: Family::V4, table: Table::Nat, chain };
        assert_eq!(plan.rules.rules(place).len(), count, "{:#?}", plan.rules.rules(place));
    }

    #[test]
    fn the_default_pod_gets_the_fields_twenty_rules() {
        let settings = Settings::default();
        assert_eq!(plan(&settings, Families::V4).rules.len(), 20);
        check(&settings, Families::V4, Chain::IstioOutput, 11);
        check(&settings, Families::V4, Chain::IstioInbound, 5);
    }

    #[test]
    fn both_families_get_the_same_number_of_rules_and_an_address_to_send_from() {
        let plan = plan(&Settings::default(), Families::Both);
        assert_eq!(plan.rules.family(Family::V6).len(), plan.rules.family(Family::V4).len());
        assert_eq!(plan.routes, [Route::InboundSourceAddress]);
    }

    #[test]
    fn a_range_of_every_address_is_no_condition() {
        let everywhere = "0.0.0.0/0".parse().expect("a range");
        let settings = Settings { exclude_outbound_ranges: vec![everywhere], ..Settings::default() };
        let plan = plan(&settings, Families::V4);
        let place = Place { family: Family::V4, table: Table::Nat, chain: Chain::IstioOutput };
        assert!(plan.rules.rules(place).contains(&Rule::new([], Verdict::Return)));
    }
}
