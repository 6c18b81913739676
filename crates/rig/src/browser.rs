//! A headless Chromium, driven over WebDriver, for tests of pages.
//!
//! The browser and its driver are alone in a namespace of processes, so both end with the test, however it ends; what they write
//! goes into a folder that goes with them. Nothing waits for the network to be idle: a page of ours holds a stream open.

mod wire;

use crate::absent::not_run;
use crate::apiserver::held::{self, Held};
use crate::net::missing;
use crate::wait::until;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;
use wire::Wire;

/// How long a browser may take to start, and a page to become what it is to become: seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Programs, and how they are had.
const NEEDS: [(&str, &str); 4] = [
    ("chromium", "scripts/install test"),
    ("chromedriver", "scripts/install test"),
    ("setpriv", "apt-get install util-linux"),
    ("unshare", "apt-get install util-linux"),
];
/// What keeps a browser to itself: it asks nobody in the background, and keeps nothing.
const FLAGS: [&str; 13] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
    "--disable-font-subpixel-positioning",
];

/// The fonts of a page that names none, whichever the machine prefers: a picture looks the same everywhere.
const FONTS: &str = r#"<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <include>/etc/fonts/fonts.conf</include>
  <match><test name="family"><string>system-ui</string></test><edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit></match>
  <match><test name="family"><string>sans-serif</string></test><edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit></match>
</fontconfig>
"#;

/// Keys that are no letters, as WebDriver names them.
pub mod keys {
    /// Tab.
    pub const TAB: char = '\u{e004}';
    /// Enter.
    pub const ENTER: char = '\u{e007}';
    /// Shift, held down with the next key.
    pub const SHIFT: char = '\u{e008}';
    /// Escape.
    pub const ESCAPE: char = '\u{e00c}';
    /// The arrow upwards.
    pub const UP: char = '\u{e013}';
    /// The arrow downwards.
    pub const DOWN: char = '\u{e015}';
}

/// A browser with one window.
#[derive(Debug)]
pub struct Browser {
    wire: Wire,
    session: String,
    driver: Option<Held>,
    janitor: Child,
}

impl Browser {
    /// Starts one; `None` after saying that `test` is not run where a program is missing.
    pub fn start(test: &str) -> Option<Browser> {
        if let Some((program, how)) = missing(&NEEDS) {
            not_run(test, program, how);
            return None;
        }
        let folder = held::folder();
        let janitor = held::janitor(&folder);
        let log = folder.join("chromedriver.log");
        let mut command = held::command("unshare".as_ref(), &folder, "chromedriver.log", &janitor);
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--", "chromedriver", "--port=0"]);
        command.env("HOME", &folder).env("XDG_CONFIG_HOME", &folder).env("XDG_CACHE_HOME", &folder);
        let fonts = folder.join("fonts.conf");
        std::fs::write(&fonts, FONTS).expect("a folder of ours is writable");
        command.env("FONTCONFIG_FILE", fonts);
        let driver = Held::start(command);
        let port = until("chromedriver listens", PATIENCE, || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(!driver.is_over(), "chromedriver has ended:\n{said}");
            let port = said.split_once("successfully on port ").map(|(_, rest)| rest);
            let port = port.and_then(|rest| rest.split_once('.')).and_then(|(port, _)| port.parse().ok());
            port.ok_or(said)
        });
        let mut browser =
            Browser { wire: Wire::new(port), session: String::new(), driver: Some(driver), janitor };
        browser.open(folder.join("profile"));
        Some(browser)
    }

    fn open(&mut self, profile: PathBuf) {
        let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        flags.push(format!("--user-data-dir={}", profile.display()));
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": flags },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": 60_000, "pageLoad": 60_000, "implicit": 0 },
        });
        let opened = self.wire.post("/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        self.session = format!("/session/{}", opened["sessionId"].as_str().expect("a session has a name"));
    }

    /// Goes to a page and waits until it is loaded.
    pub fn go(&self, url: &str) {
        self.ask("/url", &json!({ "url": url }));
    }

    /// What a script returns, run in the page past its policy; it may wait for a promise.
    pub fn run(&self, script: &str, args: Value) -> Value {
        self.ask("/execute/sync", &json!({ "script": script, "args": args }))
    }

    /// Waits until an expression is true of the page, also while the page is replaced by another.
    pub fn until(&self, what: &str, expression: &str) {
        let script = format!("return Boolean({expression})");
        until(what, PATIENCE, || match self.try_run(&script) {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(_) => Err(format!("{expression} is false at {}", self.shown())),
            Err(why) => Err(why),
        });
    }

    fn try_run(&self, script: &str) -> Result<Value, String> {
        let path = format!("{}/execute/sync", self.session);
        self.wire.try_post(&path, &json!({ "script": script, "args": [] }))
    }

    /// What a person reads, for messages.
    fn shown(&self) -> String {
        let read = self.try_run("return location.href + '\\n' + document.body.innerText");
        read.map_or_else(|why| why, |text| text.as_str().unwrap_or_default().to_owned())
    }

    /// Clicks on the first element that the selector finds, as a pointer does; on another in its place, where a live page puts one.
    pub fn click(&self, selector: &str) {
        until(&format!("{selector} is clicked"), PATIENCE, || match self.try_click(selector) {
            Ok(_) => Ok(()),
            Err(why) if why.starts_with("stale element") || why.starts_with("no such element") => Err(why),
            Err(why) => panic!("{selector} cannot be clicked: {why}"),
        });
    }

    fn try_click(&self, selector: &str) -> Result<Value, String> {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.wire.try_post(&format!("{}/element", self.session), &wanted)?;
        let id = found.as_object().and_then(|object| object.values().next()).and_then(Value::as_str);
        let id = id.expect("an element has a name");
        self.wire.try_post(&format!("{}/element/{id}/click", self.session), &json!({}))
    }

    /// Presses keys one after the other; one that is held down with the next is named before it.
    pub fn press(&self, keys: &[char]) {
        let mut acts = Vec::new();
        let mut down = Vec::new();
        for key in keys {
            acts.push(json!({ "type": "keyDown", "value": key.to_string() }));
            down.push(*key);
            if *key != keys::SHIFT {
                let up = |key: char| json!({ "type": "keyUp", "value": key.to_string() });
                acts.extend(down.drain(..).rev().map(up));
            }
        }
        self.ask("/actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": acts }] }));
    }

    /// The window from now on: its size in CSS pixels, and whether the system is dark. Nothing moves, so that what is seen is
    /// what is there.
    pub fn look(&self, width: u32, height: u32, is_dark: bool) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.tell("Emulation.setDeviceMetricsOverride", &metrics);
        let scheme = if is_dark { "dark" } else { "light" };
        let features = [("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")];
        let features = features.map(|(name, value)| json!({ "name": name, "value": value }));
        self.tell("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// The window as a PNG, without scroll bars.
    pub fn picture(&self) -> Vec<u8> {
        self.tell("Emulation.setScrollbarsHidden", &json!({ "hidden": true }));
        let text = self.wire.get(&format!("{}/screenshot", self.session));
        STANDARD.decode(text.as_str().unwrap_or_default()).expect("a picture is base64")
    }

    /// A command of the browser's own protocol.
    pub fn tell(&self, command: &str, parameters: &Value) -> Value {
        self.ask("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// What the browser complained of since it was asked last: errors of scripts, of requests, and of the policy.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.ask("/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().into_iter().flatten();
        let severe = entries.filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        self.wire.post(&format!("{}{path}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.driver = None;
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}
