//! Complains of settings that are right alone and wrong together.
//!
//! Changes no value: what it complains of is followed as the field follows it.

use super::{Draft, MOST_ITEMS, Scope};
use crate::complaint::Complaint;
use crate::settings::{Interface, OwnerGroups, PortRange};
use std::borrow::Cow;

/// A setting's key, and where it was stated.
pub(super) type Stated<'a> = (&'static str, Cow<'a, str>);

/// Adds the complaints about a draft; `written` says which settings were stated, and where.
pub(super) fn together(draft: &Draft, written: &[Stated<'_>], complaints: &mut Vec<Complaint>) {
    let mut check = Check { draft, written, complaints };
    check.completed_ports();
    check.inbound_ports();
    check.groups();
    check.interfaces();
    check.proxy_ports();
}

struct Check<'a> {
    draft: &'a Draft,
    written: &'a [Stated<'a>],
    complaints: &'a mut Vec<Complaint>,
}

impl Check<'_> {
    /// A pod's list is completed after it was read; what is stamped must read back.
    fn completed_ports(&mut self) {
        let count = self.draft.exclude_inbound.len();
        if count > MOST_ITEMS {
            let problem = format!("make {count} items of the list they complete, the most is {MOST_ITEMS}");
            let place = self.place("excludeInboundPorts").unwrap_or("excludeInboundPorts");
            let fix = "write ranges instead of single items";
            self.complaints.push(Complaint::fatal(place, "15020,15021,15090", problem, fix));
        }
    }

    fn inbound_ports(&mut self) {
        let (Scope::These(included), Some(_)) =
            (&self.draft.include_inbound, self.place("excludeInboundPorts"))
        else {
            return;
        };
        for port in &self.draft.exclude_inbound {
            let overlaps = |one: &PortRange| one.first() <= port.last() && port.first() <= one.last();
            if included.iter().any(overlaps) {
                let problem = "is in the list of included ports too, and there it wins";
                self.note(
                    "excludeInboundPorts",
                    &port.to_string(),
                    problem,
                    "take it out of one of the two lists",
                );
            }
        }
    }

    fn groups(&mut self) {
        let Scope::These(included) = &self.draft.include_groups else {
            return;
        };
        if !self.draft.exclude_groups.is_empty() {
            let problem = "is ignored, because only listed groups are captured";
            let fix = "take the groups out of the included ones";
            self.note("excludeOwnerGroups", &join(&self.draft.exclude_groups), problem, fix);
        }
        if included.len() > OwnerGroups::MOST {
            let problem = format!("has {} groups, the most is {}", included.len(), OwnerGroups::MOST);
            let place = self.place("includeOwnerGroups").unwrap_or("includeOwnerGroups");
            let fix = "give the processes a common group";
            self.complaints.push(Complaint::fatal(place, &join(included), problem, fix));
        }
    }

    fn interfaces(&mut self) {
        let settings = &self.draft.settings;
        if settings.exclude_interfaces.contains(&Interface::lo()) {
            let problem = "takes the pod's calls to itself out of the mesh, and istio-validation will fail";
            self.note("excludeInterfaces", "lo", problem, "remove it");
        }
        for interface in
            settings.reroute_interfaces.iter().filter(|one| settings.exclude_interfaces.contains(one))
        {
            let problem = "is rerouted as well, and there it wins";
            self.note(
                "excludeInterfaces",
                interface.as_str(),
                problem,
                "take it out of one of the two lists",
            );
        }
    }

    fn proxy_ports(&mut self) {
        let settings = &self.draft.settings;
        let ports = [
            ("outboundPort", settings.outbound_port),
            ("inboundPort", settings.inbound_port),
            ("tunnelPort", settings.tunnel_port),
        ];
        for (index, (key, port)) in ports.iter().enumerate() {
            if let Some((other, _)) = ports[..index].iter().find(|(_, earlier)| earlier == port) {
                let problem = format!("is {other} as well, and the proxy cannot tell one from the other");
                self.note(key, &port.to_string(), &problem, "give each its own port");
            }
        }
    }

    fn place(&self, key: &str) -> Option<&str> {
        self.written.iter().find(|(stated, _)| *stated == key).map(|(_, place)| &**place)
    }

    fn note(&mut self, key: &str, value: &str, problem: &str, fix: &str) {
        let place = self.place(key).unwrap_or(key).to_owned();
        self.complaints.push(Complaint::note(&place, value, problem, fix));
    }
}

fn join(groups: &[u32]) -> String {
    groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use crate::knobs::{Defaults, settings_of};
    use crate::pod::Pod;

    fn check(annotations: &[(&str, &str)], expected: &str) {
        let annotations =
            annotations.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        let (_, complaints) =
            settings_of(&Pod { annotations, ..Pod::default() }, "istio-proxy", &Defaults::default());
        let shown: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [expected]);
    }

    #[test]
    fn what_is_wrong_only_together() {
        check(
            &[
                ("traffic.sidecar.istio.io/includeInboundPorts", "80,8000-8100"),
                ("traffic.sidecar.istio.io/excludeInboundPorts", "8080"),
            ],
            "traffic.sidecar.istio.io/excludeInboundPorts: \"8080\": \
             is in the list of included ports too, and there it wins; take it out of one of the two lists",
        );
        check(
            &[("millrace.dev/includeOwnerGroups", "1"), ("millrace.dev/excludeOwnerGroups", "2,3")],
            "millrace.dev/excludeOwnerGroups: \"2,3\": \
             is ignored, because only listed groups are captured; take the groups out of the included ones",
        );
        check(
            &[
                ("traffic.sidecar.istio.io/excludeInterfaces", "net1"),
                ("istio.io/reroute-virtual-interfaces", "net1"),
            ],
            "traffic.sidecar.istio.io/excludeInterfaces: \"net1\": \
             is rerouted as well, and there it wins; take it out of one of the two lists",
        );
        check(
            &[("millrace.dev/tunnelPort", "15006")],
            "millrace.dev/tunnelPort: \"15006\": \
             is inboundPort as well, and the proxy cannot tell one from the other; give each its own port",
        );
        check(
            &[("traffic.sidecar.istio.io/excludeInterfaces", "lo")],
            "traffic.sidecar.istio.io/excludeInterfaces: \"lo\": \
             takes the pod's calls to itself out of the mesh, and istio-validation will fail; remove it",
        );
    }
}
