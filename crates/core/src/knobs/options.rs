//! What `istio-init` accepts besides the settings of a redirection: what to do with the rules, and words that only
//! the incumbent's tools need, which are accepted so that its arguments work unchanged.
//!
//! Does nothing of it: acting on an option is `init`'s work.

use super::read::{digits, go_bool};
use crate::complaint::Complaint;
use crate::settings::PROBE_PORT;
use std::collections::BTreeMap;
use std::time::Duration;

/// The values of flags by long name; the last of several counts, as in the field.
pub(super) type Given = BTreeMap<&'static str, String>;

/// What `istio-init` is told besides its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitOptions {
    /// Print the rules instead of applying them.
    pub dry_run: bool,
    /// Where a dry run prints to, when not to standard output.
    pub dry_run_file: Option<String>,
    /// Print one family only, 4 or 6.
    pub family: Option<u8>,
    /// The dialect by name.
    pub backend: Option<String>,
    /// Apply neither rules nor routes.
    pub skip_rule_apply: bool,
    /// Validate afterwards.
    pub run_validation: bool,
    /// The port that validation looks for.
    pub probe_port: u16,
    /// How long validation may take.
    pub probe_timeout: Duration,
    /// The network namespace the rules are for, by path.
    pub network_namespace: Option<String>,
    /// Whether the incumbent's tool would run on the node.
    pub cni_mode: bool,
    /// Replace rules that differ.
    pub reconcile: bool,
    /// Take the rules away.
    pub cleanup_only: bool,
    /// Apply even if everything is there.
    pub force_apply: bool,
    /// Prefer native nftables.
    pub native_nftables: bool,
    /// Which variant of iptables the incumbent would run.
    pub force_iptables_binary: Option<IptablesBinary>,
    /// Whether the incumbent would look for an IPv6 address behind an IPv4 one; Millrace always does.
    pub dual_stack: bool,
    /// Capture DNS queries.
    pub redirect_dns: bool,
    /// Those to any resolver, not only to the pod's own.
    pub capture_all_dns: bool,
    /// The user whose number is the proxy's when none is given.
    pub envoy_user: String,
}

/// A variant of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IptablesBinary {
    /// Of the old kernel interface.
    Legacy,
    /// Over nf_tables.
    Nft,
}

impl Default for InitOptions {
    fn default() -> Self {
        InitOptions {
            dry_run: false,
            dry_run_file: None,
            family: None,
            backend: None,
            skip_rule_apply: false,
            run_validation: false,
            probe_port: PROBE_PORT,
            probe_timeout: Duration::from_secs(5),
            network_namespace: None,
            cni_mode: false,
            reconcile: false,
            cleanup_only: false,
            force_apply: false,
            native_nftables: false,
            force_iptables_binary: None,
            dual_stack: false,
            redirect_dns: false,
            capture_all_dns: false,
            envoy_user: "istio-proxy".to_owned(),
        }
    }
}

/// One option: its names, and how its text is taken over. `take` says whether the text could be understood.
pub(super) struct Opt {
    pub(super) flag: &'static str,
    pub(super) short: Option<char>,
    pub(super) env: &'static [&'static str],
    pub(super) switch: bool,
    pub(super) doc: &'static str,
    wanted: &'static str,
    take: fn(&mut InitOptions, &str) -> bool,
}

const BOOL: &str = "is neither true nor false";

const fn switch(
    flag: &'static str,
    env: &'static [&'static str],
    doc: &'static str,
    take: fn(&mut InitOptions, &str) -> bool,
) -> Opt {
    Opt { flag, short: None, env, switch: true, doc, wanted: BOOL, take }
}

const fn value(
    flag: &'static str,
    env: &'static [&'static str],
    doc: &'static str,
    wanted: &'static str,
    take: fn(&mut InitOptions, &str) -> bool,
) -> Opt {
    Opt { flag, short: None, env, switch: false, doc, wanted, take }
}

