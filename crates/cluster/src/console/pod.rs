//! One pod: its conditions as a checklist, who redirects it and who would, by which rules, and why each is there. PURE.
//!
//! Asks the functions that decide on a node and in the webhook, and has no opinion of its own.

use super::frame::{Frame, Sign, path};
use super::live::{Looking, Said};
use crate::args::output::Mark;
use crate::cli::expected::{self, Expected};
use crate::cli::explain::cluster::Under;
use crate::cli::plan::Next;
use crate::cli::rules::{tables, untouched};
use crate::codes::Code;
use crate::facts;
use crate::mechanism::Mechanism;
use crate::print::yaml;
use askama::Template;
use millrace_core::dialect::listing;
use millrace_core::dialect::text::arguments;
use millrace_core::knobs;
use millrace_core::policy::{Decision, Verdict, decide};
use millrace_core::rules::origin::origin;
use millrace_core::rules::plan::plan;
use millrace_core::rules::{Family, RuleSet};
use millrace_core::settings::{Families, Settings};
use millrace_core::stamp::{self, STAMP_ANNOTATION};
use millrace_core::status::STATUS_ANNOTATION;
use serde_json::{Map, Value, json};

/// One pod.
#[derive(Template)]
#[template(path = "console/pod.html")]
pub(crate) struct Pod {
    frame: Frame,
    namespace: String,
    name: String,
    node: String,
    decision: Decision,
    expected: Expected,
    next: Option<Next>,
    tables: Vec<(String, String)>,
    reasons: Vec<Why>,
    looking: Looking,
    may_probe: bool,
    /// What of the pod decides, as it is; the same as it would be admitted anew, where that is another.
    as_is: String,
    anew: Option<String>,
}

/// What annotations and labels that decide about redirection begin with.
const DECIDING: [&str; 5] =
    ["millrace.dev/", "sidecar.istio.io/", "traffic.sidecar.istio.io/", "proxy.istio.io/", "istio.io/"];

/// A rule, and why it is there.
#[derive(Debug)]
struct Why {
    place: String,
    rule: String,
    why: &'static str,
    setting: &'static str,
}

impl Pod {
    /// Makes the page of an object as it is on the wire, and of what came of looking into it.
    pub(crate) fn of(pod: &Value, under: &Under, looking: Looking, may_probe: bool, frame: Frame) -> Pod {
        let text =
            |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let namespace = text("/metadata/namespace");
        let (known, _) = facts::pod(pod, &namespace);
        let expected = expected::of(pod, &namespace);
        let rules = match expected.mechanism {
            Some(Mechanism::None) | None => RuleSet::default(),
            Some(_) => plan(&expected.settings, Families::Both).rules,
        };
        let next = under.next(pod);
        let stamp = pod["metadata"]["annotations"][STAMP_ANNOTATION].as_str();
        let says = |stamp: Option<&str>| stamp.map(stamp::read);
        let wished = next.as_ref().map(|next| next.stamp.as_deref());
        let wished = wished.filter(|wished| says(*wished) != says(stamp));
        Pod {
            decision: decide(&known, &under.mesh),
            as_is: fragment(pod, stamp),
            anew: wished.map(|wished| fragment(pod, wished)),
            looking,
            may_probe,
            next,
            tables: tables(&untouched(&rules), &[Family::V4, Family::V6], listing::list),
            reasons: reasons(&rules),
            name: text("/metadata/name"),
            node: text("/spec/nodeName"),
            namespace,
            expected,
            frame,
        }
    }

    fn verdict(&self) -> (Sign, String) {
        let words = self.frame.words();
        match (self.expected.mechanism, self.decision.verdict) {
            (Some(Mechanism::Cni), _) => (Sign(Mark::Good), words.is_redirected.to_owned()),
            (Some(Mechanism::InitContainer | Mechanism::Kept), _) => {
                (Sign(Mark::Good), words.is_redirected.to_owned())
            }
            (_, Verdict::Redirect) => (Sign(Mark::Bad), words.by_nobody.to_owned()),
            (_, Verdict::Skip(reason)) => {
                (Sign(Mark::Odd), format!("{}, {}", words.is_left_alone, reason.name()))
            }
        }
    }

