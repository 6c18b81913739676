//! Whether a page is sound: nothing is refused by its policy, nothing fails, and axe-core finds nothing that keeps people out.

use millrace_rig::absent::not_run;
use millrace_rig::browser::Browser;
use serde_json::{Value, json};

/// What axe looks for: WCAG 2.2 A and AA, and what its makers call good practice.
const RULES: [&str; 6] = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
/// A desk's window and a telephone's, in CSS pixels.
pub(crate) const WIDE: (u32, u32) = (1280, 900);
pub(crate) const NARROW: (u32, u32) = (360, 740);

/// Looks at pages.
pub(crate) struct Judge {
    axe: String,
}

impl Judge {
    /// With axe-core; `None` after saying that `test` is not run where it is missing.
    pub(crate) fn new(test: &str) -> Option<Judge> {
        let path = std::env::var_os("MILLRACE_AXE").unwrap_or_default();
        let Ok(axe) = std::fs::read_to_string(path) else {
            not_run(test, "axe-core, named by MILLRACE_AXE", "export MILLRACE_AXE=$(scripts/axe)");
            return None;
        };
        Some(Judge { axe })
    }

    /// Fails with all that is wrong with the page that is shown, on a desk and on a telephone, by day and by night.
    pub(crate) fn looks(&self, browser: &Browser, what: &str) {
        self.looks_of(browser, what, &[]);
    }

    /// The same of a page whose answer has one of these statuses.
    pub(crate) fn looks_of(&self, browser: &Browser, what: &str, statuses: &[u16]) {
        nothing_failed_but(browser, what, statuses);
        self.looked_at(browser, what, &[(WIDE, false), (NARROW, false), (WIDE, true), (NARROW, true)]);
    }

    /// The same of a page in another language: on a telephone alone.
    pub(crate) fn fits(&self, browser: &Browser, what: &str) {
        nothing_failed(browser, what);
        self.looked_at(browser, what, &[(NARROW, false)]);
    }

    fn looked_at(&self, browser: &Browser, what: &str, windows: &[((u32, u32), bool)]) {
        let mut wrong = Vec::new();
        for ((width, height), is_dark) in windows {
            browser.look(*width, *height, *is_dark);
            let wider = browser.run("return document.documentElement.scrollWidth - innerWidth", json!([]));
            let found = self.found(browser).into_iter();
            let found = found.chain((wider.as_i64() > Some(0)).then(|| format!("{wider} px too wide")));
            wrong.extend(found.map(|one| format!("{width} px wide, dark: {is_dark}: {one}")));
        }
        browser.look(WIDE.0, WIDE.1, false);
        assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
    }

    /// What axe finds, each with where.
    pub(crate) fn found(&self, browser: &Browser) -> Vec<String> {
        if browser.run("return typeof window.axe", json!([])) == "undefined" {
            // Past the page's policy, as everything that a driver runs.
            browser.run(&format!("{}; window.axe = axe", self.axe), json!([]));
        }
        let options = json!({ "runOnly": RULES, "resultTypes": ["violations"], "preload": false });
        let script = "return axe.run(document, arguments[0]).then((found) => found.violations)";
        let found = browser.run(script, json!([options]));
        let said = |one: &Value| {
            let nodes = one["nodes"].as_array().into_iter().flatten();
            let nodes = nodes.map(|node| format!("  {}\n  {}", node["html"], node["failureSummary"]));
            format!("{}: {}\n{}", one["id"], one["help"], nodes.collect::<Vec<_>>().join("\n"))
        };
        found.as_array().expect("axe gives a list").iter().map(said).collect()
    }
}

/// Fails with whatever the browser complained of since it was asked last.
pub(crate) fn nothing_failed(browser: &Browser, what: &str) {
    nothing_failed_but(browser, what, &[]);
}

/// The same, but for answers with these statuses, which the test provoked.
pub(crate) fn nothing_failed_but(browser: &Browser, what: &str, statuses: &[u16]) {
    let provoked =
        |said: &str| statuses.iter().any(|status| said.contains(&format!("a status of {status} ")));
    let left: Vec<String> = browser.complaints().into_iter().filter(|said| !provoked(said)).collect();
    assert!(left.is_empty(), "{what}: the browser says:\n{}", left.join("\n"));
}
