//! The console of a running demo, as a person uses it: real pods, real packets, an agent that is killed, and somebody else who edits.

use crate::kept::{KEPT, Kept, turn};
use crate::pictures::keep;
use crate::sound::{WIDE, nothing_failed_but};
use millrace_rig::absent::not_run;
use millrace_rig::browser::{Browser, keys};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::process::Command;

/// The most keys to something on a page.
const MOST_KEYS: usize = 120;

/// A person in front of the console of a demo.
struct Person {
    browser: Browser,
    home: String,
    kubeconfig: String,
}

#[test]
fn a_person_switches_looks_and_is_told() {
    const TEST: &str = "console::a_person_switches_looks_and_is_told";
    if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
        return not_run(TEST, "kubectl", "apt-get install kubernetes-client");
    }
    let (Some(_turn), Some(browser)) = (turn(TEST), Browser::start(TEST)) else { return };
    let mut kept = Kept::start(KEPT);
    let printed = kept.heard.iter().find_map(|line| line.strip_prefix("console: ")).expect("an address");
    let (home, _) = printed.split_once("/login?").expect("an address and a token");
    let person = Person { browser, home: home.to_owned(), kubeconfig: kept.word_after("--kubeconfig ") };
    person.browser.go(printed);
    person.browser.look(WIDE.0, WIDE.1, false);
    person.shows("running");

    person.probes_a_pod();
    person.excludes_and_is_overtaken();
    person.turns_off_and_on_by_keys_in_chinese();
    person.is_told_of_a_killed_agent();
    person.is_told_that_the_stream_is_cut();
    nothing_failed_but(&person.browser, "the flow", &[409, 422]);
    kept.signal(Signal::INT);
    assert_eq!(kept.end(), Some(0));
}

impl Person {
    fn go(&self, path: &str) {
        self.browser.go(&format!("{}{path}", self.home));
    }

    /// Waits until the page says so by itself.
    fn shows(&self, state: &str) {
        let body = "document.body.dataset";
        let expression = format!("[{body}.state, {body}.draft].includes('{state}')");
        self.browser.until(&format!("the page says {state}"), &expression);
    }

    /// Does something that changes the page, and waits until it says so though nobody loaded it again.
    fn shows_by_itself(&self, state: &str, act: impl FnOnce()) {
        self.browser.run("window.stays = true", json!([]));
        act();
        self.shows(state);
        self.browser.until("the page was not loaded again", "window.stays === true");
    }

