//! Which address families the calling thread's network namespace has, by its own addresses.
//!
//! For callers to whom nobody says: `init`, and a plugin whose chain gave no addresses. It looks at every address, because
//! the order in which the kernel lists them must not decide whether IPv6 is protected.

use millrace_core::settings::Families;
use std::io::ErrorKind;

/// The families; IPv4 is always there.
pub fn own() -> Result<Families, std::io::Error> {
    // thread-self, not self: the thread may be in another namespace than its process.
    match std::fs::read_to_string("/proc/thread-self/net/if_inet6") {
        Ok(list) => Ok(of(&list)),
        // A kernel without IPv6 has no such list.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Families::V4),
        Err(error) => Err(error),
    }
}

/// Reads the kernel's list: address, interface's number, prefix length, scope, flags (all hexadecimal) and interface.
fn of(list: &str) -> Families {
    let counts = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (address, scope) = (fields.next(), fields.nth(2));
        // 10 is the loopback's scope, 20 the link's; ::6 is what a redirected pod has on `lo` for its proxy.
        scope.is_some_and(|scope| !matches!(scope, "10" | "20")) && address != Some(HOP)
    };
    if list.lines().any(counts) { Families::Both } else { Families::V4 }
}

const HOP: &str = "00000000000000000000000000000006";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, families: Families) {
        assert_eq!(of(list), families, "{list}");
    }

    #[test]
    fn only_an_address_that_others_can_reach_makes_a_family() {
        let lo = "00000000000000000000000000000001 01 80 10 80       lo\n";
        let link = "fe80000000000000c8d1f0fffe3a5b1c 02 40 20 80     eth0\n";
        let hop = "00000000000000000000000000000006 01 80 80 80       lo\n";
        let unique = "fd000000000000000000000000000002 02 40 00 80     eth0\n";
        check("", Families::V4);
        check(&format!("{lo}{link}{hop}"), Families::V4);
        check(&format!("{lo}{unique}{link}"), Families::Both);
        check("nonsense\n\nab cd\n", Families::V4);
    }

    #[test]
    fn the_test_machine_has_families() {
        own().unwrap();
    }
}
