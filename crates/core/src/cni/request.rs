//! From a runtime's environment and standard input to a [`Request`], in the order of checks of `pkg/skel`: presence of
//! variables, their syntax, then the JSON, its name, its version.
//!
//! Everything here was written by others and is only read: ids and annotations are attacker-influenced text. What
//! redirection does not need is not interpreted, and nothing panics, whatever the bytes.

use super::version::Version;
use super::{Code, Entry, Error, Previous, Verb, entry};
use crate::json::{self, Members, Raw};
use crate::settings::Families;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What the environment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// `CNI_COMMAND`
    pub verb: Verb,
    /// `CNI_CONTAINERID`; empty where the verb has no container.
    pub container: String,
    /// `CNI_NETNS`; empty on a DEL whose namespace is already gone.
    pub netns: String,
    /// `CNI_IFNAME`; it need not exist in the namespace (Multus's auxiliary chain).
    pub interface: String,
    /// The pod that `CNI_ARGS` names, if it names one.
    pub pod: Option<PodName>,
    /// `CNI_NETNS_OVERRIDE`: the namespace may be the runtime's own.
    pub own_namespace_allowed: bool,
    /// What was passed over in `CNI_ARGS`.
    pub complaints: Vec<String>,
}

/// Who a pod is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodName {
    /// `K8S_POD_NAMESPACE`
    pub namespace: String,
    /// `K8S_POD_NAME`
    pub name: String,
    /// `K8S_POD_UID`, where the runtime gives it.
    pub uid: Option<String>,
}

/// One attachment of a container to a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachment {
    /// The container.
    pub container: String,
    /// The interface.
    pub interface: String,
}

/// Everything a verb may look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// From the environment.
    pub environment: Environment,
    /// The list's version.
    pub version: Version,
    /// The network's name.
    pub network: String,
    /// `prevResult`, as it came.
    pub previous: Option<Previous>,
    /// The pod's annotations; `None` when not known, which is not the same as none.
    pub annotations: Option<BTreeMap<String, String>>,
    /// GC's list of attachments that live; `None` when not known.
    pub attachments: Option<Vec<Attachment>>,
    /// Our own keys.
    pub entry: Entry,
    /// What was passed over.
    pub complaints: Vec<String>,
}

/// The longest standard input read: a list entry, a result and all annotations of a pod (256 KiB) fit many times.
pub const LONGEST_INPUT: usize = 4 << 20;
/// The most attachments of one GC: a node has some hundreds.
const MOST_ATTACHMENTS: usize = 65_536;
/// Container ids and network names become file names; the specification sets no limit.
const LONGEST_NAME: usize = 255;

impl Environment {
    /// Reads the environment through `get`, which answers for one variable.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Environment, Error> {
        let value = |name: &str| get(name).unwrap_or_default();
        let command = value("CNI_COMMAND");
        let verb = match Verb::from_name(&command) {
            Some(verb) => verb,
            None if command.is_empty() => return Err(missing(&["CNI_COMMAND"])),
            None => {
                let names = Verb::ALL.map(Verb::name).join(", ");
                let error = Error::new(Code::Environment, format!("unknown CNI_COMMAND: {command}"));
                return Err(error.because(format!("known are {names}")));
            }
        };
        let mut environment = Environment {
            verb,
            container: String::new(),
            netns: String::new(),
            interface: String::new(),
            pod: None,
            own_namespace_allowed: false,
            complaints: Vec::new(),
        };
        if !verb.has_container() {
            return Ok(environment);
        }
        environment.container = value("CNI_CONTAINERID");
        environment.netns = value("CNI_NETNS");
        environment.interface = value("CNI_IFNAME");
        let needed = [
            ("CNI_CONTAINERID", environment.container.is_empty()),
            ("CNI_NETNS", environment.netns.is_empty() && verb != Verb::Del),
            ("CNI_IFNAME", environment.interface.is_empty()),
        ];
        let absent: Vec<&str> = needed.iter().filter(|(_, absent)| *absent).map(|(name, _)| *name).collect();
        if !absent.is_empty() {
            return Err(missing(&absent));
        }
        environment.check_syntax()?;
        let allowed = value("CNI_NETNS_OVERRIDE");
        environment.own_namespace_allowed = allowed == "1" || allowed.eq_ignore_ascii_case("true");
        environment.pod = pod_of(&value("CNI_ARGS"), &mut environment.complaints);
        Ok(environment)
    }

    fn check_syntax(&self) -> Result<(), Error> {
        if !is_name(&self.container) {
            let message = format!("invalid CNI_CONTAINERID: {:?}", shorten(&self.container));
            return Err(Error::new(Code::Environment, message).because(NAME_RULE));
        }
        if !is_interface(&self.interface) {
            let message = format!("invalid CNI_IFNAME: {:?}", shorten(&self.interface));
            return Err(Error::new(Code::Environment, message)
                .because("an interface's name has 1 to 15 bytes, no '/', ':', '%', blank or control character, and is not '.' or '..'"));
        }
        if !(self.netns.is_empty() || self.netns.starts_with('/')) || self.netns.contains('\0') {
            let message = format!("invalid CNI_NETNS: {:?}", shorten(&self.netns));
            return Err(Error::new(Code::Environment, message).because("it must be an absolute path"));
        }
        Ok(())
    }
}

