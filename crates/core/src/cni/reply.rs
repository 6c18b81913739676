//! What goes to standard output: one JSON value, whatever happened.
//!
//! Never two documents and never an empty success: libcni takes the first for a failure and the second, on ADD, for a
//! result without addresses.

use super::version::Version;
use super::{Code, Error, Previous};
use serde_json::{Value, json};

/// The result of an ADD: the previous one as it came, in the list's version. Without one, a result that says nothing.
pub fn result(previous: Option<Previous>, version: Version) -> String {
    let Some(previous) = previous else { return line(json!({ "cniVersion": version.as_str() })) };
    let mut text = previous.stated_in(version);
    text.push('\n');
    text
}

/// The answer to VERSION.
pub fn versions() -> String {
    let all = Version::ALL.map(Version::as_str);
    line(json!({ "cniVersion": Version::NEWEST.as_str(), "supportedVersions": all }))
}

/// An error. `code` is a non-negative number and `msg` is never empty: anything else breaks the reader and hides the message.
pub fn error(error: &Error) -> String {
    let version = error.version.unwrap_or(Version::NEWEST);
    let message = if error.message.is_empty() { "failed without a message" } else { &error.message };
    let mut value =
        json!({ "cniVersion": version.as_str(), "code": error.code as u16, "msg": one_line(message) });
    if let (false, Some(map)) = (error.details.is_empty(), value.as_object_mut()) {
        map.insert("details".to_owned(), one_line(&error.details).into());
    }
    line(value)
}

/// The answer when we ourselves broke.
pub fn internal(what: &str) -> String {
    error(&Error::new(Code::Internal, "millrace-cni failed by a defect of its own").because(what))
}

fn line(value: Value) -> String {
    let mut text = value.to_string();
    text.push('\n');
    text
}

/// Runtimes print `msg; details` into logs and events: control characters would break their lines.
fn one_line(text: &str) -> String {
    text.split(char::is_control).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_of_json() {
        let failed = Error::new(Code::TryAgain, "the agent\ndid not answer").because("start it\n");
        assert_eq!(
            error(&failed.told_in(Version::V031)),
            "{\"cniVersion\":\"0.3.1\",\"code\":11,\"msg\":\"the agent did not answer\",\"details\":\"start it\"}\n"
        );
        assert_eq!(
            error(&Error::new(Code::Internal, "")),
            "{\"cniVersion\":\"1.1.0\",\"code\":999,\"msg\":\"failed without a message\"}\n"
        );
    }

    #[test]
    fn versions_are_all_told() {
        assert_eq!(
            versions(),
            "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n"
        );
    }

    #[test]
    fn no_previous_result_makes_a_result_that_says_only_its_version() {
        assert_eq!(result(None, Version::V040), "{\"cniVersion\":\"0.4.0\"}\n");
    }
}
