//! The controller as `millrace print controller` installs it: a real API server takes all of it, and the controller does its whole
//! work with the account that is in there, is never refused, and needs every line of its role.

use super::browser::Browser;
use super::cluster::{Cluster, Controller, address, webhook};
use millrace_rig::apiserver::Apiserver;
use millrace_rig::apiserver::asked::{self, Asked};
use millrace_rig::embedded::Embedded;
use millrace_rig::wait::until;
use rustix::process::Signal;
use serde_json::Value;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ACCOUNT: &str = "system:serviceaccount:millrace-system:millrace-controller";
const HOME: &str = "millrace-system";
/// A node of each platform for which an object is made that others have not.
const NODES: [(&str, &str); 3] = [
    ("n1", "example.org/kind=plain"),
    ("o1", "node.openshift.io/os_id=rhcos"),
    ("g1", "cloud.google.com/gke-nodepool=one"),
];
/// What the API server itself asks of the authorizer when an object is written, and nobody by a request of its own.
const ASKED_WITHIN: [&str; 2] = ["update meshcnis/finalizers", "bind clusterroles"];

#[test]
fn it_works_with_the_account_it_is_installed_with() {
    let test = "controller::it_works_with_the_account_it_is_installed_with";
    let Some(api) = Apiserver::strict(test) else { return };
    let manifests = for_server(&api, &printed(&["controller"]));
    let cluster = Cluster::of(&api, &manifests);
    for (node, label) in NODES {
        cluster.node(node, true);
        cluster.done(&["label", "node", node, label]);
    }
    cluster.done(&["taint", "node", "n1", "millrace.dev/not-ready=:NoSchedule"]);
    may(&api, &cluster);
    let console = address();
    let controller = start(&api, &manifests, "first", &console);
    somebody_logs_in(&api, &console);
    // Who installed it does not know whom to trust; the controller does.
    let wrong = r#"{"apiVersion":"millrace.dev/v1alpha1","kind":"MeshCNI","metadata":{"name":"default"},"spec":{"install":{"image":"No Image"}}}"#;
    cluster.until_true("a wrong MeshCNI is refused", || {
        let refused = api.kubectl(&["apply", "--dry-run=server", "-f", "-"], wrong);
        String::from_utf8_lossy(&refused.stderr).contains("spec.install.image")
    });
    let enable = millrace(&api, &["enable", "--exclude", "kube-system", "--wait"]);
    cluster.until("it installs", |mesh| mesh["status"]["state"] == "Installing");
    NODES.iter().for_each(|(node, _)| cluster.serves(node, true));
    succeeds(enable, "enable --wait");
    cluster.until("it runs", |mesh| mesh["status"]["phase"] == "Running");
    api.done(&["wait", "--for=condition=Ready", "meshcni/default", "--timeout=60s"], "");
    cluster.until_true("the taint goes", || {
        !cluster.get("node/n1")["spec"]["taints"].to_string().contains("millrace.dev/not-ready")
    });
    for made in ["resourcequota/millrace-critical", "clusterrolebinding/millrace-agent-scc"] {
        cluster.until_there(made);
    }
    cluster.until_there("mutatingwebhookconfiguration/zz-millrace");

    // What agents of the other profile may do, it may grant.
    cluster.done(&[
        "patch",
        "meshcni",
        "default",
        "--type=merge",
        "-p",
        r#"{"spec":{"audit":{"policy":"Delete"}}}"#,
    ]);
    cluster.until_true("agents may evict", || {
        cluster.get("clusterrole/millrace-agent")["rules"].to_string().contains("pods/eviction")
    });
    let second = start(&api, &manifests, "second", &address());
    cluster.until_true("the second one stands by", || second.said("standing by"));
    controller.end(Signal::TERM);
    // A Secret that nobody can use is made anew.
    cluster.done(&[
        "patch",
        "secret",
        "millrace-webhook",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/data"}]"#,
    ]);
    let controller = second;
    cluster.until_true("its certificates are new", || {
        cluster.get("secret/millrace-webhook")["data"].is_object()
    });

    let disable = millrace(&api, &["disable", "--wait"]);
    cluster.until("agents leave", |mesh| mesh["status"]["state"] == "Removing");
    NODES.iter().for_each(|(node, _)| cluster.clear(node));
    succeeds(disable, "disable --wait");
    cluster.until("nothing is left", |mesh| mesh["status"]["state"] == "Absent");
    cluster.until_true("no object of ours is left", || cluster.ours().is_empty());
    api.done(&["delete", "meshcni", "default", "--wait=true", "--timeout=60s"], "");
    controller.end(Signal::TERM);

    let asked = asked::by(&api, ACCOUNT);
    let refused: Vec<&Asked> = asked.iter().filter(|asked| asked.code == 403).collect();
    assert!(refused.is_empty(), "it was refused: {refused:#?}");
    let idle = idle(&asked, &objects(&manifests));
    assert!(idle.is_empty(), "nobody needs these rights: {idle:#?}");

    succeeds(millrace(&api, &["uninstall", "--wait", "--prove-clean"]), "uninstall --prove-clean");
}

