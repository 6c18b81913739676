//! The rig itself: what it reports without any rule in the way is what the other tests stand on.

use crate::runs;
use millrace_rig::net::lab::{GATEWAY, Lab, POD, WORLD};
use millrace_rig::net::listen::Listener;
use millrace_rig::net::probe::{self, Fate};
use millrace_rig::net::{Namespace, Who};
use std::net::SocketAddr;

#[test]
fn without_rules_everything_reaches_what_it_was_meant_for() {
    if !runs("without_rules_everything_reaches_what_it_was_meant_for", &[]) {
        return;
    }
    let lab = Lab::new();
    for family in [0, 1] {
        let far = SocketAddr::new(WORLD[family], 80);
        let near = SocketAddr::new(POD[family], 8080);
        let _world = Listener::tcp(&lab.world, Who::ROOT, "world", far);
        let _app = Listener::tcp(&lab.pod, Who::APP, "app", near);
        let _answers = Listener::udp(&lab.world, Who::ROOT, "answers", far);

        let out = probe::tcp(&lab.pod, Who::APP, None, far);
        assert_eq!((out.by(), out.meant()), ("world", Some(far)));
        let within = probe::tcp(&lab.world, Who::ROOT, Some(GATEWAY[family]), near);
        assert_eq!((within.by(), within.meant()), ("app", Some(near)));
        assert_eq!(probe::udp(&lab.pod, Who::PROXY, None, far).by(), "answers");
        assert_eq!(probe::tcp(&lab.pod, Who::APP, None, SocketAddr::new(WORLD[family], 81)), Fate::Refused);
    }
}

#[test]
fn a_shifted_namespace_has_its_own_root_and_is_reached_all_the_same() {
    if !runs("a_shifted_namespace_has_its_own_root_and_is_reached_all_the_same", &[]) {
        return;
    }
    let lab = Lab::around(Namespace::shifted());
    let netns = millrace_host::netns::NetNs::open(&lab.pod.path()).expect("the namespace is there");
    assert!(netns.has_foreign_owner().expect("its owner can be asked for"));
    let far = SocketAddr::new(WORLD[0], 80);
    let _world = Listener::tcp(&lab.world, Who::ROOT, "world", far);
    assert_eq!(probe::tcp(&lab.pod, Who::APP, None, far).by(), "world");
}
