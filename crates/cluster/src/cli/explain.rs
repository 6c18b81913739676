//! `millrace explain`: what happens to pods, and why: those of the cluster or of a manifest; or what a code means.
//!
//! Asks the very functions that decide on a node and in the webhook; it has no opinion of its own.

pub(crate) mod cluster;

pub(super) use cluster::Under;

use super::{Outcome, codes, form, plan, reasons, source};
use crate::args::output::Lang;
use crate::args::pod::{Explain, Family as Families};
use crate::args::subject::What;
use crate::facts::Found;
use crate::mechanism::Mechanism;
use anyhow::Result;
use millrace_core::complaint::Complaint;
use millrace_core::knobs;
use millrace_core::pod::{Container, Pod};
use millrace_core::policy::{Basis, Decision, Mesh, PROXY, Reason, Verdict, decide};
use millrace_core::rules::plan::plan as rules_of;
use millrace_core::rules::{Family, RuleSet};
use millrace_core::settings::{PROXY_ID, Settings};
use millrace_core::status::STATUS_ANNOTATION;
use serde_json::{Value, json};
use std::io::Write;

/// Explains a code, or every pod of the manifest.
pub(crate) fn run(args: &Explain, out: &mut dyn Write) -> Result<Outcome> {
    let lang = args.asking.reach.lang();
    let explained = match (&args.file, &args.what) {
        (None, Some(What::Code(id))) => return codes::explain(id, lang, args.asking.output, out),
        (None, _) if args.codes => return codes::list(lang, args.asking.output, out),
        (None, what) => {
            let subject = match what {
                Some(What::Subject(subject)) => Some(subject),
                _ => None,
            };
            cluster::explain(args, subject)?
        }
        (Some(file), _) => {
            let mesh = Mesh { excluded_namespaces: args.exclude_namespace.clone(), ..Mesh::default() };
            let namespace = args.asking.reach.scope.namespace.as_deref().unwrap_or("default");
            let found = source::manifest(file, namespace)?.into_iter();
            found.map(|found| Explained::of(found, &mesh, args.family, args.assume_injected)).collect()
        }
    };
    let (_, shown) = source::families(args.family);
    let pods: Vec<Value> = explained.iter().map(|one| one.json(shown, args.brief)).collect();
    if !form::data(args.asking.output, &json!({ "pods": pods }), "pods", out)? {
        for (index, one) in explained.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            one.write(out, shown, args.brief, &explained[..index])?;
            one.write_switches(out, lang)?;
        }
    }
    let fatal = explained.iter().flat_map(|one| &one.complaints).any(|complaint| complaint.fatal);
    Ok(Outcome::when(!fatal))
}

struct Explained {
    found: Found,
    decision: Decision,
    settings: Settings,
    complaints: Vec<Complaint>,
    rules: RuleSet,
    /// Of pods that are there: who redirects them now, and who would once they are made anew.
    switches: Vec<Switch>,
}

/// Who redirects one pod.
struct Switch {
    pod: String,
    /// Nothing is to be said of a pod outside the mesh.
    next: Option<plan::Next>,
    /// Without a MeshCNI nothing changes.
    planned: bool,
}

impl Explained {
    fn of(mut found: Found, mesh: &Mesh, family: Families, assume_injected: bool) -> Explained {
        if assume_injected {
            inject(&mut found.pod);
        }
        let decision = decide(&found.pod, mesh);
        let (settings, mut complaints) = source::of_pod(&found);
        complaints.extend(source::about_stamp(&decision));
        let redirected = decision.verdict == Verdict::Redirect;
        let (families, _) = source::families(family);
        let rules = if redirected { rules_of(&settings, families).rules } else { RuleSet::default() };
        Explained { found, decision, settings, complaints, rules, switches: Vec::new() }
    }

    fn write_switches(&self, out: &mut dyn Write, lang: Lang) -> Result<()> {
        for switch in &self.switches {
            writeln!(out, "  {}", switch.words(lang))?;
            for (code, words) in switch.next.iter().flat_map(|next| &next.remarks) {
                writeln!(out, "    {code} {words}")?;
            }
        }
        Ok(())
    }

