//! The program as an init container runs it: killed at any moment (M3), and with no more rights than it has there.

use crate::scene::netns_of;
use crate::{plugin, runs};
use millrace_core::rules::RuleSet;
use millrace_core::rules::plan::plan;
use millrace_core::settings::{Families, Settings};
use millrace_host::backend;
use millrace_rig::net::Namespace;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How many moments of a run are tried.
const MOMENTS: u32 = 100;

/// A pod with an address of each family, for that is what decides which rules it gets.
fn pod() -> Namespace {
    let pod = Namespace::new();
    pod.sh("ip addr add 198.51.100.2 dev lo; ip addr add 2001:db8:1::2 dev lo nodad");
    pod
}

/// The field's arguments for the default settings.
const ARGUMENTS: &str =
    "init -p 15001 -z 15006 -u 1337 -g 1337 -m REDIRECT -i * -b * -d 15090,15021,15020 -o 15020";

fn start(pod: &Namespace) -> Child {
    pod.within(|| {
        let mut init = Command::new(plugin());
        init.args(ARGUMENTS.split(' ')).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        init.spawn().expect("millrace-cni runs")
    })
}

fn held(pod: &Namespace) -> RuleSet {
    let mut found = backend::inspect(&netns_of(pod)).expect("the namespace can be looked at");
    assert!(found.len() <= 1, "{found:?}");
    found.pop().map(|(_, observed)| observed.known()).unwrap_or_default()
}

#[test]
fn killed_at_any_moment_the_rules_are_all_there_or_none() {
    if !runs("killed_at_any_moment_the_rules_are_all_there_or_none", &[]) {
        return;
    }
    let undisturbed = pod();
    let began = Instant::now();
    let output = start(&undisturbed).wait_with_output().expect("it ends");
    let whole_run = began.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let whole = held(&undisturbed);
    let planned = plan(&Settings::default(), Families::Both).rules;
    assert_eq!(whole.len(), planned.len(), "both families");

    let (mut all, mut none) = (0, 0);
    for moment in 0..=MOMENTS {
        let pod = pod();
        let mut child = start(&pod);
        if moment < MOMENTS {
            spin(whole_run * moment / MOMENTS);
        } else {
            assert!(child.wait().expect("it ends").success());
        }
        child.kill().expect("it can be killed, ended or not");
        child.wait().expect("it ends");
        let held = held(&pod);
        all += u32::from(held == whole);
        none += u32::from(held.is_empty());
        assert_eq!(all + none, moment + 1, "killed at {moment}/{MOMENTS}: {held:?}");
        // How many moments fall before the transaction is the machine's affair; the last comes after the end.
        assert!(moment < MOMENTS || held == whole, "{held:?}");
    }
    eprintln!("killed at {MOMENTS} moments of {whole_run:?}: all rules {all} times, none {none} times");
}

/// Entering a namespace takes CAP_SYS_ADMIN, which an init container has not; it is there already.
#[test]
fn an_init_container_needs_no_right_but_net_admin() {
    let setpriv = ("setpriv", "apt-get install util-linux");
    if !runs("an_init_container_needs_no_right_but_net_admin", &[setpriv]) {
        return;
    }
    let pod = pod();
    let plugin = plugin();
    let plugin = plugin.to_str().expect("a path in text");
    let bounded = ["setpriv", "--inh-caps=-all", "--bounding-set=-all,+net_admin", plugin];
    let words: Vec<&str> = bounded.into_iter().chain(ARGUMENTS.split(' ')).collect();
    pod.feed(&words, "");
    assert_eq!(held(&pod).len(), plan(&Settings::default(), Families::Both).rules.len());
}

/// A moment is microseconds: too short for a timer.
fn spin(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}