const NAME_RULE: &str =
    "it must start with a letter or digit and hold only letters, digits, '_', '.', '-', at most 255";

fn missing(names: &[&str]) -> Error {
    let message = format!("required env variables [{}] missing", names.join(","));
    Error::new(Code::Environment, message).because("a container runtime sets them; see the CNI specification")
}

impl Request {
    /// Reads a request that is not VERSION (which has none). `stdin` holds at most [`LONGEST_INPUT`] bytes.
    pub fn read(environment: Environment, stdin: &[u8]) -> Result<Request, Error> {
        if stdin.len() > LONGEST_INPUT {
            let message = format!("the configuration on standard input is longer than {LONGEST_INPUT} bytes");
            return Err(Error::new(Code::Io, message));
        }
        let members = open(stdin).map_err(|why| malformed(&why))?;
        let version = version_of(&members);
        let told = |error: Error| match version {
            Ok(version) => error.told_in(version),
            Err(_) => error,
        };
        let network = network_name(&members).map_err(told)?;
        let version = version?;
        Request::of(environment, &members, version, network).map_err(|error| error.told_in(version))
    }

    fn of(
        mut environment: Environment,
        members: &Members<'_>,
        version: Version,
        network: String,
    ) -> Result<Request, Error> {
        verb_exists(environment.verb, version)?;
        let (entry, mut complaints) = Entry::read(members);
        complaints.append(&mut environment.complaints);
        let annotations = annotations_of(members, &mut complaints);
        let attachments = if environment.verb == Verb::Gc { attachments_of(members)? } else { None };
        let previous = previous_of(members, environment.verb, &mut complaints)?;
        Ok(Request { environment, version, network, previous, annotations, attachments, entry, complaints })
    }

    /// The address families of the pod, as the chain before us made them; `None` when it says nothing of addresses.
    pub fn families(&self) -> Option<Families> {
        self.previous.as_ref()?.families()
    }
}

/// The members of the object on standard input. None is opened before it is known to be wanted.
fn open(stdin: &[u8]) -> Result<Members<'_>, String> {
    let text = std::str::from_utf8(stdin).map_err(|error| error.to_string())?;
    Members::read(text).map_err(|error| match error {
        json::Error::Malformed(why) => why.to_string(),
        json::Error::Other => "it is not an object".to_owned(),
    })
}

fn malformed(why: &str) -> Error {
    let message = format!("error unmarshall network config: {why}");
    Error::new(Code::Decode, message).because("standard input must hold one JSON object")
}

fn network_name(members: &Members<'_>) -> Result<String, Error> {
    let name = text_of(members, "name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Error::new(Code::Config, "missing network name"))?;
    if is_name(&name) {
        return Ok(name.into_owned());
    }
    let message = format!("invalid characters found in network name: {:?}", shorten(&name));
    Err(Error::new(Code::Config, message).because(NAME_RULE))
}

fn version_of(members: &Members<'_>) -> Result<Version, Error> {
    // What the specification says of a list older than the key.
    let text = text_of(members, "cniVersion")?.filter(|text| !text.is_empty());
    let text = text.unwrap_or(Cow::Borrowed("0.1.0"));
    Version::from_text(&text).ok_or_else(|| {
        let spoken = Version::ALL.map(Version::as_str).join(" ");
        let details = format!("config is {:?}, plugin supports [{spoken}]", shorten(&text));
        Error::new(Code::Version, "incompatible CNI versions").because(details)
    })
}

/// A member that must be a text; `null` is as good as none.
fn text_of<'a>(members: &Members<'a>, key: &str) -> Result<Option<Cow<'a, str>>, Error> {
    let Some(raw) = given(members, key) else { return Ok(None) };
    raw.text().map(Some).ok_or_else(|| malformed(&format!("{key} is not a string")))
}

