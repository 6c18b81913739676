//! What is looked at before anything else: by which name it is asked for, by which page, and under which name its cookie is kept. PURE.
//!
//! Another user of a machine can connect to its loopback, and any page in a browser can make it ask there. So: known hosts alone
//! (DNS rebinding: the name is the attacker's, whatever address it leads to), and our own origin alone for whatever changes
//! something. Who is in a session is not decided here.

use axum::http::header::{COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use std::net::SocketAddr;
use std::time::Duration;

/// The door.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    hosts: Hosts,
    scheme: Scheme,
}

#[derive(Clone, Debug)]
enum Hosts {
    Named(Vec<String>),
    /// This machine's own names, under any port.
    Forwarded,
}

/// How browsers come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Without TLS, on loopback alone.
    Http,
    /// With TLS, here or in front.
    Https,
}

/// Why somebody does not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Asked for under a name that is not ours.
    Host,
    /// Asked for by another page.
    Origin,
    /// A form that is not ours, or of another session.
    Csrf,
}

impl Refusal {
    /// In words, for whoever tries it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Refusal::Host => {
                "this console is asked for by the address that it printed, by a port forwarded to it, or by the names it was given \
                 (--console-host), and by no other name"
            }
            Refusal::Origin => "only the console's own pages may ask for this",
            Refusal::Csrf => {
                "this form is not of this session; go back, load the page again and send it once more"
            }
        }
    }
}

impl Door {
    /// A door of the server at `address`, on this machine.
    pub(crate) fn at(address: SocketAddr) -> Door {
        let hosts = Hosts::Named(vec![address.to_string(), format!("localhost:{}", address.port())]);
        Door { hosts, scheme: Scheme::Http }
    }

    /// A door of a server that browsers reach by kubectl port-forward, which chooses a port of its own.
    ///
    /// A page that made its own name lead to this machine (DNS rebinding) still asks by that name, and nobody gives names to
    /// others on these: browsers resolve localhost themselves. A page of another port of this machine is of another origin: it reads
    /// nothing, and posts nothing, as [`Door::admits`] compares the port as well.
    pub(crate) fn forwarded() -> Door {
        Door { hosts: Hosts::Forwarded, scheme: Scheme::Http }
    }

    /// A door of a server that browsers reach by TLS, under these names alone.
    pub(crate) fn named(hosts: Vec<String>) -> Door {
        Door { hosts: Hosts::Named(hosts), scheme: Scheme::Https }
    }

    /// Whether a request may be looked at: it is for us, and what may change something is from a page of ours.
    pub(crate) fn admits(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(HOST).filter(|host| self.hosts.know(host)).ok_or(Refusal::Host)?;
        if matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        // Every browser of today names the origin of what is posted, and says whether it is the same site.
        let same = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
        match text(ORIGIN).and_then(|origin| origin.strip_prefix(self.scheme.prefix())) {
            Some(origin) if origin.eq_ignore_ascii_case(host) && same => Ok(()),
            _ => Err(Refusal::Origin),
        }
    }

    /// The value of a session's cookie.
    pub(crate) fn shown<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        cookie(headers, &self.cookie_name(headers))
    }

    /// The cookie that keeps a session; one that is over has no value.
    pub(crate) fn set(&self, headers: &HeaderMap, id: &str, lasts: Duration) -> String {
        let name = self.cookie_name(headers);
        let secure = if self.scheme == Scheme::Https { "; Secure" } else { "" };
        format!("{name}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{secure}", lasts.as_secs())
    }

    /// Browsers keep cookies by name and host, whatever the port: two consoles on one machine are told apart by it.
    fn cookie_name(&self, headers: &HeaderMap) -> String {
        if self.scheme == Scheme::Https {
            return "__Host-millrace".to_owned();
        }
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        format!("millrace-{}", host.rsplit(':').next().unwrap_or_default())
    }
}

impl Hosts {
    fn know(&self, host: &str) -> bool {
        match self {
            Hosts::Named(names) => names.iter().any(|ours| ours.eq_ignore_ascii_case(host)),
            Hosts::Forwarded => host.rsplit_once(':').is_some_and(|(name, port)| {
                let is_own = ["127.0.0.1", "[::1]", "localhost"].contains(&name);
                is_own && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
            }),
        }
    }
}

