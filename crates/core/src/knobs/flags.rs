//! Reads the arguments and the environment of `istio-init`, every one it accepts, into settings and options.
//!
//! A later source wins: default, then environment, then flag. An argument that cannot be understood is an error; a
//! value that cannot be used is a complaint, also where the incumbent silently ignores it.

use super::options::{Given, OPTIONS, Opt};
use super::read::Lookup;
use super::{Draft, KNOBS, Knob, MOST_ITEMS, Reader, Source, check, nameservers};
use crate::complaint::Complaint;
use crate::settings::{Dns, PROXY_ID, Settings};
use std::fmt;

pub use super::options::{InitOptions, IptablesBinary};

/// What the reading needs of the world, as functions, because this crate looks at nothing itself.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// A variable of the environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The number of a user by name.
    pub user: Lookup<'a>,
    /// The number of a group by name.
    pub group: Lookup<'a>,
    /// The text of resolv.conf, or why it cannot be read; asked for only when DNS capture needs it.
    pub resolv_conf: &'a dyn Fn() -> Result<String, String>,
}

/// What the arguments and the environment say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// What the redirection should do.
    pub settings: Settings,
    /// What to do besides.
    pub options: InitOptions,
    /// What is wrong with them.
    pub complaints: Vec<Complaint>,
}

/// Arguments that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Help is asked for: print [`help`] and succeed.
    Help,
    /// There is no such flag.
    UnknownFlag(String),
    /// The flag needs a value and is the last argument.
    MissingValue(String),
    /// An argument that is no flag.
    Stray(String),
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Usage::Help => write!(f, "help is asked for"),
            Usage::UnknownFlag(flag) => write!(f, "there is no flag {flag:?}; --help lists all"),
            Usage::MissingValue(flag) => write!(f, "the flag {flag} needs a value, as in {flag}=VALUE"),
            Usage::Stray(word) => write!(f, "the argument {word:?} is not a flag; --help lists all"),
        }
    }
}

impl std::error::Error for Usage {}

/// Reads arguments (without the program's name) and the environment, as `istio-init` does.
pub fn settings_from_flags(args: &[String], around: &Surroundings<'_>) -> Result<Flags, Usage> {
    let given = scan(args)?;
    let mut complaints = Vec::new();
    let options = InitOptions::read(&given, around.env, &mut complaints);
    let mut draft = Draft::of(Settings::default());
    let mut written = Vec::new();
    for knob in KNOBS {
        let stated = state(knob, &given, around);
        let (what, source, text) = match stated {
            Some((what, source, text)) => {
                // Empty is "not told" to the field, for the flags of the template are always there.
                if !text.is_empty() {
                    written.push((knob.key, what.clone().into()));
                }
                (what, source, text)
            }
            None => (knob.key.to_owned(), Source::Flag, knob.bare.to_owned()),
        };
        let reader = Reader::new(what, source, &mut complaints);
        (knob.read)(&mut draft, &mut reader.with_names(around.user, around.group), &text);
    }
    identity(&mut draft, &written, &options, around);
    if options.redirect_dns && !written.iter().any(|(key, _)| *key == "dnsCapture") {
        draft.settings.dns = dns(&options, around, &mut complaints);
    }
    check::together(&draft, &written, &mut complaints);
    Ok(Flags { settings: draft.settings(), options, complaints })
}

/// The flags as text, one block each, from the tables.
pub fn help() -> String {
    let mut text = String::new();
    for knob in KNOBS {
        let short = knob.short.map_or(String::new(), |short| format!("-{short}, "));
        let env = if knob.env.is_empty() { String::new() } else { format!(" [env {}]", knob.env.join(", ")) };
        text.push_str(&format!("  {short}--{}={}\n        {}{env}\n", knob.flag, knob.bare, knob.doc));
    }
    for opt in OPTIONS {
        let short = opt.short.map_or(String::new(), |short| format!("-{short}, "));
        let env = if opt.env.is_empty() { String::new() } else { format!(" [env {}]", opt.env.join(", ")) };
        text.push_str(&format!("  {short}--{}\n        {}{env}\n", opt.flag, opt.doc));
    }
    text
}

