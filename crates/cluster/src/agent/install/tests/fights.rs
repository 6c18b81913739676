//! Somebody else writes the same list: what he wrote is never lost, and what a reader sees is always a list.

use super::*;
use millrace_core::conflist;
use rustix::event::{Timespec, poll};
use std::sync::atomic::AtomicBool;

/// Writes the list anew some fifty times a second, as an owner who knows nothing of us, each time another one.
fn rewrite(node: &Node, times: u32) {
    for number in 1..=times {
        let text = FLANNEL.replace("\"name\":\"cbr0\"", &format!("\"name\":\"cbr{number}\""));
        let temporary = node.list("owner.tmp");
        fs::write(&temporary, text).expect("a file");
        fs::rename(temporary, node.list("10-flannel.conflist")).expect("a rename");
        // Not a wait for anything: this is the pace.
        poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 })).expect("nothing to poll");
    }
}

#[test]
fn an_owner_who_rewrites_all_the_time_loses_nothing() {
    let node = Node::new(&[("10-flannel.conflist", FLANNEL)]);
    let target = node.target("agent");
    let (node, over) = (&node, &AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            rewrite(node, 60);
            over.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let text = node.read("10-flannel.conflist");
                conflist::read(&text).expect("always a list");
            }
        });
        while !over.load(Ordering::SeqCst) {
            match converge(&target) {
                Ok(_) | Err(Error::Contested { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    let chain = conflist::read(&node.read("10-flannel.conflist")).expect("a list");
    assert_eq!(chain.name, "cbr60", "the owner's last word is there");
    converge(&target).expect("installs");
    let chain = conflist::read(&node.read("10-flannel.conflist")).expect("a list");
    assert_eq!((chain.name.as_str(), chain.ours.len(), chain.types.len()), ("cbr60", 1, 3));
}

#[test]
fn what_is_written_between_looking_and_swapping_goes_back() {
    let node = Node::new(&[("10-flannel.conflist", FLANNEL)]);
    let target = node.target("agent");
    let later = FLANNEL.replace("cbr0", "later");
    let mut writes = 1;
    let mut hook = |step| {
        // The plugin's own rename comes first, the memory's second.
        if step == millrace_host::files::Step::Rename && node.installed().exists() && writes > 0 {
            let remembered = fs::read_to_string(memory::file(&target.data_dir)).unwrap_or_default();
            if remembered.contains("wrote") {
                writes -= 1;
                node.write("10-flannel.conflist", &later);
            }
        }
        Ok(())
    };
    let converged = converge_with(&target, &mut hook).expect("installs");
    assert!(converged.change.list);
    assert_eq!(writes, 0);
    let chain = conflist::read(&node.read("10-flannel.conflist")).expect("a list");
    assert_eq!((chain.name.as_str(), chain.ours.len()), ("later", 1));
}

/// The owner takes his list away before the swap of that number, having written it before the first if `writes`.
fn taken_away(swap: u32, writes: bool, answer: &dyn Fn() -> std::io::Result<()>) -> (Node, Error) {
    let node = Node::new(&[("10-flannel.conflist", FLANNEL)]);
    let target = node.target("agent");
    let mut swaps = 0;
    let mut hook = |step| {
        let begun = || Memory::load(&target.data_dir).expect("readable").swap.is_some();
        if step != millrace_host::files::Step::Rename || swaps == swap || !begun() {
            return Ok(());
        }
        swaps += 1;
        if swaps == 1 && writes {
            node.write("10-flannel.conflist", &FLANNEL.replace("cbr0", "later"));
        }
        if swaps < swap {
            return Ok(());
        }
        fs::remove_file(node.list("10-flannel.conflist")).expect("a file");
        answer()
    };
    let error = converge_with(&target, &mut hook).expect_err("nothing to join");
    assert_eq!(swaps, swap);
    assert!(seen::names(&target.conf_dir).expect("a folder").is_empty(), "{error}");
    (node, error)
}

#[test]
fn a_list_that_goes_while_it_is_swapped_is_not_brought_back() {
    for (swap, writes) in [(1, false), (2, true)] {
        let (_node, error) = taken_away(swap, writes, &|| Ok(()));
        assert!(matches!(error, Error::Refused(Refusal::NoList)), "{error}");
    }
    // Where files cannot be swapped.
    let (_node, error) = taken_away(1, false, &|| Err(rustix::io::Errno::INVAL.into()));
    assert!(error.to_string().contains("--way own-list"), "{error}");
}

#[test]
fn a_list_that_its_owner_takes_away_does_not_come_back() {
    let node = Node::new(&[("10-flannel.conflist", FLANNEL)]);
    let mut target = node.target("agent");
    target.wish.way = Some(Way::Own);
    converge(&target).expect("installs");
    assert!(node.list(OWN_LIST).exists());
    fs::remove_file(node.list("10-flannel.conflist")).expect("a file");
    let refused = converge(&target).expect_err("nothing to join");
    assert!(matches!(refused, Error::Refused(Refusal::NoList)), "{refused}");
    assert!(!node.list(OWN_LIST).exists(), "it followed its owner");
    node.write("10-flannel.conflist", FLANNEL);
    converge(&target).expect("installs");
    let changed = FLANNEL.replace("portmap", "bridge");
    node.write("10-flannel.conflist", &changed);
    assert!(converge(&target).expect("follows").change.list);
    assert!(node.read(OWN_LIST).contains("bridge") && !node.read(OWN_LIST).contains("portmap"));
}
