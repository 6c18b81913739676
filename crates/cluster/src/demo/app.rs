//! The small HTTP programs that stand in for bookinfo's images, and the visitor outside the mesh.
//!
//! Each answers with who it is, whom it saw as its peer, and the answers of those it called in turn, so that one
//! answer is the record of every connection it took. A call goes out in the address family the request came in by.
//! They know nothing of proxies and rules, and never hold a privilege.

use crate::args::DemoApp;
use crate::cli::Outcome;
use crate::demo::http;
use anyhow::Context;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Less than the patience of whoever waits for us, so that the innermost failure is the one that is told.
const PATIENCE: Duration = Duration::from_secs(4);
/// The longest chain of `/call/`s; one answer nests as deep.
const DEEPEST: usize = 4;

/// Serves until it is stopped.
pub(crate) fn run(args: &DemoApp) -> anyhow::Result<Outcome> {
    let address = listen_address();
    let listener = TcpListener::bind((address, args.port))
        .with_context(|| format!("{}: cannot listen on port {}", args.pod, args.port))?;
    let turn = AtomicUsize::new(0);
    http::serve(&listener, |path, peer| answer(args, path, peer, &turn))
        .context("cannot accept connections any more")?;
    Ok(Outcome::Well)
}

/// The IPv6 wildcard takes IPv4 as well (ipv6(7), `bindv6only` 0); a kernel without IPv6 has only the other.
fn listen_address() -> IpAddr {
    if Path::new("/proc/net/if_inet6").exists() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    }
}

fn answer(args: &DemoApp, path: &str, peer: IpAddr, turn: &AtomicUsize) -> (u16, Value) {
    let Some(calls) = calls(&args.app, &args.version, path) else {
        return (404, json!(format!("{} has no {path}", args.pod)));
    };
    let mut answers = Vec::new();
    for (service, path) in calls {
        match call(args, service, path, peer.is_ipv4(), turn) {
            Ok(reply) => answers.push(reply),
            Err(cause) => return (502, json!(format!("{} calling {service}: {cause:#}", args.pod))),
        }
    }
    (200, json!({ "pod": args.pod, "peer": peer.to_string(), "calls": answers }))
}

/// Whom a program calls, and for what, when it is asked for `path`; `None` if there is nothing at `path`.
fn calls<'a>(app: &str, version: &str, path: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    if let Some(rest) = path.strip_prefix("/call/") {
        let (service, _) = rest.split_once('/')?;
        let within = path.matches("/call/").count() <= DEEPEST;
        return within.then(|| vec![(service, &rest[service.len()..])]);
    }
    match (app, version, path) {
        (_, _, "/health") => Some(vec![]),
        ("productpage", _, "/productpage") => {
            Some(vec![("details", "/details/0"), ("reviews", "/reviews/0")])
        }
        ("reviews", "v1", "/reviews/0") => Some(vec![]),
        ("reviews", _, "/reviews/0") => Some(vec![("ratings", "/ratings/0")]),
        ("details", _, "/details/0") | ("ratings", _, "/ratings/0") => Some(vec![]),
        _ => None,
    }
}

fn call(args: &DemoApp, service: &str, path: &str, v4: bool, turn: &AtomicUsize) -> anyhow::Result<Value> {
    let hosts = std::fs::read_to_string(&args.hosts).context("cannot read the list of services")?;
    let addresses: Vec<IpAddr> =
        addresses(&hosts, service).into_iter().filter(|address| address.is_ipv4() == v4).collect();
    anyhow::ensure!(!addresses.is_empty(), "no service of that name has an address of this family");
    // One after the other, as a service does with its endpoints; only one service here has more than one.
    let at = if addresses.len() > 1 { turn.fetch_add(1, Ordering::Relaxed) } else { 0 };
    let address = addresses[at % addresses.len()];
    Ok(http::get(SocketAddr::new(address, args.port), path, PATIENCE)?.json()?)
}

/// The addresses of `service` in a text in the shape of /etc/hosts.
fn addresses(hosts: &str, service: &str) -> Vec<IpAddr> {
    let lines = hosts.lines().map(|line| line.split_whitespace());
    lines
        .filter_map(|mut words| {
            let address = words.next()?.parse().ok()?;
            words.any(|name| name == service).then_some(address)
        })
        .collect()
}

/// One connection from program to program, as the answers told it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hop {
    /// The pod that called.
    pub(crate) from: String,
    /// The pod that answered.
    pub(crate) to: String,
    /// Whom the answering program saw as its peer.
    pub(crate) peer: IpAddr,
}