/// A member, unless it is `null`: that and absence both mean that nothing is said.
fn given<'a>(members: &Members<'a>, key: &str) -> Option<Raw<'a>> {
    members.get(key).filter(|raw| !raw.is_null())
}

fn verb_exists(verb: Verb, version: Version) -> Result<(), Error> {
    let since = match verb {
        Verb::Add | Verb::Del | Verb::Version => Version::V030,
        Verb::Check => Version::V040,
        Verb::Gc | Verb::Status => Version::V110,
    };
    if version >= since {
        return Ok(());
    }
    let message = format!("config version does not allow {}", verb.name());
    Err(Error::new(Code::Version, message).because(format!("the list says {version}, {since} brought it")))
}

fn annotations_of(members: &Members<'_>, complaints: &mut Vec<String>) -> Option<BTreeMap<String, String>> {
    let config = members.get("runtimeConfig")?.members()?;
    let Some(all) = given(&config, entry::ANNOTATIONS)?.members() else {
        complaints.push("the runtime's pod annotations are not an object; taken as unknown".to_owned());
        return None;
    };
    let mut annotations = BTreeMap::new();
    for (key, raw) in all.iter() {
        let Some(value) = raw.text() else {
            complaints
                .push(format!("the pod's annotation {key:?} is not a string; all are taken as unknown"));
            return None;
        };
        annotations.insert(key.to_owned(), value.into_owned());
    }
    Some(annotations)
}

fn previous_of(
    members: &Members<'_>,
    verb: Verb,
    complaints: &mut Vec<String>,
) -> Result<Option<Previous>, Error> {
    let Some(raw) = given(members, "prevResult") else { return Ok(None) };
    match Previous::of(raw) {
        None if verb == Verb::Add => Err(malformed("prevResult is not an object")),
        None => {
            complaints.push("prevResult is not an object; passed over".to_owned());
            Ok(None)
        }
        previous => Ok(previous),
    }
}

/// libcni also sends the list under a name of an earlier draft (containernetworking/cni#1101). Nothing is dropped from
/// it silently: an attachment we failed to read would be taken for a dead one.
fn attachments_of(members: &Members<'_>) -> Result<Option<Vec<Attachment>>, Error> {
    let keys = ["cni.dev/valid-attachments", "cni.dev/attachments"];
    let Some(raw) = keys.iter().find_map(|key| given(members, key)) else { return Ok(None) };
    let wrong = |what: &str| {
        Error::new(Code::Config, format!("cni.dev/valid-attachments {what}"))
            .because(r#"wanted: [{"containerID": "…", "ifname": "…"}, …]; nothing was collected"#)
    };
    let list = raw.items().ok_or_else(|| wrong("is not a list"))?;
    if list.len() > MOST_ATTACHMENTS {
        return Err(wrong(&format!("has more than {MOST_ATTACHMENTS} members")));
    }
    let read = |item: &Raw<'_>| {
        let members = item.members()?;
        let text = |key: &str| members.get(key)?.text().map(Cow::into_owned);
        Some(Attachment { container: text("containerID")?, interface: text("ifname")? })
    };
    let read: Option<Vec<Attachment>> = list.iter().map(read).collect();
    read.map(Some).ok_or_else(|| wrong("has a member that is no attachment"))
}

/// `K=V;K2=V2`, in any order: go-cni walks a map. The last of a repeated key counts, as in Multus's merging.
fn pod_of(args: &str, complaints: &mut Vec<String>) -> Option<PodName> {
    let (mut namespace, mut name, mut uid) = ("", "", "");
    for pair in args.split(';').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("K8S_POD_NAMESPACE", value)) => namespace = value,
            Some(("K8S_POD_NAME", value)) => name = value,
            Some(("K8S_POD_UID", value)) => uid = value,
            Some(_) => {}
            None => {
                complaints.push(format!("CNI_ARGS has {:?}, which is no pair; passed over", shorten(pair)))
            }
        }
    }
    if namespace.is_empty() || name.is_empty() {
        return None;
    }
    if !(namespace.len() <= 63 && is_label(namespace) && name.len() <= 253 && name.split('.').all(is_label)) {
        complaints.push(format!(
            "CNI_ARGS names a pod {:?} in {:?}, which Kubernetes could not have made; taken as no pod",
            shorten(name),
            shorten(namespace)
        ));
        return None;
    }
    let uid = Some(uid).filter(|uid| is_name(uid)).map(str::to_owned);
    Some(PodName { namespace: namespace.to_owned(), name: name.to_owned(), uid })
}

