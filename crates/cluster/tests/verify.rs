//! `millrace verify` and `millrace trace` on live network namespaces, by the built program.

use millrace_core::dialect::{Backend, Choice};
use millrace_core::knobs;
use millrace_core::record::{Key, Record};
use millrace_core::rules::plan::plan;
use millrace_core::settings::{Families, Settings};
use millrace_core::stamp::{self, Stamp};
use millrace_host::backend;
use millrace_host::netns::NetNs;
use millrace_host::records::Records;
use millrace_rig::absent;
use millrace_rig::injector;
use millrace_rig::net::lab::{Lab, WORLD};
use millrace_rig::net::{self, Namespace};
use std::process::Command;

/// Whether the test `name` can run here; says why not otherwise.
fn runs(name: &str, programs: &[(&str, &str)]) -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    match net::missing(&[&net::NEEDS, programs].concat()) {
        Some((what, how)) => absent::not_run(name, what, how),
        None if !root => absent::not_run(name, "root", "sudo make test"),
        None => return true,
    }
    false
}

fn redirect(pod: &Namespace, settings: &Settings, choice: Choice) -> Backend {
    let netns = NetNs::open(&pod.path()).expect("the pod lives");
    backend::apply(&netns, &plan(settings, Families::Both), choice, None).expect("the kernel takes the rules")
}

/// Runs a command on the pod; its exit status and what it printed.
fn millrace(pod: &Namespace, command: &str, args: &str) -> (i32, String) {
    let pid = pod.pid().to_string();
    let mut millrace = Command::new(env!("CARGO_BIN_EXE_millrace"));
    let output = millrace.args([command, "--pid", &pid]).args(args.split_whitespace()).output();
    let output = output.expect("millrace runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = text(&output.stdout) + &text(&output.stderr);
    (output.status.code().expect("millrace ends by itself"), text)
}

#[test]
fn a_redirected_pod_is_verified_by_probes_of_both_families() {
    if !runs("a_redirected_pod_is_verified_by_probes_of_both_families", &[]) {
        return;
    }
    for backend in [Backend::Iptables, Backend::Nftables, Backend::Text] {
        let lab = Lab::new();
        redirect(&lab.pod, &Settings::default(), Choice::Only(backend));
        let (status, text) = millrace(&lab.pod, "verify", "--set profile=istio");
        assert_eq!(status, 0, "{text}");
        assert!(text.contains("none missing, none foreign") && text.ends_with("VERIFIED\n"), "{text}");
        for probe in ["outbound IPv4", "inbound IPv4", "outbound IPv6", "inbound IPv6"] {
            assert!(text.contains(&format!("probe     ✓ {probe}: ")), "{text}");
        }
        // The counters now hold the probes of the first run, and nobody else's; nftables counts the families together.
        let (_, again) = millrace(&lab.pod, "verify", "--set profile=istio --no-probes");
        let counted = match backend {
            Backend::Nftables => {
                "IPv4 and IPv6 ISTIO_REDIRECT: 2 connections to port 15001 before the probes"
            }
            _ => "IPv6 ISTIO_IN_REDIRECT: 1 connections to port 15006 before the probes",
        };
        assert!(again.contains(counted), "{again}");
    }
}

#[test]
fn a_pod_with_its_own_users_is_verified_as_its_own_users() {
    if !runs("a_pod_with_its_own_users_is_verified_as_its_own_users", &[]) {
        return;
    }
    let lab = Lab::around(Namespace::shifted());
    assert_eq!(redirect(&lab.pod, &Settings::default(), Choice::Auto), Backend::Nftables);
    let (status, text) = millrace(&lab.pod, "verify", "--set profile=istio");
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("✓ inbound IPv6: user 1337"), "{text}");
}

