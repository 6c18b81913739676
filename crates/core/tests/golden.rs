//! The rules of every option and profile, as text. `UPDATE_GOLDEN=1` rewrites the files; the diff is reviewed.

mod cases;

use cases::{Case, cases};
use millrace_core::dialect::{listing, text};
use millrace_core::knobs;
use millrace_core::rules::origin::{Origin, origin};
use millrace_core::rules::{Content, Family, Observed, Table};
use millrace_core::settings::Settings;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

#[test]
fn golden_rules_of_every_case() {
    for case in cases() {
        let plan = case.plan();
        check(&case.folder.join("v4.txt"), &text::write(&plan.rules, Family::V4));
        check(&case.folder.join("v6.txt"), &text::write(&plan.rules, Family::V6));
        let routes: String = plan.routes.iter().map(|route| format!("{route:?}\n")).collect();
        check(&case.folder.join("routes.txt"), &routes);
    }
}

#[test]
fn every_setting_differs_from_its_default_in_some_case() {
    let defaults: BTreeMap<_, _> = knobs::write(&Settings::default()).into_iter().collect();
    let mut untried: BTreeSet<_> = defaults.keys().copied().collect();
    for case in cases() {
        for (key, value) in knobs::write(&case.settings) {
            if defaults[key] != value {
                untried.remove(key);
            }
        }
    }
    assert!(untried.is_empty(), "no case changes {untried:?}");
}

#[test]
fn every_origin_is_in_some_case() {
    let mut unseen: BTreeSet<Origin> = Origin::ALL.iter().copied().collect();
    for case in cases() {
        for (place, rules) in case.rules().iter() {
            for rule in rules {
                unseen.remove(&origin(place, rule).expect("a planned rule has an origin"));
            }
        }
    }
    assert!(unseen.is_empty(), "no case has {unseen:?}");
}

/// The vendor page shows the live table of a pod: its rules, their order and their counters. Its white space is lost,
/// its `127.0.X.X` hides the two addresses, and its iptables still named protocols.
#[test]
fn the_vendor_pages_listing_is_ours() {
    let page = fs::read_to_string(root().join("vendor-page.txt")).expect("the page's listing is there");
    let case = named("asm-1.14");
    let mut observed =
        text::read(&text::write(&case.rules(), Family::V4), Family::V4).expect("our own text is readable");
    count(&mut observed, &page);
    let listing = listing::list(&observed, Family::V4, Table::Nat);
    assert_eq!(squeezed(&listing), squeezed(&page));
}

/// Our listing and the page as comparable lines: single blanks, hidden addresses, numbers for protocols, chains sorted.
fn squeezed(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut chains: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let ["Chain", ..] = words[..] {
            current = words.join(" ");
            chains.entry(current.clone()).or_default();
            continue;
        }
        let words = words.iter().map(|word| match *word {
            "127.0.0.1" | "127.0.0.6" => "127.0.X.X",
            "!127.0.0.1" => "!127.0.X.X",
            "all" => "0",
            "tcp" => "6",
            word => word,
        });
        chains.entry(current.clone()).or_default().push(words.collect::<Vec<_>>().join(" "));
    }
    chains
}

/// Gives the rules the counters of the page, chain by chain, rule by rule.
fn count(observed: &mut Observed, page: &str) {
    let counters = squeezed(page);
    for (place, rules) in &mut observed.chains {
        let lines = counters.iter().find(|(title, _)| title.split(' ').nth(1) == Some(place.chain.name()));
        let (_, lines) = lines.expect("the page has every chain of ours");
        for (rule, line) in rules.iter_mut().zip(lines.iter().skip(1)) {
            let mut words = line.split(' ').skip(1).map(|word| word.parse().expect("a counter"));
            rule.packets = words.next().expect("packets");
            rule.bytes = words.next().expect("bytes");
            assert!(matches!(rule.content, Content::Known(_)));
        }
    }
}

fn named(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).expect("the case exists")
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn check(file: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file, text).expect("the golden file is writable");
        return;
    }
    let golden = fs::read_to_string(file).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; UPDATE_GOLDEN=1 rewrites it", file.display());
}
