//! What each reader must survive: one body per reader, fed by the fuzzer (`fuzz/`) and, as a test, by the committed corpus.
//!
//! A body fails by panicking. Whatever the bytes, a reader returns; and what it understood, it understands again when
//! it is written and read back.

use millrace_core::cni::{self, Request};
use millrace_core::dialect::text;
use millrace_core::rules::Family;
use millrace_core::{ask, conflist, record};

/// A body.
pub(crate) type Reader = fn(&[u8]);

/// All readers, by the names of their fuzz targets and of their folders in `fuzz/corpus`.
pub(crate) const READERS: &[(&str, Reader)] = &[
    ("ask", ask),
    ("cni_request", cni_request),
    ("conflist", conflist),
    ("record", record),
    ("save_text", save_text),
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
        assert_eq!(record::Record::read(record.write().as_bytes()), Ok(record.clone()));
        let name = record.key.file_name();
        assert!(
            !name.is_empty() && !name.starts_with('.') && !name.contains('/') && name.len() < 250,
            "{name:?}"
        );
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
