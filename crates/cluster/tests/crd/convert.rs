//! A table of what is refused and where; and the law that what is accepted is accepted by all that follows it.

use super::*;
use crate::agent::config::Config;
use crate::api::check::check as wrong;
use millrace_core::knobs::KNOBS;
use proptest::prelude::*;

fn spec(text: &str) -> MeshCNISpec {
    serde_saphyr::from_str(text).expect("the test's text is a specification")
}

/// The complaints about a specification: all of these, in this order.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let found: Vec<String> = wrong("default", &spec(text)).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{text}");
}

fn defaults_of(text: &str, place: &str, complaint: &str) {
    check(&format!("redirection: {{defaults: {{{text}}}}}"), &[&format!("{DEFAULTS}.{place}: {complaint}")]);
}

#[test]
fn nothing_said_is_right_and_follows_the_tables_defaults() {
    check("{}", &[]);
    let config = agent_config(&spec("{}"));
    let read = Config::read(&config.text).expect("the agent takes it");
    assert_eq!(read.mesh(), mesh(&spec("{}")).expect("it is right"));
    assert_eq!((config.digest.len(), &config.digest), (16, &text_digest(&config.text)));
    assert_ne!(config.digest, agent_config(&spec("statusGating: true")).digest);
    // SHA-256 of nothing (FIPS 180-4).
    assert_eq!(text_digest(""), "e3b0c44298fc1c14");
}

#[test]
fn every_setting_is_a_field_by_its_name() {
    let schema = schemars::schema_for!(Fields);
    let fields = schema.get("properties").and_then(Value::as_object).expect("it has fields");
    let mut fields: Vec<&str> = fields.keys().map(String::as_str).collect();
    let mut knobs: Vec<&str> = KNOBS.iter().map(|knob| knob.key).collect();
    fields.sort_unstable();
    knobs.sort_unstable();
    assert_eq!(fields, knobs);
}

#[test]
fn a_default_is_complained_of_at_its_item() {
    defaults_of(
        "includeOutboundIPRanges: [10.0.0.0/8, fd00::/8, 10.0.0.0/33]",
        "includeOutboundIPRanges[2]",
        "\"10.0.0.0/33\": is not an address range; write one such as 10.0.0.0/8 or fd00::/8",
    );
    defaults_of(
        "excludeOutboundIPRanges: [10.1.0.0/8]",
        "excludeOutboundIPRanges[0]",
        "\"10.1.0.0/8\": has bits set beyond its prefix, which are taken as zero; write 10.0.0.0/8",
    );
    defaults_of(
        "includeInboundPorts: ['80', '9090-9000']",
        "includeInboundPorts[1]",
        "\"9090-9000\": is an empty range; write the lower port first",
    );
    defaults_of(
        "includeInboundPorts: ['80'], excludeInboundPorts: ['81', '80']",
        "excludeInboundPorts[1]",
        "\"80\": is in the list of included ports too, and there it wins; take it out of one of the two lists",
    );
    defaults_of(
        "excludeInterfaces: [eth1, 'a,b']",
        "excludeInterfaces[1]",
        "\"a,b\": is not one item; write each item by itself, without commas and blanks",
    );
    defaults_of(
        "outboundPort: 15006",
        "inboundPort",
        "\"15006\": is outboundPort as well, and the proxy cannot tell one from the other; give each its own port",
    );
    defaults_of(
        "proxyUIDs: []",
        "proxyUIDs",
        "\"[]\": is empty, so the proxy would not be known; write the proxy's, or leave the field out",
    );
    defaults_of(
        "proxyUIDs: [-1]",
        "proxyUIDs[0]",
        "\"-1\": is a user's name, which means nothing outside its image; write its number",
    );
    let groups: Vec<String> = (1..=65).map(|group| format!("'{group}'")).collect();
    let many = wrong(
        "default",
        &spec(&format!("redirection: {{defaults: {{includeOwnerGroups: [{}]}}}}", groups.join(","))),
    );
    assert!(many[0].to_string().contains("has 65 groups, the most is 64"), "{many:?}");
}

