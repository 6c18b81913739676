//! What every page has around it: the language, the colours, the assets, and who asks. PURE.

use super::state::State;
use super::words::Words;
use crate::args::output::{Lang, Mark};
use crate::codes::{Code, Text};
use askama::Template;

/// Around every page. It holds a secret, so nothing prints it whole.
#[derive(Clone, Default)]
pub(crate) struct Frame {
    /// The language.
    pub(crate) lang: Lang,
    /// The colours.
    pub(crate) theme: Theme,
    /// What proves that a form was ours.
    pub(crate) csrf: String,
    /// The page's own path and query.
    pub(crate) here: String,
    /// The API server's address, for people.
    pub(crate) server: String,
    /// Who is in the session, where it has a name.
    pub(crate) who: String,
}

/// Colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    /// As the system has it.
    #[default]
    Auto,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// All of them.
    const ALL: [Theme; 3] = [Theme::Auto, Theme::Light, Theme::Dark];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Theme::Auto => "auto",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    /// The one of that name.
    pub(crate) fn of(name: &str) -> Option<Theme> {
        Theme::ALL.into_iter().find(|theme| theme.name() == name)
    }
}

impl Frame {
    /// The words.
    pub(crate) fn words(&self) -> &'static Words {
        Words::of(self.lang)
    }

    /// The language, as HTML has it.
    pub(crate) fn tag(&self) -> &'static str {
        match self.lang {
            Lang::En => "en",
            Lang::Zh => "zh-CN",
        }
    }

    /// The style sheet.
    pub(crate) fn style(&self) -> &'static str {
        super::assets::STYLE
    }

    /// Whether the page is in a section, which is known by the path of its list.
    pub(crate) fn is_in(&self, section: &str) -> bool {
        let path = self.here.split('?').next().unwrap_or_default();
        let known = ["/workloads", "/nodes", "/history"];
        let of = |path: &str| match path.split('/').nth(1) {
            Some("pods") => "/workloads",
            Some("node") => "/nodes",
            _ => known.into_iter().find(|known| path == *known).unwrap_or("/"),
        };
        of(path) == section
    }

    /// An asset's path.
    pub(crate) fn asset(&self, name: &str) -> String {
        super::assets::path(name)
    }
}

/// How a mark is shown: a class and a sign, so that its colour is never alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sign(pub(crate) Mark);

impl Sign {
    /// How a mark is shown.
    pub(crate) fn of(mark: &Mark) -> Sign {
        Sign(*mark)
    }

    /// The class.
    pub(crate) fn class(self) -> &'static str {
        match self.0 {
            Mark::Good => "good",
            Mark::Odd => "odd",
            Mark::Bad => "bad",
        }
    }

    /// The sign.
    pub(crate) fn sign(self) -> &'static str {
        match self.0 {
            Mark::Good => "✓",
            Mark::Odd => "‼",
            Mark::Bad => "✗",
        }
    }
}

/// A page that says one thing: that somebody is not known, is refused, or asks for what is not there.
#[derive(Template)]
#[template(path = "console/plain.html")]
pub(crate) struct Plain {
    /// Around it.
    pub(crate) frame: Frame,
    /// Its name, in the page and in tests.
    pub(crate) name: &'static str,
    /// What.
    pub(crate) title: String,
    /// Why, and the way out.
    pub(crate) text: String,
}

impl Plain {
    /// As `millrace explain` knows it, where it does.
    fn code(&self) -> Option<(Code, &'static Text)> {
        let code = (self.name == State::SessionExpired.name()).then_some(Code::SessionExpired)?;
        Some((code, code.text(self.frame.lang)))
    }
}

/// A path of percent-encoded parts.
pub(crate) fn path(parts: &[&str]) -> String {
    let mut path = String::new();
    for part in parts {
        path.push('/');
        push_encoded(&mut path, part);
    }
    path
}

/// A query of percent-encoded pairs; those without a value are left out.
pub(crate) fn query(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(key);
        text.push('=');
        push_encoded(&mut text, value);
    }
    text
}

fn push_encoded(text: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_hold_anything() {
        assert_eq!(path(&["pods", "a/b", "c d"]), "/pods/a%2Fb/c%20d");
        assert_eq!(query(&[("q", "a&b"), ("node", ""), ("page", "2")]), "?q=a%26b&page=2");
    }
}
