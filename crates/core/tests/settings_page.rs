//! `docs/settings.md` is the table of knobs, written out for people.

use millrace_core::knobs::{KNOBS, Knob};
use std::path::Path;

#[test]
fn golden_page_of_settings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    let page = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, page, "docs/settings.md is made from the table; UPDATE_GOLDEN=1 makes it anew");
}

fn page() -> String {
    let head = "\
# Settings

Made from the table in `crates/core/src/knobs/table.rs`; do not edit.

A pod states a setting by an annotation, else by its sidecar's environment, else it has the default. Arguments of
`istio-init` win over its environment. Lists are separated by commas, and blanks around items do not matter. A port may
be a range, `8000-8100` or `8000:8100`. An address without a prefix length is the range of just that address. A list has
at most 256 items.

A value that cannot be used stops the pod from starting, with a message that names it: a pod that starts half protected
would be worse. `millrace explain -f FILE` says so beforehand.
";
    let mut page = head.to_owned();
    for knob in KNOBS {
        page.push_str(&section(knob));
    }
    page
}

fn section(knob: &Knob) -> String {
    let code = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let text = |value: &str| if value.is_empty() { "empty".to_owned() } else { format!("`{value}`") };
    let mut lines = vec![format!("\n## {}\n", knob.key), format!("{}\n", knob.doc)];
    lines.push(format!("- annotation: {}", code(knob.annotations)));
    if !knob.proxy_env.is_empty() {
        lines.push(format!("- variable of `istio-proxy`: {}", code(knob.proxy_env)));
    }
    let short = knob.short.map_or(String::new(), |short| format!(", `-{short}`"));
    lines.push(format!("- flag of `init`: `--{}`{short}", knob.flag));
    if !knob.env.is_empty() {
        lines.push(format!("- variable of `init`: {}", code(knob.env)));
    }
    let bare =
        if knob.bare == knob.default { String::new() } else { format!("; of `init` {}", text(knob.bare)) };
    lines.push(format!("- default: {}{bare}\n", text(knob.default)));
    lines.join("\n")
}
