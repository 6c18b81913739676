//! Reads a pod's settings from its annotations and from its sidecar.
//!
//! Says what the pod asks for; whether it is redirected at all is policy's to decide.

use super::{Defaults, Draft, KNOBS, Knob, Reader, Source, check};
use crate::complaint::Complaint;
use crate::pod::{Container, Pod, Role};
use crate::settings::{PROXY_ID, Settings};

/// Where the resolved settings of a pod, or its stamped skip, are kept on the pod.
pub const STAMP_ANNOTATION: &str = "millrace.dev/redirect";

/// Annotations that begin like this are settings; one that is not in the table is a slip of the pen.
const OURS: [&str; 2] = ["traffic.sidecar.istio.io/", "millrace.dev/"];
/// Inbound ports of every sidecar that the field's CNI plugin never captures: statistics, readiness, Envoy's own.
const SIDECAR_PORTS: [u16; 3] = [15020, 15021, 15090];

/// The settings of a pod whose sidecar is the container `proxy`: its annotations, else its sidecar's environment and
/// identity, else `defaults`, else the table's. Complaints are about the pod: those about `defaults` were heard when these
/// were read.
pub fn settings_of(pod: &Pod, proxy: &str, defaults: &Defaults) -> (Settings, Vec<Complaint>) {
    let container = pod.containers.iter().find(|one| one.name == proxy && one.role != Role::Init);
    let mut complaints = Vec::new();
    let mut draft = Draft::of(Settings::default());
    let (mut written, mut heard) = (Vec::new(), Vec::new());
    for knob in KNOBS {
        let stated = state(knob, pod, container, &mut complaints);
        match stated {
            Some((what, source, text)) => {
                written.push((knob.key, what.clone().into()));
                (knob.read)(&mut draft, &mut Reader::new(what, source, &mut complaints), &text);
            }
            None => {
                let text = defaults.text(knob.key).unwrap_or(knob.default);
                (knob.read)(&mut draft, &mut Reader::new(knob.key, Source::Operator, &mut heard), text);
            }
        }
    }
    complete(&mut draft);
    check::together(&draft, &written, &mut complaints);
    let settings = draft.settings();
    unknown_annotations(pod, &mut complaints);
    if let Some(container) = container {
        recognisable(container, &settings, &mut complaints);
    }
    complaints.extend(clashes(pod, proxy, &settings));
    (settings, complaints)
}

/// Adds what no sidecar's inbound traffic is captured on.
pub(super) fn complete(draft: &mut Draft) {
    for port in SIDECAR_PORTS {
        if !draft.exclude_inbound.contains(&port.into()) {
            draft.exclude_inbound.push(port.into());
        }
    }
}

/// What the pod says about one setting, and where.
fn state(
    knob: &Knob,
    pod: &Pod,
    proxy: Option<&Container>,
    complaints: &mut Vec<Complaint>,
) -> Option<(String, Source, String)> {
    let mut annotations =
        knob.annotations.iter().filter_map(|name| pod.annotations.get(*name).map(|text| (*name, text)));
    if let Some((name, text)) = annotations.next() {
        for (other, ignored) in annotations.filter(|(_, ignored)| *ignored != text) {
            let problem = format!("is ignored, because {name} says \"{text}\"");
            complaints.push(Complaint::note(other, ignored, problem, "remove the deprecated annotation"));
        }
        return Some((name.to_owned(), Source::Annotation, text.clone()));
    }
    let proxy = proxy?;
    // Root would take every process of root's out of the mesh: the field reads 0 as "not said".
    let id = match knob.key {
        "proxyUIDs" => proxy.run_as_user.map(|id| ("runAsUser", id)),
        "proxyGIDs" => proxy.run_as_group.map(|id| ("runAsGroup", id)),
        _ => None,
    };
    if let Some((field, id)) = id.filter(|(_, id)| *id != 0) {
        return Some((format!("{} {field}", proxy.name), Source::ProxyEnv, id.to_string()));
    }
    let mut variables = knob.proxy_env.iter();
    variables.find_map(|name| {
        proxy
            .env
            .get(*name)
            .map(|text| (format!("{} env {name}", proxy.name), Source::ProxyEnv, text.clone()))
    })
}

