//! Our entry in the text of a node's plugin list: put in, taken out, nothing else touched (M11).
//!
//! Keys keep their order, numbers their digits, unknown keys their values. A list that is already right is not rewritten:
//! each write makes every runtime and every other mesh on the node reload. `name` and `cniVersion` are never changed; a
//! changed name orphans the addresses of every running pod.

use crate::cni::{Version, entry::TYPE};
use serde_json::{Map, Value};
use std::fmt;

/// What became of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It is right as it is.
    Unchanged,
    /// This is the right one.
    Changed(String),
}

/// Why a text was left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not JSON, or not an object.
    NotJson(String),
    /// It is a single plugin's configuration; it can be wrapped.
    Single,
    /// It is neither a list nor a single plugin's configuration.
    Shape(&'static str),
    /// The runtime may use a version of it that our plugin does not speak: every pod would fail.
    Version(String),
    /// It is Multus's: our place is in the list Multus delegates to.
    Multus,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotJson(why) => {
                write!(f, "the list is not a JSON object ({why}); left alone, as its owner may be writing it")
            }
            Error::Single => {
                f.write_str("this is a single plugin's configuration, not a list; wrap it into one")
            }
            Error::Shape(why) => {
                write!(f, "the list is malformed: {why}; left alone, its owner must mend it")
            }
            Error::Version(version) => write!(
                f,
                "the list may be used as CNI {version:?}, which {TYPE} does not speak; left alone, as every pod would fail"
            ),
            Error::Multus => f.write_str(
                "this list is Multus's own; join the list it delegates to, or its auxiliary chain",
            ),
        }
    }
}

impl std::error::Error for Error {}

/// What a list says, as far as it concerns who puts an entry into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The network's name.
    pub name: String,
    /// The versions a runtime may use it as.
    pub versions: Vec<String>,
    /// The types of its plugins, in order.
    pub types: Vec<String>,
    /// Our entries, in order; one at most is right.
    pub ours: Vec<Map<String, Value>>,
}

/// Reads a list that a runtime could use.
pub fn read(text: &str) -> Result<Chain, Error> {
    let mut list = parse(text)?;
    let plugins = plugins(&mut list)?.clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let more = list.get("cniVersions").and_then(Value::as_array).into_iter().flatten();
    Ok(Chain {
        name: list.get("name").map(text).unwrap_or_default(),
        versions: list.get("cniVersion").into_iter().chain(more).map(text).collect(),
        types: plugins.iter().map(|plugin| plugin.get("type").map(text).unwrap_or_default()).collect(),
        ours: plugins.iter().filter(|plugin| is_ours(plugin)).filter_map(Value::as_object).cloned().collect(),
    })
}

/// Puts `entry` (with [`TYPE`] as its `type`) last into the list, in place of every entry of our type.
pub fn insert(text: &str, entry: &Map<String, Value>) -> Result<Edit, Error> {
    take_over(text, entry, &[])
}

/// As [`insert`], and takes the entries of the types in `instead_of` out in the same edit: whoever does what we do would
/// redirect what we redirected.
pub fn take_over(text: &str, entry: &Map<String, Value>, instead_of: &[&str]) -> Result<Edit, Error> {
    let replaced = |plugin: &Value| {
        is_ours(plugin)
            || plugin.get("type").and_then(Value::as_str).is_some_and(|one| instead_of.contains(&one))
    };
    let mut list = parse(text)?;
    check_version(&list)?;
    let plugins = plugins(&mut list)?;
    if plugins.iter().any(is_multus) {
        return Err(Error::Multus);
    }
    let going = plugins.iter().filter(|plugin| replaced(plugin)).count();
    let right = plugins.last().is_some_and(|last| is_ours(last) && last.as_object() == Some(entry));
    if right && going == 1 {
        return Ok(Edit::Unchanged);
    }
    plugins.retain(|plugin| !replaced(plugin));
    plugins.push(Value::Object(entry.clone()));
    Ok(Edit::Changed(pretty(&list)))
}

/// Takes every entry of our type out of the list. A list of nothing but us is malformed: it was never ours to make.
pub fn remove(text: &str) -> Result<Edit, Error> {
    let mut list = parse(text)?;
    let plugins = plugins(&mut list)?;
    if !plugins.iter().any(is_ours) {
        return Ok(Edit::Unchanged);
    }
    plugins.retain(|plugin| !is_ours(plugin));
    if plugins.is_empty() {
        return Err(Error::Shape("without us it would have no plugin"));
    }
    Ok(Edit::Changed(pretty(&list)))
}

