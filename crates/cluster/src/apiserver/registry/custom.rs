//! PURE: the kinds that CustomResourceDefinitions make.

use super::schema::Schema;
use super::{Column, Kind, Model};
use crate::apiserver::names::Naming;
use serde_json::Value;
use std::sync::Arc;

/// The kind that one definition makes: none while it serves nothing. All its versions are one kind, as none is converted.
pub(crate) fn kinds(definition: &Value) -> Vec<Kind> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let versions: Vec<&Value> = spec["versions"].as_array().into_iter().flatten().collect();
    let served = versions.iter().filter(|version| version["served"] == true);
    let names: Vec<String> = served.map(|version| text(&version["name"])).collect();
    let stored = versions.iter().find(|version| version["storage"] == true && version["served"] == true);
    let Some(stored) = stored else { return Vec::new() };
    let schema = Schema::read(&stored["schema"]["openAPIV3Schema"]);
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (group, version) = (text(&spec["group"]), text(&stored["name"]));
    let aliases = names.into_iter().filter(|name| *name != version).map(|name| (group.clone(), name));
    vec![Kind {
        aliases: aliases.collect(),
        group: group.clone(),
        version,
        plural: text(&spec["names"]["plural"]),
        singular: text(&spec["names"]["singular"]),
        kind: text(&spec["names"]["kind"]),
        list_kind: text(&spec["names"]["listKind"]),
        namespaced: spec["scope"] == "Namespaced",
        short: list(&spec["names"]["shortNames"]),
        categories: list(&spec["names"]["categories"]),
        naming: Naming::Subdomain,
        status: stored["subresources"]["status"].is_object(),
        scale: false,
        generation: true,
        fields: &[],
        shape: schema.shape().of_object(),
        model: Model::Structural(Arc::new(schema)),
        columns: stored["additionalPrinterColumns"].as_array().into_iter().flatten().map(column).collect(),
    }]
}

fn column(value: &Value) -> Column {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    Column {
        name: text("name"),
        form: text("type"),
        path: text("jsonPath"),
        priority: value["priority"].as_i64().unwrap_or(0),
        description: text("description"),
    }
}
