//! The flight recorder: what happened to the pods of this node last, on disk, so that `millrace why` can tell after the pod
//! and the agent are gone.
//!
//! Two files, of which the older is thrown away when the younger is full: never more than [`Limits`] says. An entry is one
//! write without fsync, so a killed agent loses at most the one it was writing, and a power cut the last seconds. Whoever
//! reads needs no lock and disturbs nobody. A disk that fails costs entries, never a pod.

pub(crate) mod entry;
pub(crate) mod recorder;
pub(crate) mod segment;

use entry::Entry;
use rustix::fs::{FlockOperation, flock};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How much is kept, in both files together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes.
    pub(crate) bytes: usize,
    /// Entries.
    pub(crate) entries: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 8 << 20, entries: 4096 }
    }
}

/// Why something was not recorded or not read.
#[derive(Debug)]
pub(crate) enum Error {
    /// A file could not be used.
    Io { act: &'static str, path: PathBuf, cause: io::Error },
    /// Another agent records.
    Busy { folder: PathBuf },
    /// An entry is longer than any may be.
    TooLong { bytes: usize, most: usize },
    /// The files changed places under every try to read them.
    Restless { folder: PathBuf },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { act, path, cause } => write!(f, "cannot {act} {}: {cause}", path.display()),
            Error::Busy { folder } => {
                write!(f, "another agent records in {}; it ends with that agent", folder.display())
            }
            Error::TooLong { bytes, most } => {
                write!(f, "an entry of {bytes} bytes is longer than the {most} the flight recorder takes")
            }
            Error::Restless { folder } => {
                write!(f, "the files in {} change places all the time; try again", folder.display())
            }
        }
    }
}

impl std::error::Error for Error {}

/// The recorder, open for writing. There is one at a time.
#[derive(Debug)]
pub(crate) struct Flight {
    folder: PathBuf,
    limits: Limits,
    file: File,
    bytes: usize,
    entries: usize,
    /// Holds the lock on the folder.
    _lock: File,
}

impl Flight {
    /// Opens the recorder in `folder`, which is made if need be, and cuts off what a killed writer left half done.
    pub(crate) fn open(folder: &Path, limits: Limits) -> Result<Flight, Error> {
        let failed = |act| move |cause| Error::Io { act, path: folder.to_owned(), cause };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make"))?;
        let lock = File::open(folder).map_err(failed("open"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            rustix::io::Errno::WOULDBLOCK => Error::Busy { folder: folder.to_owned() },
            errno => failed("lock")(errno.into()),
        })?;
        let path = folder.join(YOUNGER);
        let mut file = create(&path)?;
        let bytes = content(&mut file, &path)?;
        let (entries, whole) = segment::read(&bytes);
        let entries = entries.len();
        file.set_len(whole as u64).map_err(|cause| Error::Io { act: "cut", path, cause })?;
        Ok(Flight { folder: folder.to_owned(), limits, file, bytes: whole, entries, _lock: lock })
    }

    /// Whether somebody took its file away: what is written to it now, nobody will read.
    pub(crate) fn is_lost(&self) -> bool {
        let named = fs::metadata(self.folder.join(YOUNGER)).map(|found| (found.dev(), found.ino()));
        named.ok() != identity(Some(&self.file))
    }

    /// Adds an entry.
    pub(crate) fn record(&mut self, entry: &Entry) -> Result<(), Error> {
        let payload = entry.write();
        let most = segment::LONGEST.min(self.limits.bytes / 4);
        let line = segment::line(payload.as_bytes()).filter(|line| line.len() <= most);
        let line = line.ok_or(Error::TooLong { bytes: payload.len(), most })?;
        if self.bytes + line.len() > self.limits.bytes / 2 || self.entries >= self.limits.entries / 2 {
            self.turn()?;
        }
        if let Err(cause) = self.file.write_all(&line) {
            // A full disk takes the beginning of a line; whatever came after it could not be read.
            let _ = self.file.set_len(self.bytes as u64);
            return Err(Error::Io { act: "write", path: self.folder.join(YOUNGER), cause });
        }
        self.bytes += line.len();
        self.entries += 1;
        Ok(())
    }