/// Makes a list of a single plugin's configuration, with `entry` last. Name and version stay what they are: peers that
/// put in their own orphaned the state kept under the old name.
pub fn wrap(text: &str, entry: &Map<String, Value>) -> Result<String, Error> {
    let single = parse(text)?;
    if single.contains_key("plugins") {
        return Err(Error::Shape("it is a list already"));
    }
    if !single.get("type").is_some_and(Value::is_string) {
        return Err(Error::Shape("it has neither plugins nor a type"));
    }
    let single = Value::Object(single);
    if is_multus(&single) {
        return Err(Error::Multus);
    }
    let mut list = Map::new();
    for key in ["cniVersion", "name"] {
        if let Some(value) = single.get(key) {
            list.insert(key.to_owned(), value.clone());
        }
    }
    list.insert("plugins".to_owned(), Value::Array(vec![single, Value::Object(entry.clone())]));
    check_version(&list)?;
    check_name(&list)?;
    Ok(pretty(&list))
}

/// Whether the list has an entry of our type.
pub fn has_ours(text: &str) -> Result<bool, Error> {
    Ok(plugins(&mut parse(text)?)?.iter().any(is_ours))
}

fn parse(text: &str) -> Result<Map<String, Value>, Error> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::NotJson("it holds another value".to_owned())),
        Err(error) => Err(Error::NotJson(error.to_string())),
    }
}

fn plugins(list: &mut Map<String, Value>) -> Result<&mut Vec<Value>, Error> {
    if !list.contains_key("plugins") {
        let single = list.get("type").is_some_and(Value::is_string);
        return Err(if single { Error::Single } else { Error::Shape("it has no plugins") });
    }
    check_name(list)?;
    let plugins = list.get_mut("plugins").and_then(Value::as_array_mut);
    let plugins = plugins.ok_or(Error::Shape("plugins is not a list"))?;
    if plugins.is_empty() {
        return Err(Error::Shape("plugins is empty"));
    }
    if !plugins.iter().all(|plugin| plugin.get("type").is_some_and(Value::is_string)) {
        return Err(Error::Shape("a plugin has no type"));
    }
    Ok(plugins)
}

fn check_name(list: &Map<String, Value>) -> Result<(), Error> {
    let named = list.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    if named { Ok(()) } else { Err(Error::Shape("it has no name")) }
}

/// libcni from 1.2 picks the highest of `cniVersion` and `cniVersions` that it knows; older ones take `cniVersion`.
fn check_version(list: &Map<String, Value>) -> Result<(), Error> {
    let spoken = |value: &Value| match value.as_str() {
        Some(text) if Version::from_text(text).is_some() => Ok(()),
        Some(text) => Err(Error::Version(text.to_owned())),
        None => Err(Error::Shape("a version is not a string")),
    };
    spoken(list.get("cniVersion").unwrap_or(&Value::from("0.1.0")))?;
    match list.get("cniVersions") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(more)) => more.iter().try_for_each(spoken),
        Some(_) => Err(Error::Shape("cniVersions is not a list")),
    }
}

fn is_ours(plugin: &Value) -> bool {
    plugin.get("type").and_then(Value::as_str) == Some(TYPE)
}

fn is_multus(plugin: &Value) -> bool {
    matches!(plugin.get("type").and_then(Value::as_str), Some("multus" | "multus-shim"))
}

