//! What installs the agent, as its users' tools take it: Kustomize, Helm, a real API server, and the image's own root.
//!
//! That `deploy/` is what is printed is tested beside `print`; here its meaning is.

use millrace_rig::absent;
use millrace_rig::apiserver::Apiserver;
use millrace_rig::injector::told;
use millrace_rig::wait::until;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const PLATFORMS: [&str; 10] =
    ["kubeadm", "gke", "eks", "aks", "k3s", "rke2", "microk8s", "openshift", "bottlerocket", "talos"];
const PROFILES: [&str; 2] = ["zero", "audit"];
const SERVICE_ACCOUNT: &str = "system:serviceaccount:millrace-system:millrace-agent";

/// Objects by kind and name.
type Objects = BTreeMap<String, Value>;

#[test]
fn kustomize_makes_of_every_overlay_what_manifests_prints() {
    let name = "kustomize_makes_of_every_overlay_what_manifests_prints";
    let Some(kubectl) = given("MILLRACE_KUBECTL") else {
        return absent::not_run(name, "a kubectl with Kustomize 4", "MILLRACE_KUBECTL=$(scripts/kubectl)");
    };
    let build = |folder: &str| {
        let folder = root().join("deploy").join(folder);
        objects(&done(Command::new(&kubectl).arg("kustomize").arg(folder), ""))
    };
    assert_eq!(build("base"), printed("zero", "kubeadm"), "the base");
    assert_eq!(build("controller"), printed_by(&["controller"]), "the controller");
    for (profile, platform) in variants() {
        let suffix = if profile == "audit" { "-audit" } else { "" };
        let overlay = format!("overlays/{platform}{suffix}");
        assert_eq!(build(&overlay), printed(profile, platform), "{overlay}");
    }
}

#[test]
fn helm_makes_of_the_chart_what_manifests_prints() {
    let name = "helm_makes_of_the_chart_what_manifests_prints";
    let values = |(profile, platform): (&str, &str)| json!({ "profile": profile, "platform": platform });
    let Some(texts) = helm(name, "millrace", variants().map(values).collect()) else { return };
    for (text, (profile, platform)) in texts.iter().zip(variants()) {
        let text = text.as_str().unwrap_or_else(|| panic!("{profile} {platform}: {text}"));
        is_as_printed(text, printed(profile, platform), &format!("{profile} {platform}"));
    }
}

/// Without definitions, which Helm installs by itself, and without the namespace, which it makes.
fn is_as_printed(text: &str, mut expected: Objects, what: &str) {
    assert!(expected.remove("Namespace/millrace-system").is_some(), "Helm makes the namespace");
    let known = |objects: Objects| -> Objects {
        let theirs = objects.into_iter().filter(|(key, _)| !key.starts_with("CustomResourceDefinition/"));
        theirs.map(|(key, object)| (key, without_marks(object))).collect()
    };
    assert_eq!(known(objects(text)), known(expected), "{what}");
}

#[test]
fn helm_makes_of_the_controllers_chart_what_print_prints() {
    let name = "helm_makes_of_the_controllers_chart_what_print_prints";
    let values = vec![
        json!({}),
        json!({ "replicas": 1, "networkPolicy": { "enabled": false }, "extraArgs": ["--lease-seconds=30"],
            "console": { "enabled": false } }),
        json!({ "console": { "address": "[::]:8443", "hosts": ["mesh.example", "mesh.example:8443"], "tlsSecret": "console",
            "service": true } }),
        json!({ "replicas": 0 }),
        json!({ "console": { "hosts": ["a b"] } }),
    ];
    let Some(found) = helm(name, "millrace-controller", values) else { return };
    let texts: Vec<&str> = found.iter().filter_map(Value::as_str).collect();
    assert_eq!(texts.len(), 3, "taken: {found:#?}");
    is_as_printed(texts[0], printed_by(&["controller"]), "the controller");
    let other = objects(texts[1]);
    assert!(!other.contains_key("NetworkPolicy/millrace-controller"), "{}", texts[1]);
    let spec = &other["Deployment/millrace-controller"]["spec"];
    let container = &spec["template"]["spec"]["containers"][0];
    let args = json!([
        "controller",
        format!("--image={}", container["image"].as_str().unwrap_or_default()),
        "--console-address=none",
        "--lease-seconds=30"
    ]);
    assert_eq!((&spec["replicas"], &container["args"]), (&json!(1), &args));
    assert!(!other.contains_key("ClusterRole/millrace-console"), "{}", texts[1]);
    the_console_by_tls(&objects(texts[2]));
    let crds = root().join("deploy/chart/millrace-controller/crds/crd.yaml");
    let crds = std::fs::read_to_string(crds).expect("the chart has definitions");
    assert_eq!(objects(&crds), printed_by(&["crd"]));
}