    /// The younger file becomes the older one, in one step: whoever reads has one or the other.
    fn turn(&mut self) -> Result<(), Error> {
        let (younger, older) = (self.folder.join(YOUNGER), self.folder.join(OLDER));
        match fs::rename(&younger, &older) {
            // Somebody cleared the folder; we go on with a new file.
            Err(cause) if cause.kind() == ErrorKind::NotFound => {}
            moved => moved.map_err(|cause| Error::Io { act: "move", path: younger.clone(), cause })?,
        }
        self.file = create(&younger)?;
        (self.bytes, self.entries) = (0, 0);
        Ok(())
    }
}

/// Whose entries are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A pod by namespace and name: every pod that ever had them.
    Pod { namespace: String, name: String },
    /// A pod by its UID.
    Uid(String),
}

impl Wanted {
    fn is(&self, entry: &Entry) -> bool {
        match self {
            Wanted::Pod { namespace, name } => {
                entry.event.namespace == *namespace && entry.event.name == *name
            }
            Wanted::Uid(uid) => entry.event.uid == *uid,
        }
    }
}

/// What was found, and in how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The entries looked for, oldest first.
    pub(crate) entries: Vec<Entry>,
    /// How many entries there are of all pods.
    pub(crate) all: usize,
    /// When the oldest of all was written, in milliseconds since 1970.
    pub(crate) since: Option<u64>,
    /// How many of all are of a release that this one cannot read.
    pub(crate) foreign: usize,
}

/// Finds what is known, while an agent writes or none does.
pub(crate) fn find(folder: &Path, wanted: &Wanted) -> Result<Found, Error> {
    let mut found = Found::default();
    for bytes in contents(folder)? {
        for payload in segment::read(&bytes).0 {
            found.all += 1;
            let Some(entry) = Entry::read(payload) else {
                found.foreign += 1;
                continue;
            };
            found.since = Some(found.since.map_or(entry.at, |since| since.min(entry.at)));
            if wanted.is(&entry) {
                found.entries.push(entry);
            }
        }
    }
    Ok(found)
}

/// What is in both files, the older first. Between opening the one and the other the files may have changed places; then
/// they are opened anew.
fn contents(folder: &Path) -> Result<Vec<Vec<u8>>, Error> {
    const TRIES: usize = 16;
    let (younger, older) = (folder.join(YOUNGER), folder.join(OLDER));
    for _ in 0..TRIES {
        let (new, old) = (open(&younger)?, open(&older)?);
        if identity(new.as_ref()) != identity(open(&younger)?.as_ref()) {
            continue;
        }
        let both = [(old, &older), (new, &younger)].into_iter();
        let there = both.filter_map(|(file, path)| Some((file?, path)));
        return there.map(|(mut file, path)| content(&mut file, path)).collect();
    }
    Err(Error::Restless { folder: folder.to_owned() })
}

const YOUNGER: &str = "flight.log";
const OLDER: &str = "flight.old";
/// The most of a file that is read: it is not ours if it is longer.
const LONGEST_FILE: u64 = 64 << 20;

fn create(path: &Path) -> Result<File, Error> {
    let mut options = File::options();
    options.read(true).append(true).create(true).mode(0o600);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options.open(path).map_err(|cause| Error::Io { act: "open", path: path.to_owned(), cause })
}

fn open(path: &Path) -> Result<Option<File>, Error> {
    match File::open(path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).map_err(|cause| Error::Io { act: "read", path: path.to_owned(), cause }),
    }
}

fn content(file: &mut File, path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = file.take(LONGEST_FILE).read_to_end(&mut bytes);
    read.map_err(|cause| Error::Io { act: "read", path: path.to_owned(), cause })?;
    Ok(bytes)
}

