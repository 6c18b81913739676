//! `init`, `validate` and `inspect` where they run: inside a pod's namespace, and on its node.

use crate::{lacks, plugin};
use millrace_rig::net::Namespace;
use serde_json::Value;
use std::process::{Command, Output};

/// A process that this machine cannot have: 2^22 is beyond any pid_max.
const ELSEWHERE: &str = "4194305";
const TABLES: [(&str, &str); 1] = [("iptables-nft", "apt-get install iptables")];
/// A pod with addresses of both families that nobody else has, and a way out.
const WIRED: &str = "ip link add eth0 type bridge; ip link set eth0 up; \
    ip addr add 10.9.0.2/24 dev eth0; ip addr add fd09::2/64 dev eth0 nodad; \
    ip route add default via 10.9.0.1; ip -6 route add default via fd09::1";

fn pod() -> Namespace {
    let pod = Namespace::new();
    pod.sh(WIRED);
    pod
}

fn inside(pod: &Namespace, words: &str) -> Output {
    pod.within(|| run(words))
}

fn run(words: &str) -> Output {
    Command::new(plugin()).args(words.split_whitespace()).env_clear().output().expect("the binary was built")
}

/// What it printed, if it ended with that status.
fn said(output: &Output, status: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{stdout}{stderr}");
    (stdout, stderr)
}

#[test]
fn init_redirects_its_own_namespace_and_validates_all_directions() {
    if lacks("init_redirects_its_own_namespace_and_validates_all_directions", &[]) {
        return;
    }
    for more in [
        "",
        "-m TPROXY",
        "--native-nftables",
        "--redirect-dns --capture-all-dns --drop-invalid",
        "-g 1337,1338 -u 1337,1338",
    ] {
        let pod = pod();
        let words = format!(
            "init -p 15001 -z 15006 -u 1337 -g 1337 -i * -x 10.0.0.0/8 -b * -d 15090,15021 {more} --run-validation"
        );
        for _ in 0..2 {
            let (_, notes) = said(&inside(&pod, &words), 0);
            for probe in [
                "IPv4 inbound: 127.0.0.6:15002",
                "IPv6 inbound: [::6]:15002",
                "IPv4 outbound: 192.0.2.1:15002",
                "IPv6 outbound: [2001:db8::1]:15002",
            ] {
                assert!(notes.contains(probe), "{more}: {probe}: {notes}");
            }
        }
        let (_, notes) = said(&inside(&pod, &format!("init --cleanup-only -u 1337 {more}")), 0);
        assert!(!notes.contains("failed"), "{notes}");
        let (_, notes) = said(&inside(&pod, "validate"), 126);
        assert!(
            notes.contains("IPv4 inbound traffic is not redirected") && notes.contains("delete the pod"),
            "{notes}"
        );
    }
}

#[test]
fn init_does_everything_in_the_namespace_that_it_is_given() {
    if lacks("init_does_everything_in_the_namespace_that_it_is_given", &[]) {
        return;
    }
    let (pod, outside) = (pod(), Namespace::new());
    let given = format!("init --network-namespace {} -u 1337 -g 1337 -i * -b *", pod.path().display());
    let (_, notes) = said(&inside(&outside, &format!("{given} --run-validation")), 0);
    assert!(notes.contains("IPv4 inbound: ") && notes.contains("IPv6 outbound: "), "{notes}");
    let (text, _) = said(&inside(&outside, &format!("{given} --dry-run")), 0);
    assert!(text.contains("# for ip6tables-restore"), "{text}");
}