    fn kubectl(&self, args: &[&str]) {
        let ran = Command::new("kubectl").arg("--kubeconfig").arg(&self.kubeconfig).args(args).output();
        let ran = ran.expect("kubectl runs");
        assert!(ran.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    /// The counters of a pod's rules move when it is probed.
    fn probes_a_pod(&self) {
        self.go("/workloads?ns=default");
        self.browser.click("th a[data-drawer][href*='productpage']");
        self.browser.until("the pod is beside the list", "document.getElementById('drawer').open");
        self.browser.click("#drawn [data-look]");
        self.browser
            .until("its live rules are shown", "document.querySelector('#drawn #live [data-seen=same]')");
        self.browser.click("#drawn [data-act=probe]");
        self.browser.until("the probe has an answer", "document.querySelector('#drawn [data-probe]')");
        let counters = "const all = (name) => [...document.querySelectorAll(`#drawn [data-counter=${name}]`)];
            const [before, after] = ['before', 'after'].map((name) => all(name).map((cell) => Number(cell.innerText)));
            return [document.querySelector('#drawn [data-probe]').dataset.probe, before.length,
                after.every((count, at) => count > before[at])]";
        let counted = self.browser.run(counters, json!([]));
        assert!(counted[0] == "verified" && counted[1].as_u64() > Some(2) && counted[2] == true, "{counted}");
        self.browser.run("document.querySelector('#drawn #probe').scrollIntoView()", json!([]));
        keep(&self.browser, "pod-drawer");
        self.browser.press(&[keys::ESCAPE]);
        self.browser.until("the drawer is closed", "!document.getElementById('drawer').open");
    }

    /// Excludes a namespace, then another while somebody else does.
    fn excludes_and_is_overtaken(&self) {
        self.proposes("default");
        self.browser.click("#pending button.primary");
        self.browser.until("the page of the cluster is shown", "location.pathname === '/'");
        self.shows_by_itself("running-restart-debt", || ());

        self.proposes("kube-public");
        self.kubectl(&[
            "patch",
            "meshcni",
            "default",
            "--type=merge",
            "-p",
            r#"{"spec":{"excludeNamespaces":["legacy"]}}"#,
        ]);
        self.browser.click("#pending button.primary");
        self.shows("edit-conflict");
        let row = "[...document.querySelectorAll('#pending tr')].find((row) => row.innerText.startsWith('excludeNamespaces')).innerText";
        let row = self.browser.run(&format!("return {row}"), json!([]));
        let row = row.as_str().unwrap_or_default().to_owned();
        assert!(
            row.contains("legacy, default") && row.contains("\tlegacy\t") && row.contains("kube-public"),
            "{row:?}"
        );
        // What somebody else applied is taken over by whoever says so.
        self.browser.click("#pending form button");
        self.browser.until("it is reviewed again", "location.pathname === '/plan'");
        if self
            .browser
            .run("return document.querySelector('[name=take-over][value=yes]') !== null", json!([]))
            == true
        {
            self.browser.click("#pending [name=take-over]");
        }
        self.browser.until("it can be sent", "document.querySelector('#pending form[action=\"/update\"]')");
        self.browser.click("#pending button.primary");
        self.browser.until("the page of the cluster is shown", "location.pathname === '/'");
        self.shows_by_itself("running-restart-debt", || ());
    }

    fn proposes(&self, namespace: &str) {
        self.go("/");
        self.browser.click(&format!("#settings input[value={namespace}]"));
        self.browser.until("it is said not to be sent", "!document.getElementById('unsent').hidden");
        self.browser.click("#settings p.act button.primary");
        self.shows("planning");
    }

    /// Without a pointer, in Chinese.
    fn turns_off_and_on_by_keys_in_chinese(&self) {
        self.go("/look?lang=zh&back=/");
        for (key, states) in [(keys::DOWN, ["updating"]), (keys::UP, ["running-restart-debt"])] {
            self.tab_to("#settings input[name=mode]:checked");
            self.browser.press(&[key]);
            self.tab_to("#settings p.act button.primary");
            self.browser.press(&[keys::ENTER]);
            self.shows("planning");
            self.tab_to("#pending button.primary");
            self.browser.press(&[keys::ENTER]);
            self.browser.until("the page of the cluster is shown", "location.pathname === '/'");
            for state in states {
                self.shows_by_itself(state, || ());
            }
        }
        self.go("/nodes");
        self.tab_to("th a[data-drawer]");
        self.browser.press(&[keys::ENTER]);
        self.browser.until("the node is beside the list", "document.getElementById('drawer').open");
        self.browser.press(&[keys::ESCAPE]);
        self.browser.until(
            "the focus is back where it was",
            "!document.getElementById('drawer').open && document.activeElement.matches('th a[data-drawer]')",
        );
        let said = self.browser.run("return document.querySelector('h1').innerText", json!([]));
        assert_eq!(said, "节点");
        self.go("/look?lang=en&back=/");
    }

    /// Goes on by the Tab key until something has the focus, and sees that it is shown.
    fn tab_to(&self, selector: &str) {
        let has = format!("return document.activeElement.matches({})", json!(selector));
        for _ in 0..MOST_KEYS {
            if self.browser.run(&has, json!([])) == true {
                let outline = "const style = getComputedStyle(document.activeElement);
                    return document.activeElement.matches(':focus-visible') && style.outlineStyle !== 'none'";
                assert_eq!(self.browser.run(outline, json!([])), true, "{selector} does not show its focus");
                return;
            }
            self.browser.press(&[keys::TAB]);
        }
        panic!("no Tab key leads to {selector}");
    }

    /// The node starts it again after a while.
    fn is_told_of_a_killed_agent(&self) {
        let agent = process(&["agent", "--config=/run/millrace-demo/"]);
        self.shows_by_itself("agents-unreachable", || {
            kill_process(agent, Signal::KILL).expect("it runs");
        });
        self.shows_by_itself("running-restart-debt", || ());
    }

    fn is_told_that_the_stream_is_cut(&self) {
        let console = process(&["console", "--kubeconfig", "/run/millrace-demo/"]);
        stop(console);
        self.browser.until("the page says that it is stale", "!document.getElementById('cut').hidden");
        go_on(console);
        self.browser.until("the page is live again", "document.getElementById('cut').hidden");
    }
}

fn stop(process: Pid) {
    kill_process(process, Signal::STOP).expect("it runs");
}

fn go_on(process: Pid) {
    kill_process(process, Signal::CONT).expect("it is stopped");
}

/// The one program of the demo whose command line has all these words.
fn process(words: &[&str]) -> Pid {
    let all = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let is_it = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains("/run/millrace-demo/")
            && words.iter().all(|word| line.contains(word))
            && !line.contains("setpriv")
    };
    let mut found = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_it);
    let pid = found.next().unwrap_or_else(|| panic!("no program of the demo runs with {words:?}"));
    assert_eq!(found.next(), None, "one program runs with {words:?}");
    Pid::from_raw(pid).expect("a process has a number")
}