    fn skipped(&self) -> Option<(Code, &'static str, &'static str)> {
        let Verdict::Skip(reason) = self.decision.verdict else { return None };
        let code = Code::of(reason);
        let text = code.text(self.frame.lang);
        Some((code, &text.meaning, &text.next))
    }

    fn conditions(&self) -> Vec<(Sign, &'static str, &str)> {
        let one = |one: &millrace_core::policy::Condition| {
            (if one.holds { Mark::Good } else { Mark::Bad }, one.reason.condition())
        };
        self.decision
            .conditions
            .iter()
            .map(|condition| {
                let (mark, said) = one(condition);
                (Sign(mark), said, condition.found.as_str())
            })
            .collect()
    }

    fn mechanism(&self) -> &'static str {
        self.expected.mechanism.map_or(self.frame.words().outside, Mechanism::words)
    }

    fn after(&self) -> &'static str {
        match &self.next {
            Some(next) if !next.same && next.before == next.after => self.frame.words().settings_differ,
            Some(next) if !next.same => next.after.words(),
            _ => self.frame.words().stays_so,
        }
    }

    fn remarks(&self) -> Vec<String> {
        let remarks = self.next.iter().flat_map(|next| &next.remarks);
        remarks.map(|(code, words)| format!("{code} {words}")).collect()
    }

    /// The settings that are another than every pod has.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let plain = knobs::write(&Settings::default());
        knobs::write(&self.expected.settings).into_iter().filter(|one| !plain.contains(one)).collect()
    }

    fn is_led(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// Whether it is of the mesh, so that there is something to look for.
    fn is_meant(&self) -> bool {
        self.expected.mechanism.is_some()
    }

    fn inbound(&self) -> u16 {
        self.expected.settings.inbound_port
    }

    fn outbound(&self) -> u16 {
        self.expected.settings.outbound_port
    }

    fn led_in(&self) -> Option<String> {
        self.looking.led_to(self.inbound())
    }

    fn led_out(&self) -> Option<String> {
        self.looking.led_to(self.outbound())
    }

    fn command(&self, verb: &str) -> String {
        format!("millrace {verb} {} -n {}", self.name, self.namespace)
    }

    fn commands(&self) -> String {
        let all = ["explain", "verify", "rules --live -o iptables", "why"];
        all.map(|verb| self.command(verb)).join("\n")
    }

    fn here(&self) -> String {
        path(&["pods", &self.namespace, &self.name])
    }

    fn live(&self) -> Option<Said> {
        self.looking.rules(self.frame.lang)
    }

    fn probed(&self) -> Option<Said> {
        self.looking.probe(self.frame.lang)
    }
}

/// What of a pod decides about it, as YAML to be put into a template: of what others wrote into it only what people write.
fn fragment(pod: &Value, stamp: Option<&str>) -> String {
    let mut metadata = Map::new();
    for place in ["annotations", "labels"] {
        let all = pod["metadata"][place].as_object().into_iter().flatten();
        let decides = |key: &str| DECIDING.iter().any(|start| key.starts_with(start));
        let ours = |key: &str| matches!(key, STAMP_ANNOTATION | STATUS_ANNOTATION);
        let kept = all.filter(|(key, _)| decides(key) && !ours(key));
        let mut kept: Map<String, Value> = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        if let Some(stamp) = stamp.filter(|_| place == "annotations") {
            kept.insert(STAMP_ANNOTATION.to_owned(), json!(stamp));
        }
        if !kept.is_empty() {
            metadata.insert(place.to_owned(), Value::Object(kept));
        }
    }
    yaml::document(&json!({ "metadata": metadata }))
}

fn reasons(rules: &RuleSet) -> Vec<Why> {
    let mut all = Vec::new();
    for (place, rules) in rules.iter().filter(|(place, _)| place.family == Family::V4) {
        for (number, rule) in (1..).zip(rules) {
            let Some(origin) = origin(place, rule) else { continue };
            let place = format!("{} {} {number}", place.table.name(), place.chain.name());
            let rule = arguments(Family::V4, rule);
            all.push(Why { place, rule, why: origin.why(), setting: origin.setting() });
        }
    }
    all
}