fn identity(file: Option<&File>) -> Option<(u64, u64)> {
    file.and_then(|file| file.metadata().ok()).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
#[path = "../../tests/corpus/flight.rs"]
mod readers;

#[cfg(test)]
mod tests {
    use super::entry::Condition;
    use super::*;
    use millrace_core::ask::Event;
    use millrace_core::reason::Reason;
    use millrace_core::settings::Families;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};
    use std::sync::LazyLock;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("millrace-flight-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn entry(number: u64) -> Entry {
        Entry {
            at: number,
            event: Event {
                verb: "ADD".into(),
                namespace: "default".into(),
                name: format!("pod-{}", number % 10),
                uid: format!("uid-{number}"),
                outcome: "redirected".into(),
                message: "two\nlines and \"quotes\"".into(),
                microseconds: 1_200,
                ..Event::default()
            },
            stamp: Some(r#"{"v":1,"redirect":{}}"#.into()),
            families: Some(Families::Both),
            conditions: vec![Condition { reason: Reason::NotInjected, holds: true, found: "ä".into() }],
            complaints: vec!["a complaint".into()],
            release: "0.1.0".into(),
        }
    }

    fn all(folder: &Path) -> Vec<u64> {
        contents(folder)
            .unwrap()
            .iter()
            .flat_map(|bytes| {
                segment::read(bytes).0.into_iter().map(|one| Entry::read(one).unwrap().at).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn survives_its_corpus() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/flight");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let read = files.map(|file| {
            eprintln!("{}", file.display());
            readers::flight(&fs::read(&file).unwrap());
        });
        assert!(read.count() >= 3, "{folder} holds too little to begin with");
    }

    #[test]
    fn what_is_recorded_is_found() {
        let folder = Folder::new("found");
        let pod = |name: &str| Wanted::Pod { namespace: "default".into(), name: name.into() };
        assert_eq!(find(&folder.0, &pod("pod-3")).unwrap(), Found::default());
        let mut flight = Flight::open(&folder.0, Limits::default()).unwrap();
        for number in 7..30 {
            flight.record(&entry(number)).unwrap();
        }
        let found = find(&folder.0, &pod("pod-3")).unwrap();
        assert_eq!(found.entries, [entry(13), entry(23)]);
        assert_eq!((found.all, found.since, found.foreign), (23, Some(7), 0));
        assert_eq!(find(&folder.0, &Wanted::Uid("uid-9".into())).unwrap().entries, [entry(9)]);
        assert_eq!(find(&folder.0, &Wanted::Uid("uid-31".into())).unwrap().entries, []);
        let bare = Entry { stamp: None, families: None, conditions: vec![], complaints: vec![], ..entry(40) };
        flight.record(&bare).unwrap();
        assert_eq!(find(&folder.0, &Wanted::Uid("uid-40".into())).unwrap().entries, [bare]);
    }

    #[test]
    fn only_root_reads_it_and_one_agent_writes_it() {
        let folder = Folder::new("modes");
        let flight = Flight::open(&folder.0, Limits::default()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.0), mode(&folder.0.join(YOUNGER))), (0o700, 0o600));
        assert!(matches!(Flight::open(&folder.0, Limits::default()), Err(Error::Busy { .. })));
        drop(flight);
        Flight::open(&folder.0, Limits::default()).unwrap();
    }

    #[test]
    fn it_stays_within_its_bounds_and_keeps_the_last() {
        let size = |folder: &Path| {
            fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>()
        };
        for (name, limits) in [
            ("bytes", Limits { bytes: 20_000, entries: 1_000_000 }),
            ("entries", Limits { bytes: 8 << 20, entries: 40 }),
        ] {
            let folder = Folder::new(name);
            let mut flight = Flight::open(&folder.0, limits).unwrap();
            for number in 1..=500 {
                flight.record(&entry(number)).unwrap();
                if number % 97 == 0 {
                    drop(flight);
                    flight = Flight::open(&folder.0, limits).unwrap();
                }
                let kept = all(&folder.0);
                assert!(
                    kept.len() <= limits.entries && size(&folder.0) <= limits.bytes as u64,
                    "{name} {number}"
                );
                let first = number + 1 - kept.len() as u64;
                assert_eq!(
                    kept,
                    (first..=number).collect::<Vec<_>>(),
                    "{name}: the last ones, without a gap"
                );
            }
            assert!(all(&folder.0).len() >= 15, "{name}: half of what is granted is always kept");
        }
    }

    #[test]
    fn an_entry_that_is_too_long_is_an_error_and_the_next_is_taken() {
        let folder = Folder::new("long");
        let mut flight = Flight::open(&folder.0, Limits::default()).unwrap();
        let long = Entry { stamp: Some("x".repeat(segment::LONGEST)), ..entry(1) };
        assert!(matches!(flight.record(&long), Err(Error::TooLong { .. })));
        let largest = Entry { stamp: Some("\"".repeat(256 << 10)), ..entry(2) };
        flight.record(&largest).unwrap();
        assert_eq!(all(&folder.0), [2]);
    }

    #[test]
    fn a_torn_end_is_cut_off_before_the_next_entry() {
        let folder = Folder::new("torn");
        let mut flight = Flight::open(&folder.0, Limits::default()).unwrap();
        for number in 1..=3 {
            flight.record(&entry(number)).unwrap();
        }
        drop(flight);
        let path = folder.0.join(YOUNGER);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(all(&folder.0), [1, 2]);
        Flight::open(&folder.0, Limits::default()).unwrap().record(&entry(4)).unwrap();
        assert_eq!(all(&folder.0), [1, 2, 4]);
    }

    /// The environment variable that makes [`a_writer`] one that goes on until it is killed.
    const WRITER: &str = "MILLRACE_TEST_FLIGHT_WRITER";

    /// Run by the test below in a process of its own. By itself it writes one entry and finds it.
    #[test]
    fn a_writer() {
        let (folder, for_ever) = match std::env::var_os(WRITER) {
            Some(path) => {
                // It ends with the thread that started it, however that one ends.
                let signal = Some(rustix::process::Signal::KILL);
                rustix::process::set_parent_process_death_signal(signal).unwrap();
                (Folder(path.into()), true)
            }
            None => (Folder::new("writer"), false),
        };
        let mut flight = Flight::open(&folder.0, Limits { bytes: 8 << 20, entries: 200 }).unwrap();
        let mut number = all(&folder.0).last().copied().unwrap_or(0);
        loop {
            number += 1;
            flight.record(&entry(number)).unwrap();
            if !for_ever {
                break assert_eq!(all(&folder.0), [1]);
            }
            // Whoever killed us has to know what was recorded for certain.
            fs::write(folder.0.join("certain"), number.to_string()).unwrap();
        }
    }

    #[test]
    fn a_writer_that_is_killed_loses_at_most_what_it_was_writing() {
        let folder = Folder::new("killed");
        fs::create_dir(&folder.0).unwrap();
        let certain =
            || fs::read_to_string(folder.0.join("certain")).ok().and_then(|text| text.parse::<u64>().ok());
        let mut reached = 0;
        for round in 0..20 {
            let mut writer = Command::new(std::env::current_exe().unwrap());
            writer
                .args(["--exact", "agent::flight::tests::a_writer", "--test-threads=1"])
                .env(WRITER, &folder.0);
            let mut writer = writer.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
            let before = reached;
            // It gets on by a different amount each round, so that it dies at different moments of its files.
            while certain().is_none_or(|certain| certain < before + 17 + 31 * round)
                && writer.try_wait().unwrap().is_none()
            {
                assert!(std::time::Instant::now() < deadline, "the writer does not get on");
                std::thread::yield_now();
            }
            writer.kill().unwrap();
            writer.wait().unwrap();
            let kept = all(&folder.0);
            reached = *kept.last().unwrap();
            // `certain` itself may be half written, and then is nothing or too little.
            assert!(
                certain().is_none_or(|certain| certain <= reached),
                "{:?} was recorded, {reached} is kept",
                certain()
            );
            assert_eq!(kept, (kept[0]..=reached).collect::<Vec<_>>());
            assert!(kept.len() >= 100.min(reached as usize), "{} of {reached}", kept.len());
            assert!(reached > before, "it got no further");
        }
    }

    /// `flight.log` and `flight.old` change places some hundred times while this reads: it never misses an entry between the
    /// first and the last it sees, and never sees one twice.
    #[test]
    fn reading_sees_no_gap_while_an_agent_writes() {
        let folder = Folder::new("meanwhile");
        let limits = Limits { bytes: 8 << 20, entries: 20 };
        let mut flight = Flight::open(&folder.0, limits).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=4_000 {
                    flight.record(&entry(number)).unwrap();
                }
                stop.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                let kept = match contents(&folder.0) {
                    // A reader that lost every race says so; it never shows half.
                    Err(Error::Restless { .. }) => continue,
                    _ => all_of(contents(&folder.0)),
                };
                if let (Some(first), Some(last)) = (kept.first(), kept.last()) {
                    assert_eq!(kept, (*first..=*last).collect::<Vec<_>>());
                }
            }
        });
        assert_eq!(all(&folder.0).last(), Some(&4_000));
    }

    fn all_of(contents: Result<Vec<Vec<u8>>, Error>) -> Vec<u64> {
        let contents = contents.unwrap_or_default();
        let payloads = contents.iter().flat_map(|bytes| segment::read(bytes).0);
        payloads.map(|one| Entry::read(one).unwrap().at).collect()
    }

    /// Five entries, as they lie in a file.
    static WRITTEN: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (1..=5).flat_map(|number| segment::line(entry(number).write().as_bytes()).unwrap()).collect()
    });

    fn numbers(bytes: &[u8]) -> Vec<u64> {
        segment::read(bytes).0.into_iter().map(|one| Entry::read(one).unwrap().at).collect()
    }

    /// As for every law: the same seed for everybody, more cases by `MILLRACE_CASES`.
    fn config() -> ProptestConfig {
        let cases = std::env::var("MILLRACE_CASES").ok().and_then(|number| number.parse().ok());
        let (cases, rng_seed) = (cases.unwrap_or(1_000), RngSeed::Fixed(1337));
        ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn whatever_is_cut_off_a_prefix_is_read(at in any::<proptest::sample::Index>()) {
            let bytes = &*WRITTEN;
            let cut = &bytes[..at.index(bytes.len() + 1)];
            let read = numbers(cut);
            prop_assert_eq!(&read, &(1..=read.len() as u64).collect::<Vec<_>>());
            let whole = segment::read(cut).1;
            prop_assert_eq!(segment::read(&cut[..whole]).0.len(), read.len());
        }

        #[test]
        fn whatever_is_damaged_a_prefix_is_read(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = WRITTEN.clone();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != byte);
            let before = segment::read(&bytes[..at]).0.len();
            bytes[at] = byte;
            let read = numbers(&bytes);
            // One digit of a checksum may be written in two ways; then nothing is damaged.
            let same = byte.eq_ignore_ascii_case(&WRITTEN[at]);
            prop_assert!(same || read.len() == before, "{} of {}", read.len(), before);
            prop_assert_eq!(&read, &(1..=read.len() as u64).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (payloads, whole) = segment::read(&bytes);
            prop_assert!(whole <= bytes.len());
            for payload in payloads {
                let _ = Entry::read(payload);
            }
            let _ = Entry::read(&bytes);
        }
    }
}
