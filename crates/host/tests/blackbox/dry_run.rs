//! `init --dry-run`: whatever flag or variable a setting comes from, the text is one that iptables takes.

use crate::{lacks, plugin};
use millrace_rig::net::Namespace;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const TOOLS: [(&str, &str); 2] = [
    ("iptables-nft-restore", "apt-get install iptables"),
    ("iptables-legacy-restore", "apt-get install iptables"),
];

/// What most settings need beside them to be seen in the rules.
const ALL: &str = "-i * -b *";

/// A flag, a value for it, and what stands beside it. Each of these changes the rules.
const SETTINGS: [(&str, &str, &str); 24] = [
    ("profile", "asm-1.14", ALL),
    ("istio-inbound-interception-mode", "TPROXY", ALL),
    ("envoy-port", "15101", ALL),
    ("inbound-capture-port", "15106", ALL),
    ("inbound-tunnel-port", "15009", ALL),
    ("proxy-uid", "1400,1401", ALL),
    ("proxy-gid", "1400,1401", ALL),
    ("istio-inbound-ports", "80,8000-8100", ""),
    ("istio-local-exclude-ports", "22,9000-9010", ALL),
    ("istio-service-cidr", "10.0.0.0/8,fd00::/8", ""),
    ("istio-service-exclude-cidr", "10.1.0.0/16,fd01::/16", ALL),
    ("istio-outbound-ports", "443,8440-8450", "-b *"),
    ("istio-local-outbound-ports-exclude", "22,9000-9010", ALL),
    ("istio-exclude-interfaces", "eth1,net2", ALL),
    ("kube-virt-interfaces", "tap0", ALL),
    ("include-owner-groups", "1000,1001", ALL),
    ("exclude-owner-groups", "1000", ALL),
    ("exclude-outbound-uids", "2000", ALL),
    ("dns-capture", "10.0.0.53,fd00::53", ALL),
    ("drop-invalid", "true", ALL),
    ("loopback-cidr", "127.0.0.0/8", ALL),
    ("istio-inbound-tproxy-mark", "1400", "-i * -b * -m TPROXY"),
    ("redirect-dns", "true", "-i * -b * --capture-all-dns"),
    ("envoy-user", "nobody", ALL),
];

/// These do not change the rules of a dry run, but are heard all the same. `--family` is in every call.
const OTHERS: [(&str, &str, &str); 22] = [
    ("istio-inbound-tproxy-route-table", "140", "-i * -b * -m TPROXY"),
    // It says how `redirect-dns` is meant, and stands beside it above.
    ("capture-all-dns", "true", ALL),
    ("dry-run", "true", ALL),
    ("dry-run-file", "/dev/stdout", ALL),
    ("backend", "iptables-text", ALL),
    ("skip-rule-apply", "true", ALL),
    ("run-validation", "true", ALL),
    ("iptables-probe-port", "15003", ALL),
    ("probe-timeout", "3s", ALL),
    ("network-namespace", "/proc/self/ns/net", ALL),
    ("cni-mode", "true", ALL),
    ("reconcile", "true", ALL),
    ("cleanup-only", "true", ALL),
    ("force-apply", "true", ALL),
    ("native-nftables", "true", ALL),
    ("force-iptables-binary", "legacy", ALL),
    ("dual-stack", "true", ALL),
    ("log_as_json", "true", ALL),
    ("log_caller", "true", ALL),
    ("log_output_level", "default:info", ALL),
    ("log_stacktrace_level", "default:none", ALL),
    ("log_target", "stderr", ALL),
];

#[test]
fn every_flag_and_variable_gives_a_text_that_iptables_takes() {
    if lacks("every_flag_and_variable_gives_a_text_that_iptables_takes", &TOOLS) {
        return;
    }
    let mut texts = BTreeSet::new();
    let mut names = names();
    for (row, changes) in SETTINGS.iter().map(|row| (row, true)).chain(OTHERS.iter().map(|row| (row, false)))
    {
        let (flag, value, beside) = *row;
        let names =
            names.remove(flag).unwrap_or_else(|| panic!("--{flag} is not in the help, or is here twice"));
        let without = dry_run(beside, None, None);
        let with = dry_run(beside, Some(&format!("--{flag}={value}")), None);
        assert_eq!(with != without, changes, "--{flag}={value}: {with:?}");
        if let Some(short) = names.short {
            assert_eq!(dry_run(beside, Some(&format!("-{short}={value}")), None), with, "-{short}={value}");
        }
        for variable in names.env {
            assert_eq!(dry_run(beside, None, Some((&variable, value))), with, "{variable}={value}");
        }
        texts.insert(with);
    }
    assert_eq!(names.into_keys().collect::<Vec<_>>(), ["family"], "flags without a row here");
    are_taken(texts);
}

/// Flags in company, as injectors write them: some are given with nothing.
const TOGETHER: [&str; 4] = [
    "-p 15001 -z 15006 -u 1337 -g 1337 -m REDIRECT -i * -x= -b * -d 15090,15021,15020",
    "-p 15001 -z 15006 -u 1337 -g 1337 -m TPROXY -t 1400 -r 140 -i * -x= -b * -d 15090 -o= --drop-invalid",
    "-b 80,8000-8100 -i 10.0.0.0/8,fd00::/8 -x 10.1.0.0/16 -q 53,443 -o 22,9000-9010 -c eth1 -k tap0",
    "-i * -b * --redirect-dns --capture-all-dns -u 1337,1338 -g 1337,1338 --include-owner-groups 1,2,3",
];

#[test]
fn flags_in_company_give_a_text_that_iptables_takes() {
    if !lacks("flags_in_company_give_a_text_that_iptables_takes", &TOOLS) {
        are_taken(TOGETHER.map(|words| dry_run(words, None, None)));
    }
}

/// By both variants, each family by its own program.
fn are_taken(texts: impl IntoIterator<Item = [String; 2]>) {
    let pod = Namespace::bare();
    for [v4, v6] in texts {
        for variant in ["nft", "legacy"] {
            pod.feed(&[&format!("iptables-{variant}-restore"), "--test", "--noflush"], &v4);
            pod.feed(&[&format!("ip6tables-{variant}-restore"), "--test", "--noflush"], &v6);
        }
    }
}

/// How else a flag is said.
struct Names {
    short: Option<char>,
    env: Vec<String>,
}

/// All flags, as the help lists them: `  -x, --flag=VALUE`, and below it `        Words. [env ONE, OTHER]`.
fn names() -> BTreeMap<String, Names> {
    let output = Command::new(plugin()).args(["init", "--help"]).output().expect("the binary was built");
    let help = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = help.lines().collect();
    let flags = lines.windows(2).filter_map(|pair| {
        let (short, long) = pair[0].trim_start().split_once("--").filter(|_| pair[0].starts_with("  -"))?;
        let env = pair[1].split_once("[env ").map_or("", |(_, names)| names.trim_end_matches(']'));
        let names = Names {
            short: short.chars().nth(1),
            env: env.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        };
        Some((long.split('=').next().unwrap_or(long).to_owned(), names))
    });
    flags.collect()
}

/// The texts of both families.
fn dry_run(beside: &str, flag: Option<&str>, variable: Option<(&str, &str)>) -> [String; 2] {
    ["4", "6"].map(|family| {
        let mut command = Command::new(plugin());
        command.args(["init", "--dry-run", "--family", family]).args(beside.split_whitespace()).args(flag);
        let output = command.env_clear().envs(variable).output().expect("the binary was built");
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    })
}