#[test]
fn the_rest_is_complained_of_at_its_field() {
    check(
        "excludeNamespaces: [a, 'b*', a]",
        &[
            "spec.excludeNamespaces[1]: \"b*\": is no namespace's name; write its exact name: there are no patterns",
            "spec.excludeNamespaces[2]: \"a\": is in the list already; remove the second one",
        ],
    );
    check(
        "install: {way: Auxiliary, platform: eks, image: 'A b', nodeSelector: {'a b': c}}",
        &[
            "spec.install.image: \"A b\": is no image; write one such as registry.example/millrace:0.1.0",
            "spec.install.way: \"Auxiliary\": is a way into OpenShift's Multus alone, and the platform is eks; \
         write InPlace or OwnList, or leave it out",
            "spec.install.nodeSelector: \"a b\": is no key of a label; write one such as example.org/name",
        ],
    );
    check("install: {way: Auxiliary, platform: openshift}", &[]);
    check(
        "audit: {policy: Repair, findings: []}",
        &["spec.audit.findings: \"[]\": is empty, so that the policy Repair acts upon nothing; \
         name Bypass, Drift or both, or set the policy to Report"],
    );
    check("audit: {policy: Report, findings: []}", &[]);
    let nodes = "write a number from 1 to 5000, or a percentage from 1% to 100%";
    check(
        "rollout: {maxUnavailable: 0%}",
        &[&format!("spec.rollout.maxUnavailable: \"0%\": is no percentage; {nodes}")],
    );
    check(
        "rollout: {maxUnavailable: 0}",
        &[&format!("spec.rollout.maxUnavailable: \"0\": is no number of nodes; {nodes}")],
    );
    check("rollout: {maxUnavailable: 100%}", &[]);
    let named = wrong("other", &spec("{}"));
    assert!(named[0].to_string().starts_with("metadata.name: \"other\": is not followed"), "{named:?}");
}

/// What is written, right and wrong, by whoever has a keyboard.
fn words() -> impl Strategy<Value = String> {
    let known = [
        "*",
        "80",
        "8000-8100",
        "9-8",
        "0",
        "10.0.0.0/8",
        "10.0.0.1",
        "fd00::/8",
        "10.0.0.1/8",
        "eth0",
        "lo",
        "a,b",
        "",
        " ",
        "1337",
        "-1",
        "x",
    ];
    prop::sample::select(known.to_vec()).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_accepted_by_all_that_follows(
        lists in prop::collection::vec((0..8_usize, prop::collection::vec(words(), 0..4)), 0..4),
        (outbound, dns, list) in (0..3_u32, words(), words()),
        (name, period, timeout, act) in (words(), 29..40_u32, 0..102_u32, 0..5_usize),
    ) {
        let mut spec = spec("{}");
        let fields = &mut spec.redirection.defaults;
        for (which, items) in lists {
            let field = match which {
                0 => &mut fields.include_inbound_ports,
                1 => &mut fields.exclude_inbound_ports,
                2 => &mut fields.include_outbound_ip_ranges,
                3 => &mut fields.exclude_outbound_ip_ranges,
                4 => &mut fields.exclude_interfaces,
                5 => &mut fields.include_owner_groups,
                6 => &mut fields.exclude_owner_groups,
                _ => &mut fields.reroute_interfaces,
            };
            *field = Some(items);
        }
        fields.outbound_port = (outbound > 0).then_some(15000 + outbound * 6);
        fields.dns_capture = (dns != "x").then_some(dns);
        spec.install.list = (list != "x").then_some(list);
        spec.selection.proxy_container = if name == "x" { "envoy".to_owned() } else { name };
        spec.audit.period_seconds = period;
        spec.agent_timeout_seconds = timeout;
        spec.audit.policy = [AuditPolicy::Off, AuditPolicy::Report, AuditPolicy::Repair, AuditPolicy::Delete, AuditPolicy::Label][act];
        let read = Config::read(&agent_config(&spec).text);
        if wrong("default", &spec).is_empty() {
            let read = read.expect("what is accepted, an agent takes");
            let mesh = mesh(&spec).expect("it converts");
            prop_assert_eq!(read.mesh(), mesh);
            prop_assert_eq!(read.audit.act.name(), spec.audit.policy.name());
        }
    }
}
