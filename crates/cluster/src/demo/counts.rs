//! Numbers of connections by direction and family: what every witness gives, so that they can be compared.

use std::fmt;
use std::ops::{AddAssign, Sub};

/// Numbers of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// On their way in, IPv4 and IPv6.
    pub(crate) inbound: Both,
    /// On their way out, IPv4 and IPv6.
    pub(crate) outbound: Both,
}

/// A number for each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Both {
    /// IPv4
    pub(crate) v4: u64,
    /// IPv6
    pub(crate) v6: u64,
}

impl Both {
    /// Their sum.
    pub(crate) fn all(self) -> u64 {
        self.v4 + self.v6
    }

    /// The number of one family.
    pub(crate) fn of(&mut self, v4: bool) -> &mut u64 {
        if v4 { &mut self.v4 } else { &mut self.v6 }
    }
}

impl fmt::Display for Both {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (v4 {}, v6 {})", self.all(), self.v4, self.v6)
    }
}

impl AddAssign for Both {
    fn add_assign(&mut self, more: Both) {
        self.v4 += more.v4;
        self.v6 += more.v6;
    }
}

impl Sub for Both {
    type Output = Both;

    /// A counter that went backwards was reset, which nobody here does: it wraps to a number no other witness confirms.
    fn sub(self, earlier: Both) -> Both {
        Both { v4: self.v4.wrapping_sub(earlier.v4), v6: self.v6.wrapping_sub(earlier.v6) }
    }
}

impl Sub for Counts {
    type Output = Counts;

    /// What came to be counted since `earlier`.
    fn sub(self, earlier: Counts) -> Counts {
        Counts { inbound: self.inbound - earlier.inbound, outbound: self.outbound - earlier.outbound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_is_subtracted_by_direction_and_family() {
        let both = |v4, v6| Both { v4, v6 };
        let before = Counts { inbound: both(1, 1), outbound: both(1, 0) };
        let after = Counts { inbound: both(5, 3), outbound: both(1, 2) };
        assert_eq!(after - before, Counts { inbound: both(4, 2), outbound: both(0, 2) });
        assert_eq!(both(4, 2).to_string(), "6 (v4 4, v6 2)");
    }
}
