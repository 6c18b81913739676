//! What is looked at once for all who look at the same time, and not again too soon.
//!
//! It asks nobody itself. Whoever comes while somebody looks waits, and is told the same.

use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// For how long a look is good if nothing happened meanwhile.
const FRESH: Duration = Duration::from_secs(10);
/// For how many times as long as a look took it is good whatever happened: during a change, many who look at much take a tenth of
/// the time of whoever answers, and no more.
const ENOUGH: u32 = 10;

/// The last look.
pub(crate) struct Paced<T>(Mutex<Option<Looked<T>>>);

struct Looked<T> {
    at: Instant,
    took: Duration,
    /// The version of the MeshCNI then.
    version: String,
    found: T,
}

impl<T> Default for Paced<T> {
    fn default() -> Paced<T> {
        Paced(Mutex::default())
    }
}

impl<T: Clone> Paced<T> {
    /// What was found last, if it is good yet, while the MeshCNI has that version; else what is found now.
    pub(crate) async fn get(&self, version: &str, look: impl Future<Output = T>) -> T {
        let mut last = self.0.lock().await;
        if let Some(looked) = last.as_ref().filter(|looked| looked.is_good(version)) {
            return looked.found.clone();
        }
        let start = Instant::now();
        let found = look.await;
        let at = Instant::now();
        *last = Some(Looked { at, took: at - start, version: version.to_owned(), found: found.clone() });
        found
    }
}

impl<T> Paced<T> {
    /// Forgets what was found longer ago than that.
    pub(crate) fn forget(&self, old: Duration) {
        // Whoever looks just now keeps nothing that is old.
        if let Ok(mut last) = self.0.try_lock()
            && last.as_ref().is_some_and(|looked| looked.at.elapsed() >= old)
        {
            *last = None;
        }
    }
}

impl<T> Looked<T> {
    fn is_good(&self, version: &str) -> bool {
        let age = self.at.elapsed();
        age < self.took * ENOUGH || age < FRESH && self.version == version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::connect::block_on;

    #[test]
    fn who_comes_again_is_told_the_same_until_something_happened() {
        let paced = Paced::default();
        let get = |version: &str, found: u32| block_on(paced.get(version, async { found }));
        assert_eq!((get("1", 1), get("1", 2)), (1, 1));
        paced.forget(Duration::ZERO);
        assert_eq!((get("2", 3), get("2", 4)), (3, 3));
        // One that took long is good for a while whatever happened.
        let age = |age: u64, took: u64, version: &str| {
            let at = Instant::now() - Duration::from_secs(age);
            Looked { at, took: Duration::from_secs(took), version: "1".to_owned(), found: () }
                .is_good(version)
        };
        assert_eq!((age(9, 0, "1"), age(9, 0, "2"), age(11, 0, "1")), (true, false, false));
        assert_eq!((age(19, 2, "2"), age(21, 2, "2")), (true, false));
    }
}
