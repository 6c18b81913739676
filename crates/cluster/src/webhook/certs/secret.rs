//! The certificates as the data of a Secret, and back. PURE.
//!
//! The names are those of Secrets of type `kubernetes.io/tls`, so that common tools show them. What cannot be read whole is
//! not used in part: everything is made anew then.

use super::{Authority, Certs, Serving, Validity};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The key below which dates and names stand, which the certificates say too, but to a reader of ASN.1.
const STATE: &str = "millrace.json";
/// What ends one certificate in a text with several.
const END: &str = "-----END CERTIFICATE-----\n";

/// What a Secret holds, text by key.
pub(crate) type Data = BTreeMap<String, String>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    authorities: Vec<(u64, u64)>,
    serving: (u64, u64),
    names: Vec<String>,
    by_newest: bool,
    since: u64,
}

/// The data of a Secret with these certificates.
pub(crate) fn write(certs: &Certs) -> Data {
    let pair = |validity: Validity| (validity.from, validity.until);
    let serving = &certs.serving;
    let state = State {
        authorities: certs.authorities.iter().map(|one| pair(one.validity)).collect(),
        serving: pair(serving.validity),
        names: serving.names.clone(),
        by_newest: serving.by_newest,
        since: certs.since,
    };
    let state = serde_json::to_string(&state).expect("numbers and texts can be written");
    let data = [
        ("ca.crt", certs.bundle()),
        ("ca.key", certs.signing_key.clone()),
        ("tls.crt", serving.certificate.clone()),
        ("tls.key", serving.key.clone()),
        (STATE, state),
    ];
    data.map(|(key, text)| (key.to_owned(), text)).into()
}

/// The certificates in the data of a Secret; `None` if they are not all there.
pub(crate) fn read(data: &Data) -> Option<Certs> {
    let state: State = serde_json::from_str(data.get(STATE)?).ok()?;
    let validity = |(from, until): (u64, u64)| Validity { from, until };
    let bundle = data.get("ca.crt")?;
    let certificates: Vec<&str> = bundle.split_inclusive(END).collect();
    let whole = certificates.iter().all(|one| one.ends_with(END));
    if !whole || certificates.is_empty() || certificates.len() != state.authorities.len() {
        return None;
    }
    let authorities = certificates.iter().zip(state.authorities).map(|(certificate, times)| Authority {
        certificate: (*certificate).to_owned(),
        validity: validity(times),
    });
    let certs = Certs {
        authorities: authorities.collect(),
        signing_key: data.get("ca.key")?.clone(),
        serving: Serving {
            certificate: data.get("tls.crt")?.clone(),
            key: data.get("tls.key")?.clone(),
            validity: validity(state.serving),
            names: state.names,
            by_newest: state.by_newest,
        },
        since: state.since,
    };
    Some(certs)
}

#[cfg(test)]
mod tests {
    use super::super::{Step, make};
    use super::*;

    fn check(change: impl FnOnce(&mut Data), readable: bool) {
        let names = ["127.0.0.1".to_owned()];
        let first = make::carry_out(Step::Start, None, &names, 1_800_000_000).expect("certificates");
        let certs = make::carry_out(Step::Add, Some(&first), &names, 1_800_000_000).expect("certificates");
        let mut data = write(&certs);
        change(&mut data);
        assert_eq!(read(&data), readable.then_some(certs));
    }

    #[test]
    fn what_is_written_reads_back_or_not_at_all() {
        check(|_| {}, true);
        for key in ["ca.crt", "ca.key", "tls.crt", "tls.key", STATE] {
            check(|data| drop(data.remove(key)), false);
        }
        let text =
            |data: &mut Data, key: &str, text: &str| drop(data.insert(key.to_owned(), text.to_owned()));
        check(|data| text(data, "ca.crt", ""), false);
        check(|data| text(data, "ca.crt", "nonsense"), false);
        check(|data| text(data, STATE, "{}"), false);
        check(
            |data| {
                let one = data["ca.crt"].split_inclusive(END).next().expect("a certificate").to_owned();
                text(data, "ca.crt", &one);
            },
            false,
        );
    }
}
