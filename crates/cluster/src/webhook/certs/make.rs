//! Makes the webhook's keys and certificates, as a step says. Nothing is kept here and nothing is sent.
//!
//! Keys are of ECDSA P-256, which every API server takes. An authority can sign nothing but serving certificates.

use super::{AUTHORITY, Authority, Certs, MOST_AUTHORITIES, SERVING, Serving, Step, Validity};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

/// Why a certificate cannot be made or served.
#[derive(Debug)]
pub(crate) enum Error {
    /// It cannot be made.
    Make(rcgen::Error),
    /// It cannot be served.
    Serve(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Make(cause) => write!(
                f,
                "make the webhook's certificate: {cause}; see that its names are DNS names or addresses"
            ),
            Error::Serve(cause) => {
                write!(f, "serve the webhook's certificate: {cause}; delete the Secret to have it made anew")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<rcgen::Error> for Error {
    fn from(cause: rcgen::Error) -> Error {
        Error::Make(cause)
    }
}

/// The time, as certificates count it.
pub(crate) fn now() -> u64 {
    // A clock before 1970 finds every certificate to be of the future, and makes others.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Does what the step says.
pub(crate) fn carry_out(
    step: Step,
    certs: Option<&Certs>,
    names: &[String],
    now: u64,
) -> Result<Certs, Error> {
    let Some(certs) = certs.filter(|certs| !certs.authorities.is_empty()) else {
        return start(&[], names, now);
    };
    let mut next = Certs { since: now, ..certs.clone() };
    match step {
        Step::Keep => return Ok(certs.clone()),
        Step::Start => return start(&certs.authorities, names, now),
        Step::Add => {
            let (authority, key) = authority(now)?;
            next.authorities.push(authority);
            next.signing_key = key;
            next.serving.by_newest = false;
        }
        Step::Issue => {
            let newest = certs.authorities.last().expect("there is one");
            next.serving = serving(newest, &certs.signing_key, names, now)?;
        }
        Step::Drop => {}
    }
    // An authority is no longer needed when what it signed is no longer served; until then none is forgotten.
    let most = if step == Step::Drop { 1 } else { MOST_AUTHORITIES };
    let surplus = next.authorities.len().saturating_sub(most);
    next.authorities.drain(..surplus);
    Ok(next)
}

/// What a server needs of it.
pub(crate) fn served(certs: &Certs) -> Result<Arc<CertifiedKey>, Error> {
    let serving = &certs.serving;
    pair(serving.certificate.as_bytes(), serving.key.as_bytes()).map_err(Error::Serve)
}

/// A certificate, those it leads to after it, and its key, each as PEM; or why they cannot be served.
pub(crate) fn pair(certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|cause| cause.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|cause| cause.to_string())?;
    let served = CertifiedKey::from_der(chain, key, &ring::default_provider());
    served.map(Arc::new).map_err(|cause| cause.to_string())
}

fn start(trusted: &[Authority], names: &[String], now: u64) -> Result<Certs, Error> {
    let (authority, key) = authority(now)?;
    let serving = serving(&authority, &key, names, now)?;
    let kept = trusted.len().min(MOST_AUTHORITIES - 1);
    let mut authorities = trusted[trusted.len() - kept..].to_vec();
    authorities.push(authority);
    Ok(Certs { authorities, signing_key: key, serving, since: now })
}

fn authority(now: u64) -> Result<(Authority, String), Error> {
    let validity = Validity::starting(now, AUTHORITY);
    let key = KeyPair::generate()?;
    let certificate = authority_params(validity).self_signed(&key)?.pem();
    Ok((Authority { certificate, validity }, key.serialize_pem()))
}

/// The same each time, so that the certificate itself need not be read again to sign by it.
fn authority_params(validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // Two authorities that are trusted at once are told apart by their names.
    params
        .distinguished_name
        .push(DnType::CommonName, format!("millrace webhook authority {}", validity.from));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    limit(&mut params, validity);
    params
}

fn serving(authority: &Authority, signing_key: &str, names: &[String], now: u64) -> Result<Serving, Error> {
    let Validity { until, .. } = authority.validity;
    let validity = Validity::starting(now, SERVING);
    let validity = Validity { until: validity.until.min(until), ..validity };
    let issuer = Issuer::new(authority_params(authority.validity), KeyPair::from_pem(signing_key)?);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "millrace webhook");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    limit(&mut params, validity);
    let certificate = params.signed_by(&key, &issuer)?.pem();
    let names = names.to_vec();
    Ok(Serving { certificate, key: key.serialize_pem(), validity, names, by_newest: true })
}

fn limit(params: &mut CertificateParams, validity: Validity) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(validity.from);
    params.not_after = epoch + Duration::from_secs(validity.until);
}

/// The name of whoever signed a certificate, as it stands in it.
#[cfg(test)]
pub(super) fn issuer_of(certificate: &str) -> String {
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    let words = String::from_utf8_lossy(&der).into_owned();
    let start = words.find("millrace webhook authority").expect("the issuer comes first");
    words[start..].chars().take_while(|char| !char.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::RootCertStore;
    use tokio_rustls::rustls::client::WebPkiServerVerifier;
    use tokio_rustls::rustls::client::danger::ServerCertVerifier;
    use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};

    const NOW: u64 = 1_800_000_000;

    /// Whether a client that trusts this bundle takes what is served under that name at that time.
    fn check(certs: &Certs, bundle: &str, name: &'static str, now: u64, expected: bool) {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(certificate.expect("PEM")).expect("an authority");
        }
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("roots");
        let served = served(certs).expect("it can be served");
        let name = ServerName::try_from(name).expect("a name");
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let verified = verifier.verify_server_cert(&served.cert[0], &[], &name, &[], time);
        assert_eq!(verified.is_ok(), expected, "{name:?} {now}: {verified:?}");
    }

    #[test]
    fn a_client_takes_it_where_and_when_it_should() {
        let names = ["millrace.system.svc".to_owned(), "127.0.0.1".to_owned()];
        let first = carry_out(Step::Start, None, &names, NOW).expect("certificates");
        check(&first, &first.bundle(), "millrace.system.svc", NOW, true);
        check(&first, &first.bundle(), "127.0.0.1", NOW - 3_600, true);
        check(&first, &first.bundle(), "other.system.svc", NOW, false);
        check(&first, &first.bundle(), "127.0.0.1", NOW + 31 * 86_400, false);
        let added = carry_out(Step::Add, Some(&first), &names, NOW).expect("certificates");
        check(&added, &first.bundle(), "127.0.0.1", NOW, true);
        let issued = carry_out(Step::Issue, Some(&added), &names, NOW).expect("certificates");
        check(&issued, &added.bundle(), "127.0.0.1", NOW, true);
        check(&issued, &first.bundle(), "127.0.0.1", NOW, false);
        let dropped = carry_out(Step::Drop, Some(&issued), &names, NOW).expect("certificates");
        check(&issued, &dropped.bundle(), "127.0.0.1", NOW, true);
        check(&added, &dropped.bundle(), "127.0.0.1", NOW, false);
        let odd = carry_out(Step::Start, None, &["ümlaut".to_owned()], NOW).expect_err("no DNS name");
        assert!(odd.to_string().starts_with("make the webhook's certificate: "), "{odd}");
    }
}
