//! What an operator says in place of the table's defaults, for pods that state nothing themselves: texts by key, read once.
//!
//! Keeps only what was read without a complaint: what goes to every pod is not guessed at.

use super::of_pod::complete;
use super::{Draft, KNOBS, Reader, Source, check, place_of};
use crate::complaint::Complaint;
use crate::settings::Settings;
use std::collections::BTreeMap;

/// An operator's defaults. None said are the table's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults(Vec<(&'static str, String)>);

impl Defaults {
    /// Reads texts by key, as annotations have them, and checks them together. Every complaint names its key, and whoever
    /// gets one has no defaults: also a slip that a pod would be forgiven is refused here.
    pub fn read<'a>(items: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Defaults, Vec<Complaint>> {
        let mut draft = Draft::of(Settings::default());
        let (mut complaints, mut written) = (Vec::new(), Vec::new());
        // In the table's order, so that the same said otherwise is the same.
        let mut texts = BTreeMap::new();
        for (key, text) in items {
            let Some(at) = place_of(key, 0) else {
                let fix = "look the name up in docs/settings.md, or remove it";
                complaints.push(Complaint::fatal(key, text, "is not a setting", fix));
                continue;
            };
            let knob = &KNOBS[at];
            written.push((knob.key, knob.key.into()));
            texts.insert(at, (knob.key, text.to_owned()));
            (knob.read)(&mut draft, &mut Reader::new(knob.key, Source::Operator, &mut complaints), text);
        }
        complete(&mut draft);
        check::together(&draft, &written, &mut complaints);
        if complaints.is_empty() { Ok(Defaults(texts.into_values().collect())) } else { Err(complaints) }
    }

    /// The text of one setting, if it is said.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, text)| text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knobs::settings_of;
    use crate::pod::{Container, Pod};
    use crate::settings::{Dns, Inbound, Mode};

    #[track_caller]
    fn check(items: &[(&str, &str)], expected: &[&str]) {
        let complaints = Defaults::read(items.iter().copied()).err().unwrap_or_default();
        assert_eq!(complaints.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_pod_gets_them_where_it_says_nothing() {
        let said = [("mode", "TPROXY"), ("includeInboundPorts", "80"), ("dnsCapture", "all")];
        let defaults = Defaults::read(said).expect("they can be used");
        let mut pod = Pod::default();
        let (settings, complaints) = settings_of(&pod, "envoy", &defaults);
        assert_eq!((settings.mode, settings.dns, complaints), (Mode::Tproxy, Dns::All, Vec::new()));
        assert_eq!(settings.inbound, Inbound::Only(vec![80.into()]));
        pod.annotations.insert("sidecar.istio.io/interceptionMode".to_owned(), "REDIRECT".to_owned());
        let mut proxy = Container { name: "envoy".to_owned(), ..Container::default() };
        proxy.env.insert("ISTIO_META_DNS_CAPTURE".to_owned(), "false".to_owned());
        pod.containers.push(proxy);
        let (settings, _) = settings_of(&pod, "envoy", &defaults);
        assert_eq!((settings.mode, settings.dns), (Mode::Redirect, Dns::Off));
        assert_eq!(settings_of(&pod, "other", &defaults).0.dns, Dns::All);
    }

    #[test]
    fn nothing_is_guessed_at() {
        check(&[], &[]);
        check(&[("excludeOutboundPorts", "")], &[]);
        check(
            &[("exclude", "80")],
            &["exclude: \"80\": is not a setting; look the name up in docs/settings.md, or remove it"],
        );
        check(
            &[("mode", "NONE")],
            &["mode: \"NONE\": is not an interception mode; write REDIRECT or TPROXY"],
        );
        check(
            &[("excludeOutboundIPRanges", "10.0.0.1/8")],
            &[
                "excludeOutboundIPRanges: \"10.0.0.1/8\": has bits set beyond its prefix, which are taken as zero; \
               write 10.0.0.0/8",
            ],
        );
        check(
            &[("includeInboundPorts", "80,90"), ("excludeInboundPorts", "90")],
            &[
                "excludeInboundPorts: \"90\": is in the list of included ports too, and there it wins; take it out of one \
               of the two lists",
            ],
        );
    }

    /// What completes a pod's list counts here already: else every pod would fail.
    #[test]
    fn a_list_that_cannot_be_completed_is_refused() {
        let ports: Vec<String> = (1..=255).map(|port| port.to_string()).collect();
        let complaints = Defaults::read([("excludeInboundPorts", ports.join(",").as_str())]).unwrap_err();
        assert!(complaints[0].fatal && complaints[0].problem.contains("258 items"), "{complaints:?}");
    }
}
