//! The console that a controller serves, against a real API server: who is let in, by whose rights he looks and acts, and who is not.

use super::browser::{Answer, Browser, attribute, value_of};
use super::cluster::{Cluster, Controller, address};
use super::install::printed;
use millrace_rig::apiserver::Apiserver;
use millrace_rig::embedded::{Embedded, Server};
use millrace_rig::wait::until;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// A controller with a console, and whatever anybody was answered there.
struct Served {
    controller: Controller,
    address: String,
    heard: std::cell::RefCell<String>,
}

impl Served {
    fn start(api: &dyn millrace_rig::embedded::Api, flags: &[&str]) -> Served {
        let address = address();
        let usual = ["--webhook-address", "none", "--console-address", &address];
        let controller = Controller::with(api, "console", &[&usual, flags].concat());
        until("the console listens", PATIENCE, || {
            TcpStream::connect(&address).map(drop).map_err(|why| why.to_string())
        });
        Served { controller, address, heard: Default::default() }
    }

    fn browser(&self) -> Browser {
        Browser { address: self.address.clone(), cookie: String::new() }
    }

    fn login(&self, token: &str) -> (Browser, Answer) {
        let mut browser = self.browser();
        let answer = self.hear(browser.post("/login", &format!("token={token}&back=/history")));
        browser.cookie = answer.cookie().unwrap_or_default();
        (browser, answer)
    }

    /// One that is let in.
    fn enter(&self, token: &str) -> Browser {
        let (browser, answer) = self.login(token);
        assert!(
            answer.status == 303 && answer.head.contains("location: /history"),
            "{} {}",
            answer.head,
            answer.body
        );
        assert!(answer.head.contains("; HttpOnly; SameSite=Strict; Path=/"), "{}", answer.head);
        browser
    }

    fn hear(&self, answer: Answer) -> Answer {
        self.heard.borrow_mut().push_str(&answer.head);
        self.heard.borrow_mut().push_str(&answer.body);
        answer
    }
}

fn state(answer: &Answer) -> String {
    attribute(&answer.body, "data-state")
}

#[test]
fn each_looks_and_acts_by_his_own_rights() {
    let test = "controller::each_looks_and_acts_by_his_own_rights";
    let Some(api) = Apiserver::start(test) else { return };
    let cluster = Cluster::of(&api, &printed(&["controller"]).replace("policy/v1\n", "policy/v1beta1\n"));
    let [stranger, viewer, operator] = ["stranger", "viewer", "operator"].map(|name| {
        let token = api.token("millrace-system", name);
        if name != "stranger" {
            let bind = [
                format!("--clusterrole=millrace-{name}"),
                format!("--serviceaccount=millrace-system:{name}"),
            ];
            api.done(&["create", "clusterrolebinding", name, &bind[0], &bind[1]], "");
        }
        token
    });
    let served = Served::start(&api, &[]);
    nobody_is_told_anything(&served, &operator);

    // Who may not look is told so, and what to ask for.
    let browser = served.enter(&stranger);
    let page = served.hear(browser.get("/"));
    assert_eq!((page.status, state(&page).as_str()), (403, "barred"), "{}", page.body);
    assert!(page.body.contains("MR1105") && page.body.contains("millrace-viewer"), "{}", page.body);

    let browser = served.enter(&operator);
    let query = "base=0&was-mode=Disabled&was-exclude=kube-system,istio-system&mode=CNI&exclude=kube-system";
    let first = served.hear(browser.get("/"));
    assert!(first.body.contains("system:serviceaccount:millrace-system:operator"), "{}", first.body);
    let csrf = value_of(&first.body, "csrf").expect("a form has it");
    let sent = served.hear(browser.post("/update", &format!("csrf={csrf}&{query}")));
    assert_eq!(sent.status, 303, "{}", sent.body);
    cluster.until("history names who it was", |mesh| {
        let by = mesh["status"]["history"][0]["by"].as_str().unwrap_or_default();
        by == "millrace-cli:system:serviceaccount:millrace-system:operator"
    });
    assert!(
        served
            .controller
            .said("by=\"millrace-cli:system:serviceaccount:millrace-system:operator\" act=\"update\"")
    );

    let looking = served.enter(&viewer);
    a_viewer_changes_nothing(&served, &cluster, &looking, &csrf);
    a_proxy_says_who_asks(&served, &viewer, &browser);

    // Who leaves is out; who is sent away is out as well.
    let mut events = looking.connect("GET", "/events", &[], "");
    assert_eq!(served.hear(looking.post("/logout", &format!("csrf={}", looking.csrf()))).status, 303);
    events.read_to_string(&mut String::new()).expect("with a session its streams end");
    assert_eq!(state(&served.hear(looking.get("/"))), "session-expired");
    api.done(&["delete", "serviceaccount", "-n", "millrace-system", "operator"], "");
    until("who was sent away is out", PATIENCE, || {
        let page = served.hear(browser.get("/"));
        if page.status == 401 && state(&page) == "session-expired" { Ok(()) } else { Err(page.body) }
    });

    wrong_tokens_wait(&served, &viewer);
    let heard = served.heard.borrow().clone();
    for token in [&stranger, &viewer, &operator] {
        assert!(!heard.contains(token.as_str()), "a token is in an answer");
        assert!(!served.controller.said(token), "a token is in the log");
    }
}

