//! The rules of the schema that types cannot say, in CEL, which API servers evaluate from 1.25 on. Older ones pass them
//! over; then our webhook says the same.
//!
//! Pure.

use serde_json::{Value, json};

/// A path without steps that lead elsewhere.
pub(super) fn plain_path() -> Value {
    rule("!self.split('/').exists(part, part == '..' || part == '.')", "write the path without . and ..")
}

/// A number of nodes, or a part of them.
pub(super) fn int_or_percent() -> Value {
    rule(
        "type(self) == int ? self >= 1 && self <= 5000 : self.matches('^([1-9][0-9]?|100)%$')",
        "write a number from 1 to 5000, or a percentage from 1% to 100%",
    )
}

/// A policy that needs a label has one.
pub(super) fn label_is_there() -> Value {
    rule(
        "self.policy != 'Label' || self.label.contains('=')",
        "the policy Label needs a label to put on, as key=value",
    )
}

/// `*` is all of a list.
pub(super) fn star_alone() -> Value {
    rule("!('*' in self) || size(self) == 1", "* stands alone: it means all")
}

/// The proxy listens on three ports.
pub(super) fn three_ports() -> Value {
    let port = |name: &str, default: u16| format!("(has(self.{name}) ? self.{name} : {default})");
    let [outbound, inbound, tunnel] =
        [port("outboundPort", 15001), port("inboundPort", 15006), port("tunnelPort", 15008)];
    rule(
        &format!("{outbound} != {inbound} && {inbound} != {tunnel} && {outbound} != {tunnel}"),
        "outboundPort (else 15001), inboundPort (else 15006) and tunnelPort (else 15008) are three different ports",
    )
}

/// A mark that nobody else has.
pub(super) fn free_mark() -> Value {
    rule("self != 1338", "1338 marks packets of the proxy's own, choose another")
}

/// A table that the kernel does not use itself.
pub(super) fn free_table() -> Value {
    rule("self < 253 || self > 255", "253 to 255 are the kernel's own tables, choose another")
}

fn rule(rule: &str, message: &str) -> Value {
    json!([{ "rule": rule, "message": message }])
}
