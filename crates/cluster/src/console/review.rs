//! Whose a token is, asked of the API server, and how the API server is asked as that user from then on.
//!
//! The controller's own account asks nothing but whose a token is: whatever is read or written is asked with the user's token, so that
//! the cluster's own rights and its own audit hold. A token is kept in memory alone, and is in no error, no line of the log and no page.

use crate::cli::connect::{Account, Connection, Error};
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::{Api, PostParams};
use kube::config::AuthInfo;
use kube::core::ObjectMeta;
use kube::{Client, Config};
use ring::digest::{SHA256, digest};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most reviews that are waited for at once (M10).
const AT_ONCE: usize = 4;
/// The longest token; those of service accounts have one KiB, those with many groups in them some.
const LONGEST: usize = 16 << 10;

/// A token that was shown, and only shown: whose it is has not been asked.
#[derive(Clone)]
pub(crate) struct Token(String);

/// What is remembered of a token where it need only be told from others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

impl Token {
    /// What somebody shows; nothing if it cannot be a token.
    pub(crate) fn shown(text: &str) -> Option<Token> {
        let text = text.trim();
        let can_be =
            !text.is_empty() && text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic());
        can_be.then(|| Token(text.to_owned()))
    }

    /// What tells it from others.
    pub(crate) fn digest(&self) -> Digest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        Digest(bytes)
    }

    /// How long it says itself that it is good, which is believed of nothing else: whether it is good, the API server says.
    pub(crate) fn lasts(&self, now: u64) -> Option<Duration> {
        let mut parts = self.0.split('.');
        let claims = parts.nth(1).filter(|_| parts.count() == 1)?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        Some(Duration::from_secs(claims["exp"].as_u64()?.saturating_sub(now)))
    }
}

/// Whoever asks whose a token is.
pub(crate) struct Reviewer {
    own: Connection,
    base: Config,
    places: Semaphore,
}

impl Reviewer {
    /// One that asks with the credential of `config`; to be made within a runtime.
    pub(crate) fn new(config: Config) -> Result<Reviewer, Error> {
        let mut base = config.clone();
        // Nothing of the controller's own credential is left in what users' connections are made of.
        (base.auth_info, base.headers) = (AuthInfo::default(), Vec::new());
        let own = Connection::of(config, None, PATIENCE)?;
        Ok(Reviewer { own, base, places: Semaphore::new(AT_ONCE) })
    }

    /// The name of whoever has that token; nothing of one that is not known.
    pub(crate) async fn review(&self, token: &Token) -> Result<Option<String>, Error> {
        let _place = self.places.acquire().await;
        let reviews: Api<TokenReview> = Api::all(Client::clone(&self.own.client));
        // Without audiences it is reviewed for those of the API server itself, which is whom it will be shown to.
        let spec = TokenReviewSpec { token: Some(token.0.clone()), audiences: None };
        let review = TokenReview { metadata: ObjectMeta::default(), spec, status: None };
        let plain = PostParams::default();
        let asked = reviews.create(&plain, &review);
        let status = self.own.ask("review a token", asked).await?.status.unwrap_or_default();
        let name = status.user.and_then(|user| user.username).filter(|name| !name.is_empty());
        Ok(name.filter(|_| status.authenticated == Some(true)))
    }

    /// The API server, asked as whoever has that token.
    pub(crate) fn connection(&self, token: &Token, account: Arc<Account>) -> Result<Connection, Error> {
        let mut config = self.base.clone();
        config.auth_info.token = Some(token.0.clone().into());
        Connection::of(config, Some(account), PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_token_says_that_it_lasts() {
        let check = |claims: &str, expected: Option<u64>| {
            let token = Token::shown(&format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))).unwrap();
            assert_eq!(token.lasts(1000).map(|lasts| lasts.as_secs()), expected, "{claims}");
        };
        check(r#"{"exp":4600}"#, Some(3600));
        check(r#"{"exp":10}"#, Some(0));
        check(r#"{"exp":-10}"#, None);
        check(r#"{"exp":"soon"}"#, None);
        check("{}", None);
        check("no JSON", None);
        assert_eq!(Token::shown("opaque").unwrap().lasts(0), None);
        assert_eq!(Token::shown("a.!.c").unwrap().lasts(0), None);
    }

    #[test]
    fn what_cannot_be_a_token_is_none() {
        for text in ["", " \n", "a b", "a\nb", "gr\u{fc}n", &"x".repeat(LONGEST + 1)] {
            assert!(Token::shown(text).is_none(), "{text:?}");
        }
        let (one, other) = (Token::shown(" one\n").unwrap(), Token::shown("other").unwrap());
        assert!(one.digest() == Token::shown("one").unwrap().digest() && one.digest() != other.digest());
    }
}
