//! What routing needs before the rules: an address on `lo`, a rule by mark, a table that delivers locally. By rtnetlink.
//!
//! Setting twice changes nothing, clearing what is not there succeeds. Never touches a rule, route or address that is
//! not exactly the one named, and never waits but for netlink's answers.

use crate::netlink::{self, Part, Socket};
use millrace_core::dialect::wire::{ACK, CREATE, DUMP, EXCL, REQUEST, Writer, attributes, messages};
use millrace_core::rules::{Family, Route};
use rustix::io::Errno;
use std::path::Path;
use std::{fmt, io};

/// Makes all of `routes` be there in the calling thread's namespace.
pub fn set(routes: &[Route]) -> Result<(), Error> {
    if routes.is_empty() {
        return Ok(());
    }
    let mut socket = open(Act::Set, routes[0])?;
    for route in routes {
        let refused = match socket.send(&request(Act::Set, *route)) {
            // containerd sets up a pod's networks in parallel, so its loopback network may come after us. It does
            // the same then, and nobody takes `lo` down again.
            Err(netlink::Error::Refused { cause: Errno::NETDOWN, .. }) => {
                socket.send(&lo_up()).and_then(|()| socket.send(&request(Act::Set, *route)))
            }
            other => other,
        };
        settle(Act::Set, *route, refused)?;
    }
    Ok(())
}

/// Takes all of `routes` away from the calling thread's namespace, going on after a failure (M8).
pub fn clear(routes: &[Route]) -> Vec<Error> {
    let Some(first) = routes.first() else { return Vec::new() };
    match open(Act::Clear, *first) {
        Err(error) => vec![error],
        Ok(mut socket) => {
            let cleared = routes.iter().rev().map(|route| {
                let refused = socket.send(&request(Act::Clear, *route));
                settle(Act::Clear, *route, refused)
            });
            cleared.filter_map(Result::err).collect()
        }
    }
}

/// Those of `routes` that are not there in the calling thread's namespace. Where IPv6 is off, its own are not missed.
pub fn missing(routes: &[Route]) -> Result<Vec<Route>, Error> {
    let mut missing = Vec::new();
    let Some(first) = routes.first() else { return Ok(missing) };
    let mut socket = open(Act::Find, *first)?;
    for &route in routes {
        let is_there = match socket.dump(&request(Act::Find, route)) {
            Ok(found) => messages(&found)
                .any(|message| message.is_ok_and(|message| is(route, message.kind, message.body))),
            Err(cause) => settle(Act::Find, route, Err(cause)).map(|()| true)?,
        };
        let is_moot = family(route) == Family::V6 && is_off();
        if !is_there && !is_moot {
            missing.push(route);
        }
    }
    Ok(missing)
}

/// Why routing could not be changed or looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    act: Act,
    route: Route,
    cause: netlink::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = match self.act {
            Act::Set => "set",
            Act::Clear => "clear",
            Act::Find => "look for",
        };
        write!(f, "cannot {act} {}: ", self.route)?;
        match self.cause {
            netlink::Error::Refused { cause, .. } => {
                write!(f, "{}; {}", io::Error::from(cause), way_out(cause))
            }
            ref cause => write!(f, "{cause}"),
        }
    }
}

impl std::error::Error for Error {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Set,
    Clear,
    Find,
}

fn way_out(cause: Errno) -> &'static str {
    match cause {
        Errno::PERM => "CAP_NET_ADMIN is needed in the namespace",
        Errno::NETDOWN => "bring the namespace's lo up first (the chain's loopback plugin does)",
        Errno::OPNOTSUPP | Errno::AFNOSUPPORT => {
            "this kernel has no policy routing; use interception mode REDIRECT"
        }
        _ => "look at the namespace with `ip addr`, `ip rule` and `ip route show table all`",
    }
}

fn open(act: Act, route: Route) -> Result<Socket, Error> {
    Socket::open(Part::Route).map_err(|cause| Error { act, route, cause })
}