/// Complains of a sidecar that no rule would know: what it sends would be captured and come back to it for ever.
fn recognisable(proxy: &Container, settings: &Settings, complaints: &mut Vec<Complaint>) {
    let Some(user) = proxy.run_as_user else { return };
    // Without a group root is in its own; whoever else, in one that only the image knows.
    let group = proxy.run_as_group.or((user == 0).then_some(0));
    let known = settings.proxy_uids.contains(&user)
        || group.is_some_and(|group| settings.proxy_gids.contains(&group));
    if !known {
        let what = format!("{} runAsUser", proxy.name);
        let problem = "does not tell the proxy's traffic from the application's, nor does its group";
        let fix = format!("set runAsGroup: {}", settings.proxy_gids.first().unwrap_or(&PROXY_ID));
        complaints.push(Complaint::fatal(&what, &user.to_string(), problem, fix));
    }
}

fn unknown_annotations(pod: &Pod, complaints: &mut Vec<Complaint>) {
    for (name, text) in &pod.annotations {
        let known =
            name == STAMP_ANNOTATION || KNOBS.iter().any(|knob| knob.annotations.contains(&name.as_str()));
        if known || !OURS.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let near =
            KNOBS.iter().flat_map(|knob| knob.annotations).find(|known| known.eq_ignore_ascii_case(name));
        let fix = match near {
            Some(near) => format!("write {near}"),
            None => "look the name up in docs/settings.md, or remove it".to_owned(),
        };
        complaints.push(Complaint::note(name, text, "is not a setting, so it is ignored", fix));
    }
}

