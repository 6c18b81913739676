//! Whether a controller acts: what its Lease says. Reads, and writes nothing.

use super::connect::{Connection, Error};
use crate::print::words::CONTROLLER;
use k8s_openapi::api::coordination::v1::Lease as ApiLease;
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;

/// How much clocks may differ before a Lease is called old, in seconds.
const SLACK: i64 = 30;

/// Who holds the Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Who; empty if nobody does, or there is none.
    pub(crate) holder: String,
    /// When it was last renewed.
    pub(crate) renewed: Option<Timestamp>,
    /// For how many seconds a claim lasts.
    pub(crate) lasts: i64,
}

/// Why nobody is known to act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Nobody holds the Lease.
    Nobody,
    /// Its holder has not renewed it for so many seconds, if that is known.
    Silent(Option<i64>),
}

impl Lease {
    /// Why nobody is known to act; nothing while somebody does.
    pub(crate) fn absent(&self, now: Timestamp) -> Option<Absent> {
        if self.holder.is_empty() {
            return Some(Absent::Nobody);
        }
        let age = self.renewed.map(|renewed| now.duration_since(renewed).as_secs());
        let renews = age.is_some_and(|age| age <= self.lasts + SLACK);
        (!renews).then_some(Absent::Silent(age))
    }
}

/// Reads the Lease in the controller's namespace; nothing if there is none.
pub(crate) async fn read(connection: &Connection, home: &str) -> Result<Option<Lease>, Error> {
    let api: Api<ApiLease> = Api::namespaced(connection.client.clone(), home);
    let act = format!("read Lease {home}/{CONTROLLER}");
    let found = connection.ask(&act, api.get_opt(CONTROLLER)).await?;
    Ok(found.map(|lease| {
        let spec = lease.spec.unwrap_or_default();
        Lease {
            holder: spec.holder_identity.unwrap_or_default(),
            renewed: spec.renew_time.map(|time| time.0),
            lasts: spec.lease_duration_seconds.unwrap_or_default().into(),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(holder: &str, renewed: Option<i64>, expected: Option<Absent>) {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        let lease = Lease { holder: holder.to_owned(), renewed: renewed.map(at), lasts: 15 };
        assert_eq!(lease.absent(at(1000)), expected);
    }

    #[test]
    fn who_renews_in_time_is_there() {
        check("", Some(1000), Some(Absent::Nobody));
        check("one", None, Some(Absent::Silent(None)));
        check("one", Some(955), None);
        check("one", Some(954), Some(Absent::Silent(Some(46))));
        check("one", Some(2000), None);
    }
}
