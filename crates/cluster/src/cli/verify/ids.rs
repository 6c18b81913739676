//! How the users of a pod are numbered on this machine: the same, unless the pod has a user namespace of its own.

use anyhow::{Context, Result};
use millrace_core::rules::trace::Owner;
use millrace_host::netns::NetNs;
use millrace_host::probe::Who;

/// The numbering of one pod.
pub(super) enum Ids {
    /// As here.
    Same,
    /// By the maps of one of its processes.
    Mapped { users: Vec<Range>, groups: Vec<Range> },
    /// Unknown: nobody said a process of the pod.
    Unknown,
}

/// A line of `/proc/PID/uid_map`: `length` numbers from `inside` on are the numbers from `outside` on here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    inside: u32,
    outside: u32,
    length: u32,
}

impl Ids {
    /// The numbering of the pod whose namespace this is.
    pub(super) fn of(netns: &NetNs, pid: Option<u32>) -> Result<Ids> {
        if !netns.has_foreign_owner()? {
            return Ok(Ids::Same);
        }
        let Some(pid) = pid else { return Ok(Ids::Unknown) };
        let map = |name: &str| -> Result<Vec<Range>> {
            let path = format!("/proc/{pid}/{name}");
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
            Ok(text.lines().filter_map(range).collect())
        };
        Ok(Ids::Mapped { users: map("uid_map")?, groups: map("gid_map")? })
    }

    /// Whom this machine knows as `owner`; `None` if that cannot be said.
    pub(super) fn outside(&self, owner: Owner) -> Option<Who> {
        let find = |ranges: &[Range], id: u32| {
            let offset =
                |range: &&Range| id.checked_sub(range.inside).filter(|offset| *offset < range.length);
            let range = ranges.iter().find(|range| offset(range).is_some())?;
            range.outside.checked_add(id - range.inside)
        };
        match self {
            Ids::Same => Some(Who { uid: owner.uid, gid: owner.gid }),
            Ids::Mapped { users, groups } => {
                Some(Who { uid: find(users, owner.uid)?, gid: find(groups, owner.gid)? })
            }
            Ids::Unknown => None,
        }
    }
}

fn range(line: &str) -> Option<Range> {
    let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
    Some(Range { inside: numbers.next()??, outside: numbers.next()??, length: numbers.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(map: &str, uid: u32, expected: Option<u32>) {
        let users = map.lines().filter_map(range).collect();
        let groups = vec![Range { inside: 0, outside: 0, length: u32::MAX }];
        let who = Ids::Mapped { users, groups }.outside(Owner { uid, gid: 5 });
        assert_eq!(who.map(|who| who.uid), expected);
    }

    #[test]
    fn finds_the_number_outside() {
        let map = "         0     100000      65536\n     70000     300000          1\n";
        check(map, 1337, Some(101_337));
        check(map, 70_000, Some(300_000));
        check(map, 65_536, None);
        check("", 0, None);
        check("nonsense", 0, None);
    }
}