fn nobody_is_told_anything(served: &Served, token: &str) {
    let browser = served.browser();
    for path in ["/", "/plan?mode=CNI", "/workloads", "/nodes", "/history", "/events", "/none"] {
        let page = served.hear(browser.get(path));
        assert_eq!((page.status, state(&page).as_str()), (401, "login"), "{path}: {}", page.body);
        assert!(!page.body.contains("127.0.0.1"), "it names the API server: {}", page.body);
        let stale =
            served.hear(browser.ask("GET", path, &[("Cookie", &format!("{}=0", cookie_name(served)))], ""));
        assert_eq!((stale.status, state(&stale).as_str()), (401, "session-expired"), "{path}");
        assert_eq!(browser.ask("GET", path, &[("Host", "evil.example")], "").status, 403);
    }
    let port = served.address.rsplit(':').next().expect("a port");
    assert_eq!(
        browser.ask("GET", "/login", &[("Host", "localhost:1")], "").status,
        401,
        "kubectl chooses a port"
    );
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let own = format!("http://{}", served.address);
    let body = format!("token={token}");
    for headers in [
        &[form][..],
        &[form, ("Origin", "http://evil.example")],
        &[form, ("Origin", "null")],
        &[form, ("Origin", &format!("http://localhost:{port}"))],
        &[form, ("Origin", &own), ("Sec-Fetch-Site", "same-site")],
        &[form, ("Origin", "http://evil.example"), ("Host", "evil.example")],
    ] {
        let answer = served.hear(browser.ask("POST", "/login", headers, &body));
        assert!(answer.status == 403 && answer.cookie().is_none(), "{headers:?}: {}", answer.body);
    }
    let (_, wrong) = served.login("nobodys");
    assert!(
        wrong.status == 401 && state(&wrong) == "login-wrong" && wrong.cookie().is_none(),
        "{}",
        wrong.body
    );
    let asked = browser.get(&format!("/login?token={token}"));
    assert!(asked.cookie().is_none() && !asked.body.contains(token), "a token in an address is nobody's");
}

fn cookie_name(served: &Served) -> String {
    format!("millrace-{}", served.address.rsplit(':').next().expect("a port"))
}

fn a_viewer_changes_nothing(served: &Served, cluster: &Cluster<'_>, viewer: &Browser, others: &str) {
    until("the page is for looking alone", PATIENCE, || {
        let page = served.hear(viewer.get("/"));
        let only =
            page.body.contains("<fieldset disabled>") && page.body.contains("data-notice=\"read-only\"");
        if only { Ok(()) } else { Err(page.body) }
    });
    let generation = cluster.mesh()["metadata"]["generation"].clone();
    let form = |csrf: &str| {
        format!("csrf={csrf}&base={generation}&was-mode=CNI&was-exclude=kube-system&mode=Disabled")
    };
    let csrf = viewer.csrf();
    let refused = served.hear(viewer.post("/update", &form(&csrf)));
    assert!(refused.status == 422 && refused.body.contains("MR1105"), "{}", refused.body);
    assert_eq!(served.hear(viewer.post("/act", &format!("csrf={csrf}&act=pause"))).status, 422);
    // Nobody's form is taken in somebody else's session, and no session without its cookie.
    assert_eq!(served.hear(viewer.post("/update", &form(others))).status, 403);
    assert_eq!(served.hear(served.browser().post("/update", &form(&csrf))).status, 401);
    assert_eq!(cluster.mesh()["metadata"]["generation"], generation, "nothing was done");
    assert_eq!(served.hear(viewer.get("/history")).status, 200);
    assert_eq!(served.hear(viewer.get("/workloads")).status, 200);
}