#[test]
fn validate_needs_no_privilege_and_sees_what_its_user_may() {
    if lacks(
        "validate_needs_no_privilege_and_sees_what_its_user_may",
        &[("setpriv", "apt-get install util-linux")],
    ) {
        return;
    }
    let pod = pod();
    said(&inside(&pod, "init -u 1337 -g 1337 -i * -b *"), 0);
    let as_user = |id: u32, words: &str| {
        let id = id.to_string();
        let flags = [
            "--reuid",
            &id,
            "--regid",
            &id,
            "--clear-groups",
            "--no-new-privs",
            "--bounding-set=-all",
            "--inh-caps=-all",
        ];
        let mut command = Command::new("setpriv");
        command
            .args(flags)
            .arg(plugin())
            .args(words.split_whitespace())
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        pod.within(|| command.output().expect("setpriv(1) runs"))
    };
    let (_, notes) = said(&as_user(1337, "validate"), 0);
    assert!(notes.contains("IPv4 inbound: ") && notes.contains("IPv6 outbound was not probed"), "{notes}");
    let (_, notes) = said(&as_user(1000, "validate"), 0);
    assert!(notes.contains("IPv6 outbound: ") && notes.contains("IPv4 inbound was not probed"), "{notes}");
    let (_, notes) = said(&as_user(1337, "istio-iptables -u 1337 --run-validation --skip-rule-apply"), 0);
    assert!(notes.contains("IPv4 inbound: "), "{notes}");
}

/// What comes back from outside, a router's ICMP answer or the word that no neighbour answered, is no lack of a route.
#[test]
fn validate_fails_where_what_should_be_captured_leaves_the_pod() {
    if lacks("validate_fails_where_what_should_be_captured_leaves_the_pod", &[]) {
        return;
    }
    let pod = pod();
    pod.sh("for f in ipv4 ipv6; do echo 50 > /proc/sys/net/$f/neigh/eth0/retrans_time_ms; done");
    said(&inside(&pod, "init -u 1337 -g 1337 -b *"), 0);
    let (_, notes) = said(&inside(&pod, "validate"), 126);
    assert!(
        notes.contains("IPv4 outbound traffic is not redirected") && notes.contains("left the pod"),
        "{notes}"
    );
}

#[test]
fn validate_goes_round_a_loopback_that_covers_the_hop() {
    if lacks("validate_goes_round_a_loopback_that_covers_the_hop", &[]) {
        return;
    }
    let pod = pod();
    let run = |words: &str| {
        pod.within(|| {
            let mut command = Command::new(plugin());
            command
                .args(words.split_whitespace())
                .env_clear()
                .env("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.1/8");
            command.output().expect("the binary was built")
        })
    };
    let (_, notes) = said(&run("init -u 1337 -i * -b * --run-validation"), 0);
    assert!(notes.contains("IPv4 inbound: 10.9.0.2:15002 leads to port 15006"), "{notes}");
}

#[test]
fn validate_takes_a_proxy_that_listens_already_as_such() {
    if lacks("validate_takes_a_proxy_that_listens_already_as_such", &[]) {
        return;
    }
    let pod = pod();
    said(&inside(&pod, "init -u 1337 -i * -b *"), 0);
    let _proxy = pod.within(|| std::net::TcpListener::bind("[::]:15006").expect("a free port"));
    let (_, notes) = said(&inside(&pod, "validate"), 0);
    assert!(
        notes.contains("IPv4 inbound: 127.0.0.6:15002 leads to port 15006, where the proxy listens already"),
        "{notes}"
    );
}

