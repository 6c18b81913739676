//! What is printed for programs, in the form that was asked for. Decides nothing about what is in it.

use crate::args::output::Form;
use crate::print::yaml;
use serde_json::Value;
use std::io::{self, Write};

/// Prints `value` if the form is one for programs, and says whether it is. By lines, each of the things below `items` has
/// its own; a value without any has one line.
pub(crate) fn data(form: Form, value: &Value, items: &str, out: &mut dyn Write) -> io::Result<bool> {
    match form {
        Form::Table | Form::Wide => return Ok(false),
        Form::Json => writeln!(out, "{value:#}")?,
        Form::Yaml => write!(out, "{}", yaml::document(value))?,
        Form::Jsonl => match value[items].as_array() {
            Some(each) => each.iter().try_for_each(|one| writeln!(out, "{one}"))?,
            None => writeln!(out, "{value}")?,
        },
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_form_holds_the_same() {
        let value = json!({ "pods": [{ "name": "a" }, { "name": "b" }] });
        let check = |form: Form, items: &str, expected: Option<&str>| {
            let mut out = Vec::new();
            let printed = data(form, &value, items, &mut out).unwrap();
            assert_eq!(printed.then(|| String::from_utf8(out).unwrap()).as_deref(), expected, "{form:?}");
        };
        check(Form::Table, "pods", None);
        check(Form::Wide, "pods", None);
        check(Form::Jsonl, "pods", Some("{\"name\":\"a\"}\n{\"name\":\"b\"}\n"));
        check(Form::Jsonl, "", Some("{\"pods\":[{\"name\":\"a\"},{\"name\":\"b\"}]}\n"));
        check(Form::Yaml, "", Some("pods:\n- name: a\n- name: b\n"));
    }
}
