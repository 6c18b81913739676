//! What the reader of a flight recorder's file must survive: fed by the fuzzer (`fuzz/`) and, as a test, by the committed corpus.
//!
//! It fails by panicking. Whatever the bytes, reading ends at the first line that is not whole, and what was read can be
//! written and read again.

use super::entry::Entry;
use super::segment;

/// A file of the flight recorder.
pub(crate) fn flight(data: &[u8]) {
    let (payloads, whole) = segment::read(data);
    assert!(whole <= data.len());
    assert_eq!(
        segment::read(&data[..whole]),
        (payloads.clone(), whole),
        "cutting off what is torn loses nothing"
    );
    for payload in payloads {
        let line = segment::line(payload).expect("what was read is not too long");
        assert_eq!(segment::read(&line), (vec![payload], line.len()));
        // A checksum is no obstacle to whoever means harm; so is what it is about.
        if let Some(entry) = Entry::read(payload) {
            let again = Entry::read(entry.write().as_bytes()).expect("what is written is read");
            assert_eq!(again.write(), entry.write());
        }
    }
    // The fuzzer does not guess checksums.
    if let Some(entry) = Entry::read(data) {
        assert!(Entry::read(entry.write().as_bytes()).is_some());
    }
}
