//! An error, or the end of the process, at every step on a file: both files are old or new, and the next run mends all.

use super::super::publish;
use super::*;
use crate::agent::uninstall::{Leaving, uninstall};
use millrace_core::conflist;
use millrace_host::files::Step;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// How the step ends that is hit.
#[derive(Clone, Copy, Debug)]
enum End {
    Fails,
    Dies,
}

/// Runs `act` on a node made by `make`, hit at each of its steps in turn; `old` and `new` are the lists it may leave.
fn check(make: &dyn Fn() -> (Node, Target), act: &dyn Fn(&Target, &mut Hook<'_>) -> bool) {
    let (node, target) = make();
    let old = state(&node);
    let mut steps = 0;
    assert!(act(&target, &mut |_| {
        steps += 1;
        Ok(())
    }));
    let new = state(&node);
    assert!(steps > 5 && old != new, "{steps} steps");
    for end in [End::Fails, End::Dies] {
        for hit in 1..=steps {
            let (node, target) = make();
            let mut count = 0;
            let mut hook = |step: Step| {
                count += 1;
                match end {
                    _ if count != hit => Ok(()),
                    End::Fails => Err(io::Error::other(format!("hit at {step:?}"))),
                    End::Dies => resume_unwind(Box::new(())),
                }
            };
            let came_through = catch_unwind(AssertUnwindSafe(|| act(&target, &mut hook))).unwrap_or(false);
            assert!(!came_through, "{end:?} {hit}: what failed is told");
            let now = state(&node);
            for (name, held) in &now {
                let allowed = [old.get(name), new.get(name)];
                assert!(
                    allowed.contains(&Some(held)),
                    "{end:?} {hit}: {name} is neither old nor new: {held}"
                );
            }
            for name in old.keys().filter(|name| new.contains_key(*name)) {
                assert!(now.contains_key(name), "{end:?} {hit}: {name} is gone");
            }
            // Never a list that names a plugin which is not there.
            let names = now.values().any(|text| conflist::has_ours(text) == Ok(true));
            assert!(!names || now.contains_key("bin"), "{end:?} {hit}: named and not there");
            assert!(act(&target, &mut |_| Ok(())), "{end:?} {hit}: the next run");
            assert_eq!(state(&node), new, "{end:?} {hit}: the next run mends all");
            assert!(
                publish::sweep(&target, &mut |_| Ok(())).expect("readable").is_empty(),
                "{end:?} {hit}: nothing is left"
            );
        }
    }
}

/// What lists hold, and the plugin.
fn state(node: &Node) -> std::collections::BTreeMap<String, String> {
    let (lists, _) = seen::lists(&node.list("")).expect("readable");
    let mut state: std::collections::BTreeMap<String, String> =
        lists.into_iter().map(|list| (list.name, list.text.expect("text"))).collect();
    state.extend(fs::read_to_string(node.installed()).ok().map(|text| ("bin".to_owned(), text)));
    state
}

fn installs(target: &Target, hook: &mut Hook<'_>) -> bool {
    converge_with(target, hook).is_ok()
}

#[test]
fn a_first_installation_may_end_anywhere() {
    check(
        &|| {
            let node = Node::new(&[("10-flannel.conflist", FLANNEL)]);
            let target = node.target("agent");
            (node, target)
        },
        &installs,
    );
}

#[test]
fn an_upgrade_may_end_anywhere() {
    check(
        &|| {
            let node = Node::new(&[("10-flannel.conflist", FLANNEL)]);
            converge(&node.target("agent")).expect("installs");
            node.offer("two");
            let mut target = node.target("next");
            target.wish.entry.status_gating = true;
            (node, target)
        },
        &installs,
    );
}

#[test]
fn a_list_of_our_own_may_end_anywhere() {
    check(
        &|| {
            let node = Node::new(&[("10-flannel.conflist", FLANNEL)]);
            converge(&node.target("agent")).expect("installs");
            let mut target = node.target("agent");
            target.wish.way = Some(Way::Own);
            (node, target)
        },
        &installs,
    );
}

fn uninstalls(target: &Target, hook: &mut Hook<'_>) -> bool {
    let results = target.data_dir.join("results");
    fs::create_dir_all(&results).expect("a folder");
    let leaving = Leaving {
        conf_dir: target.conf_dir.clone(),
        bin_dirs: target.bin_dirs.clone(),
        state_dir: target.data_dir.join("run"),
        data_dir: target.data_dir.clone(),
        results_dirs: vec![results],
        auxiliary: None,
        binary: target.wish.binary.clone(),
        reload_wait: Duration::ZERO,
        wait: Duration::ZERO,
        purge: false,
        installer: None,
    };
    uninstall(&leaving, hook).is_clean()
}

#[test]
fn an_uninstallation_may_end_anywhere() {
    check(
        &|| {
            let node = Node::new(&[("10-flannel.conflist", FLANNEL)]);
            let target = node.target("agent");
            converge(&target).expect("installs");
            (node, target)
        },
        &uninstalls,
    );
}

/// The owner writes at the instant of the swap, and the process ends before it can give his list back: `act` ends so, and
/// `next` finds it.
fn give_back_later(
    end: End,
    installed: bool,
    act: &dyn Fn(&Target, &mut Hook<'_>) -> bool,
    next: &dyn Fn(&Target, &mut Hook<'_>) -> bool,
) -> (Node, String) {
    let node = Node::new(&[("10-flannel.conflist", FLANNEL)]);
    let target = node.target("agent");
    if installed {
        converge(&target).expect("installs");
    }
    let later = FLANNEL.replace("cbr0", "later");
    let mut swapped = false;
    let mut hook = |step: Step| match step {
        Step::Rename if !swapped && Memory::load(&target.data_dir).expect("readable").swap.is_some() => {
            swapped = true;
            node.write("10-flannel.conflist", &later);
            Ok(())
        }
        Step::SyncFolder if swapped => match end {
            End::Fails => Err(io::Error::other("hit")),
            End::Dies => resume_unwind(Box::new(())),
        },
        _ => Ok(()),
    };
    let came_through = catch_unwind(AssertUnwindSafe(|| act(&target, &mut hook))).unwrap_or(false);
    assert!(swapped && !came_through, "{end:?}");
    let now = node.read("10-flannel.conflist");
    assert!(!now.contains("later"), "it is only staged: {now}");
    assert!(next(&target, &mut |_| Ok(())), "{end:?}: the next run");
    assert_eq!(Memory::load(&target.data_dir).expect("readable").swap, None);
    let now = node.read("10-flannel.conflist");
    (node, now)
}

#[test]
fn what_an_owner_wrote_at_the_instant_of_the_end_comes_back() {
    let later = FLANNEL.replace("cbr0", "later");
    for end in [End::Fails, End::Dies] {
        let (node, now) = give_back_later(end, false, &installs, &installs);
        let chain = conflist::read(&now).expect("a list");
        assert_eq!((chain.name.as_str(), chain.ours.len()), ("later", 1), "{end:?}");
        assert!(uninstalls(&node.target("agent"), &mut |_| Ok(())));
        assert_eq!(node.read("10-flannel.conflist"), later, "{end:?}: every byte of it");
        let (_node, now) = give_back_later(end, true, &uninstalls, &uninstalls);
        assert_eq!(now, later, "{end:?}: taking off");
        let (_node, now) = give_back_later(end, false, &installs, &uninstalls);
        assert_eq!(now, later, "{end:?}: taking off what was begun");
    }
}

#[test]
fn a_rename_that_crosses_file_systems_says_the_way_out() {
    let node = Node::new(&[("10-flannel.conflist", FLANNEL)]);
    let mut hook = |step| match step {
        Step::Rename => Err(io::ErrorKind::CrossesDevices.into()),
        _ => Ok(()),
    };
    let error = converge_with(&node.target("agent"), &mut hook).expect_err("refused").to_string();
    assert!(error.contains("mount the directory into the container, not the single file"), "{error}");
    assert_eq!(node.read("10-flannel.conflist"), FLANNEL);
    assert!(!node.installed().exists());
}