    fn write(
        &self,
        out: &mut dyn Write,
        families: &[Family],
        brief: bool,
        above: &[Explained],
    ) -> Result<()> {
        let pod = &self.found.pod;
        write!(out, "{} {}/{}: ", self.found.kind, pod.namespace, pod.name)?;
        match self.decision.verdict {
            Verdict::Redirect if self.refused() => {
                writeln!(out, "redirected{}, but it will not start", self.basis())?;
                writeln!(out, "  way out: mend what the fatal complaints name")?;
            }
            Verdict::Redirect => writeln!(out, "redirected{}", self.basis())?,
            Verdict::Skip(reason) => {
                writeln!(out, "left alone{}, {reason}: {}", self.basis(), reason.sentence())?;
                writeln!(out, "  way out: {}", reason.way_out())?;
            }
        }
        self.write_conditions(out)?;
        if !self.complaints.is_empty() {
            writeln!(out, "  complaints")?;
        }
        for complaint in &self.complaints {
            writeln!(out, "    {} {complaint}", if complaint.fatal { "fatal" } else { "note " })?;
        }
        if self.starts_redirected() {
            self.write_settings(out)?;
            self.write_rules(out, families, brief, above)?;
        }
        Ok(())
    }

    fn starts_redirected(&self) -> bool {
        self.decision.verdict == Verdict::Redirect && !self.refused()
    }

    /// A pod whose settings cannot be used as they are meant does not start, rather than start half protected (M1).
    fn refused(&self) -> bool {
        self.decision.verdict == Verdict::Redirect && self.complaints.iter().any(|complaint| complaint.fatal)
    }

    fn basis(&self) -> &'static str {
        if self.decision.basis == Basis::Stamp { " by its stamp" } else { "" }
    }

    fn write_conditions(&self, out: &mut dyn Write) -> Result<()> {
        writeln!(out, "  conditions")?;
        let widest = Reason::ALL.iter().map(|reason| reason.condition().len()).max().unwrap_or_default();
        for condition in &self.decision.conditions {
            let mark = if condition.holds { '✓' } else { '✗' };
            writeln!(out, "    {mark} {:widest$}  {}", condition.reason.condition(), condition.found)?;
        }
        Ok(())
    }

    fn write_settings(&self, out: &mut dyn Write) -> Result<()> {
        let stated: Vec<_> = self.stated();
        writeln!(out, "  settings{}", if stated.is_empty() { ": as for every pod" } else { "" })?;
        for (key, value) in stated {
            writeln!(out, "    {key}={value}")?;
        }
        Ok(())
    }

    /// Rules that a pod above has too are shown once: a manifest's pods often have all the same.
    fn write_rules(
        &self,
        out: &mut dyn Write,
        families: &[Family],
        brief: bool,
        above: &[Explained],
    ) -> Result<()> {
        let counts: Vec<String> = families.iter().map(|family| self.count(*family)).collect();
        write!(out, "  rules: {}", counts.join(", "))?;
        let same = above.iter().find(|one| one.starts_redirected() && one.rules == self.rules);
        match same {
            _ if brief => writeln!(out)?,
            Some(Explained { found: Found { pod, .. }, .. }) => {
                writeln!(out, ", as those of {}/{} above", pod.namespace, pod.name)?;
            }
            None => {
                writeln!(out)?;
                for &family in families {
                    reasons::write(out, &self.rules, family)?;
                }
            }
        }
        Ok(())
    }

    /// The settings that differ from those of a pod that states none.
    fn stated(&self) -> Vec<(&'static str, String)> {
        let usual = knobs::write(&Settings::default());
        let own = knobs::write(&self.settings).into_iter();
        own.zip(usual).filter(|(own, usual)| own != usual).map(|(own, _)| own).collect()
    }

    fn count(&self, family: Family) -> String {
        format!("{} of {}", self.rules.family(family).len(), reasons::name(family))
    }

    fn json(&self, families: &[Family], brief: bool) -> Value {
        let reason = match self.decision.verdict {
            Verdict::Redirect => None,
            Verdict::Skip(reason) => Some(reason),
        };
        let conditions = self.decision.conditions.iter().map(|condition| {
            let name = condition.reason.condition();
            json!({ "condition": name, "holds": condition.holds, "found": condition.found, "reason": condition.reason.name() })
        });
        let settings =
            knobs::write(&self.settings).into_iter().map(|(key, value)| (key.to_owned(), value.into()));
        let counts = families
            .iter()
            .map(|family| (reasons::name(*family).to_owned(), self.rules.family(*family).len().into()));
        let mut object = json!({
            "kind": self.found.kind,
            "namespace": self.found.pod.namespace,
            "name": self.found.pod.name,
            "redirected": reason.is_none() && !self.refused(),
            "refused": self.refused(),
            "reason": reason.map(Reason::name),
            "sentence": reason.map(Reason::sentence),
            "wayOut": reason.map(Reason::way_out),
            "byStamp": self.decision.basis == Basis::Stamp,
            "conditions": conditions.collect::<Vec<_>>(),
            "complaints": self.complaints.iter().map(super::rules::complaint).collect::<Vec<_>>(),
            "settings": Value::Object(settings.collect()),
            "ruleCounts": Value::Object(counts.collect()),
        });
        let switches = self.switches.iter().map(Switch::json);
        if !self.switches.is_empty() {
            object["mechanisms"] = switches.collect();
        }
        if !brief {
            object["rules"] = reasons::json(&self.rules, families);
        }
        object
    }
}