/// Behind a proxy that shows a token with each request, the token says who it is, whatever cookie comes with it.
fn a_proxy_says_who_asks(served: &Served, token: &str, other: &Browser) {
    let bearer = format!("Bearer {token}");
    let shown = [("Authorization", bearer.as_str()), ("Cookie", other.cookie.as_str())];
    let page = served.hear(other.ask("GET", "/", &shown, ""));
    assert!(page.status == 200 && page.body.contains("millrace-system:viewer"), "{}", page.body);
    let own = format!("http://{}", served.address);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let headers = [shown[0], shown[1], form, ("Origin", own.as_str())];
    let pause = format!("csrf={}&act=pause", other.csrf());
    assert_eq!(served.hear(other.ask("POST", "/act", &headers, &pause)).status, 403);
    let wrong = served.hear(other.ask("GET", "/", &[("Authorization", "Bearer nobodys"), shown[1]], ""));
    assert_eq!((wrong.status, state(&wrong).as_str()), (401, "login-wrong"), "{}", wrong.body);
}

fn wrong_tokens_wait(served: &Served, right: &str) {
    let limited = (0..20).map(|_| served.login("nobodys").1).find(|answer| answer.status == 429);
    let limited = limited.expect("who guesses waits");
    assert!(limited.head.contains("retry-after: ") && state(&limited) == "later", "{}", limited.body);
    // Nor is the right one looked at meanwhile; who is in stays in.
    assert_eq!(served.login(right).1.status, 429);
}

/// The server in memory gives out no tokens, so nobody is let in there.
#[test]
fn where_no_token_is_known_nobody_gets_in() {
    let server = Embedded::start(env!("CARGO_BIN_EXE_millrace"), &["--no-controllers"]);
    let api = Server::Embedded(server);
    Cluster::new(&api);
    let served = Served::start(&api, &[]);
    let (browser, wrong) = served.login("any");
    assert_eq!((wrong.status, state(&wrong).as_str()), (401, "login-wrong"), "{}", wrong.body);
    assert_eq!(browser.get("/").status, 401);
    served.controller.end(rustix::process::Signal::TERM);
}

#[test]
fn by_tls_it_answers_to_its_name_with_the_certificate_of_now() {
    let Some(api) = Apiserver::start("controller::by_tls_it_answers_to_its_name_with_the_certificate_of_now")
    else {
        return;
    };
    Cluster::new(&api);
    let file = |name: &str| api.folder().join(name);
    let lay = |from: &str| {
        for ending in ["crt", "key"] {
            std::fs::copy(file(from).with_extension(ending), file("served").with_extension(ending))
                .expect("files of ours");
        }
    };
    api.user("later", &["others"]);
    lay("server");
    let (certificate, key) =
        (file("served.crt").display().to_string(), file("served.key").display().to_string());
    let flags = [
        "--console-tls-cert",
        &certificate,
        "--console-tls-key",
        &key,
        "--console-host",
        "mesh.example,other.example",
    ];
    let served = Served::start(&api, &flags);
    let said = spoken(
        api.folder(),
        &served.address,
        "GET / HTTP/1.1\r\nHost: mesh.example\r\nConnection: close\r\n\r\n",
    );
    assert!(
        said.contains("HTTP/1.1 401") && said.contains("CN = kube-apiserver")
            || said.contains("CN=kube-apiserver"),
        "{said}"
    );
    let other = spoken(
        api.folder(),
        &served.address,
        "GET / HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n",
    );
    assert!(other.contains("HTTP/1.1 403"), "{other}");
    let login = format!(
        "POST /login HTTP/1.1\r\nHost: mesh.example\r\nOrigin: https://mesh.example\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\ntoken={}",
        6 + api.token("default", "one").len(),
        api.token("default", "one")
    );
    let entered = spoken(api.folder(), &served.address, &login);
    assert!(entered.contains("set-cookie: __Host-millrace=") && entered.contains("; Secure"), "{entered}");
    lay("later");
    until("the new certificate is served", PATIENCE, || {
        let said = spoken(
            api.folder(),
            &served.address,
            "GET / HTTP/1.1\r\nHost: mesh.example\r\nConnection: close\r\n\r\n",
        );
        if said.contains("later") { Ok(()) } else { Err(said) }
    });
}

/// What openssl(1) says of a server, and what the server says.
fn spoken(folder: &Path, address: &str, request: &str) -> String {
    let file = folder.join("request");
    std::fs::write(&file, request).expect("the folder is ours");
    let file = std::fs::File::open(file).expect("it was written");
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", address, "-servername", "mesh.example", "-ign_eof"]);
    let output = client.stdin(file).stderr(Stdio::null()).output().expect("openssl(1) runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
