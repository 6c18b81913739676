//! The fuzz targets' bodies as ordinary tests, over the corpus that is committed in `fuzz/corpus`.

#[path = "corpus/mod.rs"]
mod readers;

use std::collections::BTreeSet;
use std::path::PathBuf;

#[test]
fn every_reader_survives_its_corpus() {
    for (name, reader) in readers::READERS {
        let folder = corpus().join(name);
        let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 3, "{} holds too little to begin with", folder.display());
        for file in files {
            eprintln!("{}", file.display());
            reader(&std::fs::read(&file).unwrap());
        }
    }
}

#[test]
fn every_reader_has_a_target_and_every_target_a_reader() {
    let readers: BTreeSet<String> = readers::READERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let targets = corpus().with_file_name("fuzz_targets");
    assert_eq!(names(corpus()), names(targets.clone()));
    // Another crate's readers have their bodies and this test there.
    let ours = |name: &String| {
        let target = std::fs::read_to_string(targets.join(name).with_extension("rs")).unwrap();
        target.contains("crates/core/tests/corpus/mod.rs")
    };
    assert_eq!(names(targets.clone()).into_iter().filter(ours).collect::<BTreeSet<_>>(), readers);
}

/// The files that read what others wrote, and the body that feeds them.
const FED: [(&str, &str); 12] = [
    ("ask.rs", "ask"),
    ("cni/request.rs", "cni_request"),
    ("conflist.rs", "conflist"),
    ("dialect/expressions.rs", "nftables_dump"),
    ("dialect/iptables/read.rs", "iptables_dump"),
    ("dialect/nftables/read.rs", "nftables_dump"),
    ("dialect/text.rs", "save_text"),
    ("dialect/xtables.rs", "iptables_dump"),
    ("knobs.rs", "stamp"),
    ("knobs/defaults.rs", "annotations"),
    ("record.rs", "record"),
    ("stamp.rs", "stamp"),
];

#[test]
fn whatever_reads_is_fed() {
    let sources = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut reading = BTreeSet::new();
    let mut open = vec![sources.clone()];
    while let Some(folder) = open.pop() {
        for path in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if std::fs::read_to_string(&path).unwrap().contains("pub fn read") {
                reading.insert(path.strip_prefix(&sources).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    // A list is edited as text, so nothing of it is called reading.
    reading.insert("conflist.rs".to_owned());
    assert_eq!(FED.map(|(file, _)| file.to_owned()).into_iter().collect::<BTreeSet<_>>(), reading);
    for (file, body) in FED {
        assert!(readers::READERS.iter().any(|(name, _)| *name == body), "{file}: there is no body {body}");
    }
}

/// The names of what is in a folder, without their endings.
fn names(folder: PathBuf) -> BTreeSet<String> {
    let entries = folder.read_dir().expect("a folder of the repository").flatten();
    let stem = |path: PathBuf| path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
    entries.map(|entry| stem(entry.path()).expect("a plain name")).collect()
}

fn corpus() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus"))
}