/// Complains of containers that run as the proxy: what they send would pass by it. An ordinary init container does
/// so on purpose, as it has no proxy yet, and so does a user who is excluded by number.
pub fn clashes(pod: &Pod, proxy: &str, settings: &Settings) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let apps = pod.containers.iter().filter(|one| one.name != proxy && one.role != Role::Init);
    for app in apps.filter(|app| !app.run_as_user.is_some_and(|id| settings.exclude_uids.contains(&id))) {
        let user = app.run_as_user.filter(|id| settings.proxy_uids.contains(id));
        let group = app.run_as_group.filter(|id| settings.proxy_gids.contains(id));
        for (field, kind, id) in [("runAsUser", "user", user), ("runAsGroup", "group", group)] {
            if let Some(id) = id {
                let what = format!("container {} {field}", app.name);
                let problem = format!("is the proxy's own {kind}, so what it sends bypasses the mesh");
                let fix = format!("run it as another {kind}");
                complaints.push(Complaint::note(&what, &id.to_string(), problem, fix));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Dns, Inbound, Mode, Outbound, OwnerGroups};
    use proptest::prelude::*;

    const PROXY: &str = "istio-proxy";

    fn settings_of(pod: &Pod) -> (Settings, Vec<Complaint>) {
        super::settings_of(pod, PROXY, &Defaults::default())
    }

    fn pod(annotations: &[(&str, &str)]) -> Pod {
        let annotations =
            annotations.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        let proxy = Container { name: PROXY.to_owned(), run_as_user: Some(1337), ..Container::default() };
        let app = Container { name: "app".to_owned(), run_as_user: Some(1000), ..Container::default() };
        Pod { annotations, containers: vec![app, proxy], ..Pod::default() }
    }

    /// Each annotation alone gives exactly these complaints, `!` in front of a fatal one.
    fn check(name: &str, text: &str, complaints: &[&str]) -> Settings {
        let (settings, found) = settings_of(&pod(&[(name, text)]));
        let shown = |one: &Complaint| format!("{}{one}", if one.fatal { "!" } else { "" });
        assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), complaints);
        settings
    }

    #[test]
    fn says_nothing_gets_the_defaults() {
        assert_eq!(settings_of(&pod(&[])), (Settings::default(), Vec::new()));
        assert_eq!(settings_of(&Pod::default()), (Settings::default(), Vec::new()));
    }

    #[test]
    fn ports() {
        let name = "traffic.sidecar.istio.io/excludeInboundPorts";
        let all_but = |ports: &[u16]| Inbound::AllExcept(ports.iter().map(|port| (*port).into()).collect());
        assert_eq!(check(name, "22", &[]).inbound, all_but(&[22, 15020, 15021, 15090]));
        assert_eq!(check(name, "15090, 22", &[]).inbound, all_but(&[15090, 22, 15020, 15021]));
        assert_eq!(check(name, "", &[]).inbound, all_but(&[15020, 15021, 15090]));
        let stated = "traffic.sidecar.istio.io/excludeInboundPorts: ";
        let wrong = |item: &str, fatal: &str, rest: &str| {
            check(name, item, &[&format!("{fatal}{stated}\"{item}\": {rest}")]);
        };
        let not_a_port = "is not a port; write numbers from 0 to 65535, or ranges such as 8000-8100";
        for item in ["70000", "http", "+80", "-1", "1-", "0x50"] {
            wrong(item, "!", not_a_port);
        }
        wrong("22,", "", "has an empty item, which is left out; remove the extra comma");
        wrong(" , ", "!", "lists nothing; write the items, or leave it empty to mean none");
        wrong("9-8", "!", "is an empty range; write the lower port first");
        wrong("0", "", "matches nothing, as no connection has port 0; remove it");
        wrong("*", "!", "cannot mean everything here; list the items or leave it empty");
        let include = "traffic.sidecar.istio.io/includeInboundPorts";
        assert_eq!(check(include, "", &[]).inbound, Inbound::Nothing);
        let ranges = check(include, "80, 1000-2000,3000:3001", &[]).inbound;
        let texts =
            |ports: &[crate::settings::PortRange]| ports.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(matches!(ranges, Inbound::Only(ports) if texts(&ports) == ["80", "1000-2000", "3000-3001"]));
    }

    #[test]
    fn address_ranges() {
        let name = "traffic.sidecar.istio.io/includeOutboundIPRanges";
        assert_eq!(check(name, "*", &[]).outbound, Outbound::All);
        assert_eq!(check(name, "", &[]).outbound, Outbound::Nothing);
        let host_bits = "traffic.sidecar.istio.io/includeOutboundIPRanges: \"10.1.2.3/8\": \
                         has bits set beyond its prefix, which are taken as zero; write 10.0.0.0/8";
        let net = |text: &str| text.parse().expect("a range");
        assert_eq!(check(name, "10.1.2.3/8", &[host_bits]).outbound, Outbound::Only(vec![net("10.0.0.0/8")]));
        let bare = "traffic.sidecar.istio.io/includeOutboundIPRanges: \"fd00::1\": \
                    has no prefix length, so it is taken as one address; write fd00::1/128";
        assert_eq!(check(name, "fd00::1", &[bare]).outbound, Outbound::Only(vec![net("fd00::1/128")]));
        let wrong = "!traffic.sidecar.istio.io/includeOutboundIPRanges: \"10.0.0.0/33\": \
                     is not an address range; write one such as 10.0.0.0/8 or fd00::/8";
        check(name, "10.0.0.0/33", &[wrong]);
        let star = "!traffic.sidecar.istio.io/includeOutboundIPRanges: \"*\": \
                    cannot be one of several, as it means everything; remove it or all others";
        check(name, "10.0.0.0/8,*", &[star]);
        let many = vec!["10.0.0.0/8"; 257].join(",");
        let (_, complaints) = settings_of(&pod(&[(name, &many)]));
        assert!(
            matches!(&complaints[..], [one] if one.fatal && one.problem == "has 257 items, the most is 256")
        );
    }

    #[test]
    fn mode_and_switches() {
        let name = "sidecar.istio.io/interceptionMode";
        assert_eq!(check(name, "TPROXY", &[]).mode, Mode::Tproxy);
        let wrong = "is not an interception mode; write REDIRECT, TPROXY or NONE";
        check(name, "tproxy", &[&format!("!{name}: \"tproxy\": {wrong}")]);
        let name = "millrace.dev/dropInvalid";
        assert!(check(name, "1", &[]).drop_invalid);
        assert!(check(name, " true\n", &[]).drop_invalid);
        let wrong = "is neither true nor false; write true or false";
        check(name, "yes", &[&format!("!{name}: \"yes\": {wrong}")]);
        assert_eq!(check("millrace.dev/dnsCapture", "all", &[]).dns, Dns::All);
        let servers = vec!["10.96.0.10".parse().expect("an address"), "::1".parse().expect("an address")];
        assert_eq!(check("millrace.dev/dnsCapture", "10.96.0.10, ::1", &[]).dns, Dns::Servers(servers));
    }

    #[test]
    fn interfaces() {
        let new = "istio.io/reroute-virtual-interfaces";
        let old = "traffic.sidecar.istio.io/kubevirtInterfaces";
        assert_eq!(check(old, "net1", &[]).reroute_interfaces.len(), 1);
        let (settings, complaints) = settings_of(&pod(&[(old, "net1"), (new, "net2")]));
        assert_eq!(settings.reroute_interfaces[0].as_str(), "net2");
        assert!(
            complaints[0].to_string().contains("is ignored, because istio.io/reroute-virtual-interfaces")
        );
        let wrong = "is not the name of an interface; \
                     write 1 to 15 letters, digits, _, . or -, a letter first; there are no wildcards";
        check(new, "eth+", &[&format!("!{new}: \"eth+\": {wrong}")]);
    }

    #[test]
    fn a13_a_loopback_range_over_the_proxys_own_source_is_complained_of() {
        let name = "millrace.dev/loopbackCidr";
        assert_eq!(check(name, "127.0.0.0/30", &[]).loopback.to_string(), "127.0.0.0/30");
        let covers = "covers 127.0.0.6, which the proxy uses as its own source, so istio-validation will fail; \
                      write a range without 127.0.0.6";
        check(name, "127.0.0.0/8", &[&format!("{name}: \"127.0.0.0/8\": {covers}")]);
        let misses = "does not cover 127.0.0.1, so the proxy's calls to localhost are captured; \
                      write a range with 127.0.0.1";
        check(name, "127.0.0.2/32", &[&format!("{name}: \"127.0.0.2/32\": {misses}")]);
        for wrong in ["126.0.0.0/7", "10.0.0.0/8"] {
            let problem = "is not within 127.0.0.0/8; write a part of it, such as 127.0.0.1/32";
            check(name, wrong, &[&format!("!{name}: \"{wrong}\": {problem}")]);
        }
        check(
            name,
            "::1/128",
            &[&format!(
                "!{name}: \"::1/128\": is not an IPv4 range; write a part of 127.0.0.0/8; IPv6 has only ::1"
            )],
        );
    }

    #[test]
    fn owner_groups() {
        let name = "millrace.dev/includeOwnerGroups";
        assert_eq!(check(name, "202,203", &[]).owner_groups, OwnerGroups::Only(vec![202, 203]));
        let wrong = "is a group's name, which means nothing outside its image; write its number";
        check(name, "java", &[&format!("!{name}: \"java\": {wrong}")]);
    }

    #[test]
    fn a12_more_than_sixty_four_groups_are_refused() {
        let many = (0..65).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
        let (_, complaints) = settings_of(&pod(&[("millrace.dev/includeOwnerGroups", &many)]));
        assert!(complaints[0].fatal && complaints[0].problem == "has 65 groups, the most is 64");
    }

    #[test]
    fn a16_mode_none_leaves_a_pod_alone() {
        let name = "sidecar.istio.io/interceptionMode";
        check(name, "NONE", &[]);
        let wrong = "is not an interception mode; write REDIRECT, TPROXY or NONE";
        check(name, "none", &[&format!("!{name}: \"none\": {wrong}")]);
    }

    #[test]
    fn a_comma_alone_switches_no_list_off() {
        for name in [
            "traffic.sidecar.istio.io/includeInboundPorts",
            "traffic.sidecar.istio.io/includeOutboundIPRanges",
            "millrace.dev/includeOwnerGroups",
            "millrace.dev/dnsCapture",
        ] {
            let wrong = "lists nothing; write the items, or leave it empty to mean none";
            check(name, ",", &[&format!("!{name}: \",\": {wrong}")]);
        }
    }

    #[test]
    fn a18_nothing_unread_gets_into_a_rule() {
        let evil = "22 -j ACCEPT\n-A OUTPUT";
        for knob in KNOBS {
            let (settings, complaints) = settings_of(&pod(&[(knob.annotations[0], evil)]));
            let texts = crate::knobs::write(&settings);
            assert!(texts.iter().all(|(_, text)| !text.contains("ACCEPT")), "{}", knob.key);
            assert!(!complaints.is_empty() && !complaints[0].to_string().contains('\n'), "{}", knob.key);
        }
    }

    #[test]
    fn b4_owner_groups_and_loopback_are_the_pods_own() {
        let mut pod = pod(&[("millrace.dev/excludeOwnerGroups", "7")]);
        let env = &mut pod.containers[1].env;
        env.insert("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE".to_owned(), "8".to_owned());
        env.insert("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR".to_owned(), "127.0.0.0/30".to_owned());
        let (settings, complaints) = settings_of(&pod);
        assert_eq!(settings.owner_groups, OwnerGroups::AllExcept(vec![7]));
        assert_eq!((settings.loopback.to_string().as_str(), complaints), ("127.0.0.0/30", vec![]));
    }

    #[test]
    fn the_sidecar_speaks_where_annotations_are_silent() {
        let mut pod = pod(&[]);
        let proxy = &mut pod.containers[1];
        proxy.run_as_user = Some(0);
        proxy.run_as_group = Some(2000);
        for (name, text) in [
            ("ISTIO_META_DNS_CAPTURE", "true"),
            ("INVALID_DROP", "maybe"),
            ("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "5"),
        ] {
            proxy.env.insert(name.to_owned(), text.to_owned());
        }
        let (settings, complaints) = settings_of(&pod);
        assert_eq!((settings.proxy_uids, settings.proxy_gids), (vec![1337], vec![2000]));
        assert_eq!((settings.dns, settings.drop_invalid), (Dns::All, false));
        assert_eq!(settings.owner_groups, OwnerGroups::AllExcept(vec![5]));
        let shown: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        let wrong = "istio-proxy env INVALID_DROP: \"maybe\": is neither true nor false, so it is ignored; \
                     write true or false";
        assert_eq!(shown, [wrong]);
    }

    #[test]
    fn a_proxy_that_no_rule_knows_is_refused() {
        for (annotation, user, group, known) in [
            (None, Some(0), None, false),
            (None, Some(0), Some(0), false),
            (None, Some(0), Some(1337), true),
            (None, Some(1400), None, true),
            (None, None, None, true),
            (Some("1337"), Some(1400), None, false),
            (Some("1337"), Some(1400), Some(1337), true),
            (Some("0"), Some(0), None, true),
        ] {
            let mut pod = pod(&[]);
            pod.annotations
                .extend(annotation.map(|text| ("millrace.dev/proxyUIDs".to_owned(), text.to_owned())));
            (pod.containers[1].run_as_user, pod.containers[1].run_as_group) = (user, group);
            let (_, complaints) = settings_of(&pod);
            let shown: Vec<String> = complaints.iter().map(ToString::to_string).collect();
            let user = user.unwrap_or_default();
            let wrong = format!(
                "istio-proxy runAsUser: \"{user}\": does not tell the proxy's traffic from the application's, \
                 nor does its group; set runAsGroup: 1337"
            );
            assert_eq!(shown, if known { vec![] } else { vec![wrong] }, "{annotation:?} {user} {group:?}");
            assert!(complaints.iter().all(|complaint| complaint.fatal));
        }
    }

    #[test]
    fn what_is_completed_still_fits_the_stamp() {
        for (count, fits) in [(253, true), (254, false), (256, false)] {
            let ports: Vec<String> = (1..=count).map(|port| port.to_string()).collect();
            let name = "traffic.sidecar.istio.io/excludeInboundPorts";
            let (settings, complaints) = settings_of(&pod(&[(name, &ports.join(","))]));
            let written = crate::knobs::write(&settings);
            let (_, again) = crate::knobs::read(written.iter().map(|(key, text)| (*key, text.as_str())));
            for complaints in [complaints, again] {
                assert_eq!(
                    complaints.iter().any(|complaint| complaint.fatal),
                    !fits,
                    "{count} {complaints:?}"
                );
            }
        }
    }

    #[test]
    fn an_application_must_not_be_the_proxy() {
        let mut pod = pod(&[]);
        pod.containers[0].run_as_user = Some(1337);
        let shown = settings_of(&pod).1[0].to_string();
        let clash = "container app runAsUser: \"1337\": is the proxy's own user, so what it sends bypasses the mesh; \
                     run it as another user";
        assert_eq!(shown, clash);
        let excluded = [("millrace.dev/excludeOutboundUIDs".to_owned(), "1337".to_owned())];
        let meant = Pod { annotations: excluded.into(), ..pod.clone() };
        assert_eq!(settings_of(&meant).1, []);
        pod.containers[0].role = Role::Init;
        assert_eq!(settings_of(&pod).1, []);
    }

    #[test]
    fn a_slip_of_the_pen_is_not_ignored_silently() {
        check(
            "millrace.dev/excludeOutboundUids",
            "5",
            &["millrace.dev/excludeOutboundUids: \"5\": is not a setting, so it is ignored; \
             write millrace.dev/excludeOutboundUIDs"],
        );
        check(STAMP_ANNOTATION, "{}", &[]);
        check("prometheus.io/port", "9", &[]);
    }

    proptest! {
        #![proptest_config(crate::laws::config())]

        /// Whatever is written, it is read: with a fatal complaint, or into settings that read back from their own text.
        #[test]
        fn what_is_taken_can_be_written_down(index in 0..KNOBS.len(), text in "[0-9a-fot.,:/*\\- ]{0,20}|\\PC{0,9}") {
            let (settings, complaints) = settings_of(&pod(&[(KNOBS[index].annotations[0], &text)]));
            if !complaints.iter().any(|complaint| complaint.fatal) {
                let written = crate::knobs::write(&settings);
                let (again, _) = crate::knobs::read(written.iter().map(|(key, text)| (*key, text.as_str())));
                prop_assert_eq!(again, settings);
            }
        }
    }
}
