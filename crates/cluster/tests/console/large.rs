//! A large cluster: 5 000 pods of the mesh, 500 nodes and 300 namespaces, and pages that stay light and short.

use crate::program::{command, run};
use crate::served::Served;
use crate::sound::nothing_failed;
use millrace_rig::browser::Browser;
use millrace_rig::embedded::Embedded;
use millrace_rig::large::injected_pod;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// What a page may weigh with all that it needs, over the wire.
const HEAVIEST: u64 = 100 << 10;
/// The most rows of one list.
const MOST_ROWS: u64 = 100;

/// One connection over which objects are made, one after the other.
struct Maker {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Maker {
    fn make(&mut self, path: &str, object: &Value) {
        let body = object.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.get_mut().write_all(head.as_bytes()).expect("it reads");
        let (mut line, mut length, mut status) = (String::new(), 0, String::new());
        while self.stream.read_line(&mut line).expect("it answers") > 2 {
            let said = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            length = said.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(length);
            if status.is_empty() {
                status = line.clone();
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).expect("it answers");
        assert!(status.contains(" 201 "), "{path}: {status}{}", String::from_utf8_lossy(&answer));
    }
}

fn build(server: &Embedded) {
    server.done(&["apply", "--validate=false", "-f", "-"], &run(&["print", "crd"]).out);
    let host = server.url().strip_prefix("http://").expect("loopback is asked in plain").to_owned();
    let stream = TcpStream::connect(&host).expect("it listens");
    let mut maker = Maker { stream: BufReader::new(stream), host };
    for number in 0..300 {
        let metadata =
            json!({ "name": format!("team-{number:03}"), "labels": { "istio-injection": "enabled" } });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        maker.make("/api/v1/namespaces", &namespace);
    }
    for number in 0..500 {
        let name = format!("worker-{number:03}");
        maker.make(
            "/api/v1/nodes",
            &json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } }),
        );
        let report = json!({ "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNINode", "metadata": { "name": name }, "spec": {} });
        maker.make("/apis/millrace.dev/v1alpha1/meshcninodes", &report);
    }
    for number in 0..5000 {
        let namespace = format!("team-{:03}", number % 300);
        let mut pod = injected_pod(&format!("reviews-{number:04}-7d9c8f6b5-x2k9q"));
        (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
        pod["spec"]["nodeName"] = json!(format!("worker-{:03}", number % 500));
        maker.make(&format!("/api/v1/namespaces/{namespace}/pods"), &pod);
    }
}

#[test]
fn a_large_cluster_stays_usable() {
    let Some(browser) = Browser::start("console::a_large_cluster_stays_usable") else { return };
    let server = Embedded::start(env!("CARGO_BIN_EXE_millrace"), &["--no-controllers"]);
    build(&server);
    let enabled = command(&["enable"]).env("KUBECONFIG", server.kubeconfig()).output();
    assert!(enabled.expect("millrace runs").status.success());
    let served = Served::with(&server.kubeconfig(), &[]);
    served.admit(&browser);
    let check = |path: &str, shows: &str| {
        served.go(&browser, path);
        let weighed = "const all = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
            return [all.reduce((sum, one) => sum + one.transferSize, 0), document.querySelectorAll('tbody tr').length,
                all.filter((one) => one.renderBlockingStatus === 'blocking').map((one) => one.name)
                    .filter((name) => name !== location.href), document.body.innerText]";
        let found = browser.run(weighed, json!([]));
        assert!((1..HEAVIEST).contains(&found[0].as_u64().unwrap_or_default()), "{path} weighs {}", found[0]);
        assert!(found[1].as_u64() <= Some(2 * MOST_ROWS), "{path} has {} rows", found[1]);
        assert_eq!(found[2], json!([]), "{path} is painted only after these came");
        assert!(found[3].as_str().is_some_and(|text| text.contains(shows)), "{path} shows no {shows}");
    };
    check("/", "team-000");
    check("/?q=team-29", "team-299");
    check("/plan?base=1&was-mode=CNI&was-exclude=&mode=CNI&exclude=team-007", "team-007");
    check("/workloads", "5000");
    check("/workloads?page=99", "reviews-4799");
    check("/workloads?ns=team-299&q=4799", "reviews-4799");
    check("/nodes", "500");
    check("/nodes?q=worker-417", "worker-417");
    nothing_failed(&browser, "a large cluster");
}
