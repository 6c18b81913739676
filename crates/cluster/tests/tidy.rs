//! The house rules that a compiler cannot see: who may import whom, how long a file and a function may be, what opens a file.
//!
//! The table of imports below is the map of ARCHITECTURE.md as data. An import that is not in it fails here by name;
//! changing the table is a decision and belongs into the same commit, with its reason.

mod source;

use source::{File, Import};
use std::collections::BTreeMap;
use std::path::Path;

/// A module (with all below it, unless a longer row matches), and the modules it may import.
///
/// An entry names exactly one module; with `::*` it also names all below it. `a{X, Y}` allows only these items of `a`.
const IMPORTS: &[(&str, &[&str])] = &[
    // core: deciding knows nothing of packets, planning nothing of pods, a dialect nothing of settings (M9).
    ("core", &[]),
    ("core::pod", &[]),
    ("core::settings", &[]),
    ("core::complaint", &[]),
    ("core::knobs", &["core::knobs::*", "core::complaint", "core::settings", "core::pod"]),
    ("core::reason", &[]),
    ("core::status", &["core::json"]),
    ("core::json", &[]),
    ("core::stamp", &["core::json", "core::settings", "core::reason", "core::knobs", "core::complaint"]),
    (
        "core::policy",
        &[
            "core::pod",
            "core::settings",
            "core::reason",
            "core::stamp",
            "core::status",
            "core::knobs{go_bool, Defaults}",
        ],
    ),
    ("core::ask", &["core::json", "core::pod", "core::settings", "core::policy", "core::stamp"]),
    ("core::record", &["core::json", "core::settings", "core::stamp", "core::policy", "core::dialect"]),
    // What is wrong with a running pod, so it knows what a decision and what rules are.
    (
        "core::repair",
        &[
            "core::repair::*",
            "core::knobs{settings_of}",
            "core::pod",
            "core::policy",
            "core::settings",
            "core::stamp",
            "core::rules",
            "core::rules::compare",
            "core::rules::removal",
        ],
    ),
    // Our entry names a backend, a result tells the pod's families; neither is acted on there.
    ("core::cni", &["core::cni::*", "core::json", "core::dialect", "core::settings{Families}"]),
    ("core::conflist", &["core::cni::*"]),
    ("core::rules", &["core::settings{Interface, PortRange}"]),
    ("core::rules::plan", &["core::rules::plan::*", "core::rules", "core::settings"]),
    ("core::rules::origin", &["core::rules", "core::rules::origin::*", "core::settings"]),
    ("core::rules::words", &["core::rules"]),
    ("core::rules::trace", &["core::rules::trace::*", "core::rules", "core::settings{Interface, PortRange}"]),
    ("core::rules::compare", &["core::rules", "core::rules::origin"]),
    ("core::rules::removal", &["core::rules"]),
    (
        "core::dialect",
        &["core::dialect::*", "core::rules", "core::rules::removal", "core::settings{Interface, PortRange}"],
    ),
    // host: this machine. A backend knows no plugin, the three programs know nothing of each other.
    ("host", &[]),
    ("host::netns", &[]),
    ("host::netlink", &["core::dialect::wire", "host::netns"]),
    ("host::families", &["core::settings{Families}"]),
    ("host::outcome", &[]),
    ("host::files", &[]),
    ("host::tombstone", &[]),
    ("host::socket", &["core::ask"]),
    ("host::records", &["core::record", "core::cni"]),
    (
        "host::backend",
        &["core::*", "host::backend::*", "host::netlink", "host::netns", "host::routes", "host::restore"],
    ),
    ("host::probe", &["host::netns"]),
    ("host::routes", &["core::rules", "core::dialect::wire", "host::netlink", "host::netns"]),
    ("host::restore", &["core::dialect::*", "core::rules", "core::rules::removal", "host::restore::*"]),
    (
        "host::plugin",
        &[
            "core::*",
            "host::plugin::*",
            "host::backend",
            "host::netns",
            "host::records",
            "host::socket",
            "host::families",
            "host::outcome",
        ],
    ),
    // `init` ends in a validation when it is told to.
    (
        "host::init",
        &[
            "core::*",
            "host::init::*",
            "host::backend",
            "host::netns",
            "host::families",
            "host::outcome",
            "host::validate",
        ],
    ),
    ("host::validate", &["core::*", "host::validate::*", "host::families"]),
    ("host::inspect", &["core::*", "host::inspect::*", "host::backend", "host::netns", "host::outcome"]),
    ("host::bin", &["core::*", "host::*"]),
    // cluster: nobody imports the demo, except main.
    ("cluster", &["cluster::*"]),
    ("cluster::args", &["core::*", "cluster::args::*", "cluster::api::platform"]),
    // What may be an image, and where a controller lives, are told in one place.
    (
        "cluster::args::lifecycle",
        &["cluster::args::*", "cluster::args", "cluster::api::names", "cluster::print::words{NAMESPACE}"],
    ),
    ("cluster::args::check", &["cluster::args", "cluster::args::*", "cluster::print::words{NAMESPACE}"]),
    // The flags of what stands alone are beside it.
    ("cluster::args::webhook", &["cluster::args::*", "cluster::telemetry{Log}"]),
    (
        "cluster::args::agent",
        &[
            "cluster::args::*",
            "cluster::api::platform",
            "cluster::telemetry{Log}",
            "cluster::agent::health::probe{Probe}",
        ],
    ),
    ("cluster::facts", &["core::*"]),
    ("cluster::mechanism", &["core::policy", "core::reason", "core::stamp", "core::status"]),
    // What a code means is the same for every role that names one.
    (
        "cluster::codes",
        &["core::reason", "core::policy{Reason}", "cluster::args::output{Lang}", "cluster::codes::*"],
    ),
    // The custom resources: data for all roles.
    (
        "cluster::api",
        &["core::*", "cluster::api::*", "cluster::print::words{CONTROLLER}", "cluster::print::yaml"],
    ),
    // What is printed depends on flags alone, and on what the agent itself knows of platforms.
    (
        "cluster::print",
        &[
            "cluster::args::print",
            "cluster::api::*",
            "cluster::cli{Outcome}",
            "cluster::print::*",
            "cluster::print",
            "cluster::agent::health::probe{VARIABLE}",
            "cluster::agent::platform",
            // Where an API server finds the webhook.
            "cluster::webhook::serve{CHECK}",
        ],
    ),
    // What all roles share.
    ("cluster::http", &["cluster::storm"]),
    ("cluster::storm", &[]),
    ("cluster::telemetry", &[]),
    // What is done to pods is the same offline.
    (
        "cluster::webhook",
        &[
            "core::*",
            "cluster::api::*",
            "cluster::codes",
            "cluster::facts",
            "cluster::http",
            "cluster::webhook::*",
        ],
    ),
    // Standing alone it is a program of its own, with a folder of its own.
    (
        "cluster::webhook::alone",
        &[
            "host::files",
            "cluster::args::webhook",
            "cluster::http",
            "cluster::telemetry",
            "cluster::webhook::*",
        ],
    ),
    // `why` reads what the agent's flight recorder wrote.
    (
        "cluster::cli",
        &[
            "core::*",
            "host::*",
            "cluster::args::*",
            "cluster::print::words",
            "cluster::print::yaml",
            // By these labels it knows agents.
            "cluster::print::words{selector}",
            "cluster::webhook::*",
            "cluster::api::*",
            "cluster::codes",
            "cluster::facts",
            "cluster::mechanism",
            "cluster::cli::*",
            "cluster::agent::flight::*",
        ],
    ),
    // What is wrong and what has drifted is judged as the controller judges it, by its pure parts and its ways to read.
    ("cluster::cli::reader", &["cluster::api::*", "cluster::cli::*", "cluster::controller::*"]),
    (
        "cluster::cli::check",
        &[
            "core::stamp{STAMP_ANNOTATION}",
            "cluster::args::*",
            "cluster::api::*",
            "cluster::codes",
            "cluster::cli::*",
            "cluster::controller::*",
            "cluster::print::*",
        ],
    ),
    (
        "cluster::cli::drift",
        &[
            "cluster::args::*",
            "cluster::api::*",
            "cluster::codes",
            "cluster::cli::*",
            "cluster::controller::*",
            "cluster::mechanism",
            "cluster::print::words",
        ],
    ),
    // What it tells is told by other commands; what is left out is decided by names that core knows.
    (
        "cluster::cli::report",
        &[
            "core::policy{INIT, PROXY}",
            "cluster::api::kinds",
            "cluster::api::mesh",
            "cluster::args::*",
            "cluster::cli::*",
            "cluster::codes",
            "cluster::mechanism",
            "cluster::print::words",
            "cluster::print::yaml",
        ],
    ),
    (
        "cluster::agent",
        &[
            "core::*",
            "host::*",
            "cluster::api::*",
            "cluster::args::*",
            "cluster::facts",
            "cluster::http",
            "cluster::storm",
            "cluster::telemetry",
            "cluster::agent::*",
            "cluster::api::*",
        ],
    ),
    // Pages are made of what the command line computes; nobody imports the console but main.
    (
        "cluster::console",
        &[
            "core::*",
            "cluster::api::*",
            "cluster::args::*",
            "cluster::cli::*",
            "cluster::codes",
            "cluster::console::*",
            "cluster::facts",
            "cluster::http",
            "cluster::mechanism",
            "cluster::print::yaml",
            "cluster::telemetry",
        ],
    ),
    // In a cluster it is served as the webhook is.
    (
        "cluster::console::served",
        &[
            "cluster::args::controller{Console}",
            "cluster::args::controller{Listen}",
            "cluster::console",
            "cluster::console::*",
            "cluster::http",
            "cluster::webhook::certs::make",
            "cluster::webhook::tls{TlsListener}",
        ],
    ),
    ("cluster::args::console", &["cluster::args::*", "cluster::args", "cluster::telemetry{Log}"]),
    // A server of its own: it shares with the other roles how it listens, logs and stops, and nothing else.
    (
        "cluster::apiserver",
        &[
            "cluster::apiserver::*",
            "cluster::args::apiserver",
            "cluster::cli{Outcome}",
            "cluster::http",
            "cluster::telemetry",
        ],
    ),
    ("cluster::args::apiserver", &["cluster::args", "cluster::telemetry{Log}"]),
    ("cluster::args::controller", &["cluster::args", "cluster::telemetry{Log}"]),
    // It makes objects by `print`, and speaks to the API server by the agent's way to it.
    (
        "cluster::controller",
        &[
            "core::*",
            "cluster::api::*",
            "cluster::args::controller",
            "cluster::args::print",
            "cluster::agent::client{Access, Link}",
            "cluster::agent::config{Config}",
            "cluster::codes{Code}",
            "cluster::controller::*",
            "cluster::http",
            "cluster::mechanism",
            "cluster::print::*",
            "cluster::storm",
            "cluster::telemetry",
            "cluster::webhook::*",
        ],
    ),
    (
        "cluster::demo",
        &[
            "core::*",
            "host::*",
            "cluster::args",
            "cluster::facts",
            "cluster::cli::*",
            "cluster::print::*",
            // Its injector is a webhook as ours is, and is served in the same way.
            "cluster::http",
            "cluster::telemetry",
            "cluster::webhook::*",
            "cluster::demo::*",
        ],
    ),
];

