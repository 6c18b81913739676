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
    let names = |folder: PathBuf| -> BTreeSet<String> {
        let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(corpus()), readers);
    assert_eq!(names(corpus().with_file_name("fuzz_targets")), readers);
}

fn corpus() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus"))
}
