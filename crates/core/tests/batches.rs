//! The transactions of both netlink dialects, message by message and expression by expression, and our table as text.
//! `UPDATE_GOLDEN=1` rewrites the files; the diff is reviewed.

mod cases;

use cases::cases;
use millrace_core::dialect::expressions::{Expression, Order, read, verdict};
use millrace_core::dialect::wire::{ACK, APPEND, CREATE, EXCL, attributes, messages};
use millrace_core::dialect::{Batch, iptables, nftables};
use millrace_core::rules::removal::Removal;
use std::fmt::Write;
use std::path::Path;

/// The cases whose transactions are kept: together they use every expression and every extension.
const KEPT: [&str; 4] = ["default", "dns-servers-both", "outbound-only", "tproxy"];

#[test]
fn golden_our_table_of_every_case() {
    for case in cases() {
        check(&case.folder.join("nft.txt"), &nftables::draft(&case.rules()));
    }
}

#[test]
fn golden_transactions() {
    let cases: Vec<_> = cases().into_iter().filter(|case| KEPT.contains(&case.name.as_str())).collect();
    assert_eq!(cases.len(), KEPT.len());
    for case in cases {
        for (dialect, write) in
            [("iptables", iptables::write as fn(&_, &_) -> _), ("nftables", nftables::write)]
        {
            let batch = write(&case.rules(), &Removal::default());
            check(&case.folder.join(format!("{dialect}.batch")), &spell(&batch));
        }
    }
}

/// Each message as its act, flags, bare attributes and expressions.
fn spell(batch: &Batch) -> String {
    let mut text = String::new();
    for message in messages(&batch.bytes) {
        let message = message.expect("whole messages");
        let act = batch.act(message.sequence).expect("every message has an act");
        let flags = [(CREATE, "create"), (EXCL, "exclusive"), (APPEND, "append"), (ACK, "acknowledge")];
        let flags = flags.iter().filter(|(flag, _)| message.flags & flag != 0).map(|(_, name)| *name);
        let flags = flags.collect::<Vec<_>>().join(" ");
        _ = writeln!(text, "{} {act} [{flags}]", message.sequence);
        for attribute in attributes(&message.body[4..]) {
            match attribute.expect("whole attributes") {
                // NFTA_RULE_EXPRESSIONS, which NFTA_CHAIN_HOOK is as well.
                (4, value) if message.kind & 0xff == 6 => {
                    for expression in read(value) {
                        _ = writeln!(text, "  {}", expression_text(&expression.expect("whole expressions")));
                    }
                }
                (kind, value) => _ = writeln!(text, "  {kind}: {}", bytes(value)),
            }
        }
    }
    text
}

fn expression_text(expression: &Expression<'_>) -> String {
    let is = |not: bool| if not { "!=" } else { "==" };
    match *expression {
        Expression::Compare { register, not, value } => format!("r{register} {} {}", is(not), bytes(value)),
        Expression::Bound { register, is, value } => {
            let sign = match is {
                Order::Below => "<",
                Order::AtMost => "<=",
                Order::Above => ">",
                Order::AtLeast => ">=",
            };
            format!("r{register} {sign} {}", bytes(value))
        }
        Expression::Range { register, not, from, to } => {
            format!("r{register} {} {} to {}", is(not), bytes(from), bytes(to))
        }
        Expression::Meta { key, register } => format!("r{register} = meta {key}"),
        Expression::SetMeta { key, register } => format!("meta {key} = r{register}"),
        Expression::Ct { key, register } => format!("r{register} = ct {key}"),
        Expression::SetCt { key, register } => format!("ct {key} = r{register}"),
        Expression::Payload { base, offset, length, register } => {
            format!("r{register} = {length} bytes at {offset} of header {base}")
        }
        Expression::Bitwise { from, to, mask, xor } => {
            format!("r{to} = r{from} & {} ^ {}", bytes(mask), bytes(xor))
        }
        Expression::Value { register, value } => format!("r{register} = {}", bytes(value)),
        Expression::Verdict { code, chain } => match (code, chain) {
            (verdict::JUMP, Some(chain)) => format!("jump {}", String::from_utf8_lossy(chain)),
            _ => format!("verdict {code}"),
        },
        Expression::Counter { packets, bytes } => format!("counter {packets} {bytes}"),
        Expression::Redirect { register } => format!("redirect to r{register}"),
        Expression::Tproxy { family, register } => format!("tproxy {family} to r{register}"),
        Expression::Match { name, revision, info } | Expression::Target { name, revision, info } => {
            let kind = String::from_utf8_lossy(expression.name());
            format!("{kind} {} {revision} {}", String::from_utf8_lossy(name), bytes(info))
        }
        Expression::Lookup { .. } | Expression::Other { .. } => panic!("we write no {expression:?}"),
    }
}

/// A name as such, and the rest in hexadecimal digits, words apart, without the zeros at the end of long structs.
fn bytes(value: &[u8]) -> String {
    if let [name @ .., 0] = value
        && name.len() > 1
        && name.iter().all(u8::is_ascii_graphic)
    {
        return String::from_utf8_lossy(name).into_owned();
    }
    let end = value.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let shown = if value.len() > 24 { &value[..end.next_multiple_of(4).min(value.len())] } else { value };
    let words: Vec<String> =
        shown.chunks(4).map(|word| word.iter().map(|b| format!("{b:02x}")).collect()).collect();
    let rest = if shown.len() < value.len() { format!(" … {}", value.len()) } else { String::new() };
    words.join(" ") + &rest
}

fn check(file: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, text).expect("the golden file is writable");
        return;
    }
    let golden = std::fs::read_to_string(file).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; UPDATE_GOLDEN=1 rewrites it", file.display());
}
