//! Routes and the address on `lo`: set twice, cleared twice, and where IPv6 is off.

use crate::runs;
use millrace_core::rules::{Family, Route};
use millrace_host::netns::NetNs;
use millrace_host::routes;
use millrace_rig::net::Namespace;
use millrace_rig::net::changes::RouteChanges;

const ALL: [Route; 5] = [
    Route::InboundSourceAddress,
    Route::Rule { family: Family::V4, mark: 1337, table: 133, preference: 1330 },
    Route::LocalDefault { family: Family::V4, table: 133 },
    Route::Rule { family: Family::V6, mark: 1337, table: 133, preference: 1330 },
    Route::LocalDefault { family: Family::V6, table: 133 },
];

fn set(namespace: &Namespace) -> Result<(), String> {
    let netns = NetNs::open(&namespace.path()).expect("the namespace is there");
    netns.within(|| routes::set(&ALL)).expect("it can be entered").map_err(|error| error.to_string())
}

fn clear(namespace: &Namespace) -> Vec<String> {
    let netns = NetNs::open(&namespace.path()).expect("the namespace is there");
    let errors = netns.within(|| routes::clear(&ALL)).expect("it can be entered");
    errors.iter().map(ToString::to_string).collect()
}

fn missing(namespace: &Namespace) -> Vec<Route> {
    let netns = NetNs::open(&namespace.path()).expect("the namespace is there");
    netns.within(|| routes::missing(&ALL)).expect("it can be entered").expect("it can be looked at")
}

fn shown(namespace: &Namespace) -> String {
    namespace.sh(
        "ip rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all; ip addr show dev lo",
    )
}

#[test]
fn set_twice_is_set_once_and_cleared_is_gone() {
    if !runs("set_twice_is_set_once_and_cleared_is_gone", &[]) {
        return;
    }
    let namespace = Namespace::new();
    // Somebody else's, as near to ours as can be.
    namespace
        .sh("ip rule add fwmark 1337 lookup 133 pref 200; ip route add local 192.0.2.0/24 dev lo table 133");
    let before = shown(&namespace);
    assert_eq!(missing(&namespace), ALL);
    let changes = RouteChanges::of(&namespace);
    assert_eq!(set(&namespace), Ok(()));
    // The address can be bound at once; its entry in the table "local" follows by a worker (addrconf.c,
    // `addrconf_dad_start`).
    while !namespace.sh("ip -6 route show table local").contains("local ::6 ") {
        changes.next();
    }
    let once = shown(&namespace);
    assert_eq!(once.matches("1330:\tfrom all fwmark 0x539 lookup 133").count(), 2, "{once}");
    assert_eq!(once.matches("local default dev lo table 133").count(), 2, "{once}");
    assert_eq!(once.matches("inet6 ::6/128").count(), 1, "{once}");

    assert_eq!(set(&namespace), Ok(()));
    assert_eq!(shown(&namespace), once);
    assert_eq!(missing(&namespace), []);
    namespace.sh("ip rule del pref 1330; ip -6 route del local default dev lo table 133");
    assert_eq!(missing(&namespace), [ALL[1], ALL[4]]);
    namespace.sh("ip addr del ::6/128 dev lo; ip -6 rule del pref 1330");
    assert_eq!(missing(&namespace), [ALL[0], ALL[1], ALL[3], ALL[4]]);

    assert_eq!(clear(&namespace), Vec::<String>::new());
    assert_eq!(shown(&namespace), before);
    assert_eq!(clear(&namespace), Vec::<String>::new());
}

#[test]
fn where_ipv6_is_off_only_ipv4_is_set() {
    if !runs("where_ipv6_is_off_only_ipv4_is_set", &[]) {
        return;
    }
    let namespace = Namespace::new();
    namespace.sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
    assert_eq!(set(&namespace), Ok(()));
    let shown = shown(&namespace);
    assert!(shown.contains("local default dev lo table 133"), "{shown}");
    assert!(!shown.contains("::6"), "{shown}");
    assert_eq!(missing(&namespace), []);
    assert_eq!(clear(&namespace), Vec::<String>::new());
}

/// go-cni sets up the networks of one pod in parallel, `lo` among them.
#[test]
fn lo_need_not_be_up_yet() {
    if !runs("lo_need_not_be_up_yet", &[]) {
        return;
    }
    let namespace = Namespace::bare();
    assert_eq!(set(&namespace), Ok(()));
    let shown = shown(&namespace);
    assert!(shown.contains("<LOOPBACK,UP"), "{shown}");
    assert_eq!(shown.matches("local default dev lo table 133").count(), 2, "{shown}");
}

#[test]
fn without_the_right_the_refusal_says_what_is_needed() {
    if !runs("without_the_right_the_refusal_says_what_is_needed", &[]) {
        return;
    }
    let namespace = Namespace::new();
    let who = millrace_rig::net::Who::APP;
    let error = namespace.within_as(who, || routes::set(&ALL)).expect_err("an application may not");
    assert_eq!(
        error.to_string(),
        "cannot set address ::6/128 on lo: Operation not permitted (os error 1); CAP_NET_ADMIN is needed in the \
         namespace"
    );
}