#[test]
fn probes_are_found_for_settings_of_every_kind() {
    if !runs("probes_are_found_for_settings_of_every_kind", &[]) {
        return;
    }
    for set in [
        "--set mode=TPROXY --set dropInvalid=true",
        "--set dnsCapture=all",
        "--set includeOutboundIPRanges=10.0.0.0/8,fd00::/8",
        "--set includeOutboundIPRanges= --set includeOutboundPorts=7000",
        "--set includeOwnerGroups=4000,4001 --set excludeOutboundUIDs=65534",
        "--set excludeOutboundPorts=80,443 --set proxyUIDs=1337,1338 --set excludeInterfaces=net1",
    ] {
        let lab = Lab::new();
        let items = set.split("--set ").filter_map(|item| item.trim().split_once('='));
        let (settings, complaints) = knobs::read(items);
        assert_eq!(complaints, []);
        redirect(&lab.pod, &settings, Choice::Auto);
        let (status, text) = millrace(&lab.pod, "verify", set);
        assert_eq!(status, 0, "{set}: {text}");
        assert_eq!(text.matches("probe     ✓").count(), 4, "{set}: {text}");
    }
}

#[test]
fn what_is_not_as_planned_is_named() {
    if !runs("what_is_not_as_planned_is_named", &[]) {
        return;
    }
    let lab = Lab::new();
    let (status, text) = millrace(&lab.pod, "verify", "--set profile=istio");
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("none holds rules of ours") && text.contains("the chain is missing"), "{text}");
    assert!(text.ends_with("NOT VERIFIED\n"), "{text}");
    redirect(&lab.pod, &Settings::default(), Choice::Only(Backend::Iptables));
    let (status, text) = millrace(&lab.pod, "verify", "--set excludeOutboundPorts=15020,3306");
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("missing, planned as rule 3: tcp, to port 3306: return"), "{text}");
    let (status, text) = millrace(&lab.pod, "verify", "--state-dir=/nonexistent");
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("say the settings by -f, --set or -- ARGUMENTS"), "{text}");
}

#[test]
fn rules_that_see_no_traffic_are_not_enough() {
    if !runs("rules_that_see_no_traffic_are_not_enough", &[("nft", "apt-get install nftables")]) {
        return;
    }
    let lab = Lab::new();
    redirect(&lab.pod, &Settings::default(), Choice::Only(Backend::Iptables));
    // Somebody else's table, before ours: every rule of ours is as planned, and nothing reaches them.
    lab.pod.sh("nft 'table inet other { chain early { type filter hook output priority -300; tcp dport 80 drop; }; }'");
    let (status, text) = millrace(&lab.pod, "verify", "--set profile=istio");
    assert!(status == 1 && text.contains("none missing, none foreign"), "{text}");
    assert!(text.contains("✗ outbound IPv4") && text.contains("✓ inbound IPv4"), "{text}");
}

#[test]
fn a_packet_is_followed_through_live_rules() {
    if !runs("a_packet_is_followed_through_live_rules", &[]) {
        return;
    }
    let lab = Lab::new();
    let to = format!("--to {}:80", WORLD[0]);
    let (status, text) = millrace(&lab.pod, "trace", &to);
    assert!(status == 2 && text.contains("has no rules at all"), "{text}");
    redirect(&lab.pod, &Settings::default(), Choice::Only(Backend::Iptables));
    let (status, text) = millrace(&lab.pod, "trace", &to);
    assert!(status == 0 && text.ends_with("outcome: redirected to port 15001\n"), "{text}");
}

#[test]
fn the_record_of_the_attachment_says_what_is_to_be_verified() {
    if !runs("the_record_of_the_attachment_says_what_is_to_be_verified", &[]) {
        return;
    }
    let lab = Lab::new();
    let settings = Settings { outbound_port: 16001, ..Settings::default() };
    let backend = redirect(&lab.pod, &settings, Choice::Auto);
    let state = std::env::temp_dir().join(format!("millrace-verify-{}", std::process::id()));
    std::fs::create_dir_all(&state).expect("a folder");
    let record = Record {
        key: Key { network: "n".to_owned(), container: "c".to_owned(), interface: "eth0".to_owned() },
        netns: lab.pod.path().to_str().expect("a plain path").to_owned(),
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        uid: None,
        stamp: stamp::write(&Stamp::Redirect(Box::new(settings))),
        families: Families::Both,
        backend,
        release: None,
    };
    Records::below(&state).keep(&record).expect("the record is kept");
    let (status, text) = millrace(&lab.pod, "verify", &format!("--state-dir {} -o json", state.display()));
    std::fs::remove_dir_all(&state).expect("the folder goes");
    assert_eq!(status, 0, "{text}");
    let report: serde_json::Value = serde_json::from_str(&text).expect("one JSON document");
    assert_eq!(report["settingsFrom"], "the record of shop/web, eth0");
    assert_eq!(report["verified"], true);
    assert_eq!(report["traffic"][0]["port"], 16001);
    let probes = report["probes"].as_array().expect("a list");
    assert!(probes.len() == 4 && probes.iter().all(|probe| probe["seen"] == true), "{text}");
}

