//! The pages docs/codes.md and docs/codes.zh.md, made from the catalogue: the same texts as `millrace explain` prints.

use super::Code;
use crate::args::output::Lang;
use std::path::Path;

#[test]
fn golden_pages_of_codes() {
    for (lang, file) in [(Lang::En, "codes.md"), (Lang::Zh, "codes.zh.md")] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
        let page = page(lang);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == page, "docs/{file} is made from the catalogue; UPDATE_GOLDEN=1 makes it anew");
    }
}

fn page(lang: Lang) -> String {
    let (head, labels) = match lang {
        Lang::En => (
            "# Codes\n\nMade from `crates/cluster/src/codes/en.toml`; do not edit. `millrace explain MR2104` prints any of \
             these without a network.\nA number never changes its meaning. 中文: [codes.zh.md](codes.zh.md)\n",
            ["Causes", "Affected", "Next"],
        ),
        Lang::Zh => (
            "# 代码\n\n由 `crates/cluster/src/codes/zh.toml` 生成,请勿手工修改。`millrace explain MR2104 --lang zh` \
             可离线打印其中任何一条。\n代码的含义永不改变。English: [codes.md](codes.md)\n",
            ["原因", "影响", "下一步"],
        ),
    };
    let mut page = head.to_owned();
    let mut group = "";
    for code in Code::ALL {
        if group != code.group(lang) {
            group = code.group(lang);
            page.push_str(&format!("\n## MR{}xxx: {group}\n", code.number() / 1000));
        }
        let text = code.text(lang);
        page.push_str(&format!("\n### {code} {}\n\n{}\n\n", code.name(), text.meaning));
        for (label, part) in labels.iter().zip([&text.causes, &text.affected, &text.next]) {
            page.push_str(&format!("- {label}: {part}\n"));
        }
    }
    page
}