fn pretty(list: &Map<String, Value>) -> String {
    let mut text = format!("{:#}", Value::Object(list.clone()));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Lists as their owners make them, by shape.
    const LISTS: [(&str, &str); 6] = [
        (
            "calico",
            r#"{"name":"k8s-pod-network","cniVersion":"0.3.1","plugins":[{"type":"calico","log_level":"info","mtu":0,"nodename":"n1","ipam":{"type":"calico-ipam"},"policy":{"type":"k8s"},"kubernetes":{"kubeconfig":"/etc/cni/net.d/calico-kubeconfig"}},{"type":"portmap","snat":true,"capabilities":{"portMappings":true}},{"type":"bandwidth","capabilities":{"bandwidth":true}}]}"#,
        ),
        (
            "cilium",
            "\n{\n  \"cniVersion\": \"0.3.1\",\n  \"name\": \"cilium\",\n  \"plugins\": [\n    {\n       \"type\": \"cilium-cni\",\n       \"enable-debug\": false,\n       \"log-file\": \"/var/run/cilium/cilium-cni.log\"\n    }\n  ]\n}\n",
        ),
        (
            "aws",
            r#"{"cniVersion":"0.4.0","name":"aws-cni","disableCheck":true,"plugins":[{"name":"aws-cni","type":"aws-cni","vethPrefix":"eni","mtu":"9001","podSGEnforcingMode":"strict"},{"name":"egress-cni","type":"egress-cni","enabled":"false","ipam":{"type":"host-local","ranges":[[{"subnet":"fd00::ac:00/118"}]]}},{"type":"portmap","capabilities":{"portMappings":true},"snat":true}]}"#,
        ),
        (
            "azure",
            r#"{"cniVersion":"0.3.0","name":"azure","plugins":[{"type":"azure-vnet","mode":"transparent","ipsToRouteViaHost":["169.254.20.10"],"ipam":{"type":"azure-vnet-ipam"},"big":9007199254740993,"half":0.50},{"type":"portmap","capabilities":{"portMappings":true},"snat":true}]}"#,
        ),
        (
            "flannel",
            r#"{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel","delegate":{"hairpinMode":true,"isDefaultGateway":true}},{"type":"portmap","capabilities":{"portMappings":true}}]}"#,
        ),
        (
            "kindnet",
            r#"{"cniVersion":"0.3.1","name":"kindnet","cniVersions":["0.3.1","1.0.0"],"loadOnlyInlinedPlugins":"true","plugins":[{"type":"ptp","ipMasq":false,"ipam":{"type":"host-local","dataDir":"/run/cni-ipam-state","ranges":[[{"subnet":"10.244.0.0/24"}]]},"mtu":1500}]}"#,
        ),
    ];

    fn entry() -> Map<String, Value> {
        crate::cni::Entry::default().write()
    }

    fn changed(edit: Result<Edit, Error>) -> String {
        match edit {
            Ok(Edit::Changed(text)) => text,
            other => panic!("wanted a change: {other:?}"),
        }
    }

    /// Values, the order of keys and the digits of numbers.
    fn exact(text: &str) -> String {
        serde_json::from_str::<Value>(text).expect("JSON").to_string()
    }

    #[test]
    fn putting_in_and_taking_out_leaves_every_list_as_it_was() {
        for (name, text) in LISTS {
            let with = changed(insert(text, &entry()));
            assert_eq!(insert(&with, &entry()), Ok(Edit::Unchanged), "{name}");
            let ours = Value::Object(entry()).to_string();
            let wanted =
                format!("{},{ours}]}}", exact(text).strip_suffix("]}").expect("ends in its plugins"));
            assert_eq!(exact(&with), wanted, "{name}");
            assert_eq!((has_ours(text), has_ours(&with)), (Ok(false), Ok(true)), "{name}");
            assert_eq!(exact(&changed(remove(&with))), exact(text), "{name}");
            assert_eq!(remove(text), Ok(Edit::Unchanged), "{name}");
        }
    }

    #[test]
    fn duplicates_and_wrong_places_are_mended() {
        let ours = Value::Object(entry());
        let stale = json!({ "type": TYPE, "backend": "nftables" });
        let other = json!({ "type": "bridge" });
        let list = |plugins: &[&Value]| {
            json!({ "cniVersion": "1.0.0", "name": "n", "plugins": plugins }).to_string()
        };
        let wanted = list(&[&other, &ours]);
        for plugins in [
            vec![&other],
            vec![&stale, &other],
            vec![&ours, &other],
            vec![&other, &ours, &ours],
            vec![&other, &stale],
        ] {
            assert_eq!(exact(&changed(insert(&list(&plugins), &entry()))), wanted);
        }
    }

    #[test]
    fn who_did_it_before_us_goes_in_the_same_edit() {
        let other = json!({ "type": "bridge" });
        let istio = json!({ "type": "istio-cni", "log_level": "info" });
        let list = |plugins: &[&Value]| {
            json!({ "cniVersion": "1.0.0", "name": "n", "plugins": plugins }).to_string()
        };
        let wanted = list(&[&other, &Value::Object(entry())]);
        for plugins in [vec![&other, &istio], vec![&istio, &other], vec![&other, &istio, &istio]] {
            let text = list(&plugins);
            assert_eq!(exact(&changed(take_over(&text, &entry(), &["istio-cni"]))), wanted);
            assert!(changed(insert(&text, &entry())).contains("istio-cni"));
        }
        assert_eq!(take_over(&wanted, &entry(), &["istio-cni"]), Ok(Edit::Unchanged));
        let with = list(&[&other, &istio, &Value::Object(entry())]);
        assert_eq!(exact(&changed(take_over(&with, &entry(), &["istio-cni"]))), wanted);
    }

    #[test]
    fn a_list_says_what_it_is() {
        let list = json!({ "cniVersion": "0.4.0", "cniVersions": ["1.0.0"], "name": "n",
            "plugins": [{ "type": "bridge" }, entry()] });
        let chain = read(&list.to_string()).expect("a list");
        assert_eq!((chain.name.as_str(), chain.ours.len()), ("n", 1));
        assert_eq!(chain.versions, ["0.4.0", "1.0.0"]);
        assert_eq!(chain.types, ["bridge", TYPE]);
        assert_eq!(read(r#"{"type":"bridge","name":"n"}"#), Err(Error::Single));
    }

    #[test]
    fn the_order_of_our_own_keys_is_no_difference() {
        let reversed: Map<String, Value> = entry().into_iter().rev().collect();
        let list = json!({ "cniVersion": "1.0.0", "name": "n", "plugins": [{ "type": "bridge" }, reversed] });
        assert_eq!(insert(&list.to_string(), &entry()), Ok(Edit::Unchanged));
    }

    #[test]
    fn a_single_configuration_is_wrapped_under_its_own_name() {
        let single = r#"{"cniVersion":"0.3.1","name":"mynet","type":"bridge","mtu":1.0e3}"#;
        assert_eq!(insert(single, &entry()), Err(Error::Single));
        let ours = Value::Object(entry());
        let wanted = format!(r#"{{"cniVersion":"0.3.1","name":"mynet","plugins":[{single},{ours}]}}"#);
        let wrapped = wrap(single, &entry()).expect("wraps");
        assert_eq!(exact(&wrapped), exact(&wanted));
        assert_eq!(insert(&wrapped, &entry()), Ok(Edit::Unchanged));
        assert!(matches!(wrap(&wrapped, &entry()), Err(Error::Shape(_))));
        assert!(matches!(wrap(r#"{"type":"bridge","name":"n"}"#, &entry()), Err(Error::Version(_))));
        assert!(matches!(wrap(r#"{"type":"bridge","cniVersion":"0.3.1"}"#, &entry()), Err(Error::Shape(_))));
        assert!(matches!(wrap("{}", &entry()), Err(Error::Shape(_))));
    }

    #[test]
    fn multus_is_never_edited() {
        let multus = r#"{"cniVersion":"0.3.1","name":"multus-cni-network","type":"multus","delegates":[]}"#;
        assert_eq!(wrap(multus, &entry()), Err(Error::Multus));
        let list = json!({ "cniVersion": "0.3.1", "name": "n", "plugins": [{ "type": "multus-shim" }] });
        assert_eq!(insert(&list.to_string(), &entry()), Err(Error::Multus));
    }

    #[test]
    fn what_is_malformed_is_left_alone() {
        let list = |key: &str, value: Value| {
            let mut list = json!({ "cniVersion": "1.0.0", "name": "n", "plugins": [{ "type": "bridge" }] });
            list[key] = value;
            list.to_string()
        };
        for text in ["", "{", "[]", "7", "{} x"] {
            assert!(matches!(insert(text, &entry()), Err(Error::NotJson(_))), "{text}");
            assert!(matches!(remove(text), Err(Error::NotJson(_))), "{text}");
        }
        for (key, value) in [
            ("plugins", json!([])),
            ("plugins", json!({})),
            ("plugins", json!([1])),
            ("plugins", json!([{ "name": "x" }])),
            ("name", json!("")),
            ("name", json!(1)),
            ("cniVersion", json!(1)),
            ("cniVersions", json!("1.0.0")),
        ] {
            assert!(matches!(insert(&list(key, value), &entry()), Err(Error::Shape(_))), "{key}");
        }
        for (key, value) in [
            ("cniVersion", json!("0.2.0")),
            ("cniVersion", json!("1.2.0")),
            ("cniVersions", json!(["1.0.0", "1.2.0"])),
        ] {
            assert!(matches!(insert(&list(key, value), &entry()), Err(Error::Version(_))), "{key}");
        }
        assert!(matches!(remove(&list("plugins", json!([{ "type": TYPE }]))), Err(Error::Shape(_))));
        assert!(matches!(insert(r#"{"cniVersion":"1.0.0"}"#, &entry()), Err(Error::Shape(_))));
    }

    proptest! {
        #![proptest_config(crate::laws::config())]

        #[test]
        fn no_mutation_makes_it_panic(
            which in 0..LISTS.len(),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
            noise in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut bytes = LISTS[which].1.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            for bytes in [bytes, noise] {
                let text = String::from_utf8_lossy(&bytes);
                let _ = (insert(&text, &entry()), remove(&text), wrap(&text, &entry()), has_ours(&text));
            }
        }
    }
}
