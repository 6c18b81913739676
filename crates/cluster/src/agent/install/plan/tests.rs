//! What is planned for a node, by what is seen on it.

use super::*;
use serde_json::json;

const FLANNEL: &str =
    r#"{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel"},{"type":"portmap"}]}"#;
const CALICO: &str = r#"{"name":"k","cniVersion":"0.3.1","plugins":[{"type":"calico"}]}"#;
const MULTUS: &str = r#"{"name":"m","cniVersion":"0.3.1","type":"multus"}"#;
const SINGLE: &str = r#"{"name":"s","cniVersion":"0.3.1","type":"bridge"}"#;

fn wish() -> Wish {
    Wish {
        binary: "/image/millrace-cni".into(),
        entry: millrace_core::cni::Entry::default(),
        way: None,
        list: None,
        auxiliary: None,
        claim: Claim { installer: "agent".into(), generation: 5 },
    }
}

fn seen(lists: &[(&str, &str)]) -> Seen {
    let lists = lists.iter().map(|(name, text)| List {
        name: (*name).into(),
        text: Ok((*text).into()),
        linked: false,
    });
    let plugins = ["flannel", "portmap", "calico", "bridge", "istio-cni", "linkerd-cni"].map(str::to_owned);
    Seen {
        lists: lists.collect(),
        plugins: plugins.into(),
        bin_dir: "/opt/cni/bin".into(),
        plugin_is_right: true,
        ..Seen::default()
    }
}

/// The plan in words: its steps, then the place or the beginning of why there is none.
fn words(plan: &Plan) -> String {
    let step = |step: &Step| match step {
        Step::Binary => "binary".to_owned(),
        Step::Edit { list, .. } => format!("edit {list}"),
        Step::Restore { list, .. } => format!("restore {list}"),
        Step::Write { file, .. } => format!("write {file}"),
        Step::Remove { file, .. } => format!("remove {file}"),
    };
    let mut words: Vec<String> = plan.steps.iter().map(step).collect();
    words.push(match &plan.place {
        Ok(place) => place.to_string(),
        Err(refusal) => format!("{refusal:?}").split([' ', '(']).next().unwrap_or_default().to_owned(),
    });
    words.join("; ")
}

fn check(lists: &[(&str, &str)], change: impl Fn(&mut Seen, &mut Wish), wanted: &str) {
    let (mut seen, mut wish) = (seen(lists), wish());
    change(&mut seen, &mut wish);
    let planned = plan(&seen, &wish);
    assert_eq!(words(&planned), wanted, "{lists:?}");
}