pub(super) const OPTIONS: &[Opt] = &[
    Opt {
        short: Some('n'),
        ..switch("dry-run", &["DRY_RUN"], "Print the rules instead of applying them.", |o, t| {
            put(&mut o.dry_run, go_bool(t))
        })
    },
    value("dry-run-file", &["DRY_RUN_FILE_PATH"], "Where a dry run prints to.", "", |o, t| {
        name(&mut o.dry_run_file, t)
    }),
    value("family", &[], "Print one family only: 4 or 6.", "is neither 4 nor 6", |o, t| match t {
        "4" | "6" => put(&mut o.family, Some(Some(if t == "4" { 4 } else { 6 }))),
        _ => false,
    }),
    value("backend", &[], "The dialect: auto, iptables, nftables or iptables-text.", "", |o, t| {
        name(&mut o.backend, t)
    }),
    switch("skip-rule-apply", &["SKIP_RULE_APPLY"], "Apply neither rules nor routes.", |o, t| {
        put(&mut o.skip_rule_apply, go_bool(t))
    }),
    switch("run-validation", &["RUN_VALIDATION"], "Validate afterwards; exit 126 if that fails.", |o, t| {
        put(&mut o.run_validation, go_bool(t))
    }),
    value(
        "iptables-probe-port",
        &["IPTABLES_PROBE_PORT"],
        "The port validation looks for.",
        "is not a port",
        |o, t| put(&mut o.probe_port, digits(t).and_then(|number| u16::try_from(number).ok())),
    ),
    value(
        "probe-timeout",
        &["PROBE_TIMEOUT"],
        "How long validation may take, as in 5s.",
        "is not a duration",
        |o, t| put(&mut o.probe_timeout, duration(t)),
    ),
    value(
        "network-namespace",
        &["NETWORK_NAMESPACE"],
        "The network namespace the rules are for.",
        "",
        |o, t| name(&mut o.network_namespace, t),
    ),
    switch("cni-mode", &["CNI_MODE"], "Accepted; Millrace runs no tool of the node's.", |o, t| {
        put(&mut o.cni_mode, go_bool(t))
    }),
    switch("reconcile", &["RECONCILE"], "Accepted; Millrace always replaces rules that differ.", |o, t| {
        put(&mut o.reconcile, go_bool(t))
    }),
    switch("cleanup-only", &["CLEANUP_ONLY"], "Take the rules away.", |o, t| {
        put(&mut o.cleanup_only, go_bool(t))
    }),
    switch("force-apply", &["FORCE_APPLY"], "Accepted; applying twice changes nothing.", |o, t| {
        put(&mut o.force_apply, go_bool(t))
    }),
    switch("native-nftables", &["NATIVE_NFTABLES"], "Use the dialect nftables.", |o, t| {
        put(&mut o.native_nftables, go_bool(t))
    }),
    value(
        "force-iptables-binary",
        &["FORCE_IPTABLES_BINARY"],
        "The variant of iptables: legacy or nft.",
        "is neither legacy nor nft",
        |o, t| {
            let variant = match t {
                "" => Some(None),
                "legacy" => Some(Some(IptablesBinary::Legacy)),
                "nft" => Some(Some(IptablesBinary::Nft)),
                _ => None,
            };
            put(&mut o.force_iptables_binary, variant)
        },
    ),
    switch(
        "dual-stack",
        &["DUAL_STACK", "ISTIO_DUAL_STACK"],
        "Accepted; Millrace looks at every address.",
        |o, t| put(&mut o.dual_stack, go_bool(t)),
    ),
    switch("redirect-dns", &["REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE"], "Capture DNS queries.", |o, t| {
        put(&mut o.redirect_dns, go_bool(t))
    }),
    switch(
        "capture-all-dns",
        &["CAPTURE_ALL_DNS"],
        "Those to any resolver, not only to resolv.conf's.",
        |o, t| put(&mut o.capture_all_dns, go_bool(t)),
    ),
    value(
        "envoy-user",
        &["ENVOY_USER"],
        "The user whose number is the proxy's when none is given.",
        "",
        |o, t| put(&mut o.envoy_user, Some(t.to_owned())),
    ),
    switch("log_as_json", &[], "Accepted; one line is one line.", |_, _| true),
    value("log_caller", &[], "Accepted.", "", |_, _| true),
    value("log_output_level", &[], "Accepted.", "", |_, _| true),
    value("log_stacktrace_level", &[], "Accepted.", "", |_, _| true),
    value("log_target", &[], "Accepted.", "", |_, _| true),
];

impl InitOptions {
    /// The options, each from its flag, else from its first variable that is set.
    pub(super) fn read(
        given: &Given,
        env: &dyn Fn(&str) -> Option<String>,
        complaints: &mut Vec<Complaint>,
    ) -> InitOptions {
        let mut options = InitOptions::default();
        for opt in OPTIONS {
            if let Some(text) = given.get(opt.flag) {
                if !(opt.take)(&mut options, text) {
                    complaints.push(Complaint::fatal(
                        &format!("--{}", opt.flag),
                        text,
                        opt.wanted,
                        opt.fix(),
                    ));
                }
            } else if let Some((name, text)) = opt.stated(env)
                && !(opt.take)(&mut options, &text)
            {
                let problem = format!("{}, so it is ignored", opt.wanted);
                complaints.push(Complaint::note(name, &text, problem, opt.fix()));
            }
        }
        options
    }
}

impl Opt {
    fn stated(&self, env: &dyn Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
        self.env.iter().find_map(|name| env(name).filter(|text| !text.is_empty()).map(|text| (*name, text)))
    }

    fn fix(&self) -> String {
        if self.wanted == BOOL { "write true or false".to_owned() } else { self.doc.to_owned() }
    }
}

fn put<T>(field: &mut T, value: Option<T>) -> bool {
    value.map(|value| *field = value).is_some()
}

/// An empty name is no name, as in the field.
fn name(field: &mut Option<String>, text: &str) -> bool {
    *field = Some(text.to_owned()).filter(|text| !text.is_empty());
    true
}

/// A duration as Go writes it, such as `5s`, `1m30s` or `1.5h`; at most a day, because it bounds a wait (M10).
fn duration(text: &str) -> Option<Duration> {
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let units =
            [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, seconds) = units.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        total += number.parse::<f64>().ok()? * seconds;
        rest = &after[unit.len()..];
    }
    (!text.is_empty() && (0.0..=86_400.0).contains(&total)).then(|| Duration::from_secs_f64(total))
}

#[cfg(test)]
mod tests {
    use super::{OPTIONS, duration};
    use crate::knobs::KNOBS;
    use std::time::Duration;

    fn check(text: &str, milliseconds: Option<u64>) {
        assert_eq!(duration(text), milliseconds.map(Duration::from_millis), "{text}");
    }

    #[test]
    fn durations_as_go_writes_them() {
        check("5s", Some(5000));
        check("1m30s", Some(90_000));
        check("1.5s", Some(1500));
        check("250ms", Some(250));
        check("0s", Some(0));
        for wrong in ["", "5", "s", "5 s", "-5s", "1.2.3s", "25h", "5x"] {
            check(wrong, None);
        }
    }

    #[test]
    fn no_flag_is_a_setting_and_an_option() {
        for opt in OPTIONS {
            assert!(KNOBS.iter().all(|knob| knob.flag != opt.flag), "{}", opt.flag);
            assert!(opt.short.is_none() || KNOBS.iter().all(|knob| knob.short != opt.short), "{}", opt.flag);
        }
    }
}
