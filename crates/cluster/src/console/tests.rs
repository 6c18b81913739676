//! Each state's page as a golden, and what must hold of all: nothing from a cluster is ever markup, nothing needs more than the
//! strict policy grants, every control has its label. `UPDATE_GOLDEN=1` writes the goldens.

mod login;
mod markup;
mod pods;
mod scene;

use super::facts::{Draft, Facts, Listed, Namespace, NodeRow, PodRow, Progress, Reports};
use super::lists::{Filter, Nodes, Workloads};
use super::notices::{notices, of_draft};
use super::proposal::{Proposal, Refusal};
use super::state::{State, states};
use super::{assets, pending};
use crate::args::output::{Lang, Mark};
use crate::cli::happened::Happened;
use crate::cli::plan::{Change, Plan};
use askama::Template;
use markup::{lawful, shape};
use pods::pods;
use proptest::prelude::*;
use scene::{frame, laden, node as report, others, page, plan, proposal, running, samples};
use similar::{ChangeTag, TextDiff};
use std::collections::BTreeSet;

/// Compares with a golden file. What names an asset's digest changes with each of its letters, and says nothing here.
fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/console/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the golden file is writable");
    }
    let held = std::fs::read_to_string(&path).expect("a golden file; UPDATE_GOLDEN=1 makes it");
    assert!(held == text, "{name}: UPDATE_GOLDEN=1 rewrites it; found:\n{text}");
}

fn named(html: &str) -> String {
    let html = html.replace(assets::STYLE, "console.css");
    ["console.js", "icon.svg"].into_iter().fold(html, |text, asset| text.replace(&assets::path(asset), asset))
}

/// The lines that one page has and another has not.
fn difference(base: &str, html: &str) -> String {
    let difference = TextDiff::from_lines(base, html);
    let changes = difference.iter_all_changes().filter(|change| change.tag() != ChangeTag::Equal);
    changes.map(|change| format!("{}{}", change.tag(), change.value())).collect()
}

/// Two pages whole; of each other what it differs in from the first, which is what it is about.
#[test]
fn golden_pages() {
    let base = named(&page(&running(), &Draft::Clean, "", Lang::En));
    golden("running.html", &base);
    golden("zh.html", &named(&page(&running(), &Draft::Clean, "", Lang::Zh)));
    for (name, facts, draft) in samples().into_iter().filter(|(name, ..)| *name != "running") {
        let html = named(&page(&facts, &draft, "", Lang::En));
        golden(&format!("{name}.diff"), &difference(&base, &html));
    }
    // Of other pages, the frame alone can be compared.
    let parts = |html: &str| {
        html.find("<main")
            .map_or((String::new(), html.to_owned()), |at| (html[..at].to_owned(), html[at..].to_owned()))
    };
    let (frame, _) = parts(&base);
    for (name, html) in others("x", Lang::En) {
        let (before, main) = parts(&named(&html));
        golden(&format!("{name}.diff"), &format!("{}{main}", difference(&frame, &before)));
    }
}

/// What a pod's page is more than the one that nobody looked into.
#[test]
fn golden_pods() {
    let plain =
        |lang| named(&others("x", lang).into_iter().find(|(name, _)| *name == "pod-drawer").unwrap().1);
    for (name, html) in pods("x", Lang::En) {
        golden(&format!("{name}.diff"), &difference(&plain(Lang::En), &named(&html)));
    }
    let chinese =
        pods("x", Lang::Zh).into_iter().filter(|(name, _)| ["pod-live", "pod-probe-failed"].contains(name));
    for (name, html) in chinese {
        golden(&format!("{name}-zh.diff"), &difference(&plain(Lang::Zh), &named(&html)));
    }
}

#[test]
fn each_state_is_reached_and_named() {
    let mut reached = BTreeSet::from([State::SessionExpired]);
    for (name, facts, draft) in samples() {
        let state = states(&facts)[0];
        reached.insert(state);
        assert!(
            name == state.name() || name == draft.name() || name == "refused",
            "{name} is {}",
            state.name()
        );
    }
    assert_eq!(reached.into_iter().collect::<Vec<_>>(), State::ALL);
}

#[test]
fn whatever_is_wrong_says_what_of_whom_and_what_to_do() {
    for lang in [Lang::En, Lang::Zh] {
        for (name, facts, draft) in samples() {
            let said = notices(&facts, lang).into_iter().chain(of_draft(&facts, &draft, lang));
            for notice in said.filter(|one| one.mark == Mark::Bad || one.name == "stream-lost") {
                let whole = [&notice.title, &notice.meaning, &notice.cause, &notice.next];
                assert!(whole.iter().all(|text| !text.is_empty()), "{name}: {notice:?}");
                assert!(notice.code.is_some() && !notice.affected.is_empty(), "{name}: {notice:?}");
                let report = notice.report(&facts);
                assert!(report.contains("cause: ") && report.contains("affected: "), "{report}");
            }
        }
    }
}

