//! What each reader must survive: one body per reader, fed by the fuzzer (`fuzz/`) and, as a test, by the committed corpus.
//!
//! A body fails by panicking. Whatever the bytes, a reader returns; and what it understood, it understands again when
//! it is written and read back.

use millrace_core::cni::{self, Request};
use millrace_core::dialect::{Batch, iptables, nftables, text};
use millrace_core::knobs::{self, Surroundings};
use millrace_core::pod::{Container, Pod};
use millrace_core::rules::removal::{Removal, removal};
use millrace_core::rules::{Family, Observed, RuleSet};
use millrace_core::stamp::{self, Stamp};
use millrace_core::{ask, conflist, policy, record, status};

/// A body.
pub(crate) type Reader = fn(&[u8]);

/// All readers, by the names of their fuzz targets and of their folders in `fuzz/corpus`.
pub(crate) const READERS: &[(&str, Reader)] = &[
    ("annotations", annotations),
    ("ask", ask),
    ("cni_request", cni_request),
    ("conflist", conflist),
    ("init_arguments", init_arguments),
    ("iptables_dump", iptables_dump),
    ("nftables_dump", nftables_dump),
    ("record", record),
    ("save_text", save_text),
    ("stamp", stamp),
];

/// Variables, one `NAME=VALUE` a line, up to an empty line; then standard input.
pub(crate) fn cni_request(data: &[u8]) {
    let split = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, stdin) = split.map_or((data, &[][..]), |at| (&data[..at], &data[at + 2..]));
    let head = String::from_utf8_lossy(head);
    let variables: Vec<(&str, &str)> = head.lines().filter_map(|line| line.split_once('=')).collect();
    let get =
        |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let request = cni::Environment::read(get).and_then(|environment| Request::read(environment, stdin));
    match request {
        Ok(request) => {
            request.families();
            let result = cni::reply::result(request.previous, request.version);
            let value: serde_json::Value =
                serde_json::from_str(&result).expect("a result is one JSON document");
            assert_eq!(value["cniVersion"], request.version.as_str());
        }
        Err(error) => {
            let text = cni::reply::error(&error);
            let value: serde_json::Value =
                serde_json::from_str(&text).expect("an error is one JSON document");
            assert!(value["code"].as_u64().is_some_and(|code| code > 0), "{text}");
        }
    }
}

/// A plugin list: what was put in can be taken out, and nothing else has changed.
pub(crate) fn conflist(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let entry = cni::Entry::default().write();
    let Ok(without) = conflist::remove(text) else { return };
    let without = changed(without, text);
    assert_eq!(conflist::has_ours(&without), Ok(false));
    let Ok(with) = conflist::insert(&without, &entry) else { return };
    let with = changed(with, &without);
    assert_eq!(conflist::has_ours(&with), Ok(true));
    let chain = conflist::read(&with).expect("what we wrote can be read");
    assert_eq!((chain.ours.len(), chain.types.last().map(String::as_str)), (1, Some(cni::entry::TYPE)));
    if let Some(first) = chain.types.first().filter(|first| *first != cni::entry::TYPE) {
        let over = changed(conflist::take_over(&with, &entry, &[first]).expect("as insert"), &with);
        assert!(!conflist::read(&over).expect("a list").types.contains(first));
    }
    assert_eq!(conflist::insert(&with, &entry), Ok(conflist::Edit::Unchanged), "twice is once");
    let again = changed(conflist::remove(&with).expect("what we wrote can be read"), &with);
    let values = [again, without]
        .map(|text| serde_json::from_str::<serde_json::Value>(&text).expect("a list is JSON"));
    assert_eq!(values[0], values[1]);
}

fn changed(edit: conflist::Edit, text: &str) -> String {
    match edit {
        conflist::Edit::Unchanged => text.to_owned(),
        conflist::Edit::Changed(text) => text,
    }
}

/// What plugin and agent say to each other: a body of each kind.
pub(crate) fn ask(data: &[u8]) {
    if let Some(header) = data.first_chunk() {
        drop(ask::length(*header));
    }
    if let Ok(question) = ask::Question::read(data)
        && let Ok(frame) = question.write()
    {
        assert_eq!(ask::Question::read(&frame[4..]), Ok(question));
    }
    if let Ok(answer) = ask::Answer::read(data)
        && let Ok(frame) = answer.write()
    {
        assert_eq!(ask::Answer::read(&frame[4..]), Ok(answer));
    }
    if let Ok(event) = ask::Event::read(data) {
        // A long message is cut when it is told, so only the second reading must be like the first.
        let once = ask::Event::read(&event.write());
        if let Ok(once) = once {
            assert_eq!(ask::Event::read(&once.write()), Ok(once));
        }
    }
}

