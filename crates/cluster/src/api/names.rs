//! What may be a name, a label, a path or an image in Kubernetes. PURE.
//!
//! By the words of its documents and of the distribution specification; it looks nothing up.

/// A DNS label (RFC 1123), as namespaces and containers are named by.
pub(crate) fn is_dns_label(text: &str) -> bool {
    is_word(text, b"-") && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// A qualified name, as keys of labels and taints are: a word of at most 63 signs, behind a domain and a slash perhaps.
pub(crate) fn is_key(text: &str) -> bool {
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    let is_domain = |domain: &str| {
        domain.len() <= 253 && domain.split('.').all(|part| part.len() <= 63 && is_dns_label(part))
    };
    is_word(name, b"-_.") && domain.is_none_or(is_domain)
}

/// What a label's value may be.
pub(crate) fn is_value(text: &str) -> bool {
    text.is_empty() || is_word(text, b"-_.")
}

/// A label as `key=value`.
pub(crate) fn label(text: &str) -> Option<(&str, &str)> {
    text.split_once('=').filter(|(key, value)| is_key(key) && is_value(value))
}

/// An absolute path without `.`, `..` and empty steps.
pub(crate) fn is_plain_path(text: &str) -> bool {
    let step = |step: &str| !matches!(step, "" | "." | "..") && !step.contains('\0');
    (2..=1024).contains(&text.len()) && text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(step))
}

/// An image, as a runtime is told it: a name, behind a registry perhaps, with a tag or a digest.
pub(crate) fn is_image(text: &str) -> bool {
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[slash..].split_once(':') {
        Some((last, tag)) => (&rest[..slash + last.len()], Some(tag)),
        None => (rest, None),
    };
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), path),
        _ => (None, name),
    };
    let is_part = |part: &str| is_word(part, b"-_.") && !part.bytes().any(|byte| byte.is_ascii_uppercase());
    (1..=1024).contains(&text.len())
        && path.split('/').all(is_part)
        && registry.is_none_or(is_registry)
        && tag.is_none_or(|tag| tag.len() <= 128 && has_only(tag, b"-_.") && !tag.starts_with(['-', '.']))
        && digest.is_none_or(is_digest)
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    is_word(host, b"-.") && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(kind, digits)| {
        is_word(kind, b"+._-")
            && (32..=256).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Letters and digits at both ends, and `inner` between them; at most 63 in all.
fn is_word(text: &str, inner: &[u8]) -> bool {
    let ends = [text.bytes().next(), text.bytes().last()];
    (1..=63).contains(&text.len())
        && has_only(text, inner)
        && ends.into_iter().flatten().all(|byte| byte.is_ascii_alphanumeric())
}

fn has_only(text: &str, inner: &[u8]) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || inner.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(is: fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        good.iter().for_each(|text| assert!(is(text), "{text:?} is one"));
        bad.iter().for_each(|text| assert!(!is(text), "{text:?} is none"));
    }

    #[test]
    fn names_are_as_kubernetes_has_them() {
        let long = "a".repeat(64);
        check(is_dns_label, &["a", "kube-system", "0"], &["", "A", "-a", "a-", "a.b", "a_b", &long]);
        check(
            is_key,
            &["a", "A_b.c", "millrace.dev/x"],
            &["", "/a", "a/", "a/b/c", "a..b/c", "A/b", "-a", &long],
        );
        check(is_value, &["", "a", "A_b.c-d"], &["a b", "-a", "a/b", &long]);
        check(|text| label(text).is_some(), &["a=b", "a=", "x.y/a=b"], &["a", "=b", "a=b=c", "a=b c"]);
        check(is_plain_path, &["/a", "/etc/cni/net.d"], &["", "/", "a", "/a/", "//a", "/a/../b", "/./a"]);
    }

    #[test]
    fn images_are_as_registries_have_them() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        let good = ["a", "localhost/millrace:0.1.0", "r.example:5000/x/y_z:V1", "a/b", &digest, "r.io/a:b"];
        let bad = [
            "",
            "A",
            "a:",
            "a b",
            "a//b",
            "r.io/a:-b",
            "http://a",
            "a@sha256:0",
            "r.io:x/a",
            "a@",
            "/a",
            "a/",
        ];
        check(is_image, &good, &bad);
    }
}
