//! Which controller may lead which agents, and which step from one version to another may be taken. PURE.
//!
//! The rule: a controller leads agents of its own minor version and of the one before. So it goes first, and by one minor
//! version at a time; patches go either way.

use crate::codes::Code;
use std::fmt;

/// A version, as tags spell it: `0.1.0`, `v0.1.0`, `0.1.0-rc1`; what follows the three numbers does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) major: u64,
    pub(super) minor: u64,
    pub(super) patch: u64,
}

impl Version {
    /// Reads one.
    pub(super) fn read(text: &str) -> Option<Version> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let numbers = text.split(['-', '+']).next()?;
        let mut numbers = numbers.split('.').map(|number| number.parse::<u64>().ok());
        let version = Version { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()?? };
        numbers.next().is_none().then_some(version)
    }

    /// The version that an image's tag tells.
    pub(super) fn of_image(image: &str) -> Option<Version> {
        Version::read(tag(image)?)
    }

    fn line(self) -> (u64, u64) {
        (self.major, self.minor)
    }

    /// Whether `older` is of the same minor version, or of the one before.
    fn is_next_to(self, older: Version) -> bool {
        let steps = self.minor.checked_sub(older.minor);
        self.major == older.major && steps.is_some_and(|steps| steps <= 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The tag of an image, if it has one and no digest, which would outrank it.
fn tag(image: &str) -> Option<&str> {
    let last = image.rsplit('/').next()?;
    if last.contains('@') { None } else { last.split_once(':').map(|(_, tag)| tag) }
}

/// The image with this tag instead of its own; nothing of one that has a digest.
pub(super) fn retagged(image: &str, tag_now: &str) -> Option<String> {
    if image.contains('@') {
        return None;
    }
    let name = tag(image).map_or(image, |tag| &image[..image.len() - tag.len() - 1]);
    Some(format!("{name}:{tag_now}"))
}

/// The controller, as its Deployment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leader {
    /// No Deployment of one was found: it is somebody else's business.
    Unknown,
    /// One whose image tells this, if it tells a version.
    Deployed(Option<Version>),
}

/// What is done with the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It goes first.
    ControllerFirst,
    /// It stays as it is: it is new enough, or not to be found.
    AgentsOnly,
}

/// Why a step is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// An image's tag tells no version.
    Untold(String),
    /// Agents would go back by more than a patch.
    Back { from: Version, to: Version },
    /// Agents would go on by more than one minor version.
    Far { from: Version, to: Version },
    /// The controller is too new to lead them.
    Left { controller: Version, to: Version },
}

/// What a step from agents of these versions to `image` means. With `ignore` nothing is refused.
pub(super) fn judge(agents: &[Version], leader: Leader, image: &str, ignore: bool) -> Result<Order, Refusal> {
    let to = Version::of_image(image);
    let order = match (leader, to) {
        (Leader::Unknown, _) => Order::AgentsOnly,
        (Leader::Deployed(Some(now)), Some(to)) if now >= to => Order::AgentsOnly,
        (Leader::Deployed(_), _) => Order::ControllerFirst,
    };
    if ignore {
        return Ok(order);
    }
    let to = to.ok_or_else(|| Refusal::Untold(image.to_owned()))?;
    for from in agents.iter().copied() {
        if to < from && to.line() != from.line() {
            return Err(Refusal::Back { from, to });
        }
        if !to.is_next_to(from) {
            return Err(Refusal::Far { from, to });
        }
    }
    match leader {
        Leader::Deployed(Some(controller)) if order == Order::AgentsOnly && !controller.is_next_to(to) => {
            Err(Refusal::Left { controller, to })
        }
        _ => Ok(order),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Untold(image) => write!(
                f,
                "cannot tell the version of {image}: its tag is none; name one with a version as its tag, or go on \
                 with --ignore-skew"
            ),
            Refusal::Back { from, to } => write!(
                f,
                "cannot take agents back from {from} to {to}: an older minor version may not read the stamps, records \
                 and chain entries of a newer one; `millrace uninstall` and install {to}, or go on with --ignore-skew"
            ),
            Refusal::Far { from, to } => write!(
                f,
                "cannot upgrade agents from {from} to {to} at once: one minor version is one step; go to {}.{} first, \
                 or go on with --ignore-skew",
                from.major,
                from.minor + 1
            ),
            Refusal::Left { controller, to } => write!(
                f,
                "the controller is of {controller}, and leads no agents of {to}: only those of its own minor version \
                 and of the one before; name a newer image, or go on with --ignore-skew"
            ),
        }?;
        write!(f, " ({})", Code::VersionSkew)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::read(text).unwrap()
    }

    /// The order, or the beginning of the refusal.
    fn check(agents: &[&str], leader: Leader, image: &str, expected: Result<Order, &str>) {
        let agents: Vec<Version> = agents.iter().map(|text| version(text)).collect();
        let judged = judge(&agents, leader, image, false);
        match (&judged, expected) {
            (Ok(order), Ok(wanted)) => assert_eq!(*order, wanted),
            (Err(refusal), Err(words)) => assert!(refusal.to_string().starts_with(words), "{refusal}"),
            _ => panic!("{judged:?} is not {expected:?}"),
        }
        assert!(judge(&agents, leader, image, true).is_ok());
    }

    #[test]
    fn the_controller_goes_first_and_a_minor_version_is_a_step() {
        let led = |text: &str| Leader::Deployed(Some(version(text)));
        check(&["0.1.0"], led("0.1.0"), "r.example:5000/m:0.1.1", Ok(Order::ControllerFirst));
        check(&["0.1.0", "0.1.2"], led("0.1.0"), "m:v0.2.0-rc1", Ok(Order::ControllerFirst));
        check(&["0.1.0"], led("0.2.0"), "m:0.2.0", Ok(Order::AgentsOnly));
        check(&["0.1.3"], led("0.1.3"), "m:0.1.0", Ok(Order::AgentsOnly));
        check(&[], Leader::Unknown, "m:9.0.0", Ok(Order::AgentsOnly));
        check(&["0.1.0"], Leader::Deployed(None), "m:0.1.0", Ok(Order::ControllerFirst));
        check(&["0.1.0"], led("0.1.0"), "m:0.3.0", Err("cannot upgrade agents from 0.1.0 to 0.3.0 at once"));
        check(&["0.9.0"], led("0.9.0"), "m:1.0.0", Err("cannot upgrade agents from 0.9.0 to 1.0.0 at once"));
        check(&["0.2.0"], led("0.2.0"), "m:0.1.9", Err("cannot take agents back from 0.2.0 to 0.1.9"));
        check(&[], led("0.4.0"), "m:0.1.0", Err("the controller is of 0.4.0"));
        check(&["0.1.0"], led("0.1.0"), "m:latest", Err("cannot tell the version of m:latest"));
        check(&[], Leader::Unknown, "m@sha256:00", Err("cannot tell the version"));
    }

    #[test]
    fn tags_are_read_and_replaced() {
        assert_eq!(
            retagged("r.example:5000/a/m:0.1.0", "0.2.0").as_deref(),
            Some("r.example:5000/a/m:0.2.0")
        );
        assert_eq!(retagged("r.example:5000/a/m", "0.2.0").as_deref(), Some("r.example:5000/a/m:0.2.0"));
        assert_eq!(retagged("m@sha256:00", "0.2.0"), None);
        assert_eq!(Version::read("1.2"), None);
        assert_eq!(Version::read("1.2.3.4"), None);
    }
}