fn the_console_by_tls(found: &Objects) {
    let pod = &found["Deployment/millrace-controller"]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let args = container["args"].as_array().expect("arguments");
    let expected = json!([
        "--console-address=[::]:8443",
        "--console-host=mesh.example,mesh.example:8443",
        "--console-tls-cert=/etc/millrace/console/tls.crt",
        "--console-tls-key=/etc/millrace/console/tls.key",
    ]);
    assert_eq!(json!(args[2..]), expected);
    assert_eq!(pod["volumes"], json!([{ "name": "console", "secret": { "secretName": "console" } }]));
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/etc/millrace/console");
    let service = &found["Service/millrace-console"]["spec"];
    assert_eq!(
        (&service["ports"][0]["targetPort"], &service["sessionAffinity"]),
        (&json!(8443), &json!("ClientIP"))
    );
    assert_eq!(
        found["NetworkPolicy/millrace-console"]["spec"]["ingress"][0]["ports"][0]["port"],
        json!(8443)
    );
}

#[test]
fn helm_takes_what_the_schema_allows_and_nothing_else() {
    let refused = [
        json!({ "profile": "root" }),
        json!({ "platform": "Kubeadm" }),
        json!({ "failurePolicy": "closed" }),
        json!({ "excludeNamespaces": "kube-system" }),
        json!({ "install": { "confDir": "etc/cni" } }),
        json!({ "agentTimeout": "forever" }),
        json!({ "image": { "digest": "latest" } }),
        json!({ "excludeNamespace": [] }),
    ];
    let taken = json!({
        "image": { "repository": "example.test/mesh/millrace", "tag": "1", "digest": format!("sha256:{:064}", 0) },
        "imagePullSecrets": [{ "name": "pull" }],
        "install": { "confDir": "/etc/other/net.d", "list": "10-x.conflist", "way": "in-place" },
        "audit": { "policy": "Label", "findings": ["Drift"] },
        "extraArgs": ["--log-format=json"],
        "podAnnotations": { "a": "b" },
        "podLabels": { "c": "d" },
        "affinity": { "nodeAffinity": {} },
        "metrics": { "address": "[::1]:1" },
        "networkPolicy": { "enabled": false },
    });
    let all = refused.iter().cloned().chain([taken]).collect();
    let Some(found) = helm("helm_takes_what_the_schema_allows_and_nothing_else", "millrace", all) else {
        return;
    };
    for (values, found) in refused.iter().zip(&found) {
        assert!(found["error"].is_string(), "taken: {values}");
    }
    let text = found[refused.len()].as_str().unwrap_or_else(|| panic!("refused: {}", found[refused.len()]));
    let found = objects(text);
    assert!(!found.contains_key("NetworkPolicy/millrace-closed"), "{text}");
    let pod = &found["DaemonSet/millrace-agent"]["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    let image = format!("example.test/mesh/millrace:1@sha256:{:064}", 0);
    assert_eq!(container["image"], json!(image));
    let args =
        ["agent", "--config=/etc/millrace/agent.yaml", "--metrics-address=[::1]:1", "--log-format=json"];
    assert_eq!(container["args"], json!(args));
    assert_eq!(container["volumeMounts"][1]["mountPath"], json!("/etc/other/net.d"));
    assert_eq!(pod["spec"]["volumes"][1]["hostPath"]["path"], json!("/etc/other/net.d"));
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{ "name": "pull" }]));
    assert_eq!(pod["spec"]["affinity"], json!({ "nodeAffinity": {} }));
    let metadata = &pod["metadata"];
    assert_eq!((&metadata["annotations"]["a"], &metadata["labels"]["c"]), (&json!("b"), &json!("d")));
    assert_eq!(metadata["annotations"]["prometheus.io/port"], json!("1"));
    let config = config(&found["ConfigMap/millrace-agent"]);
    let install = json!({
        "platform": "kubeadm", "way": "in-place", "confDir": "/etc/other/net.d", "binDir": "",
        "list": "10-x.conflist",
    });
    let audit = json!({
        "policy": "Label", "findings": ["Drift"], "period": "5m", "label": "millrace.dev/unredirected=true",
    });
    assert_eq!((&config["install"], &config["audit"]), (&install, &audit));
}

