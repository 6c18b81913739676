//! Pods that were looked into, in each way in which that can end. For tests alone.

use super::scene::{frame, pod};
use crate::args::output::Lang;
use crate::cli::explain::cluster::Under;
use crate::cli::verify::{Counted, Found, Held, Listed, Probed, Report, Skip, Traffic, Unreached};
use crate::console::live::{Busy, Looking};
use crate::console::pod::Pod;
use askama::Template;
use serde_json::json;

/// A pod's page after each of them, with this text wherever a cluster may have one.
pub(super) fn pods(text: &str, lang: Lang) -> Vec<(&'static str, String)> {
    let unseen = |report: Report| Report { probes: Vec::new(), ..report };
    let looked = |report| Looking::Looked(seen(text, report));
    let probed = |report| Looking::Probed(seen(text, report));
    let drifted =
        Report { verified: false, rules_as_planned: false, findings: vec![text.to_owned()], ..report(text) };
    let twice = Report { verified: false, also_in: vec![text.to_owned()], ..report(text) };
    let bare = Report { tables: Vec::new(), rules: Vec::new(), ..unseen(drifted.clone()) };
    let past = Report { verified: false, probes: vec![probe(text, 0), unsent(text)], ..report(text) };
    let missed = Unreached { ways: vec![text.to_owned(), text.to_owned()], known: vec![text.to_owned()] };
    let page = |looking, may_probe| {
        let under = Under::of(&json!({ "mode": "CNI" })).unwrap();
        Pod::of(&pod(text), &under, looking, may_probe, frame(lang)).render().unwrap()
    };
    vec![
        ("pod-live", page(looked(unseen(report(text))), true)),
        ("pod-live-differs", page(looked(unseen(drifted.clone())), true)),
        ("pod-live-bare", page(looked(bare), true)),
        ("pod-live-unseen", page(Looking::Looked(Found::Missed(missed.clone())), true)),
        ("pod-live-late", page(Looking::Late { probe: false, seconds: 20 }, true)),
        ("pod-probe-verified", page(probed(report(text)), true)),
        ("pod-probe-failed", page(probed(past), true)),
        ("pod-probe-drifted", page(probed(unseen(drifted)), true)),
        ("pod-probe-twice", page(probed(unseen(twice)), true)),
        ("pod-probe-refused", page(Looking::Probed(Found::Missed(missed)), true)),
        ("pod-probe-skipped", page(Looking::Probed(Found::Skipped(Skip::NotRunning)), true)),
        ("pod-probe-busy", page(Looking::Busy(Busy::Pod), true)),
        ("pod-probe-late", page(Looking::Late { probe: true, seconds: 75 }, true)),
        ("pod-read-only", page(Looking::Not, false)),
    ]
}

fn seen(text: &str, report: Report) -> Found {
    Found::Seen { way: text.to_owned(), report: Box::new(report) }
}

/// A pod whose rules are as planned, and which probes were seen to follow.
fn report(text: &str) -> Report {
    let rule = |number: usize, why: &str| Held {
        family: "IPv4".into(),
        table: "nat".into(),
        chain: "ISTIO_REDIRECT".into(),
        number,
        packets: 4,
        rule: text.to_owned(),
        why: why.to_owned(),
        setting: why.to_owned(),
    };
    let traffic = |port: u16, before: u64| Traffic {
        families: vec!["IPv4".into()],
        chain: "ISTIO_REDIRECT".into(),
        port,
        connections_before: before,
        connections_after: Some(before + 1),
    };
    Report {
        verified: true,
        netns: text.to_owned(),
        rules_as_planned: true,
        traffic: vec![traffic(15001, 3), traffic(15006, 8)],
        probes: vec![probe(text, 1)],
        tables: vec![Listed { title: "IPv4 nat, by nftables".into(), text: text.to_owned() }],
        rules: vec![rule(1, text), rule(2, "")],
        ..Report::default()
    }
}

fn probe(text: &str, rise: u64) -> Probed {
    let chain = "ISTIO_REDIRECT".to_owned();
    let counted =
        Counted { family: "IPv4".into(), chain, number: 1, before: 3, after: 3 + rise, rise, ours: 1 };
    Probed {
        name: "outbound IPv4".into(),
        uid: 65534,
        gid: 65534,
        to: "192.0.2.1:80".into(),
        planned: "redirected to port 15001".into(),
        fate: text.to_owned(),
        sent: true,
        seen: rise > 0,
        counters: vec![counted],
    }
}

fn unsent(text: &str) -> Probed {
    Probed { sent: false, seen: false, counters: Vec::new(), ..probe(text, 0) }
}
