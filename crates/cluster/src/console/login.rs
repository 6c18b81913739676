//! The page that asks who somebody is: of a cluster's console, which shows nothing before it is known. PURE.

use super::frame::Frame;
use super::state::State;
use askama::Template;

/// The page.
#[derive(Template)]
#[template(path = "console/login.html")]
pub(crate) struct Login {
    frame: Frame,
    name: &'static str,
    title: &'static str,
    text: String,
    is_odd: bool,
}

/// Why somebody is asked.
#[derive(Clone, Debug)]
pub(crate) enum Why {
    /// He has not said yet.
    New,
    /// His session is over.
    Expired,
    /// His token is nobody's.
    Wrong,
    /// It could not be found out.
    Unasked(String),
}

impl Login {
    /// Makes it.
    pub(crate) fn of(why: Why, frame: Frame) -> Login {
        let w = frame.words();
        let (name, title, text) = match why {
            Why::New => ("login", w.log_in, String::new()),
            Why::Expired => (State::SessionExpired.name(), w.s_session, w.m_session_token.to_owned()),
            Why::Wrong => ("login-wrong", w.s_wrong_token, w.m_wrong_token.to_owned()),
            Why::Unasked(text) => ("login-unasked", w.s_unreviewed, text),
        };
        Login { is_odd: !text.is_empty(), frame, name, title, text }
    }
}