/// Words that only the named modules may use, and why.
const PLACES: &[(&str, &[&str], &str)] = &[
    (
        "serde",
        &[
            "core::json",
            "core::cni",
            "core::conflist",
            "core::ask",
            "core::stamp",
            "core::status",
            "core::record",
            "host::plugin",
            "host::inspect",
            "cluster",
        ],
        "serialisable means promised: only wires, and what shows one to people",
    ),
    ("unsafe ", &["host::netns"], "one ioctl and unshare have no safe wrapper"),
    ("move_into_", &["host::netns"], "a thread that entered a namespace is spent; only netns knows how"),
    (
        "Command::new",
        &["host::restore", "cluster::demo", "cluster::agent::install", "cluster::agent::selftest"],
        "the plugin runs no other program (M6)",
    ),
    ("process::exit", &["host::bin", "cluster"], "a library returns"),
    ("env::var", &["host::bin", "cluster"], "the environment is an argument"),
    ("env::args", &["host::bin", "cluster"], "the arguments are arguments"),
    ("println!", &["host::bin", "cluster"], "a library returns what it has to say"),
    ("thread::sleep", &["cluster::demo"], "wait for an event, with a deadline"),
];

/// What core never touches: it is given values and returns values.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::io",
    "Instant::now",
    "SystemTime",
    "println!",
    "print!",
    "eprintln!",
    "eprint!",
];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "misc", "types", "manager", "mod"];