fn state(knob: &Knob, given: &Given, around: &Surroundings<'_>) -> Option<(String, Source, String)> {
    if let Some(text) = given.get(knob.flag) {
        return Some((format!("--{}", knob.flag), Source::Flag, text.clone()));
    }
    // An empty variable says nothing, except where empty is the opposite of the default.
    let says = |text: &String| !text.is_empty() || knob.bare == "*";
    let variable =
        |name: &&str| (around.env)(name).filter(says).map(|text| ((*name).to_owned(), Source::Env, text));
    knob.env.iter().find_map(variable)
}

/// An unstated proxy user is the one named by ENVOY_USER, else 1337; unstated groups are the users' numbers.
fn identity(
    draft: &mut Draft,
    written: &[check::Stated<'_>],
    options: &InitOptions,
    around: &Surroundings<'_>,
) {
    let stated = |key: &str| written.iter().any(|(stated, _)| *stated == key);
    if !stated("proxyUIDs") {
        draft.settings.proxy_uids = vec![(around.user)(&options.envoy_user).unwrap_or(PROXY_ID)];
    }
    if !stated("proxyGIDs") {
        draft.settings.proxy_gids = draft.settings.proxy_uids.clone();
    }
}

fn dns(options: &InitOptions, around: &Surroundings<'_>, complaints: &mut Vec<Complaint>) -> Dns {
    if options.capture_all_dns {
        return Dns::All;
    }
    let fix = "mend /etc/resolv.conf, or say --capture-all-dns";
    match (around.resolv_conf)() {
        Ok(text) => {
            let servers = nameservers(&text);
            if servers.len() > MOST_ITEMS {
                let problem =
                    format!("finds {} resolvers in resolv.conf, the most is {MOST_ITEMS}", servers.len());
                complaints.push(Complaint::fatal("--redirect-dns", "true", problem, fix));
            } else if servers.is_empty() {
                let problem = "finds no resolver in resolv.conf, so no DNS is captured";
                complaints.push(Complaint::note("--redirect-dns", "true", problem, fix));
            } else {
                return Dns::Servers(servers);
            }
        }
        Err(why) => {
            let problem = format!("cannot read resolv.conf: {why}");
            complaints.push(Complaint::fatal("--redirect-dns", "true", problem, fix));
        }
    }
    Dns::Off
}

/// A flag as the scanner sees it.
#[derive(Clone, Copy)]
struct Known {
    name: &'static str,
    switch: bool,
}

/// Splits arguments as pflag does: `--name value`, `--name=value`, `-n value`, `-n=value`, `-nvalue`, and switches
/// that may be run together (`-nv`) and take a value only after `=`.
fn scan(args: &[String]) -> Result<Given, Usage> {
    let mut given = Given::new();
    let mut rest = args.iter().map(String::as_str).peekable();
    // The words by which the incumbent's image is told to be istio-init.
    rest.next_if(|word| *word == "istio-iptables");
    while let Some(arg) = rest.next() {
        if let Some(long) = arg.strip_prefix("--").filter(|long| !long.is_empty()) {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            if name == "help" {
                return Err(Usage::Help);
            }
            let known = long_flag(name).ok_or_else(|| Usage::UnknownFlag(arg.to_owned()))?;
            let value = value.or(known.switch.then_some("true")).or_else(|| rest.next());
            let value = value.ok_or_else(|| Usage::MissingValue(format!("--{name}")))?;
            given.insert(known.name, value.to_owned());
        } else if let Some(cluster) = arg.strip_prefix('-').filter(|cluster| !cluster.is_empty()) {
            scan_short(cluster, &mut rest, &mut given)?;
        } else {
            return Err(Usage::Stray(arg.to_owned()));
        }
    }
    Ok(given)
}

fn scan_short<'a>(
    cluster: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
    given: &mut Given,
) -> Result<(), Usage> {
    let mut letters = cluster.chars();
    while let Some(letter) = letters.next() {
        if letter == 'h' {
            return Err(Usage::Help);
        }
        let known = short_flag(letter).ok_or_else(|| Usage::UnknownFlag(format!("-{letter}")))?;
        let after = letters.as_str();
        let attached = after.strip_prefix('=').or((!known.switch && !after.is_empty()).then_some(after));
        let value = match (attached, known.switch) {
            (Some(value), _) => {
                letters = "".chars();
                value
            }
            (None, true) => "true",
            (None, false) => rest.next().ok_or_else(|| Usage::MissingValue(format!("-{letter}")))?,
        };
        given.insert(known.name, value.to_owned());
    }
    Ok(())
}