/// The API server in memory takes it as well.
#[test]
fn the_server_in_memory_takes_it() {
    let server = Embedded::start(env!("CARGO_BIN_EXE_millrace"), &["--no-controllers"]);
    let manifests = printed(&["controller"]);
    for _ in 0..2 {
        server.done(&["apply", "--validate=false", "-f", "-"], &manifests);
    }
    for object in objects(&manifests) {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (word(&object["kind"]), word(&object["metadata"]["name"]));
        server.done(&["get", "-n", HOME, &format!("{}/{name}", kind.to_lowercase())], "");
    }
}

/// What it may do and what it may not, as the server says; returns once the server goes by it.
fn may(api: &Apiserver, cluster: &Cluster) {
    let may = |asked: &str| {
        let words: Vec<&str> = asked.split(' ').collect();
        let output = api.kubectl(&[&["auth", "can-i"], &words[..], &["--as", ACCOUNT]].concat(), "");
        String::from_utf8_lossy(&output.stdout).trim() == "yes"
    };
    // The authorizer hears of roles by watches of its own.
    cluster.until_true("its roles count", || {
        may("patch nodes") && may("get secrets/millrace-webhook -n millrace-system")
    });
    for never in [
        "get secrets -A",
        "get secrets/other -n millrace-system",
        "list secrets -n millrace-system",
        "create pods -n millrace-system",
        "create pods -n default",
        "delete pods -A",
        "create pods --subresource=exec -A",
        "create daemonsets.apps -n default",
        "list configmaps -A",
        "patch configmaps -n kube-system",
        "delete nodes",
        "create namespaces",
        "delete namespaces",
        "create meshcnis.millrace.dev",
        "delete meshcnis.millrace.dev/default",
        "escalate clusterroles.rbac.authorization.k8s.io",
        "create subjectaccessreviews.authorization.k8s.io",
        "bind clusterroles.rbac.authorization.k8s.io/millrace-viewer",
        "bind clusterroles.rbac.authorization.k8s.io/millrace-agent",
        "bind clusterroles.rbac.authorization.k8s.io/cluster-admin",
        "patch clusterroles.rbac.authorization.k8s.io/millrace-controller",
        "patch clusterroles.rbac.authorization.k8s.io/cluster-admin",
        "create clusterrolebindings.rbac.authorization.k8s.io",
        "create roles.rbac.authorization.k8s.io -n millrace-system",
        "patch mutatingwebhookconfigurations.admissionregistration.k8s.io/other",
        "create serviceaccounts --subresource=token -n millrace-system",
        "impersonate users",
    ] {
        assert!(!may(never), "it may {never}");
    }
}