/// In lines that are not blank and not tests; comments count, for they are read too.
const LONGEST_FILE: usize = 400;
/// From its `fn` to its closing brace.
const LONGEST_FUNCTION: usize = 60;

#[test]
fn imports_are_in_the_table() {
    check(|file| {
        let Some(row) = row(&file.module) else {
            return vec![format!(
                "module {} has no row in IMPORTS; add one: it is the map of the house",
                file.module
            )];
        };
        let refused =
            file.imports().into_iter().filter(|import| !row.iter().any(|entry| allows(entry, import)));
        refused.map(|import| format!("{} may not import {import}", file.module)).collect()
    });
}

#[test]
fn the_tables_name_modules_that_are_there() {
    let modules: Vec<String> = sources().iter().map(|file| file.module.clone()).collect();
    let imported = IMPORTS.iter().flat_map(|(owner, entries)| [owner].into_iter().chain(*entries));
    let named = imported.chain(PLACES.iter().flat_map(|(_, places, _)| *places));
    let gone: Vec<&str> = named
        .map(|entry| entry.split(['{', '*']).next().unwrap_or_default().trim_end_matches("::"))
        .filter(|name| !modules.iter().any(|module| within(module, name)))
        .collect();
    assert!(gone.is_empty(), "no such modules any more: {gone:?}");
}