#[test]
fn every_page_keeps_the_laws() {
    for lang in [Lang::En, Lang::Zh] {
        let pages = samples().into_iter().map(|(name, facts, draft)| (name, page(&facts, &draft, "", lang)));
        for (name, html) in pages.chain(others("x", lang)).chain(pods("x", lang)) {
            lawful(name, &html);
        }
    }
}

/// 5000 pods in 2000 namespaces on 500 nodes, in the middle of a change that goes wrong.
fn large() -> Facts {
    let name = |number: usize| format!("a-namespace-with-quite-a-long-name-{number:05}");
    let namespaces =
        (0..2000).map(|number| Namespace { name: name(number), injection: "istio-injection=enabled".into() });
    let facts = laden("a-node-with-quite-a-long-name-00000.compute.internal");
    let pod = |number: usize| PodRow {
        namespace: name(number % 2000),
        name: name(number),
        ..facts.pods[0].clone()
    };
    let node = |number: usize| NodeRow {
        name: format!("a-node-with-quite-a-long-name-{number:05}.compute.internal").into(),
        serves: number.is_multiple_of(2),
        ..facts.progress.nodes.rows[0].clone()
    };
    let events = vec![Happened { text: "x".repeat(256), ..facts.progress.events.rows[0].clone() }; 20];
    let progress = Progress {
        nodes: Listed { rows: (0..500).map(node).collect(), unread: None },
        events: Listed { rows: events.into(), unread: None },
        lease: None,
    };
    Facts { namespaces: namespaces.collect(), pods: (0..5000).map(pod).collect(), progress, ..facts }
}

#[test]
fn a_large_cluster_makes_no_heavy_page() {
    let large = large();
    let name = |number: usize| large.pods[number].name.clone();
    let change = |number: usize| Change {
        pod: name(number),
        namespace: name(number % 2000),
        ..plan().changes[1].clone()
    };
    let plan = Plan { changes: (0..5000).map(change).collect(), ..plan() };
    let draft = Draft::Planned(proposal(7, &["shop"]), Ok(plan));
    for lang in [Lang::En, Lang::Zh] {
        let html = page(&large, &draft, "", lang);
        lawful("large", &html);
        let cells = ["bad", "odd"].map(|mark| format!("<li class=\"{mark}\"><a data-drawer"));
        let cells: usize = cells.iter().map(|cell| html.matches(cell).count()).sum();
        assert_eq!(cells, 120, "a cell for each of few");
        lawful("workloads", &Workloads::of(&large, Filter::default(), frame(lang)).render().unwrap());
        let all = (0..500).map(|number| report(&name(number), "True")).collect();
        let reports = Reports { nodes: all, unread: None };
        lawful("nodes", &Nodes::of(&reports, Filter::default(), large.now, frame(lang)).render().unwrap());
    }
    // What a browser needs to paint it is one request; the script and the icon are two more, once.
    let html = page(&large, &Draft::Clean, "", Lang::En);
    assert_eq!((html.matches(" src=\"").count(), html.matches("<link ").count()), (1, 1));
    // Of each pod few bytes are kept, beside its names.
    assert!(size_of::<PodRow>() <= 128, "{}", size_of::<PodRow>());
}

#[test]
fn a_search_loses_nothing_that_is_chosen() {
    let html = page(&running(), &Draft::Clean, "shop", Lang::En);
    let carried = "<input type=\"hidden\" name=\"exclude\" value=\"kube-system\">";
    assert!(html.contains(carried) && html.contains("value=\"shop\""), "{html}");
    assert!(pending::Pending::of(&running(), &Draft::Clean, Lang::En).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a cluster calls its things, the markup is the same.
    #[test]
    fn nothing_from_a_cluster_is_markup(
        text in r#"[<>"'&/={}%# a-z;:]{1,24}|<script>alert\(1\)</script>|" onload="x|'><img src=x onerror=y>|\{\{ frame\.csrf \}\}"#
    ) {
        let draft = |text: &str| Draft::Planned(
            Proposal { excluded: vec![text.to_owned()], ..proposal(7, &[]) },
            Err(Refusal { text: text.to_owned(), is_held: true }),
        );
        let shapes = |text: &str| {
            let main = page(&laden(text), &draft(text), text, Lang::En);
            let all = others(text, Lang::En).into_iter().chain(pods(text, Lang::En)).map(|(_, html)| html);
            all.chain([main]).map(|html| shape(&html)).collect::<Vec<_>>()
        };
        prop_assert_eq!(shapes(&text), shapes("x"));
    }
}
