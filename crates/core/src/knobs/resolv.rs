//! Reads the resolvers out of the text of a resolv.conf.
//!
//! As lenient as resolvers are: what is not an address is no resolver, and the order is kept.

use std::net::IpAddr;

/// The resolvers of a resolv.conf, in order, each once. A zone (`fe80::1%eth0`) is dropped: a rule compares addresses
/// only, and the incumbent's rule with a zone in it does not load.
pub fn nameservers(text: &str) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let address = match (words.next(), words.next()) {
            (Some("nameserver"), Some(address)) => address,
            _ => continue,
        };
        let address = address.split_once('%').map_or(address, |(address, _zone)| address);
        if let Ok(address) = address.parse()
            && !servers.contains(&address)
        {
            servers.push(address);
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::nameservers;

    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = nameservers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn finds_what_a_resolver_would() {
        check("", &[]);
        check("nameserver 10.96.0.10\nsearch default.svc\n", &["10.96.0.10"]);
        check("# nameserver 1.1.1.1\n  nameserver\t::1\nnameserver ::1 # twice", &["::1"]);
        check("nameserver fe80::1%eth0\nnameserver 127.0.0.53\n", &["fe80::1", "127.0.0.53"]);
        check("nameserver\nnameserver host.example\nnameserver10.0.0.1", &[]);
    }
}