#[test]
fn inspect_shows_what_iptables_shows_and_why() {
    if lacks("inspect_shows_what_iptables_shows_and_why", &TABLES) {
        return;
    }
    for more in [
        "",
        "-m TPROXY --drop-invalid",
        "--redirect-dns --capture-all-dns -x 10.0.0.0/8,fd00::/8",
        "-q 53,443 -o 22,90-99 -c eth1 -k tap0",
    ] {
        let pod = pod();
        said(&inside(&pod, &format!("init -u 1337 -g 1337 -i * -b * -d 15090 {more}")), 0);
        for (family, tool) in [("4", "iptables-nft"), ("6", "ip6tables-nft")] {
            for table in ["nat", "mangle", "raw"] {
                let listing = format!("{tool} -t {table} -L -n -v --line-numbers -x");
                let words = format!("inspect --pid {} --family {family} -t {table}", pod.pid());
                // A packet of the namespace's own may be counted between two readings: ours is compared where theirs is the
                // same before and after.
                let still = (0..50).find_map(|_| {
                    let before = pod.sh(&listing);
                    let ours = said(&run(&words), 0).0;
                    (pod.sh(&listing) == before).then_some((ours, before))
                });
                let (ours, theirs) = still.expect("counters come to rest");
                assert_eq!(ours, theirs, "{more}");
            }
        }
    }
    let pod = pod();
    said(&inside(&pod, "init -u 1337 -g 1337 -i * -b * -d 15090"), 0);
    let pid = format!("inspect --pid {}", pod.pid());
    for (family, tool) in [("4", "iptables-nft"), ("6", "ip6tables-nft")] {
        let (saved, _) = said(&run(&format!("{pid} -o iptables-save --family {family}")), 0);
        let theirs = pod.sh(&format!("{tool}-save -t nat"));
        let rules = |text: &str| -> Vec<String> {
            let mut lines: Vec<String> =
                text.lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(rules(&saved), rules(&theirs));
    }
    let (text, _) = said(&run(&format!("{pid} --reasons")), 0);
    assert!(text.contains("ISTIO_REDIRECT 1: R1 ") && text.contains("--envoy-port"), "{text}");
    let (text, _) = said(&run(&format!("{pid} -o nft -t all --family both")), 0);
    assert!(text.contains("table ip6 nat") && text.contains("tcp dport 15090"), "{text}");
    let (text, _) = said(&run(&format!("{pid} -o json")), 0);
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let rules = value["backends"][0]["rules"].as_array().expect("rules");
    assert!(rules.iter().all(|rule| rule["reason"]["id"].is_string()), "{text}");
    assert_eq!(value["backends"][0]["backend"], "iptables");
}

#[test]
fn inspect_names_the_tables_in_which_another_redirects() {
    if lacks("inspect_names_the_tables_in_which_another_redirects", &[("nft", "apt-get install nftables")]) {
        return;
    }
    let pod = pod();
    pod.sh("nft add table inet istio-proxy-nat
        nft add chain inet istio-proxy-nat output '{ type nat hook output priority -100; }'");
    let (text, notes) = said(&run(&format!("inspect --pid {}", pod.pid())), 0);
    assert!(text.starts_with("Chain PREROUTING (policy ACCEPT"), "{text}");
    assert!(notes.contains("nft list table inet istio-proxy-nat"), "{notes}");
}

#[test]
fn inspect_finds_a_namespace_by_path_or_container_and_says_what_it_cannot_find() {
    if lacks("inspect_finds_a_namespace_by_path_or_container_and_says_what_it_cannot_find", &[]) {
        return;
    }
    let pod = pod();
    let (empty, _) = said(&run(&format!("inspect --netns {}", pod.path().display())), 0);
    assert!(empty.starts_with("Chain PREROUTING (policy ACCEPT"), "{empty}");
    let root = std::env::temp_dir().join(format!("millrace-inspect-{}", std::process::id()));
    let task = root.join("run/containerd/io.containerd.runtime.v2.task/k8s.io/c0ffee");
    std::fs::create_dir_all(&task).unwrap();
    std::fs::write(task.join("init.pid"), ELSEWHERE).unwrap();
    // The number is the process's where that /proc is the kernel's, and nobody's here.
    let process = root.join("proc").join(ELSEWHERE).join("ns");
    std::fs::create_dir_all(&process).unwrap();
    std::os::unix::fs::symlink(pod.path(), process.join("net")).unwrap();
    for target in ["containerd://c0f".to_owned(), format!("--pid {ELSEWHERE}")] {
        let (found, _) = said(&run(&format!("inspect {target} --root {}", root.display())), 0);
        assert_eq!(found, empty);
    }
    let (_, notes) = said(&run(&format!("inspect dead --root {}", root.display())), 1);
    assert!(notes.contains("crictl ps"), "{notes}");
    std::fs::remove_dir_all(&root).unwrap();
    for (words, word) in [
        ("inspect", "--netns"),
        ("inspect --netns /nonexistent", "nothing is there"),
        ("inspect --pid 0", "/proc/0"),
    ] {
        let (_, notes) = said(&run(words), 1);
        assert!(notes.contains(word), "{words}: {notes}");
    }
}

#[test]
fn words_that_are_no_commands_are_refused() {
    let (_, notes) = said(&run("uninstall"), 1);
    assert!(notes.contains("uninstall") && notes.contains("init|validate|inspect"), "{notes}");
    said(&run("--help"), 0);
    let (text, _) = said(&run("inspect --help"), 0);
    assert!(text.contains("--reasons"), "{text}");
}