impl Switch {
    /// `pod web-1: redirected by istio-init now, by CNI once it is made anew`
    fn words(&self, lang: Lang) -> String {
        let pod = &self.pod;
        let Some(next) = &self.next else {
            return match lang {
                Lang::En => format!("pod {pod}: outside the mesh, redirected by nobody"),
                Lang::Zh => format!("pod {pod}:在网格之外,无人重定向"),
            };
        };
        let (now, after) = (next.before.words(), next.after.words());
        let same = next.same || !self.planned;
        match (lang, same) {
            (Lang::En, true) => format!("pod {pod}: redirected by {now}, and so once it is made anew"),
            (Lang::En, false) if next.before == next.after => {
                format!("pod {pod}: redirected by {now}, with other settings once it is made anew")
            }
            (Lang::En, false) => {
                format!("pod {pod}: redirected by {now} now, by {after} once it is made anew")
            }
            (Lang::Zh, true) => format!("pod {pod}:由 {now} 重定向,重建后不变"),
            (Lang::Zh, false) if next.before == next.after => {
                format!("pod {pod}:由 {now} 重定向,重建后设置不同")
            }
            (Lang::Zh, false) => format!("pod {pod}:目前由 {now} 重定向,重建后由 {after} 重定向"),
        }
    }

    fn json(&self) -> Value {
        let after = |next: &plan::Next| if self.planned { next.after } else { next.before };
        let remarks = self.next.iter().flat_map(|next| &next.remarks);
        json!({
            "pod": self.pod,
            "now": self.next.as_ref().map(|next| next.before.words()),
            "madeAnew": self.next.as_ref().map(after).map(Mechanism::words),
            "same": self.next.as_ref().is_none_or(|next| next.same || !self.planned),
            "remarks": remarks.map(|(code, words)| json!({ "code": code.to_string(), "message": words }))
                .collect::<Vec<_>>(),
        })
    }
}

/// Adds what an injector would add, as far as it matters here. A pod that has it or that refuses it stays as it is, and
/// its conditions say so.
fn inject(pod: &mut Pod) {
    if !takes_sidecar(pod) {
        return;
    }
    pod.containers.push(Container {
        name: PROXY.to_owned(),
        args: vec!["proxy".to_owned(), "sidecar".to_owned()],
        run_as_user: Some(PROXY_ID),
        run_as_group: Some(PROXY_ID),
        ..Container::default()
    });
    let status = r#"{"initContainers":["istio-validation"],"containers":["istio-proxy"]}"#;
    pod.annotations.entry(STATUS_ANNOTATION.to_owned()).or_insert_with(|| status.to_owned());
}

/// Whether an injector would add its sidecar: the pod has none, and does not refuse it.
pub(super) fn takes_sidecar(pod: &Pod) -> bool {
    let disabled = decide(pod, &Mesh::default())
        .conditions
        .iter()
        .any(|condition| condition.reason == Reason::InjectionDisabled && !condition.holds);
    !(disabled || pod.host_network || pod.containers.iter().any(|container| container.name == PROXY))
}