/// The rights that nothing asked for: neither it in all that it did, nor agents, whom it grants theirs.
fn idle(asked: &[Asked], objects: &[Value]) -> Vec<String> {
    let agents: Vec<Value> = ["zero", "audit"]
        .iter()
        .flat_map(|profile| self::objects(&printed(&["manifests", "--profile", profile])))
        .filter(|object| object["kind"] == "ClusterRole")
        .collect();
    let granted: Vec<[String; 4]> = agents.iter().flat_map(rights).collect();
    let uses = |right: &[String; 4], home: &str, one: &Asked| {
        let [verb, group, resource, name] = right;
        // What is applied and was not there is created.
        let does = one.verb == *verb || (verb == "create" && one.verb == "patch" && one.code == 201);
        does && one.group == *group
            && one.resource == *resource
            && (name.is_empty() || one.name == *name)
            && (home.is_empty() || one.namespace == home)
    };
    let mut idle = Vec::new();
    // Roles that are bound to nobody are for people.
    let bound: Vec<&str> = objects.iter().filter_map(|object| object["roleRef"]["name"].as_str()).collect();
    let is_role = |object: &&Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        matches!(object["kind"].as_str(), Some("ClusterRole" | "Role")) && bound.contains(&name)
    };
    for role in objects.iter().filter(is_role) {
        let home = role["metadata"]["namespace"].as_str().unwrap_or_default();
        for right in rights(role) {
            let within = ASKED_WITHIN.contains(&format!("{} {}", right[0], right[2]).as_str());
            if !within && !granted.contains(&right) && !asked.iter().any(|one| uses(&right, home, one)) {
                idle.push(format!("{} {}", role["kind"], right.join(" ")));
            }
        }
    }
    idle
}

/// Verb, group, resource and name of everything that a role allows.
fn rights(role: &Value) -> Vec<[String; 4]> {
    let words = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        all.collect()
    };
    let mut all = Vec::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let named = words(&rule["resourceNames"]);
        let names = if named.is_empty() { vec![String::new()] } else { named };
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    all.extend(names.iter().map(|name| [&verb, &group, &resource, name].map(String::clone)));
                }
            }
        }
    }
    all
}

/// A controller with the arguments of the Deployment and its account's token; only the webhook is elsewhere, where this API
/// server reaches it, and the console, as both replicas are on one machine.
fn start(api: &Apiserver, manifests: &str, identity: &str, console: &str) -> Controller {
    let token = api.folder().join("controller.token");
    std::fs::write(&token, api.token(HOME, "millrace-controller")).expect("the folder is ours");
    let all = objects(manifests);
    let deployment = all.iter().find(|object| object["kind"] == "Deployment").expect("there is one");
    let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let args = args.as_array().into_iter().flatten().filter_map(Value::as_str);
    let args: Vec<String> = args.map(|arg| arg.replace("=127.0.0.1:8090", &format!("={console}"))).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert!(args.iter().any(|arg| arg.starts_with("--console-address=")), "{args:?}");
    let webhook = webhook();
    let webhook = webhook.each_ref().map(String::as_str);
    Controller::as_whom(api, identity, &api.with_token_file(&token), &[&args[..], &webhook].concat())
}

/// Whose a token is, the console asks: one that is nobody's is enough.
fn somebody_logs_in(api: &Apiserver, address: &str) {
    let console = Browser { address: address.to_owned(), cookie: String::new() };
    until("the console listens", Duration::from_secs(60), || {
        TcpStream::connect(address).map(drop).map_err(|why| why.to_string())
    });
    let wrong = console.post("/login", "token=nobodys");
    assert_eq!(wrong.status, 401, "{}", wrong.body);
    let token = api.token(HOME, "millrace-controller");
    assert_eq!(console.post("/login", &format!("token={token}")).status, 303);
}

/// As this server can take it: before 1.21 budgets are of another version.
fn for_server(api: &Apiserver, manifests: &str) -> String {
    let versions = api.done(&["api-versions"], "");
    match versions.lines().any(|version| version == "policy/v1") {
        true => manifests.to_owned(),
        false => manifests.replace("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n"),
    }
}

pub(super) fn printed(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_millrace")).arg("print").args(args).output();
    let output = output.expect("millrace runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("manifests are text")
}

fn objects(manifests: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(manifests).expect("manifests are YAML")
}

/// Starts a command as an administrator.
fn millrace(api: &Apiserver, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(args).env("KUBECONFIG", api.kubeconfig());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("millrace runs")
}

fn succeeds(child: Child, what: &str) {
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{what}: {said}");
}