#[test]
fn modules_form_no_cycle() {
    let edges: BTreeMap<String, Vec<String>> = sources()
        .iter()
        .map(|file| (file.module.clone(), file.imports().into_iter().map(|import| import.module).collect()))
        .collect();
    let cycles: Vec<String> = edges.keys().filter_map(|start| cycle(start, &edges)).collect();
    assert!(cycles.is_empty(), "module cycles:\n{}", cycles.join("\n"));
}

#[test]
fn files_open_with_what_they_decide() {
    check(|file| {
        let opens = file.text.starts_with("//!");
        if opens { vec![] } else { vec!["does not open with //!".to_owned()] }
    });
}

#[test]
fn files_and_functions_are_short() {
    check(|file| {
        let mut found = Vec::new();
        let lines = file.production().lines().filter(|line| !line.trim().is_empty()).count();
        if lines > LONGEST_FILE {
            found.push(format!("{lines} production lines, more than {LONGEST_FILE}"));
        }
        for function in file.functions().into_iter().filter(|function| function.lines > LONGEST_FUNCTION) {
            found.push(format!(
                "fn {} has {} lines, more than {LONGEST_FUNCTION}",
                function.name, function.lines
            ));
        }
        found
    });
}

#[test]
fn files_have_telling_names() {
    check(|file| {
        let stem = file.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if EMPTY_NAMES.contains(&stem) { vec![format!("the name {stem} says nothing")] } else { vec![] }
    });
}

#[test]
fn nothing_is_left_for_later() {
    let mut found = Vec::new();
    for file in source::tests(root()).iter().chain(&sources()) {
        let marks = ["todo!(", "unimplemented!(", "dbg!(", "#[ignore"].into_iter();
        found.extend(marks.filter(|mark| file.code().contains(mark)).map(|mark| format!("{file}: {mark}")));
        let notes = ["TODO", "FIXME", "XXX"].into_iter();
        found.extend(
            notes.filter(|note| file.comments().contains(note)).map(|note| format!("{file}: {note}")),
        );
    }
    assert!(found.is_empty(), "left for later:\n{}", found.join("\n"));
}

#[test]
fn core_touches_nothing() {
    check(|file| {
        let pure = file.module == "core" || file.module.starts_with("core::");
        let words = IMPURE.iter().filter(|word| pure && file.code().contains(*word));
        words.map(|word| format!("core names {word}")).collect()
    });
}

#[test]
fn words_stay_in_their_places() {
    check(|file| {
        let mut found = Vec::new();
        for (word, places, why) in PLACES {
            let allowed = places.iter().any(|place| within(&file.module, place));
            if !allowed && file.code().contains(word) {
                found.push(format!("names {}: {why}", word.trim()));
            }
        }
        found
    });
}