/// The connections recorded in `answer`, which a program gave to `from`.
pub(crate) fn hops(from: &str, answer: &Value) -> anyhow::Result<Vec<Hop>> {
    let text = |key: &str| {
        answer.get(key).and_then(Value::as_str).with_context(|| format!("an answer without {key}"))
    };
    let to = text("pod")?.to_owned();
    let peer = text("peer")?.parse().context("an answer whose peer is no address")?;
    let mut hops = Vec::new();
    for inner in answer.get("calls").and_then(Value::as_array).context("an answer without calls")? {
        hops.extend(self::hops(&to, inner)?);
    }
    hops.push(Hop { from: from.to_owned(), to, peer });
    Ok(hops)
}

/// The text in the shape of /etc/hosts that gives each name its addresses.
pub(crate) fn hosts(services: &BTreeMap<String, Vec<IpAddr>>) -> String {
    let mut text = String::new();
    for (name, addresses) in services {
        for address in addresses {
            text.push_str(&format!("{address} {name}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(app: &str, version: &str, path: &str, expected: Option<&[(&str, &str)]>) {
        let expected = expected.map(<[_]>::to_vec);
        assert_eq!(calls(app, version, path), expected, "{app} {version} {path}");
    }

    #[test]
    fn each_program_calls_whom_bookinfo_calls() {
        let both: &[_] = &[("details", "/details/0"), ("reviews", "/reviews/0")];
        check("productpage", "v1", "/productpage", Some(both));
        check("reviews", "v1", "/reviews/0", Some(&[]));
        check("reviews", "v3", "/reviews/0", Some(&[("ratings", "/ratings/0")]));
        check("ratings", "v1", "/ratings/0", Some(&[]));
        check("ratings", "v1", "/reviews/0", None);
        check("visitor", "v1", "/health", Some(&[]));
    }

    #[test]
    fn a_path_can_name_a_chain_of_calls_but_not_an_endless_one() {
        let path = "/call/details-v1/call/visitor/health";
        check("visitor", "v1", path, Some(&[("details-v1", "/call/visitor/health")]));
        check("details", "v1", "/call/visitor/health", Some(&[("visitor", "/health")]));
        check("details", "v1", "/call/visitor", None);
        check("details", "v1", &format!("{}/health", "/call/details".repeat(5)), None);
    }

    #[test]
    fn names_resolve_to_every_address_they_were_given() {
        let v4: IpAddr = "10.0.0.1".parse().unwrap();
        let v6: IpAddr = "fd00::1".parse().unwrap();
        let services =
            BTreeMap::from([("details".to_owned(), vec![v4, v6]), ("ratings".to_owned(), vec![v4])]);
        let text = hosts(&services);
        assert_eq!(addresses(&text, "details"), [v4, v6]);
        assert_eq!(addresses(&text, "ratings"), [v4]);
        assert_eq!(addresses(&text, "detail"), [] as [IpAddr; 0]);
    }

    #[test]
    fn one_answer_is_the_record_of_every_connection() {
        let answer = json!({ "pod": "b", "peer": "127.0.0.6", "calls": [
            { "pod": "c", "peer": "::6", "calls": [] }] });
        let hop = |from: &str, to: &str, peer: &str| Hop {
            from: from.to_owned(),
            to: to.to_owned(),
            peer: peer.parse().unwrap(),
        };
        assert_eq!(hops("a", &answer).unwrap(), [hop("b", "c", "::6"), hop("a", "b", "127.0.0.6")]);
        assert!(hops("a", &json!({ "pod": "b", "peer": "nobody", "calls": [] })).is_err());
    }

    #[test]
    fn programs_answer_each_other_over_real_connections() {
        let directory = std::env::temp_dir().join(format!("millrace-demo-app-{}", std::process::id()));
        std::fs::write(&directory, "127.0.0.1 ratings\n").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let args = |app: &str| DemoApp {
            app: app.to_owned(),
            version: "v2".to_owned(),
            pod: format!("{app}-v2"),
            port,
            hosts: directory.clone(),
        };
        let ratings = args("ratings");
        // The thread ends with the test's process: a server has no end of its own.
        std::thread::spawn(move || {
            http::serve(&listener, |path, peer| answer(&ratings, path, peer, &AtomicUsize::new(0)))
        });
        let peer = "127.0.0.1".parse().unwrap();
        let (status, body) = answer(&args("reviews"), "/reviews/0", peer, &AtomicUsize::new(0));
        let (refused, why) = answer(&args("reviews"), "/call/ratings/nothing", peer, &AtomicUsize::new(0));
        std::fs::remove_file(&directory).unwrap();
        assert_eq!((status, hops("x", &body).unwrap().len()), (200, 2));
        assert_eq!(refused, 502, "{why}");
    }
}
