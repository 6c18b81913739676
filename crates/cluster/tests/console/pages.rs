//! Every kind of page is sound, and what judges pages sees what is wrong with one.

use crate::bookinfo;
use crate::cluster::{Cluster, condition};
use crate::served::{Controller, Served};
use crate::sound::{Judge, nothing_failed, nothing_failed_but};
use millrace_rig::browser::{Browser, keys};
use serde_json::json;

#[test]
fn every_page_is_sound() {
    const TEST: &str = "console::every_page_is_sound";
    let (Some(judge), Some(browser)) = (Judge::new(TEST), Browser::start(TEST)) else { return };
    let cluster = Cluster::embedded(&["--no-controllers"]);
    bookinfo::build(&cluster, bookinfo::By::Cni);
    cluster.run(&["enable", "--exclude=kube-system,istio-system,legacy"]);
    bookinfo::tell(&cluster, "Running", "Serving", json!({}));
    let served = Served::start(&cluster, &[]);
    served.admit(&browser);
    browser.until("the page says that it runs", "document.body.dataset.state === 'running'");
    let proposed =
        "/plan?base=1&was-mode=CNI&was-exclude=kube-system,istio-system,legacy&mode=CNI&exclude=payments";
    let pages = [
        "/",
        proposed,
        "/workloads",
        "/workloads?by=owes",
        "/pods/bookinfo/productpage-v1-5f7c8b9d4-x2k9q",
        "/nodes",
        "/node/worker-2",
        "/history",
    ];
    let show = |page: &str, lang: &str| {
        served.go(&browser, &format!("/look?lang={lang}&back={}", page.replace('&', "%26")));
    };
    for page in pages {
        show(page, "en");
        judge.looks(&browser, page);
        // What is another in another language is its words: whether they fit.
        show(page, "zh");
        judge.fits(&browser, page);
    }
    what_is_beside_a_list_is_sound(&browser, &judge, &served);
    an_error_is_sound(&browser, &judge, &cluster);
    what_is_wrong_is_seen(&browser, &judge);
    the_login_of_a_controller_is_sound(&browser, &judge, &cluster);
}

fn what_is_beside_a_list_is_sound(browser: &Browser, judge: &Judge, served: &Served) {
    served.go(browser, "/look?lang=en&back=/nodes");
    browser.click("th a[data-drawer][href*='worker-2']");
    browser.until("it is beside the list", "document.getElementById('drawer').open");
    judge.looks(browser, "a node beside the list");
    browser.press(&[keys::ESCAPE]);
    served.go(browser, "/");
}

fn an_error_is_sound(browser: &Browser, judge: &Judge, cluster: &Cluster) {
    let contested =
        condition("NoChainConflict", "False", "ChainContested", "worker-2: cilium-agent (MR2104)");
    bookinfo::tell(cluster, "Degraded", "Serving", json!({ "conditions": [contested] }));
    browser.until("the page says so", "document.body.dataset.state === 'chain-conflict'");
    judge.looks(browser, "an error");
}

/// Its page that asks who somebody is, and what it says to a token that the cluster does not know.
fn the_login_of_a_controller_is_sound(browser: &Browser, judge: &Judge, cluster: &Cluster) {
    let controller = Controller::start(cluster);
    browser.go(&format!("{}/history", controller.home));
    judge.looks_of(browser, "the login", &[401]);
    browser.run("document.getElementById('token').focus()", json!([]));
    browser.press(&['n', 'o', keys::ENTER]);
    browser.until("the token is refused", "document.querySelector('#main [role=alert]') !== null");
    nothing_failed_but(browser, "a token that nobody knows", &[401]);
}

fn what_is_wrong_is_seen(browser: &Browser, judge: &Judge) {
    browser.run(
        "document.getElementById('main').append(document.createElement('img'));
         const script = document.createElement('script');
         script.textContent = 'alert(1)';
         document.body.append(script);",
        json!([]),
    );
    let found = judge.found(browser);
    assert!(found.iter().any(|one| one.contains("image-alt")), "{found:?}");
    let complaints = browser.complaints();
    assert!(complaints.iter().any(|one| one.contains("Content Security Policy")), "{complaints:?}");
    nothing_failed(browser, "what was told once is not told again");
}
