//! Webhooks that are told to go while they are asked, and that hear late of what is wanted.

use crate::cluster::{Cluster, Controller, address, webhook};
use crate::on_each;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

fn is_running(mesh: &Value) -> bool {
    mesh["status"]["phase"] == "Running" && is_heard(mesh)
}

/// Whether no webhook goes by an earlier generation.
fn is_heard(mesh: &Value) -> bool {
    mesh["status"]["admittedGeneration"] == mesh["metadata"]["generation"]
}

/// The first line of the answer about a controller.
fn page(address: &str, path: &str) -> String {
    let mut answer = String::new();
    let mut stream = TcpStream::connect(address).expect("it serves on");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it listens");
    stream.read_to_string(&mut answer).expect("it answers");
    answer.lines().next().unwrap_or_default().to_owned()
}

/// Told to go, it is not ready and leads no more, answers reviews for a while, and ends well.
#[test]
fn one_that_goes_answers_while_it_is_asked() {
    on_each("controller::one_that_goes_answers_while_it_is_asked", |api| {
        let cluster = Cluster::new(api);
        cluster.node("n1", true);
        cluster.serves("n1", true);
        let (webhook, metrics) = (webhook(), address());
        let more = ["--metrics-address", &metrics, "--linger-seconds", "20"];
        let args: Vec<&str> = webhook.iter().map(String::as_str).chain(more).collect();
        let controller = Controller::with(api, "one", &args);
        cluster.wants(json!({}));
        cluster.until("it runs", is_running);
        cluster.meshed("pod");
        cluster.until_converted("pod");
        assert_eq!(page(&metrics, "/readyz"), "HTTP/1.1 200 OK");

        controller.tell(Signal::TERM);
        cluster.until_true("it is not ready", || page(&metrics, "/readyz").contains("503"));
        cluster.until_true("the Lease is free", || {
            cluster.get("lease/millrace-controller")["spec"]["holderIdentity"] == ""
        });
        cluster.restart("pod");
        assert!(cluster.stamp("pod").contains("redirect"), "it answers on: {}", cluster.stands());
        assert_eq!(page(&metrics, "/livez"), "HTTP/1.1 200 OK");
        // Told once more it lingers no longer, and ends well.
        controller.end(Signal::TERM);
    });
}

/// Whoever is told that pods redirect themselves again can restart them: no webhook converts one any more, also not one that was
/// away for as long as it liked.
#[test]
fn nobody_is_told_before_every_webhook_has_heard() {
    on_each("controller::nobody_is_told_before_every_webhook_has_heard", |api| {
        let cluster = Cluster::new(api);
        cluster.node("n1", true);
        cluster.serves("n1", true);
        // The first acts, and the API server asks the second.
        let (asked, own) = (webhook(), address());
        let first = Controller::with(api, "first", &["--webhook-address", &own, "--webhook-url", &asked[3]]);
        cluster.until_there("lease/millrace-controller");
        let second = Controller::with(api, "second", &asked.each_ref().map(String::as_str));
        cluster.wants(json!({}));
        cluster.until("it runs", is_running);
        cluster.meshed("pod");
        cluster.until_converted("pod");

        second.tell(Signal::STOP);
        cluster.wants(json!({ "mode": "InitContainer" }));
        cluster.until("the second is waited for", |mesh| {
            mesh["status"]["state"] == "Draining"
                && mesh["status"].to_string().contains("webhooks have yet to hear of it")
        });
        assert!(!is_heard(&cluster.mesh()), "{}", cluster.stands());
        second.tell(Signal::CONT);
        cluster.until("it has heard", is_running);
        cluster.restart("pod");
        assert_eq!(cluster.stamp("pod"), "", "{}", cluster.stands());

        cluster.wants(json!({}));
        cluster.until("it runs again", is_running);
        cluster.until_converted("pod");
        second.tell(Signal::STOP);
        cluster.wants(json!({ "mode": "InitContainer" }));
        cluster.until("nobody waits for ever", is_running);
        second.tell(Signal::CONT);
        cluster.restart("pod");
        assert_eq!(cluster.stamp("pod"), "", "{}", cluster.stands());
        second.end(Signal::TERM);
        first.end(Signal::TERM);
    });
}
