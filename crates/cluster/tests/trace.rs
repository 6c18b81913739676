//! `millrace trace`: packets through planned rules, by the built program.

use std::process::{Command, Output};

fn millrace(args: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millrace")).args(args.split(' ')).output().expect("millrace runs")
}

/// The last line says what becomes of the packet.
fn check(args: &str, outcome: &str) {
    let output = millrace(&format!("trace {args}"));
    let text = String::from_utf8(output.stdout).expect("text");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text.lines().last(), Some(format!("outcome: {outcome}").as_str()), "{args}: {text}{error}");
}

#[test]
fn where_packets_end_up() {
    check("--to 203.0.113.5:80", "redirected to port 15001");
    check("--to [2001:db8:5::1]:80", "redirected to port 15001");
    check("--to 203.0.113.5:80 --uid 1337", "direct");
    check("--to 203.0.113.5:80 --uid 0 --gid 1337", "direct");
    check("--to 203.0.113.5:53 --proto udp", "direct");
    check("--to 203.0.113.5 --proto other", "direct");
    check("--to 127.0.0.1:9080", "direct");
    check("--to 192.0.2.10:9080", "direct");
    check("--to 192.0.2.10:9080 --uid 1337", "redirected to port 15006");
    check("--from 127.0.0.6 --to 192.0.2.10:9080 --uid 1337 --out lo", "direct");
    check("--to 192.0.2.10:9080 --in eth0", "redirected to port 15006");
    check("--to [2001:db8::10]:9080 --in eth0", "redirected to port 15006");
    check("--to 192.0.2.10:15021 --in eth0", "direct");
}

#[test]
fn settings_count() {
    check("--set excludeOutboundPorts=80 --to 203.0.113.5:80", "direct");
    check("--set dnsCapture=all --to 203.0.113.5:53 --proto udp", "redirected to port 15053");
    check("--set mode=TPROXY --to 192.0.2.10:9080 --in eth0", "delivered to port 15006, addresses unchanged");
    check("--to 203.0.113.5:80 -- -i 10.0.0.0/8 -b *", "direct");
}

#[test]
fn every_step_says_why() {
    let output = millrace("trace --to 192.0.2.10:9080 --in eth0");
    let text = String::from_utf8(output.stdout).expect("text");
    let expected = "\
received: tcp from 198.51.100.7 port 40000 to 192.0.2.10 port 9080, in by eth0
  IPv4 nat PREROUTING
    ✓   1  -p tcp -j ISTIO_INBOUND
           P4: incoming TCP is looked at for capture
  IPv4 nat ISTIO_INBOUND
    ✗   1  -p tcp -m tcp --dport 15008 -j RETURN
           fails: to port 15008
    ✗   2  -p tcp -m tcp --dport 15020 -j RETURN
           fails: to port 15020
    ✗   3  -p tcp -m tcp --dport 15021 -j RETURN
           fails: to port 15021
    ✗   4  -p tcp -m tcp --dport 15090 -j RETURN
           fails: to port 15090
    ✓   5  -p tcp -j ISTIO_IN_REDIRECT
           I3: every other inbound port is captured
  IPv4 nat ISTIO_IN_REDIRECT
    ✓   1  -p tcp -j REDIRECT --to-ports 15006
           R2: captured inbound TCP goes to the proxy's inbound listener
outcome: redirected to port 15006
";
    assert_eq!(text, expected);
}

#[test]
fn what_cannot_be_followed() {
    let check = |args: &str, says: &str| {
        let output = millrace(&format!("trace {args}"));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(says), "{args}: {error}");
    };
    check("--to nowhere", "write an address");
    check("--from ::1 --to 127.0.0.1", "are of two families");
    check("--to 127.0.0.1 --in a/b", "is not the name of an interface");
    check("--to 127.0.0.1 --in eth0 --uid 5", "cannot be used with");
}
