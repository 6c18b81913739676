//! Watches: the events of one kind as lines, from a revision on, until the client or the time is up.
//!
//! A watcher keeps nothing but how far it came: who is too slow for the history is told 410, and nothing grows.

use super::present::{self, Form, PIECE};
use super::refusal::Refusal;
use super::registry::Served;
use super::server::Server;
use super::store::{Store, Wanted, bookmark, line};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

/// How often who wants bookmarks gets one.
const BOOKMARKS: Duration = Duration::from_secs(30);

/// From where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With all that is there.
    Now,
    /// The same, and a bookmark when all is told.
    List,
    /// After a revision.
    After(u64),
}

/// One watch.
#[derive(Debug)]
pub(crate) struct Watch {
    server: Arc<Server>,
    served: Served,
    form: Form,
    wanted: Wanted,
    position: u64,
    signal: watch::Receiver<u64>,
    deadline: Instant,
    /// When the next bookmark is due, for who wants any.
    bookmark: Option<Instant>,
    lines: VecDeque<Vec<u8>>,
    over: bool,
    _place: OwnedSemaphorePermit,
}

/// What a client asks of a watch.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) served: Served,
    pub(crate) form: Form,
    pub(crate) wanted: Wanted,
    pub(crate) start: Start,
    pub(crate) bookmarks: bool,
    /// How long it lasts.
    pub(crate) time: Duration,
}

impl Watch {
    pub(crate) fn new(server: Arc<Server>, asked: Asked, place: OwnedSemaphorePermit) -> Watch {
        let id = asked.served.kind.id();
        let now = Instant::now();
        let mut watch = Watch {
            signal: server.signal(&id),
            served: asked.served,
            form: asked.form,
            wanted: asked.wanted,
            position: 0,
            deadline: now + asked.time,
            bookmark: asked.bookmarks.then(|| now + BOOKMARKS),
            lines: VecDeque::new(),
            over: false,
            server,
            _place: place,
        };
        match asked.start {
            Start::After(revision) => watch.position = revision,
            start => watch.begin(start == Start::List),
        }
        watch
    }

    fn begin(&mut self, told: bool) {
        let id = self.served.kind.id();
        let (revision, objects) =
            self.server.read(|store| (store.revision(), store.list(&id, &self.wanted, "")));
        self.position = revision;
        let now = Timestamp::now();
        let added = super::store::What::Added;
        let lines = objects.iter().map(|object| present::line(self.form, &self.served, added, object, now));
        self.lines = lines.collect();
        if told {
            self.mark(true);
        }
    }

    /// The next bytes for the client; nothing once it is over.
    pub(crate) async fn next(mut self) -> Option<(Result<Vec<u8>, Infallible>, Watch)> {
        loop {
            if !self.lines.is_empty() {
                let mut piece = Vec::new();
                while piece.len() < PIECE
                    && let Some(line) = self.lines.pop_front()
                {
                    piece.extend_from_slice(&line);
                }
                return Some((Ok(piece), self));
            }
            if self.over {
                return None;
            }
            self.signal.borrow_and_update();
            self.gather();
            if self.lines.is_empty() && !self.over {
                self.wait().await;
            }
        }
    }

    fn gather(&mut self) {
        let id = self.served.kind.id();
        let (events, revision) =
            self.server.read(|store: &Store| (store.since(&id, self.position), store.revision()));
        match events {
            Ok(events) => {
                let now = Timestamp::now();
                for event in &events {
                    if let Some((what, object)) = line(event, &self.wanted) {
                        self.lines.push_back(present::line(self.form, &self.served, what, &object, now));
                    }
                }
                // Nothing of this kind happened up to here.
                self.position = self.position.max(revision);
            }
            Err(oldest) => {
                let words = format!("too old resource version: {} ({})", self.position, oldest.0);
                let line = json!({"type": "ERROR", "object": Refusal::expired(words).status()});
                self.lines.push_back(format!("{line}\n").into_bytes());
                self.over = true;
            }
        }
    }

    async fn wait(&mut self) {
        let until = self.bookmark.map_or(self.deadline, |bookmark| bookmark.min(self.deadline));
        tokio::select! {
            _ = self.signal.changed() => {}
            () = sleep_until(until) => {
                if self.bookmark.is_some() {
                    self.mark(false);
                    self.bookmark = Some(Instant::now() + BOOKMARKS);
                }
                self.over = Instant::now() >= self.deadline;
            }
        }
    }

    fn mark(&mut self, initial: bool) {
        let (version, kind) = match self.form {
            Form::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata"),
            _ => (self.served.api_version(), self.served.kind.kind.as_str()),
        };
        let line = bookmark(&version, kind, self.position, initial);
        self.lines.push_back(format!("{line}\n").into_bytes());
    }
}