#[test]
fn crates_point_one_way() {
    let arrows: [(&str, &[&str]); 4] = [
        ("core", &[]),
        ("host", &["millrace-core"]),
        ("cluster", &["millrace-core", "millrace-host"]),
        ("rig", &[]),
    ];
    for (name, allowed) in arrows {
        let manifest = std::fs::read_to_string(root().join("crates").join(name).join("Cargo.toml"));
        let manifest = manifest.expect("every crate has a manifest");
        let dependencies =
            manifest.split("\n[").find(|part| part.starts_with("dependencies]")).unwrap_or_default();
        for line in dependencies.lines().filter(|line| line.starts_with("millrace")) {
            let named = line.split(['.', ' ', '=']).next().unwrap_or_default();
            assert!(allowed.contains(&named), "crates/{name} may not depend on {named}");
        }
    }
}

/// Fails with everything that `rule` finds in any file of the product.
fn check(rule: impl Fn(&File) -> Vec<String>) {
    let files = sources();
    assert!(files.len() > 5, "only {} source files were found below {}", files.len(), root().display());
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| rule(file).into_iter().map(move |complaint| format!("{file}: {complaint}")))
        .collect();
    assert!(found.is_empty(), "house rules:\n{}", found.join("\n"));
}

fn sources() -> Vec<File> {
    ["core", "host", "cluster"].into_iter().flat_map(|name| source::product(root(), name)).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .and_then(Path::parent)
        .expect("crates/cluster is two below the root")
}

/// The row of the longest module that holds `module`.
fn row(module: &str) -> Option<&'static [&'static str]> {
    let rows = IMPORTS.iter().filter(|(owner, _)| within(module, owner));
    // A crate's own row is for its root alone, so that a new module needs a row of its own.
    let rows = rows.filter(|(owner, _)| owner.contains("::") || *owner == module);
    rows.max_by_key(|(owner, _)| owner.len()).map(|(_, row)| *row)
}

fn within(module: &str, owner: &str) -> bool {
    module.strip_prefix(owner).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn allows(entry: &str, import: &Import) -> bool {
    if let Some(owner) = entry.strip_suffix("::*") {
        return within(&import.module, owner);
    }
    match entry.split_once('{') {
        None => entry == import.module,
        Some((module, items)) => {
            let mut items = items.trim_end_matches('}').split(", ");
            module == import.module && items.any(|item| item == import.item)
        }
    }
}

fn cycle(start: &str, edges: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let mut open = vec![vec![start.to_owned()]];
    let mut seen = Vec::new();
    while let Some(path) = open.pop() {
        let here = path.last().expect("a path has a start");
        for next in edges.get(here).into_iter().flatten() {
            if next == start {
                return Some(format!("{} -> {start}", path.join(" -> ")));
            }
            if !seen.contains(next) {
                seen.push(next.clone());
                open.push([path.as_slice(), std::slice::from_ref(next)].concat());
            }
        }
    }
    None
}

#[test]
fn the_reader_of_sources_sees_what_is_there() {
    let text = "//! A file.\n\nuse crate::rules::{self, Rule, plan::plan};\nuse super::wire;\n\
                fn long() {\n    let brace = \"}\"; // }\n    millrace_core::settings::Settings::default();\n}\n\
                #[cfg(test)]\nmod tests {\n    use crate::policy;\n}\n";
    let known = ["core::rules", "core::rules::plan", "core::dialect::wire", "core::settings", "core::policy"];
    let file = File::of("core::dialect::iptables", text, &known);
    let imports: Vec<String> = file.imports().iter().map(ToString::to_string).collect();
    let expected = [
        "core::dialect::wire",
        "core::rules",
        "core::rules (Rule)",
        "core::rules::plan (plan)",
        "core::settings (Settings)",
    ];
    assert_eq!(imports, expected);
    assert_eq!(
        file.functions().iter().map(|f| (f.name.as_str(), f.lines)).collect::<Vec<_>>(),
        [("long", 4)]
    );
    assert!(cycle("a", &[("a".into(), vec!["b".into()]), ("b".into(), vec!["a".into()])].into()).is_some());
    assert!(cycle("a", &[("a".into(), vec!["b".into()]), ("b".into(), vec![])].into()).is_none());
}