impl Scheme {
    fn prefix(self) -> &'static str {
        match self {
            Scheme::Http => "http://",
            Scheme::Https => "https://",
        }
    }
}

/// A cookie's value.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn check(door: &Door, method: Method, pairs: &[(&'static str, &str)], expected: Result<(), Refusal>) {
        assert_eq!(door.admits(&method, &headers(pairs)), expected, "{method} {pairs:?}");
    }

    #[test]
    fn strangers_stay_outside() {
        let door = Door::at("127.0.0.1:8080".parse().unwrap());
        let check = |method, pairs: &[(&'static str, &str)], expected| check(&door, method, pairs, expected);
        let (host, own) = (("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080"));
        check(Method::GET, &[host], Ok(()));
        check(Method::GET, &[("host", "localhost:8080")], Ok(()));
        check(Method::GET, &[], Err(Refusal::Host));
        check(Method::GET, &[("host", "evil.example:8080")], Err(Refusal::Host));
        check(Method::GET, &[("host", "127.0.0.1:8081")], Err(Refusal::Host));
        check(Method::POST, &[host, own], Ok(()));
        check(Method::POST, &[host, own, ("sec-fetch-site", "same-origin")], Ok(()));
        check(Method::POST, &[host, own, ("sec-fetch-site", "cross-site")], Err(Refusal::Origin));
        check(Method::POST, &[host], Err(Refusal::Origin));
        check(Method::POST, &[host, ("origin", "null")], Err(Refusal::Origin));
        check(Method::POST, &[host, ("origin", "http://localhost:8080")], Err(Refusal::Origin));
        check(
            Method::POST,
            &[("host", "evil.example"), ("origin", "http://evil.example")],
            Err(Refusal::Host),
        );
    }

    #[test]
    fn a_forwarded_port_is_whatever_kubectl_chose() {
        let door = Door::forwarded();
        let check = |host: &str, origin: &str, expected| {
            check(&door, Method::POST, &[("host", host), ("origin", origin)], expected);
        };
        check("localhost:8090", "http://localhost:8090", Ok(()));
        check("127.0.0.1:41234", "http://127.0.0.1:41234", Ok(()));
        check("[::1]:1", "http://[::1]:1", Ok(()));
        check("localhost:8090", "http://localhost:3000", Err(Refusal::Origin));
        check("localhost:8090", "https://localhost:8090", Err(Refusal::Origin));
        for host in [
            "evil.example:8090",
            "localhost.evil.example:8090",
            "localhost",
            "localhost:",
            "localhost:x",
            "127.0.0.2:1",
            "evil:1@localhost:2",
        ] {
            check(host, &format!("http://{host}"), Err(Refusal::Host));
        }
    }

    #[test]
    fn by_tls_only_its_names_and_only_https() {
        let door = Door::named(vec!["mesh.example".to_owned()]);
        let check = |host: &str, origin: &str, expected| {
            check(&door, Method::POST, &[("host", host), ("origin", origin)], expected);
        };
        check("mesh.example", "https://mesh.example", Ok(()));
        check("MESH.example", "https://mesh.example", Ok(()));
        check("mesh.example", "http://mesh.example", Err(Refusal::Origin));
        check("localhost:8090", "https://localhost:8090", Err(Refusal::Host));
        check("mesh.example:8443", "https://mesh.example:8443", Err(Refusal::Host));
        let asked = headers(&[("host", "mesh.example")]);
        let set = door.set(&asked, "ID", Duration::from_secs(60));
        assert_eq!(set, "__Host-millrace=ID; HttpOnly; SameSite=Strict; Path=/; Max-Age=60; Secure");
    }

    #[test]
    fn a_cookie_is_kept_from_scripts_and_other_sites() {
        let door = Door::at("127.0.0.1:8080".parse().unwrap());
        let asked = headers(&[("host", "127.0.0.1:8080"), ("cookie", "other=1; millrace-8080=ID")]);
        let set = door.set(&asked, "ID", Duration::from_secs(60));
        assert_eq!(set, "millrace-8080=ID; HttpOnly; SameSite=Strict; Path=/; Max-Age=60");
        assert_eq!(door.shown(&asked), Some("ID"));
        assert_eq!(door.shown(&headers(&[("host", "127.0.0.1:8080"), ("cookie", "millrace-80=ID")])), None);
    }
}