#[test]
fn a_real_api_server_takes_all_of_it_and_lets_the_agent_do_no_more() {
    let name = "a_real_api_server_takes_all_of_it_and_lets_the_agent_do_no_more";
    let Some(api) = Apiserver::start(name) else { return };
    let definitions = root().join("deploy/crd.yaml").into_os_string().into_string().expect("a plain path");
    api.done(&["apply", "--validate=false", "-f", &definitions], "");
    let defined = ["wait", "--for=condition=Established", "--timeout=120s", "-f", &definitions];
    api.done(&defined, "");
    let old = is_old(&api);
    for (profile, platform) in variants() {
        let list: Vec<Value> = printed(profile, platform).into_values().collect();
        // kubectl applies namespaces and accounts of a list first only if they come first.
        let (first, rest): (Vec<_>, Vec<_>) =
            list.into_iter().partition(|object| object["kind"] == "Namespace");
        let items: Vec<Value> = first.into_iter().chain(rest).map(|object| for_server(object, old)).collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        api.done(&["apply", "-f", "-"], &list.to_string());
        let live = api.done(&["get", "-n", "millrace-system", "daemonset/millrace-agent", "-o", "json"], "");
        let live: Value = serde_json::from_str(&live).expect("kubectl prints JSON");
        let (sent, kept) = (
            &items.iter().find(|object| object["kind"] == "DaemonSet").expect("there is one")["spec"],
            &live["spec"],
        );
        assert_eq!(
            lost(sent, kept, "spec"),
            Vec::<String>::new(),
            "{profile} {platform}: the server dropped it"
        );
    }
    for profile in ["audit", "zero"] {
        let role = printed(profile, "kubeadm").remove("ClusterRole/millrace-agent").expect("there is one");
        api.done(&["apply", "-f", "-"], &role.to_string());
        permissions(&api, profile);
    }
    let jobs = printed_by(&["uninstall", "--node", "one.example.test", "--node", &"n".repeat(63)]);
    assert_eq!(jobs.len(), 2);
    for job in jobs.values() {
        api.done(&["apply", "-f", "-"], &job.to_string());
    }
}

