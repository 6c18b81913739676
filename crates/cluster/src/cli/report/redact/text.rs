//! Secrets in a text, told by their shape: keys, tokens, credentials, and what follows a word such as `password=`. PURE.
//!
//! What has no such shape cannot be told from other words; nothing else is touched, and what is clean stays as it is.

use super::LEFT_OUT;
use regex::{Captures, Regex, Replacer};
use std::borrow::Cow;
use std::sync::LazyLock;

/// One kind of secret: what it looks like, and what stays of it.
struct Shape {
    found: Regex,
    /// With `$1` for what goes before and is no secret.
    kept: &'static str,
}

static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let shape =
        |found: &str, kept: &'static str| Shape { found: Regex::new(found).expect("it is a pattern"), kept };
    vec![
        // A key that was cut loses what is left of it as well.
        shape(
            r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
            "<redacted>",
        ),
        shape(r"[A-Za-z0-9+/=\s]*-----END [A-Z0-9 ]*PRIVATE KEY-----", "<redacted>"),
        shape(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)*", "<redacted>"),
        shape(r#"(?i)(authorization["']?[ \t]*[:=][ \t]*["']?[a-z]+[ \t]+)[^\s"',<>]+"#, "$1<redacted>"),
        shape(r"(?i)\b(bearer[ \t]+)[a-z0-9._~+/=-]{16,}", "$1<redacted>"),
        shape(r"([a-z][a-z0-9+.-]*://)[^/\s:@]*:[^/\s@]+@", "$1<redacted>@"),
        shape(r"\bA(?:KIA|SIA)[0-9A-Z]{16}\b", "<redacted>"),
        shape(
            &format!(
                r#"(?i)([a-z0-9_.-]*(?:{WORDS}))([ \t]*=[ \t]*["']?|\\?["'][ \t]*:[ \t]*\\?["'])[^\s"'\\,;&<>]+"#
            ),
            "$1$2<redacted>",
        ),
        shape(&format!(r"(?i)(--[a-z-]*(?:{WORDS})[ \t]+)[^\s<>-][^\s<>]*"), "$1<redacted>"),
    ]
});

/// What a name that stands for a secret ends with.
const WORDS: &str =
    "password|passwd|token|client[_-]?secret|secret[_-]?key|api[_-]?key|access[_-]?key|private[_-]?key";

/// A private key or a certificate, in base64 as Secrets and configurations of webhooks have it: `-----BEGIN`.
static ENCODED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]*").expect("it is a pattern"));
/// How a certificate begins there; it is no secret.
const CERTIFICATE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FUR";

/// The text without what looks like a secret.
pub(in crate::cli::report) fn clean(text: &str) -> String {
    let mut kept = Cow::Borrowed(text);
    for shape in SHAPES.iter() {
        kept = replaced(kept, &shape.found, shape.kept);
    }
    let encoded = |found: &Captures<'_>| {
        let whole = &found[0];
        if whole.starts_with(CERTIFICATE) { whole.to_owned() } else { LEFT_OUT.to_owned() }
    };
    replaced(kept, &ENCODED, encoded).into_owned()
}

/// Without a copy where nothing is found, which is so of most texts.
fn replaced<'t>(text: Cow<'t, str>, found: &Regex, with: impl Replacer) -> Cow<'t, str> {
    match found.replace_all(&text, with) {
        Cow::Borrowed(_) => text,
        Cow::Owned(changed) => Cow::Owned(changed),
    }
}

#[cfg(test)]
mod tests {
    use super::clean;
    use proptest::prelude::*;

    #[test]
    fn secrets_are_told_by_their_shape() {
        let check = |text: &str, expected: &str| {
            let kept = clean(text);
            assert_eq!(kept, expected);
            assert_eq!(clean(&kept), kept, "twice is once");
        };
        check(
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nnext",
            "<redacted>\nnext",
        );
        check("a -----BEGIN PRIVATE KEY-----\\nMIIE", "a <redacted>");
        check("MIIEabc\nd+/=\n-----END EC PRIVATE KEY----- b", "<redacted> b");
        let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
        check(certificate, certificate);
        check(
            "caBundle: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t",
            "caBundle: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t",
        );
        check("tls: LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQ==", "tls: <redacted>");
        check("got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln for it", "got <redacted> for it");
        check("Authorization: Bearer abcdef123456", "Authorization: Bearer <redacted>");
        check("a basic configuration; Bearer tokens", "a basic configuration; Bearer tokens");
        check("proxy http://eve:hunter2@192.0.2.1:3128/", "proxy http://<redacted>@192.0.2.1:3128/");
        check("DB_PASSWORD=hunter2 next", "DB_PASSWORD=<redacted> next");
        check(r#"{"password":"hunter2","a":1}"#, r#"{"password":"<redacted>","a":1}"#);
        check(r#""{\"token\":\"hunter2\"}""#, r#""{\"token\":\"<redacted>\"}""#);
        check("--api-key hunter2 --debug", "--api-key <redacted> --debug");
        check("key AKIAABCDEFGHIJKLMNOP.", "key <redacted>.");
        for plain in [
            "2026-01-01T00:00:00Z INFO adopted pod shop/web uid=5b1f at 10.0.0.1:15001 (MR2104)",
            "cannot read the token: permission denied",
            "automountServiceAccountToken: false\nprojected: { serviceAccountToken: { path: token } }",
            "https://192.0.2.1:6443/api?limit=500",
            "fd00::1:2 --token-file",
            "image quay.example/x@sha256:00",
        ] {
            check(plain, plain);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        /// Law: whatever is around a secret, it does not come out, and what came out is clean.
        #[test]
        fn no_secret_comes_out(before in "[ -~\n]{0,60}", after in "[ -~\n]{0,60}", which in 0..SECRETS.len()) {
            let kept = clean(&format!("{before}\n{}\n{after}", SECRETS[which]));
            prop_assert!(!kept.contains("SeCrEt0123456789"), "{}", kept);
            prop_assert_eq!(clean(&kept), kept);
        }

        /// Law: words without any of the signs that secrets have stay as they are.
        #[test]
        fn plain_words_stay(text in "[a-zA-Z0-9 .\n]{0,200}") {
            prop_assume!(!text.contains("eyJ") && !text.contains("AKIA") && !text.contains("ASIA"));
            prop_assume!(!text.to_lowercase().contains("bearer"));
            prop_assert_eq!(clean(&text), text);
        }
    }

    const SECRETS: [&str; 7] = [
        "-----BEGIN PRIVATE KEY-----\nSeCrEt0123456789\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\\nSeCrEt0123456789\\n-----END EC PRIVATE KEY-----",
        "eyJhbGciOiJub25lIn0.SeCrEt0123456789.SeCrEt0123456789",
        "authorization: bearer SeCrEt0123456789",
        "postgres://app:SeCrEt0123456789@db:5432/x",
        "MYSQL_PASSWORD=SeCrEt0123456789",
        r#""client_secret": "SeCrEt0123456789""#,
    ];
}