/// What istio-init is told for a pod that states nothing, without the command.
fn told() -> Vec<String> {
    injector::told()[1..].iter().map(|word| (*word).to_owned()).collect()
}

fn verify_stock(pod: &Namespace) -> (i32, String) {
    let pid = pod.pid().to_string();
    let mut millrace = Command::new(env!("CARGO_BIN_EXE_millrace"));
    let output = millrace.args(["verify", "--pid", &pid, "--stock", "--"]).args(told()).output();
    let output = output.expect("millrace runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().expect("millrace ends by itself"), text)
}

#[test]
fn a_pod_of_our_own_init_is_verified_by_its_arguments() {
    if !runs("a_pod_of_our_own_init_is_verified_by_its_arguments", &[]) {
        return;
    }
    let lab = Lab::new();
    let outcome = lab.pod.within(|| millrace_host::init::run(&told(), &|_| None));
    assert_eq!(outcome.status, 0, "{:?}", outcome.notes);
    let (status, text) = verify_stock(&lab.pod);
    assert!(status == 0 && text.ends_with("VERIFIED\n") && !text.contains("theirs"), "{text}");
    assert_eq!(text.matches("probe     ✓").count(), 4, "{text}");
}

/// What istio-init leaves: as `iptables-save` shows it, of a release of today.
const TODAY: &str = "*nat
:ISTIO_INBOUND - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
";

#[test]
fn rules_of_istios_own_are_verified_and_their_ways_are_named_as_theirs() {
    let tools = [
        ("iptables-nft-restore", "apt-get install iptables"),
        ("iptables-legacy-restore", "apt-get install iptables"),
    ];
    if !runs("rules_of_istios_own_are_verified_and_their_ways_are_named_as_theirs", &tools) {
        return;
    }
    // Releases before 1.25 look at TCP alone, those before 1.18 spare no tunnel.
    let hook = TODAY.replace("-A OUTPUT -j ISTIO_OUTPUT", "-A OUTPUT -p tcp -j ISTIO_OUTPUT");
    let old = hook.replace(" -p tcp -m tcp ! --dport 15008 -m owner", " -m owner");
    let check = |tool: &str, rules: &str, status: i32, says: &[&str]| {
        let lab = Lab::new();
        lab.pod.feed(&[tool, "--noflush"], rules);
        let (found, text) = verify_stock(&lab.pod);
        assert_eq!(found, status, "{text}");
        says.iter().for_each(|says| assert!(text.contains(says), "{says}: {text}"));
        text
    };
    let families = "theirs: IPv6 is not redirected";
    for tool in ["iptables-nft-restore", "iptables-legacy-restore"] {
        let text = check(tool, TODAY, 0, &["VERIFIED\n", families, "✓ outbound IPv4", "✓ inbound IPv4"]);
        assert_eq!(text.matches("theirs:").count(), 1, "{text}");
    }
    let nft = "iptables-nft-restore";
    check(nft, &hook, 0, &["VERIFIED\n", "no packet of", "✓ inbound IPv4"]);
    check(
        nft,
        &old,
        0,
        &["VERIFIED\n", "theirs: the listing is that of releases before 1.18", "✓ inbound IPv4"],
    );
    // What no release writes is wrong, and so is what is gone.
    let hole = TODAY.replace(
        "-A ISTIO_OUTPUT -s",
        "-A ISTIO_OUTPUT -p tcp -m tcp --dport 443 -j RETURN\n-A ISTIO_OUTPUT -s",
    );
    check(
        nft,
        &hole,
        1,
        &["NOT VERIFIED", "to 198.51.100.7 port 443: planned redirected to port 15001, found direct"],
    );
    let deaf = TODAY.replace("-A PREROUTING -p tcp -j ISTIO_INBOUND\n", "");
    check(nft, &deaf, 1, &["NOT VERIFIED", "planned redirected to port 15006, found direct"]);
}
