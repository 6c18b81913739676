//! Whoever is in a session: by whose rights pages are read, and what ends with the session. It asks nobody anything.

use super::read::Reader;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The most streams of events of one session at once (M10).
const STREAMS: usize = 16;

/// Whoever looks.
pub(crate) struct Visitor {
    /// Who reads for him. On one machine there is one for all; in a cluster each session has its own, with its own rights.
    pub(crate) reader: Arc<Reader>,
    /// His name, where the session has one.
    pub(crate) who: String,
    /// Places for his streams.
    pub(crate) streams: Arc<Semaphore>,
    /// Cancelled when the session ends.
    pub(crate) end: CancellationToken,
}

impl Visitor {
    /// One whose session ends with `end`.
    pub(crate) fn new(reader: Arc<Reader>, who: String, end: CancellationToken) -> Visitor {
        Visitor { reader, who, streams: Arc::new(Semaphore::new(STREAMS)), end }
    }
}