#[test]
fn the_audit_needs_each_of_its_capabilities() {
    let name = "the_audit_needs_each_of_its_capabilities";
    if !is_root() {
        return absent::not_run(name, "root", "running the tests as root");
    }
    let daemon_set = &printed("audit", "kubeadm")["DaemonSet/millrace-agent"];
    let added =
        &daemon_set["spec"]["template"]["spec"]["containers"][0]["securityContext"]["capabilities"]["add"];
    let all: Vec<String> = serde_json::from_value(added.clone()).expect("a list of names");
    let pod = Pod::start();
    let look = |capabilities: &[&String]| {
        let bound: String = capabilities.iter().map(|name| format!(",+{}", name.to_lowercase())).collect();
        let mut verify = Command::new("setpriv");
        verify.arg(format!("--bounding-set=-all{bound}")).arg(env!("CARGO_BIN_EXE_millrace"));
        verify.args([
            "verify",
            "--no-probes",
            "--set",
            "excludeInboundPorts=22",
            "--pid",
            &pod.0.id().to_string(),
        ]);
        let output = verify.output().expect("setpriv runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = look(&all.iter().collect::<Vec<_>>());
    assert_eq!(code, Some(1), "with all of them it looks, and finds no rules: {said}");
    for one in &all {
        let others: Vec<&String> = all.iter().filter(|name| *name != one).collect();
        let (code, said) = look(&others);
        assert_eq!(code, Some(2), "without {one} it cannot look: {said}");
    }
}

#[test]
fn the_image_runs_by_itself_and_comes_out_the_same() {
    let name = "the_image_runs_by_itself_and_comes_out_the_same";
    let Some(image) = given("MILLRACE_IMAGE") else {
        return absent::not_run(name, "the image", "MILLRACE_IMAGE=$(scripts/image)");
    };
    if !is_root() {
        return absent::not_run(name, "root", "running the tests as root");
    }
    let folder = Folder::new();
    let inspect = |image: &Path, args: &[&str]| {
        let mut skopeo = Command::new("skopeo");
        skopeo
            .env("TMPDIR", &folder.0)
            .arg("inspect")
            .args(args)
            .arg(format!("oci-archive:{}", image.display()));
        serde_json::from_str::<Value>(&done(&mut skopeo, "")).expect("skopeo prints JSON")
    };
    let config = inspect(&image, &["--config"]);
    assert_eq!(config["config"]["User"], json!("65532:65532"));
    assert_eq!(config["config"]["Entrypoint"], json!(["/millrace-cni"]));

    let root = folder.0.join("root");
    unpack(&image, &folder.0, &root);
    let run = |program: &str, args: &[&str]| {
        // No library, no shell and no /proc: whatever it needs must be in there.
        let output =
            Command::new("chroot").arg("--userspec=65532:65532").arg(&root).arg(program).args(args).output();
        let output = output.expect("chroot runs");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert_eq!(run("/millrace", &["--version"]), format!("millrace {}\n", env!("CARGO_PKG_VERSION")));
    assert!(run("/millrace-cni", &["--version"]).contains(env!("CARGO_PKG_VERSION")));
    assert!(run("/millrace", &["print", "manifests"]).contains("kind: DaemonSet"));
    for entry in ["/millrace-cni", "/usr/local/bin/pilot-agent"] {
        assert!(run(entry, &[&told()[..], &["--dry-run"]].concat()).contains("ISTIO_OUTPUT"), "{entry}");
    }
    let packages =
        std::fs::read_to_string(root.join("usr/share/doc/millrace/packages.spdx.json")).expect("a list");
    let packages: Value = serde_json::from_str(&packages).expect("JSON");
    assert!(packages["packages"].as_array().is_some_and(|all| all.len() > 50), "the list is too short");

    let again = Command::new(self::root().join("scripts/image"))
        .env("CARGO_TARGET_DIR", folder.0.join("target"))
        .env("MILLRACE", root.join("millrace"))
        .env("MILLRACE_CNI", root.join("millrace-cni"))
        .output()
        .expect("scripts/image runs");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let again = PathBuf::from(String::from_utf8_lossy(&again.stdout).trim());
    assert_eq!(
        inspect(&again, &[])["Digest"],
        inspect(&image, &[])["Digest"],
        "the same programs, another image"
    );
}

/// What the agent may do and what it may not, as the server says.
fn permissions(api: &Apiserver, profile: &str) {
    let zero = [
        "get pods",
        "list pods",
        "watch pods",
        "get namespaces",
        "list namespaces",
        "watch namespaces",
        "create events",
        "create meshcninodes.millrace.dev",
        "patch meshcninodes.millrace.dev",
        "patch meshcninodes.millrace.dev/status",
        "get nodes",
    ];
    let audit = ["create pods/eviction", "patch pods"];
    let never = [
        "delete pods",
        "get events",
        "patch events",
        "create events.events.k8s.io",
        "create pods",
        "update pods",
        "create pods/exec",
        "patch pods/status",
        "get secrets",
        "list secrets",
        "get configmaps",
        "patch nodes",
        "list nodes",
        "get meshcninodes.millrace.dev",
        "delete meshcninodes.millrace.dev",
        "patch meshcnis.millrace.dev",
        "update namespaces",
        "create serviceaccounts/token",
        "patch daemonsets.apps",
    ];
    let may = |what: &str| {
        let (verb, resource) = what.split_once(' ').expect("a verb and a resource");
        let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
        let part = format!("--subresource={part}");
        let asked = ["auth", "can-i", verb, resource, &part, "-A", "--as", SERVICE_ACCOUNT];
        let output = api.kubectl(&asked, "");
        String::from_utf8_lossy(&output.stdout).trim() == "yes"
    };
    // The authorizer hears of a changed role by a watch of its own.
    until(&format!("the role of {profile} counts"), Duration::from_secs(60), || {
        let may_patch = may("patch pods");
        (may_patch == (profile == "audit"))
            .then_some(())
            .ok_or_else(|| format!("it may patch pods: {may_patch}"))
    });
    for what in zero {
        assert!(may(what), "{profile}: it may not {what}");
    }
    for what in audit {
        assert_eq!(may(what), profile == "audit", "{profile}: {what}");
    }
    for what in never {
        assert!(!may(what), "{profile}: it may {what}");
    }
}

/// Whether a surge of a DaemonSet is unknown to the server: before 1.22 the field is dropped, and what is left refused.
fn is_old(api: &Apiserver) -> bool {
    let version: Value =
        serde_json::from_str(&api.done(&["get", "--raw", "/version"], "")).expect("a version is JSON");
    let minor = version["minor"].as_str().unwrap_or_default().trim_end_matches('+').parse::<u32>();
    minor.expect("a minor version") < 22
}

/// The object as this server can take it; nothing else differs from what is shipped.
fn for_server(mut object: Value, old: bool) -> Value {
    if old && object["kind"] == "DaemonSet" {
        object["spec"]["updateStrategy"] = json!({ "type": "RollingUpdate" });
    }
    object
}

/// What was sent and is not kept: a field that the server does not know.
fn lost(sent: &Value, kept: &Value, path: &str) -> Vec<String> {
    match (sent, kept) {
        (Value::Object(sent), kept) => {
            sent.iter().flat_map(|(key, value)| lost(value, &kept[key], &format!("{path}.{key}"))).collect()
        }
        (Value::Array(sent), Value::Array(kept)) if sent.len() == kept.len() => {
            sent.iter().zip(kept).flat_map(|(sent, kept)| lost(sent, kept, path)).collect()
        }
        _ if sent == kept => Vec::new(),
        _ => vec![format!("{path}: {sent} became {kept}")],
    }
}

/// Without what only Helm adds; the agent's file as what it says, not as it is written.
fn without_marks(mut object: Value) -> Value {
    if let Some(labels) = object.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.retain(|key, _| key != "app.kubernetes.io/managed-by" && key != "helm.sh/chart");
    }
    if object["kind"] == "ConfigMap" {
        object["data"] = config(&object);
    }
    object
}

fn config(config_map: &Value) -> Value {
    let text = config_map["data"]["agent.yaml"].as_str().expect("the agent's file");
    serde_saphyr::from_str(text).expect("the agent's file is YAML")
}

/// What Helm makes of a chart of ours with each of these values; the chart itself must be without fault.
fn helm(name: &str, chart: &str, values: Vec<Value>) -> Option<Vec<Value>> {
    let Some(python) = given("MILLRACE_HELM") else {
        absent::not_run(name, "Helm's library", "MILLRACE_HELM=$(scripts/helm)");
        return None;
    };
    let mut render = Command::new(python);
    render
        .arg(root().join("crates/cluster/tests/deploy/helm.py"))
        .arg(root().join("deploy/chart").join(chart));
    let found = done(&mut render, &Value::from(values).to_string());
    let mut found: Vec<Value> = serde_json::from_str(&found).expect("helm.py prints JSON");
    let lint = found.pop().expect("lint comes last");
    assert_eq!(lint["errors"], json!([]), "{lint}");
    Some(found)
}

fn variants() -> impl Iterator<Item = (&'static str, &'static str)> {
    PROFILES.into_iter().flat_map(|profile| PLATFORMS.map(|platform| (profile, platform)))
}

fn printed(profile: &str, platform: &str) -> Objects {
    printed_by(&["manifests", "--profile", profile, "--platform", platform])
}

fn printed_by(args: &[&str]) -> Objects {
    objects(&done(Command::new(env!("CARGO_BIN_EXE_millrace")).arg("print").args(args), ""))
}

fn objects(text: &str) -> Objects {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let key = |object: &Value| {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{}/{}", word(&object["kind"]), word(&object["metadata"]["name"]))
    };
    let all = all.into_iter().filter(|object| !object.is_null());
    all.map(|object| (key(&object), object)).collect()
}

fn done(command: &mut Command, stdin: &str) -> String {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut input = child.stdin.take().expect("stdin is a pipe");
    let text = stdin.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it is waited for");
    let _ = writer.join();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("it prints text")
}

fn given(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.exists())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// The one layer of an image's archive, unpacked.
fn unpack(image: &Path, work: &Path, root: &Path) {
    let layout = work.join("layout");
    for folder in [&layout, root] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    done(Command::new("tar").arg("-xf").arg(image).arg("-C").arg(&layout), "");
    let blob = |digest: &Value| {
        let digest = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
        layout.join("blobs/sha256").join(digest)
    };
    let read = |path: PathBuf| -> Value {
        serde_json::from_slice(&std::fs::read(path).expect("a blob")).expect("JSON")
    };
    let manifest = read(blob(&read(layout.join("index.json"))["manifests"][0]["digest"]));
    let layers = manifest["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 1, "one layer: {manifest}");
    done(Command::new("tar").arg("-xf").arg(blob(&layers[0]["digest"])).arg("-C").arg(root), "");
}

/// A process of another user in a network namespace of its own, as a pod's is; gone when dropped.
struct Pod(std::process::Child);

impl Pod {
    fn start() -> Pod {
        let mut command = Command::new("unshare");
        command.args([
            "--net",
            "setpriv",
            "--reuid=1000",
            "--regid=1000",
            "--clear-groups",
            "--pdeathsig=KILL",
        ]);
        // It says when it is what it is meant to be, and waits for us to end it.
        command.args(["sh", "-c", "echo ready; read -r _"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare runs");
        let mut pod = Pod(child);
        let mut said = [0; 6];
        let out = pod.0.stdout.as_mut().expect("stdout is a pipe");
        std::io::Read::read_exact(out, &mut said).expect("the process of another user is there");
        pod
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("millrace-deploy.{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