/// What an answer means: some refusals say that nothing was left to do.
fn settle(act: Act, route: Route, answer: Result<(), netlink::Error>) -> Result<(), Error> {
    let Err(cause) = answer else { return Ok(()) };
    let done = match (act, cause.cause()) {
        (Act::Set, Some(Errno::EXIST)) => true,
        // An address, a rule, a route: three ways to say "there is none".
        (Act::Clear, Some(Errno::ADDRNOTAVAIL | Errno::NOENT | Errno::SRCH)) => true,
        // `disable_ipv6` is set on `lo` (addrconf.c, route.c). Without IPv6 nothing is lost.
        (_, Some(Errno::ACCESS)) => family(route) == Family::V6,
        // Or the kernel was started with `ipv6.disable=1`; then it has no such file either.
        (_, Some(Errno::OPNOTSUPP | Errno::AFNOSUPPORT)) => {
            family(route) == Family::V6 && !Path::new("/proc/thread-self/net/if_inet6").exists()
        }
        _ => false,
    };
    if done { Ok(()) } else { Err(Error { act, route, cause }) }
}

/// Whether `lo` has no IPv6.
fn is_off() -> bool {
    let switch = std::fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6");
    // No such file: the kernel has none at all.
    switch.map_or(true, |switch| switch.trim() == "1")
}

/// Whether a message found says what the route says.
fn is(route: Route, kind: u16, body: &[u8]) -> bool {
    let fixed = if kind == RTM_NEWADDR { 8 } else { 12 };
    let (Some(fixed), Some(rest)) = (body.get(..fixed), body.get(fixed..)) else { return false };
    let says = |kind: u16, value: &[u8]| attributes(rest).flatten().any(|found| found == (kind, value));
    let number = |kind: u16, value: u32| says(kind, &value.to_ne_bytes());
    match route {
        Route::InboundSourceAddress => {
            kind == RTM_NEWADDR
                && fixed[1] == 128
                && fixed[4..] == LO.to_ne_bytes()
                && says(IFA_ADDRESS, &SOURCE)
        }
        Route::Rule { mark, table, preference, .. } => {
            kind == RTM_NEWRULE
                && fixed[7] == FR_ACT_TO_TBL
                && number(FRA_PRIORITY, preference)
                && number(FRA_FWMARK, mark)
                && number(FRA_FWMASK, u32::MAX)
                && number(FRA_TABLE, table)
        }
        Route::LocalDefault { table, .. } => {
            kind == RTM_NEWROUTE
                && fixed[1] == 0
                && fixed[7] == RTN_LOCAL
                && number(RTA_TABLE, table)
                && number(RTA_OIF, LO)
        }
    }
}

fn family(route: Route) -> Family {
    match route {
        Route::InboundSourceAddress => Family::V6,
        Route::Rule { family, .. } | Route::LocalDefault { family, .. } => family,
    }
}

/// The message for one route (linux/rtnetlink.h). Numbers are in host byte order throughout.
fn request(act: Act, route: Route) -> Vec<u8> {
    let (offset, flags) = match act {
        Act::Set => (0, REQUEST | ACK | CREATE | EXCL),
        // Each RTM_DEL is one above its RTM_NEW, each RTM_GET two.
        Act::Clear => (1, REQUEST | ACK),
        Act::Find => (2, REQUEST | DUMP),
    };
    let mut message = Writer::with_capacity(LONGEST);
    match route {
        Route::InboundSourceAddress => {
            message.start(RTM_NEWADDR + offset, flags, 1);
            // struct ifaddrmsg: family, prefix length, flags, scope, interface
            message.fixed(&[AF_INET6, 128, IFA_F_NODAD, 0]);
            message.fixed(&LO.to_ne_bytes());
            message.attribute(IFA_LOCAL, &SOURCE);
        }
        Route::Rule { family, mark, table, preference } => {
            message.start(RTM_NEWRULE + offset, flags, 1);
            // struct fib_rule_hdr: family, dst_len, src_len, tos, table, two reserved, action, flags
            message.fixed(&[number(family), 0, 0, 0, 0, 0, 0, FR_ACT_TO_TBL]);
            message.fixed(&[0; 4]);
            message.attribute(FRA_PRIORITY, &preference.to_ne_bytes());
            message.attribute(FRA_FWMARK, &mark.to_ne_bytes());
            message.attribute(FRA_FWMASK, &u32::MAX.to_ne_bytes());
            message.attribute(FRA_TABLE, &table.to_ne_bytes());
        }
        Route::LocalDefault { family, table } => {
            message.start(RTM_NEWROUTE + offset, flags, 1);
            // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
            message.fixed(&[number(family), 0, 0, 0, 0, RTPROT_BOOT, RT_SCOPE_HOST, RTN_LOCAL]);
            message.fixed(&[0; 4]);
            message.attribute(RTA_TABLE, &table.to_ne_bytes());
            message.attribute(RTA_OIF, &LO.to_ne_bytes());
        }
    }
    message.finish()
}