/// An attachment record.
pub(crate) fn record(data: &[u8]) {
    if let Ok(record) = record::Record::read(data) {
        assert_eq!(record::Record::read(&record.write()), Ok(record.clone()));
        let name = record.key.file_name();
        assert!(
            !name.is_empty() && !name.starts_with('.') && !name.contains('/') && name.len() < 250,
            "{name:?}"
        );
    }
}

/// The kernel's answers to rules found in the tables that iptables uses.
pub(crate) fn iptables_dump(data: &[u8]) {
    if let Ok(observed) = iptables::read(data) {
        clear_and_plan(&observed, iptables::write);
    }
}

/// The kernel's answers to rules found in the table of our own.
pub(crate) fn nftables_dump(data: &[u8]) {
    if let Ok(observed) = nftables::read(data) {
        clear_and_plan(&observed, nftables::write);
    }
}

/// Whatever is there can be cleared and made as planned, and nothing is named that was not found (M11).
fn clear_and_plan(observed: &Observed, write: fn(&RuleSet, &Removal) -> Batch) {
    for planned in [RuleSet::default(), observed.known()] {
        let ours = removal(observed, &planned);
        write(&planned, &ours);
        for (place, present) in &ours.present {
            let found = &observed.chains[place];
            assert!(present.rules.iter().all(|(handle, _)| found.iter().any(|rule| rule.handle == *handle)));
        }
    }
}

/// The text of `iptables-save` and of `ip6tables-save`.
pub(crate) fn save_text(data: &[u8]) {
    let Ok(said) = std::str::from_utf8(data) else { return };
    for family in [Family::V4, Family::V6] {
        let Ok(observed) = text::read(said, family) else { continue };
        let known = observed.known();
        let again = text::read(&text::write(&known, family), family).expect("what we wrote can be read");
        assert_eq!(again.known(), known);
    }
}

/// Annotations of a pod, one `NAME=VALUE` a line; `$NAME=VALUE` is a variable of its sidecar, `%KEY=VALUE` the operator's
/// default. Defaults that are accepted leave a pod that says nothing without a complaint.
pub(crate) fn annotations(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut proxy = Container { name: policy::PROXY.to_owned(), ..Container::default() };
    let mut pod = Pod { namespace: "default".to_owned(), name: "web".to_owned(), ..Pod::default() };
    let mut said = Vec::new();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        if let Some(key) = name.strip_prefix('%') {
            said.push((key, value));
            continue;
        }
        let (map, name) = match name.strip_prefix('$') {
            Some(variable) => (&mut proxy.env, variable),
            None => (&mut pod.annotations, name),
        };
        map.insert(name.to_owned(), value.to_owned());
    }
    let defaults = knobs::Defaults::read(said).unwrap_or_default();
    let (_, silent) = knobs::settings_of(&Pod::default(), policy::PROXY, &defaults);
    assert!(silent.is_empty(), "{silent:?}");
    pod.containers.push(proxy);
    let (settings, complaints) = knobs::settings_of(&pod, policy::PROXY, &defaults);
    assert!(complaints.iter().all(|complaint| complaint.to_string().lines().count() == 1));
    if !complaints.iter().any(|complaint| complaint.fatal) {
        stamped(Stamp::Redirect(Box::new(settings)));
    }
    let mesh = policy::Mesh::default();
    let decision = policy::decide(&pod, &mesh);
    let early = policy::from_annotations(&pod.namespace, &pod.name, Some(&pod.annotations), &mesh);
    match (early, decision.verdict) {
        (policy::Early::Redirect(_), verdict) => assert_eq!(verdict, policy::Verdict::Redirect),
        (policy::Early::Skip(_), verdict) => assert_ne!(verdict, policy::Verdict::Redirect),
        (policy::Early::Ask(_), _) => {}
    }
}

/// Arguments of istio-init, one a line up to an empty line; then a resolv.conf.
pub(crate) fn init_arguments(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (args, resolv_conf) = text.split_once("\n\n").unwrap_or((&text, ""));
    let args: Vec<String> = args.lines().map(str::to_owned).collect();
    let around = Surroundings {
        env: &|_| None,
        user: &|name| (name == "istio-proxy").then_some(1337),
        group: &|_| None,
        resolv_conf: &|| Ok(resolv_conf.to_owned()),
    };
    match knobs::settings_from_flags(&args, &around) {
        Ok(flags) if !flags.complaints.iter().any(|complaint| complaint.fatal) => {
            stamped(Stamp::Redirect(Box::new(flags.settings)));
        }
        Ok(flags) => drop(flags),
        Err(usage) => assert_eq!(usage.to_string().lines().count(), 1),
    }
}

/// The two annotations that JSON is in.
pub(crate) fn stamp(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = status::lists_init_container(text, policy::INIT);
    if let Ok(read) = stamp::read(text) {
        stamped(read);
    }
}

fn stamped(stamp: Stamp) {
    assert_eq!(stamp::read(&stamp::write(&stamp)), Ok(stamp));
}
