//! What was found out about one network namespace: for people, for programs, and read back where a program on the node said it.
//!
//! Plain data. It judges nothing: who made it did.

use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// Everything that was found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Report {
    pub(crate) verified: bool,
    pub(crate) netns: String,
    pub(crate) settings_from: String,
    /// The backend whose rules come nearest to the plan.
    pub(crate) backend: Option<String>,
    /// Others that hold chains of ours as well: packets would be redirected twice, or by the wrong ones.
    pub(crate) also_in: Vec<String>,
    pub(crate) rules_as_planned: bool,
    /// The rules that are planned.
    pub(crate) planned: Vec<Planned>,
    pub(crate) findings: Vec<String>,
    /// How rules that somebody else wrote differ without any packet faring otherwise, or as they are known to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) theirs: Vec<String>,
    pub(crate) traffic: Vec<Traffic>,
    pub(crate) probes: Vec<Probed>,
    /// What is there, as `iptables` lists it, table by table; after the probes, if any were sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tables: Vec<Listed>,
    /// The rules that are there, of the backend that comes nearest to the plan; after the probes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<Held>,
}

/// A table as `iptables` lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) title: String,
    pub(crate) text: String,
}

/// A rule that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Held {
    pub(crate) family: String,
    pub(crate) table: String,
    pub(crate) chain: String,
    pub(crate) number: usize,
    pub(crate) packets: u64,
    pub(crate) rule: String,
    /// Why it is there; nothing of a rule that is not ours.
    pub(crate) why: String,
    /// The setting that it comes from.
    pub(crate) setting: String,
}

/// How many rules of a family are planned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Planned {
    pub(crate) family: String,
    pub(crate) rules: usize,
}

/// What a redirecting rule has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Traffic {
    pub(crate) families: Vec<String>,
    pub(crate) chain: String,
    pub(crate) port: u16,
    pub(crate) connections_before: u64,
    /// The same after the probes; absent where none were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections_after: Option<u64>,
}

/// What was seen of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probed {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) to: String,
    pub(crate) planned: String,
    pub(crate) fate: String,
    pub(crate) sent: bool,
    pub(crate) seen: bool,
    pub(crate) counters: Vec<Counted>,
}

/// By how much a counter rose: by 1 for the probe, and by what the pod's own traffic added meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counted {
    pub(crate) family: String,
    pub(crate) chain: String,
    pub(crate) number: usize,
    /// What it said before the probe, and after.
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) rise: u64,
    pub(crate) ours: u64,
}

impl Report {
    /// In lines for people, each behind `indent`.
    pub(crate) fn write(&self, out: &mut dyn Write, indent: &str) -> io::Result<()> {
        writeln!(out, "{indent}network namespace {}", self.netns)?;
        writeln!(out, "{indent}  settings  from {}", self.settings_from)?;
        let backend = self.backend.as_deref().unwrap_or("none holds rules of ours");
        writeln!(out, "{indent}  backend   {backend}")?;
        for other in &self.also_in {
            writeln!(out, "{indent}    ✗ {other} holds rules of ours as well; clear them")?;
        }
        self.write_rules(out, indent)?;
        for one in &self.traffic {
            let (title, connections) = (one.title(), one.connections_before);
            let port = one.port;
            writeln!(
                out,
                "{indent}  traffic   {title}: {connections} connections to port {port} before the probes"
            )?;
        }
        for probe in &self.probes {
            writeln!(out, "{indent}  probe     {}", probe.words())?;
        }
        Ok(())
    }

    fn write_rules(&self, out: &mut dyn Write, indent: &str) -> io::Result<()> {
        let counts = self.planned.iter().map(|one| format!("{} of {}", one.rules, one.family));
        let counts = counts.collect::<Vec<_>>().join(", ");
        match (self.rules_as_planned, self.theirs.is_empty()) {
            (false, _) => writeln!(out, "{indent}  rules     ✗ {counts} planned")?,
            (true, true) => {
                writeln!(out, "{indent}  rules     ✓ {counts}, as planned, none missing, none foreign")?;
            }
            (true, false) => {
                writeln!(
                    out,
                    "{indent}  rules     ✓ {counts} planned; what differs is this Istio's own way"
                )?;
            }
        }
        self.findings.iter().try_for_each(|finding| writeln!(out, "{indent}    {finding}"))?;
        self.theirs.iter().try_for_each(|theirs| writeln!(out, "{indent}    theirs: {theirs}"))
    }
}

impl Traffic {
    /// `IPv4 and IPv6 ISTIO_REDIRECT`
    fn title(&self) -> String {
        format!("{} {}", self.families.join(" and "), self.chain)
    }
}

impl Probed {
    fn words(&self) -> String {
        let mark = match (self.sent, self.seen) {
            (false, _) => '-',
            (true, true) => '✓',
            (true, false) => '✗',
        };
        let Probed { name, uid, to, planned, fate, .. } = self;
        let counted = self.counters.iter().map(|one| format!("{} {} +{}", one.chain, one.number, one.rise));
        let counted = counted.collect::<Vec<_>>().join(", ");
        format!("{mark} {name}: user {uid} to {to}, {planned}, {fate}; counted by {counted}")
    }
}