fn lo_up() -> Vec<u8> {
    let mut message = Writer::default();
    message.start(RTM_NEWLINK, REQUEST | ACK, 1);
    // struct ifinfomsg: family, padding, type, index, flags, and which flags to change
    message.fixed(&[0; 4]);
    message.fixed(&LO.to_ne_bytes());
    message.fixed(&IFF_UP.to_ne_bytes());
    message.fixed(&IFF_UP.to_ne_bytes());
    message.finish()
}

fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => AF_INET6,
    }
}

/// No request is longer: a rule's has a header of 16 bytes, 12 bytes and four numbers.
const LONGEST: usize = 60;
const AF_INET6: u8 = 10;
/// `LOOPBACK_IFINDEX`: the same in every namespace (drivers/net/loopback.c insists on it).
const LO: u32 = 1;
const IFF_UP: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWRULE: u16 = 32;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Without it an address counts as tentative until a kernel worker has run, even on `lo`, and binding it fails
/// (addrconf.c, `ipv6_add_addr`).
const IFA_F_NODAD: u8 = 2;
/// `::6`
const SOURCE: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6];
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FR_ACT_TO_TBL: u8 = 1;
const RTA_OIF: u16 = 4;
const RTA_TABLE: u16 = 15;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    const ROUTES: [Route; 3] = [
        Route::InboundSourceAddress,
        Route::Rule { family: Family::V4, mark: 1337, table: 133, preference: 32764 },
        Route::LocalDefault { family: Family::V6, table: 133 },
    ];

    /// Whether the message, its end cut off, says what its route says.
    fn check(route: Route, cut: usize) -> bool {
        let bytes = request(Act::Set, route);
        let message = messages(&bytes).next().expect("one message").expect("a whole one");
        is(route, message.kind, &message.body[..message.body.len() - cut])
    }

    #[test]
    fn an_answer_cut_short_says_less() {
        for route in &ROUTES[1..] {
            assert!(check(*route, 0), "{route}");
            for cut in 1..=12 {
                assert!(!check(*route, cut), "{route} without its last {cut} bytes");
            }
        }
    }

    /// As for every law: the same seed for everybody, 10 000 cases, more by `MILLRACE_CASES`.
    fn config() -> ProptestConfig {
        let cases = std::env::var("MILLRACE_CASES").ok().and_then(|number| number.parse().ok());
        let (cases, rng_seed) = (cases.unwrap_or(10_000), RngSeed::Fixed(1337));
        ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
    }

    // What iterates messages and attributes is core's, and under the fuzzer there; this is what is read of them here.
    proptest! {
        #![proptest_config(config())]
        #[test]
        fn any_bytes_are_an_answer(
            kind in prop_oneof![Just(RTM_NEWADDR), Just(RTM_NEWRULE), Just(RTM_NEWROUTE), any::<u16>()],
            body in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            for route in ROUTES {
                prop_assert!(!is(route, kind, &body), "{route}: {body:?}");
            }
        }
    }
}