fn with_ours(text: &str, generation: u64) -> String {
    let mut entry = wish().entry.write();
    Claim { installer: "other".into(), generation }.put_into(&mut entry);
    match conflist::insert(text, &entry) {
        Ok(Edit::Changed(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_list_is_chosen_as_the_runtime_does() {
    let nothing = |_: &mut Seen, _: &mut Wish| {};
    check(&[], nothing, "NoList");
    check(
        &[("10-f.conflist", FLANNEL)],
        nothing,
        "edit 10-f.conflist; 10-f.conflist (in-place, plugin 3 of 3)",
    );
    check(
        &[("00-multus.conf", MULTUS), ("10-f.conflist", FLANNEL)],
        nothing,
        "edit 10-f.conflist; 10-f.conflist (in-place, plugin 3 of 3)",
    );
    check(&[("05-broken.conflist", "{"), ("10-f.conflist", FLANNEL)], nothing, "Broken");
    check(&[("10-m.conf", MULTUS), ("20-f.conflist", FLANNEL)], nothing, "Broken");
    check(
        &[("10-f.conflist", FLANNEL), ("20-c.conflist", CALICO)],
        |_, wish| wish.list = Some("20-c.conf".into()),
        "write 02-millrace.conflist; 02-millrace.conflist (own-list, plugin 2 of 2, following 20-c.conflist)",
    );
    check(&[("10-f.conflist", FLANNEL)], |_, wish| wish.list = Some("x.conflist".into()), "NotThere");
}

#[test]
fn the_way_is_chosen_by_who_owns_the_list() {
    let nothing = |_: &mut Seen, _: &mut Wish| {};
    let own =
        "write 02-millrace.conflist; 02-millrace.conflist (own-list, plugin 2 of 2, following 10-x.conflist)";
    check(&[("10-x.conflist", CALICO)], nothing, own);
    check(
        &[("10-x.conflist", CALICO)],
        |_, wish| wish.way = Some(Way::InPlace),
        "edit 10-x.conflist; 10-x.conflist (in-place, plugin 2 of 2)",
    );
    check(
        &[("01-x.conflist", CALICO)],
        nothing,
        "edit 01-x.conflist; 01-x.conflist (in-place, plugin 2 of 2)",
    );
    check(&[("01-x.conflist", FLANNEL)], |_, wish| wish.way = Some(Way::Own), "Outranked");
    check(
        &[("10-x.conf", SINGLE)],
        nothing,
        "write 02-millrace.conflist; 02-millrace.conflist (own-list, plugin 2 of 2, following 10-x.conf)",
    );
    check(
        &[("10-x.conflist", FLANNEL)],
        |seen, _| seen.lists[0].linked = true,
        "write 02-millrace.conflist; 02-millrace.conflist (own-list, plugin 3 of 3, following 10-x.conflist)",
    );
    check(&[("00-multus.conf", MULTUS), ("10-x.conf", SINGLE)], nothing, "Delegated");
    check(
        &[("00-multus.conf", MULTUS), ("10-x.conflist", CALICO)],
        nothing,
        "edit 10-x.conflist; 10-x.conflist (in-place, plugin 2 of 2)",
    );
    check(
        &[("10-x.conflist", CALICO)],
        |seen, _| seen.others = vec!["02-millrace.conflist.cilium_bak".into()],
        "Exclusive",
    );
    check(
        &[("00-multus.conf", MULTUS)],
        |seen, _| seen.auxiliary = Some(("vendor-cni-chain".into(), None)),
        "write vendor-cni-chain/50-millrace.conf; vendor-cni-chain/50-millrace.conf (auxiliary, plugin 1 of 1)",
    );
    check(&[("10-x.conflist", FLANNEL)], |_, wish| wish.way = Some(Way::Auxiliary), "NoAuxiliary");
}

#[test]
fn a_way_that_is_left_is_cleared_after_the_new_one_is_there() {
    let (ours, own) = (with_ours(FLANNEL, 5), with_ours(FLANNEL, 5));
    check(
        &[("10-x.conflist", &ours)],
        |_, wish| wish.way = Some(Way::Own),
        "write 02-millrace.conflist; restore 10-x.conflist; 02-millrace.conflist (own-list, plugin 3 of 3, following 10-x.conflist)",
    );
    check(
        &[("02-millrace.conflist", &own), ("10-x.conflist", FLANNEL)],
        |_, wish| wish.way = Some(Way::InPlace),
        "edit 10-x.conflist; remove 02-millrace.conflist; 10-x.conflist (in-place, plugin 3 of 3)",
    );
    // Another list comes first from now on.
    check(
        &[("05-y.conflist", FLANNEL), ("10-x.conflist", &ours)],
        |_, _| {},
        "edit 05-y.conflist; restore 10-x.conflist; 05-y.conflist (in-place, plugin 3 of 3)",
    );
    check(&[("02-millrace.conflist", &own)], |_, _| {}, "remove 02-millrace.conflist; NoList");
}

#[test]
fn what_would_do_harm_is_refused_and_the_plugin_is_put_there_all_the_same() {
    let list = |plugins: Value| json!({ "name": "n", "cniVersion": "1.0.0", "plugins": plugins }).to_string();
    let missing = list(json!([{ "type": "kindnet" }]));
    check(&[("10-x.conflist", &missing)], |_, _| {}, "Missing");
    check(&[("10-x.conflist", &missing)], |seen, _| seen.plugin_is_right = false, "binary; Missing");
    let linkerd = list(json!([{ "type": "bridge" }, { "type": "linkerd-cni" }]));
    check(&[("10-x.conflist", &linkerd)], |_, _| {}, "Redirector");
    let version = FLANNEL.replace("0.3.1", "0.2.0");
    check(&[("10-x.conflist", &version)], |_, _| {}, "Broken");
}

#[test]
fn a_later_installers_work_is_left_alone_and_an_earlier_ones_taken_over() {
    let right = "10-x.conflist (in-place, plugin 3 of 3)";
    check(&[("10-x.conflist", &with_ours(FLANNEL, 4))], |_, _| {}, right);
    check(&[("10-x.conflist", &with_ours(FLANNEL, 6))], |seen, _| seen.plugin_is_right = false, "Newer");
    check(
        &[("10-x.conflist", FLANNEL)],
        |seen, _| seen.memory.last = Claim { installer: "other".into(), generation: 6 },
        "Newer",
    );
    check(
        &[("10-x.conflist", &with_ours(FLANNEL, 4))],
        |_, wish| wish.entry.status_gating = true,
        &format!("edit 10-x.conflist; {right}"),
    );
}

#[test]
fn istio_goes_in_the_same_write_and_comes_back_only_if_it_can_run() {
    let istio = r#"{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel"},{"type":"istio-cni"}]}"#;
    let mut there = seen(&[("10-x.conflist", istio)]);
    let planned = plan(&there, &wish());
    let [Step::Edit { from, to, .. }] = &planned.steps[..] else { panic!("{planned:?}") };
    assert_eq!(conflist::read(to).expect("a list").types, ["flannel", TYPE]);
    there.memory.edit("10-x.conflist", from, to, false);
    there.lists[0].text = Ok(to.clone());
    let restored = |seen: &Seen| match &retire(seen, None)[..] {
        [Step::Restore { to, .. }] => to.clone(),
        steps => panic!("{steps:?}"),
    };
    assert_eq!(restored(&there), istio);
    there.plugins.remove("istio-cni");
    assert_eq!(conflist::read(&restored(&there)).expect("a list").types, ["flannel"]);
}