/// A label of RFC 1123, except that within a pod's name a label may be longer than 63.
fn is_label(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (first, last) = (text.bytes().next(), text.bytes().last());
    text.bytes().all(|byte| fits(byte) || byte == b'-') && first.is_some_and(fits) && last.is_some_and(fits)
}

fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// What the kernel allows (`dev_valid_name`), less control characters and `%`, which it would read as a pattern.
fn is_interface(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%'))
}

/// Enough of a hostile text to recognise it by.
fn shorten(text: &str) -> &str {
    text.char_indices().nth(80).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const CONTAINER: [(&str, &str); 3] =
        [("CNI_CONTAINERID", "c1"), ("CNI_NETNS", "/var/run/netns/x"), ("CNI_IFNAME", "eth0")];

    fn environment(variables: &[(&str, &str)]) -> Result<Environment, Error> {
        // The last of a repeated variable counts, as in libcni's environment.
        Environment::read(|name| {
            variables.iter().rev().find(|(key, _)| *key == name).map(|(_, v)| v.to_string())
        })
    }

    fn call(verb: &str, more: &[(&str, &str)]) -> Result<Environment, Error> {
        let mut all = vec![("CNI_COMMAND", verb)];
        all.extend(CONTAINER);
        all.extend(more);
        environment(&all)
    }

    fn read(verb: &str, stdin: &Value) -> Result<Request, Error> {
        Request::read(call(verb, &[]).expect("a good environment"), stdin.to_string().as_bytes())
    }

    fn refused<T: std::fmt::Debug>(result: Result<T, Error>, code: Code, word: &str) {
        let error = result.expect_err("must be refused");
        assert!(
            error.code == code && error.to_string().contains(word),
            "wanted {code:?} {word:?}: {error:?}"
        );
    }

    #[test]
    fn missing_variables_are_named_in_one_message() {
        refused(environment(&[]), Code::Environment, "[CNI_COMMAND]");
        let all = "[CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME]";
        refused(environment(&[("CNI_COMMAND", "ADD")]), Code::Environment, all);
        refused(environment(&[("CNI_COMMAND", "DEL")]), Code::Environment, "[CNI_CONTAINERID,CNI_IFNAME]");
        refused(call("CHECK", &[("CNI_NETNS", "")]), Code::Environment, "[CNI_NETNS]");
        assert!(call("DEL", &[("CNI_NETNS", "")]).is_ok());
        for verb in ["GC", "STATUS", "VERSION"] {
            assert!(environment(&[("CNI_COMMAND", verb)]).is_ok(), "{verb}");
        }
        for verb in ["add", "ADD ", "UPDATE"] {
            refused(environment(&[("CNI_COMMAND", verb)]), Code::Environment, "unknown CNI_COMMAND");
        }
    }

    #[test]
    fn ids_and_interfaces_are_checked_whole() {
        let long = "a".repeat(256);
        for id in ["-a", ".a", "a/b", "ab\n", "a b", "ä", &long] {
            refused(call("ADD", &[("CNI_CONTAINERID", id)]), Code::Environment, "CNI_CONTAINERID");
        }
        for name in [".", "..", "a/b", "a:b", "a b", "a\u{a0}b", "a%d", "a\0", "sixteen-bytes-xx"] {
            refused(call("ADD", &[("CNI_IFNAME", name)]), Code::Environment, "CNI_IFNAME");
        }
        refused(call("ADD", &[("CNI_NETNS", "run/netns/x")]), Code::Environment, "CNI_NETNS");
        for name in ["eth0", "net1", "ünï0", "fifteen-bytes-x"] {
            assert!(call("ADD", &[("CNI_IFNAME", name)]).is_ok(), "{name}");
        }
    }

    #[test]
    fn arguments_name_a_pod_in_any_order_or_none() {
        let pod = |args: &str| call("ADD", &[("CNI_ARGS", args)]).expect("arguments never fail").pod;
        let named = |uid: Option<&str>| {
            Some(PodName { namespace: "default".into(), name: "a.b-1".into(), uid: uid.map(str::to_owned) })
        };
        let both = "K8S_POD_NAME=a.b-1;K8S_POD_NAMESPACE=default";
        assert_eq!(pod(both), named(None));
        assert_eq!(
            pod(&format!("IgnoreUnknown=1;{both};IgnoreUnknown=1;x;K8S_POD_UID=u-1;k=v=w;")),
            named(Some("u-1"))
        );
        assert_eq!(pod(&format!("K8S_POD_NAME=old;{both}")), named(None));
        assert_eq!(pod(&format!("{both};K8S_POD_UID=../u")), named(None));
        for none in ["", "K8S_POD_NAME=a", "K8S_POD_NAMESPACE=a", "K8S_POD_NAME=A;K8S_POD_NAMESPACE=a"] {
            assert_eq!(pod(none), None, "{none}");
        }
        assert_eq!(pod(&format!("K8S_POD_NAME=a;K8S_POD_NAMESPACE={}", "n".repeat(64))), None);
        assert_eq!(pod("K8S_POD_NAME=a;K8S_POD_NAMESPACE=../etc"), None);
    }

    #[test]
    fn the_namespace_override_is_one_or_true() {
        for (value, allowed) in
            [("1", true), ("TRUE", true), ("true", true), ("yes", false), ("", false), ("0", false)]
        {
            let read = call("ADD", &[("CNI_NETNS_OVERRIDE", value)]).expect("a good environment");
            assert_eq!(read.own_namespace_allowed, allowed, "{value}");
        }
    }

    #[test]
    fn standard_input_is_checked_in_skels_order() {
        let raw = |bytes: &[u8]| Request::read(call("ADD", &[]).expect("good"), bytes);
        for bytes in [&b""[..], b"{", b"[]", b"null", b"7", b"{} {}", b"\xff", b"{\"name\":\"\xff\"}"] {
            refused(raw(bytes), Code::Decode, "network config");
        }
        let deep = "[".repeat(100_000);
        refused(raw(deep.as_bytes()), Code::Decode, "network config");
        refused(raw(&vec![b' '; LONGEST_INPUT + 1]), Code::Io, "longer");
        refused(read("ADD", &json!({ "cniVersion": "9.9.9" })), Code::Config, "missing network name");
        refused(
            read("ADD", &json!({ "cniVersion": "1.0.0", "name": "" })),
            Code::Config,
            "missing network name",
        );
        refused(
            read("ADD", &json!({ "cniVersion": "1.0.0", "name": "a/b" })),
            Code::Config,
            "invalid characters",
        );
        refused(read("ADD", &json!({ "cniVersion": "1.0.0", "name": 7 })), Code::Decode, "name");
        for version in [json!(null), json!(""), json!("0.2.0"), json!("1.0"), json!("9.9.9")] {
            refused(
                read("ADD", &json!({ "cniVersion": version, "name": "n" })),
                Code::Version,
                "incompatible",
            );
        }
        refused(read("ADD", &json!({ "cniVersion": 1, "name": "n" })), Code::Decode, "cniVersion");
        let previous = json!({ "cniVersion": "1.0.0", "name": "n", "prevResult": [] });
        refused(read("ADD", &previous), Code::Decode, "prevResult");
        assert!(read("DEL", &previous).is_ok());
    }

    #[test]
    fn a_verb_needs_the_version_that_brought_it() {
        for version in Version::ALL {
            let config = json!({ "cniVersion": version.as_str(), "name": "n" });
            for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
                let since = match verb {
                    "CHECK" => Version::V040,
                    "GC" | "STATUS" => Version::V110,
                    _ => Version::V030,
                };
                match read(verb, &config) {
                    Ok(request) => {
                        assert!(version >= since && request.version == version, "{verb} {version}")
                    }
                    Err(error) => {
                        assert!(version < since && error.version == Some(version), "{verb} {version}");
                        assert_eq!(error.message, format!("config version does not allow {verb}"));
                    }
                }
            }
        }
    }

    #[test]
    fn annotations_are_known_or_unknown() {
        let read = |runtime: Value| {
            let config = json!({ "cniVersion": "1.0.0", "name": "n", "runtimeConfig": runtime });
            read("ADD", &config).expect("annotations never fail").annotations
        };
        let of = |value: Value| read(json!({ entry::ANNOTATIONS: value }));
        assert_eq!(of(json!({})), Some(BTreeMap::new()));
        assert_eq!(of(json!({ "a": "b" })), Some(BTreeMap::from([("a".into(), "b".into())])));
        for unknown in [json!(null), json!("x"), json!({ "a": 1 }), json!([])] {
            assert_eq!(of(unknown.clone()), None, "{unknown}");
        }
        for unknown in [json!(null), json!({}), json!("x")] {
            assert_eq!(read(unknown.clone()), None, "{unknown}");
        }
    }

    #[test]
    fn gc_tells_nothing_known_from_nothing_left() {
        let base = json!({ "cniVersion": "1.1.0", "name": "n" });
        let with = |key: &str, value: Value| {
            let mut config = base.clone();
            config[key] = value;
            read("GC", &config)
        };
        assert_eq!(read("GC", &base).expect("good").attachments, None);
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            assert_eq!(with(key, json!(null)).expect("good").attachments, None);
            assert_eq!(with(key, json!([])).expect("good").attachments, Some(vec![]));
            let one = with(key, json!([{ "containerID": "c", "ifname": "eth0" }])).expect("good").attachments;
            assert_eq!(one, Some(vec![Attachment { container: "c".into(), interface: "eth0".into() }]));
            for bad in [json!({}), json!(["x"]), json!([{ "containerID": "c" }])] {
                refused(with(key, bad), Code::Config, "valid-attachments");
            }
        }
    }

    #[test]
    fn families_come_from_addresses_inside_the_sandbox() {
        let families = |result: Value| {
            let config = json!({ "cniVersion": "1.0.0", "name": "n", "prevResult": result });
            read("ADD", &config).expect("results never fail").families()
        };
        let interfaces = json!([{ "name": "br0" }, { "name": "eth0", "sandbox": "/x" }]);
        let ips = |ips: Value| families(json!({ "interfaces": interfaces, "ips": ips }));
        assert_eq!(families(json!(null)), None);
        assert_eq!(families(json!({})), None);
        assert_eq!(ips(json!([])), None);
        assert_eq!(ips(json!([{ "address": "10.0.0.2/24", "interface": 1 }])), Some(Families::V4));
        assert_eq!(
            ips(json!([{ "address": "10.0.0.2" }, { "address": "fd00::2/64" }])),
            Some(Families::Both)
        );
        assert_eq!(
            ips(json!([{ "address": "fd00::2/64", "interface": 0 }])),
            None,
            "the bridge's own address"
        );
        for outside in [json!(-1), json!(2), json!(null), json!(1e9), json!("1")] {
            let address = json!([{ "address": "fd00::2/64", "interface": outside }]);
            assert_eq!(ips(address), Some(Families::Both), "{outside}");
        }
        assert_eq!(ips(json!([{ "address": "::ffff:10.0.0.2/120" }])), Some(Families::V4));
        assert_eq!(ips(json!(["x", { "address": "nowhere" }, { "address": 7 }])), None);
    }

    #[test]
    fn every_error_after_the_version_is_told_in_it() {
        let config = json!({ "cniVersion": "0.3.1", "name": "a/b" });
        assert_eq!(read("ADD", &config).expect_err("a bad name").version, Some(Version::V031));
    }

    proptest! {
        #![proptest_config(crate::laws::config())]

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::read(call("ADD", &[]).expect("good"), &bytes);
        }

        #[test]
        fn no_mutation_of_a_request_makes_it_panic(at in 0usize..400, byte in any::<u8>(), cut in 0usize..400) {
            let config = json!({
                "cniVersion": "1.1.0", "name": "n", "type": "millrace-cni", "agentTimeout": "5s",
                "runtimeConfig": { entry::ANNOTATIONS: { "a": "b" } },
                "prevResult": { "cniVersion": "1.0.0", "interfaces": [{ "name": "eth0", "sandbox": "/x" }],
                    "ips": [{ "address": "10.0.0.2/24", "interface": 0 }] },
                "cni.dev/valid-attachments": [{ "containerID": "c", "ifname": "eth0" }],
            });
            let mut bytes = config.to_string().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len() - cut % 20);
            for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
                if let Ok(request) = Request::read(call(verb, &[]).expect("good"), &bytes) {
                    let _ = request.families();
                }
            }
        }

        #[test]
        fn no_arguments_make_it_panic(args in ".{0,80}", id in ".{0,20}", name in ".{0,20}") {
            let _ = call("ADD", &[("CNI_ARGS", &args), ("CNI_CONTAINERID", &id), ("CNI_IFNAME", &name)]);
        }
    }
}
