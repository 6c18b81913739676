//! Whoever is in a session: by whose rights pages are read, and what ends with the session.
//!
//! In a cluster each has a connection and a watch of his own, made of the token that he showed.

use super::feed;
use super::read::Reader;
use super::review::{Digest, Reviewer, Token};
use crate::cli::connect::{Account, Error};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The most streams of events of one session at once (M10).
const STREAMS: usize = 16;
/// After how long it is asked again whose a token is: who was sent away is out by then, whatever the token says of itself.
const AGAIN: Duration = Duration::from_secs(120);

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
    pass: Option<Pass>,
}

/// What he got in by. It holds a secret, so nothing prints it.
struct Pass {
    token: Token,
    account: Arc<Account>,
    reviewed: Mutex<Instant>,
}

impl Visitor {
    /// One who looks by rights that he shares; his session ends with `end`.
    pub(crate) fn sharing(reader: Arc<Reader>, end: CancellationToken) -> Visitor {
        Visitor { reader, who: String::new(), streams: Arc::new(Semaphore::new(STREAMS)), end, pass: None }
    }

    /// One who looks by his own rights, those of a token that is known to be `who`'s. What runs for him ends with `end`.
    pub(crate) fn by_token(
        reviewer: &Reviewer,
        token: Token,
        who: String,
        home: &str,
        end: CancellationToken,
        now: Instant,
    ) -> Result<Visitor, Error> {
        let account = Arc::new(Account::new(who.clone()));
        let connection = reviewer.connection(&token, Arc::clone(&account))?;
        let (seen, follow) = feed::follow(connection.clone(), end.clone());
        tokio::spawn(follow);
        let reader = Arc::new(Reader::new(connection, home.to_owned(), false, seen));
        let pass = Some(Pass { token, account, reviewed: Mutex::new(now) });
        Ok(Visitor { who, pass, ..Visitor::sharing(reader, end) })
    }

    /// Whether he got in by that token.
    pub(crate) fn showed(&self, digest: Digest) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.token.digest() == digest)
    }

    /// What is to be reviewed now: his token, if it was not for a while, or if the API server has just refused him.
    pub(crate) fn to_review(&self, now: Instant) -> Option<&Token> {
        let pass = self.pass.as_ref()?;
        let mut reviewed = pass.reviewed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = pass.account.was_refused() || now.saturating_duration_since(*reviewed) >= AGAIN;
        // Of several requests at once one asks.
        is_due.then(|| *reviewed = now).map(|()| &pass.token)
    }
}