fn long_flag(name: &str) -> Option<Known> {
    let knob = KNOBS
        .iter()
        .find(|knob| knob.flag == name)
        .map(|knob| Known { name: knob.flag, switch: knob.switch });
    knob.or_else(|| OPTIONS.iter().find(|opt| opt.flag == name).map(Opt::known))
}

fn short_flag(letter: char) -> Option<Known> {
    let knobs = KNOBS.iter().find(|knob| knob.short == Some(letter));
    let knob = knobs.map(|knob| Known { name: knob.flag, switch: knob.switch });
    knob.or_else(|| OPTIONS.iter().find(|opt| opt.short == Some(letter)).map(Opt::known))
}

impl Opt {
    fn known(&self) -> Known {
        Known { name: self.flag, switch: self.switch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Inbound, Mode, Outbound, OwnerGroups};
    use std::time::Duration;

    fn read(line: &str, env: &[(&str, &str)]) -> Result<Flags, Usage> {
        let args: Vec<String> = line.split_whitespace().map(|word| word.replace("''", "")).collect();
        let lookup =
            |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        let user = |name: &str| (name == "istio-proxy").then_some(1400);
        let around = Surroundings {
            env: &lookup,
            user: &user,
            group: &|_| None,
            resolv_conf: &|| Ok(lookup("resolv.conf").unwrap_or("nameserver 10.96.0.10\n".to_owned())),
        };
        settings_from_flags(&args, &around)
    }

    fn check(line: &str, env: &[(&str, &str)], complaints: &[&str]) -> Flags {
        let flags = read(line, env).expect("arguments that can be understood");
        let shown = |one: &Complaint| format!("{}{one}", if one.fatal { "!" } else { "" });
        assert_eq!(flags.complaints.iter().map(shown).collect::<Vec<_>>(), complaints, "{line}");
        flags
    }

    #[test]
    fn without_arguments_nothing_is_captured_as_in_the_field() {
        let settings = check("", &[], &[]).settings;
        assert_eq!((settings.inbound, settings.outbound), (Inbound::Nothing, Outbound::Nothing));
        assert_eq!((settings.proxy_uids, settings.proxy_gids), (vec![1400], vec![1400]));
        assert_eq!((settings.exclude_outbound_ports, settings.dns), (vec![], Dns::Off));
    }

    #[test]
    fn what_an_injected_init_container_says() {
        let line = "istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x '' -b * -d 15090,15021,15020 \
                    --log_output_level=default:info";
        let settings = check(line, &[], &[]).settings;
        let ports = vec![15090.into(), 15021.into(), 15020.into()];
        let expected = Settings {
            inbound: Inbound::AllExcept(ports),
            exclude_outbound_ports: vec![],
            ..Settings::default()
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn a_flag_is_written_in_many_ways() {
        for line in [
            "-p 1",
            "-p=1",
            "-p1",
            "--envoy-port 1",
            "--envoy-port=1",
            "-np 1",
            "-p 2 -p 1",
            "--log_caller default,model --envoy-port 1",
        ] {
            assert_eq!(check(line, &[], &[]).settings.outbound_port, 1, "{line}");
        }
        assert!(!check("-n=false", &[("DRY_RUN", "true")], &[]).options.dry_run);
        assert!(check("--dry-run -p 1", &[], &[]).options.dry_run);
    }

    #[test]
    fn flag_beats_environment_beats_default() {
        let env =
            [("INBOUND_CAPTURE_PORT", "2"), ("INBOUND_TUNNEL_PORT", "3"), ("PROXY_UID", "5,istio-proxy")];
        let settings = check("-z 1", &env, &[]).settings;
        assert_eq!((settings.inbound_port, settings.tunnel_port, settings.outbound_port), (1, 3, 15001));
        assert_eq!((&settings.proxy_uids, &settings.proxy_gids), (&vec![5, 1400], &vec![5, 1400]));
        let empty = [("INBOUND_CAPTURE_PORT", ""), ("ISTIO_OUTBOUND_OWNER_GROUPS", ""), ("DRY_RUN", "")];
        let settings = check("-u '' -e 15008", &empty, &[]).settings;
        assert_eq!((settings.inbound_port, settings.proxy_uids), (15006, vec![1400]));
        assert_eq!(settings.owner_groups, OwnerGroups::Only(vec![]));
        let env = [("DROP_INVALID", "false"), ("INVALID_DROP", "true"), ("DUAL_STACK", "1")];
        let flags = check("", &env, &[]);
        assert!(!flags.settings.drop_invalid && flags.options.dual_stack);
    }

    #[test]
    fn options_without_a_flag() {
        let env = [
            ("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.0/30"),
            ("ISTIO_OUTBOUND_OWNER_GROUPS", "1,2"),
            ("ENVOY_USER", "nobody"),
            ("DRY_RUN_FILE_PATH", "/tmp/x"),
        ];
        let flags = check("", &env, &[]);
        assert_eq!(flags.settings.loopback.to_string(), "127.0.0.0/30");
        assert_eq!(flags.settings.owner_groups, OwnerGroups::Only(vec![1, 2]));
        assert_eq!(flags.settings.proxy_uids, [1337]);
        assert_eq!(flags.options.dry_run_file.as_deref(), Some("/tmp/x"));
    }

    #[test]
    fn dns_capture() {
        let servers = Dns::Servers(vec!["10.96.0.10".parse().expect("an address")]);
        assert_eq!(check("--redirect-dns", &[], &[]).settings.dns, servers);
        assert_eq!(check("", &[("ISTIO_META_DNS_CAPTURE", "true")], &[]).settings.dns, servers);
        assert_eq!(check("--redirect-dns --capture-all-dns", &[], &[]).settings.dns, Dns::All);
        assert_eq!(check("--capture-all-dns", &[], &[]).settings.dns, Dns::Off);
        assert_eq!(check("--redirect-dns --dns-capture=off", &[], &[]).settings.dns, Dns::Off);
        let servers =
            |count: u32| (0..count).map(|host| format!("nameserver 10.0.{}.{}\n", host >> 8, host & 255));
        let many = servers(257).collect::<String>();
        let wrong = "!--redirect-dns: \"true\": finds 257 resolvers in resolv.conf, the most is 256; \
                     mend /etc/resolv.conf, or say --capture-all-dns";
        check("--redirect-dns", &[("resolv.conf", &many)], &[wrong]);
        check("--redirect-dns", &[("resolv.conf", &servers(256).collect::<String>())], &[]);
        check("--redirect-dns --capture-all-dns", &[("resolv.conf", &many)], &[]);
    }

    #[test]
    fn options() {
        let line =
            "--probe-timeout=1m2.5s --iptables-probe-port 15003 --force-iptables-binary legacy --family 6";
        let options = check(line, &[], &[]).options;
        assert_eq!(options.probe_timeout, Duration::from_millis(62_500));
        assert_eq!((options.probe_port, options.family), (15003, Some(6)));
        assert_eq!(options.force_iptables_binary, Some(IptablesBinary::Legacy));
    }

    #[test]
    fn what_the_incumbent_ignores_is_complained_of() {
        let ignored = "DRY_RUN: \"yes\": is neither true nor false, so it is ignored; write true or false";
        check("", &[("DRY_RUN", "yes")], &[ignored]);
        let mode = "--istio-inbound-interception-mode: \"tproxy\": is not a mode, so it means REDIRECT, \
                    as it does to istio-init; write REDIRECT or TPROXY";
        assert_eq!(check("-m tproxy", &[], &[mode]).settings.mode, Mode::Redirect);
        check("--dry-run=yes", &[], &["!--dry-run: \"yes\": is neither true nor false; write true or false"]);
        let group = "!ISTIO_OUTBOUND_OWNER_GROUPS: \"java\": is not a group known here; write its number";
        check("", &[("ISTIO_OUTBOUND_OWNER_GROUPS", "java")], &[group]);
    }

    #[test]
    fn arguments_that_cannot_be_understood() {
        let wrong = |line: &str, usage: Usage| assert_eq!(read(line, &[]), Err(usage), "{line}");
        wrong("--nonsense", Usage::UnknownFlag("--nonsense".to_owned()));
        wrong("-y", Usage::UnknownFlag("-y".to_owned()));
        wrong("-p", Usage::MissingValue("-p".to_owned()));
        wrong("--envoy-port", Usage::MissingValue("--envoy-port".to_owned()));
        wrong("stray", Usage::Stray("stray".to_owned()));
        wrong("-nh", Usage::Help);
        assert!(help().contains("-p, --envoy-port=15001\n"));
    }
}
