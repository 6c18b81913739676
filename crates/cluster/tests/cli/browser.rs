//! Asks a console over HTTP as a browser asks: its cookie, its origin, its forms.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser of one person.
#[derive(Clone, Debug, Default)]
pub(crate) struct Browser {
    /// Where the console is.
    pub(crate) address: String,
    /// What keeps it in.
    pub(crate) cookie: String,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Browser {
    /// Sends a request. Headers that are not given are as a browser's.
    pub(crate) fn connect(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> TcpStream {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        let usual = [("Host", self.address.as_str()), ("Cookie", self.cookie.as_str())];
        let own = |name: &str| headers.iter().any(|(key, _)| *key == name);
        for (name, value) in usual.iter().filter(|(name, _)| !own(name)).chain(headers) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).expect("it reads");
        stream
    }

    /// The same, and reads what comes back.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = String::new();
        self.connect(method, path, headers, body).read_to_string(&mut text).expect("it answers");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Asks for a page.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    /// Posts a form as our own page does.
    pub(crate) fn post(&self, path: &str, form: &str) -> Answer {
        let origin = format!("http://{}", self.address);
        let content = ("Content-Type", "application/x-www-form-urlencoded");
        self.ask("POST", path, &[("Origin", &origin), content], form)
    }

    /// What proves that a form is of this session.
    pub(crate) fn csrf(&self) -> String {
        self.csrf_of("/")
    }

    /// The same, of the forms of a page.
    pub(crate) fn csrf_of(&self, page: &str) -> String {
        value_of(&self.get(page).body, "csrf").expect("a form has it")
    }
}

impl Answer {
    /// The cookie that it sets, as it is sent back.
    pub(crate) fn cookie(&self) -> Option<String> {
        let set = self.head.lines().find_map(|line| line.strip_prefix("set-cookie: "))?;
        Some(set.split(';').next()?.to_owned())
    }
}

/// An attribute's first value.
pub(crate) fn attribute(html: &str, name: &str) -> String {
    let behind = html.split_once(&format!("{name}=\"")).map(|(_, behind)| behind).unwrap_or_default();
    behind.split('"').next().unwrap_or_default().to_owned()
}

/// The value of a hidden field.
pub(crate) fn value_of(html: &str, field: &str) -> Option<String> {
    let behind = html.split_once(&format!("name=\"{field}\" value=\""))?.1;
    Some(behind.split('"').next()?.to_owned())
}
