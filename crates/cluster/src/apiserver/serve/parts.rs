//! The parts of objects that have a form of their own: scales, evictions, bindings, and the end of a namespace.

use super::request::Request;
use super::{Body, Method, Refusal, Response, StatusCode, Value, Written, not_allowed, read};
use crate::apiserver::draft::delete::Options;
use crate::apiserver::draft::{Asked, written};
use crate::apiserver::evict;
use crate::apiserver::patch::{self, Form};
use crate::apiserver::select::LabelSelector;
use crate::apiserver::shape::Shape;
use crate::apiserver::store::Wanted;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

/// Answers a request for the part `part` of an object.
pub(super) async fn answer(request: &Request<'_>, part: &str, body: Body) -> Result<Response, Refusal> {
    let method = &request.head.method;
    let kind = request.served.kind.kind.as_str();
    match (part, kind) {
        ("scale", _) if request.served.kind.scale => scale(request, body).await,
        ("eviction", "Pod") if method == Method::POST => eviction(request, body).await,
        ("binding", "Pod") if method == Method::POST => binding(request, body).await,
        ("finalize", "Namespace") if method == Method::PUT => finalize(request, body).await,
        ("eviction" | "binding", "Pod") | ("finalize", "Namespace") => Err(not_allowed()),
        _ => Err(Refusal::nowhere()),
    }
}

fn whole(request: &Request<'_>) -> Result<Asked, Refusal> {
    Ok(Asked { subresource: String::new(), ..request.asked()? })
}

async fn scale(request: &Request<'_>, body: Body) -> Result<Response, Refusal> {
    let server = &request.shared.server;
    let object = server.get(&request.served.kind, &request.target.namespace, &request.target.name)?.value();
    let method = &request.head.method;
    if method == Method::GET {
        return Ok(super::json(StatusCode::OK, scale_of(&object).to_string()));
    }
    let asked = request.asked()?;
    let body = read(request.shared, &request.head.headers, body).await?;
    let wanted = if method == Method::PUT {
        body
    } else if method == Method::PATCH {
        let content = request.head.headers.get("content-type").and_then(|content| content.to_str().ok());
        let form = content.and_then(Form::read).ok_or_else(not_allowed)?;
        patch::patched(form, &scale_of(&object), &body, &Shape::default())?
    } else {
        return Err(not_allowed());
    };
    let mut change = json!({"spec": {"replicas": wanted["spec"]["replicas"].as_i64().unwrap_or(0)}});
    if let Some(version) = wanted["metadata"]["resourceVersion"].as_str() {
        change["metadata"] = json!({"resourceVersion": version});
    }
    let answer = server.patch(&Asked { subresource: String::new(), ..asked }, Form::Merge, &change).await?;
    let new = match answer.written {
        Written::Kept(kept) => kept.value(),
        Written::Only(value) => value,
    };
    Ok(super::json(StatusCode::OK, scale_of(&new).to_string()))
}

fn scale_of(object: &Value) -> Value {
    let labels =
        object.pointer("/spec/selector/matchLabels").and_then(Value::as_object).into_iter().flatten();
    let selector: Vec<String> =
        labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": shared_metadata(object),
        "spec": {"replicas": object["spec"]["replicas"]},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0), "selector": selector.join(",")},
    })
}

/// Deletes a pod as far as its disruption budgets allow.
async fn eviction(request: &Request<'_>, body: Body) -> Result<Response, Refusal> {
    let body = read(request.shared, &request.head.headers, body).await?;
    let server = &request.shared.server;
    let (namespace, name) = (&request.target.namespace, &request.target.name);
    let pod = server.get(&request.served.kind, namespace, name)?;
    let mut options = Options::read(&body["deleteOptions"], |_| None)?;
    options.dry_run |= request.query.dry_run()?;
    let budgets =
        server.registry().find("policy", "v1", "poddisruptionbudgets").ok_or_else(Refusal::nowhere)?;
    let wanted = Wanted { namespace: namespace.clone(), ..Wanted::default() };
    let found = server.list(&budgets.kind.id(), &wanted).into_iter().map(|budget| budget.value());
    let of_pod = |budget: &Value| {
        LabelSelector::of(&budget["spec"]["selector"]).is_some_and(|selector| selector.matches(&pod.labels))
    };
    let found: Vec<Value> = found.filter(of_pod).collect();
    if let Some(status) = evict::allowance(&found, &pod.value(), &now())?
        && !options.dry_run
    {
        let asked = Asked {
            served: budgets,
            name: found[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            subresource: "status".to_owned(),
            ..request.asked()?
        };
        // Whoever was allowed one meanwhile has changed it: then this one is to ask again.
        let version = &found[0]["metadata"]["resourceVersion"];
        let change = json!({"metadata": {"resourceVersion": version}, "status": status});
        let spent = server.patch(&asked, Form::Merge, &change).await;
        spent
            .map_err(|_| Refusal::too_many("Cannot evict pod as its disruption budget has just changed."))?;
    }
    server.delete(&whole(request)?, &options).await?;
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(super::json(StatusCode::CREATED, status.to_string()))
}

async fn binding(request: &Request<'_>, body: Body) -> Result<Response, Refusal> {
    let body = read(request.shared, &request.head.headers, body).await?;
    let node = body["target"]["name"].as_str().filter(|node| !node.is_empty());
    let node = node.ok_or_else(|| Refusal::bad_request("target.name: Required value"))?;
    let server = &request.shared.server;
    let pod = server.get(&request.served.kind, &request.target.namespace, &request.target.name)?;
    if !pod.field("spec.nodeName").is_empty() {
        let why = format!("pod {} is already assigned to node \"{}\"", pod.name, pod.field("spec.nodeName"));
        return Err(Refusal::conflict(request.served.kind.about(&pod.name), &why));
    }
    let condition = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now()});
    let asked = whole(request)?;
    let change =
        json!({"metadata": {"resourceVersion": pod.revision.to_string()}, "spec": {"nodeName": node}});
    server.patch(&asked, Form::Merge, &change).await?;
    let asked = Asked { subresource: "status".to_owned(), ..asked };
    server.patch(&asked, Form::Strategic, &json!({"status": {"conditions": [condition]}})).await?;
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(super::json(StatusCode::CREATED, status.to_string()))
}

async fn finalize(request: &Request<'_>, body: Body) -> Result<Response, Refusal> {
    let body = read(request.shared, &request.head.headers, body).await?;
    let finalizers = body["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
    let change = json!({"spec": {"finalizers": finalizers}});
    let answer = request.shared.server.patch(&whole(request)?, Form::Merge, &change).await?;
    request.written(answer)
}

/// The metadata that an object and its part share.
fn shared_metadata(object: &Value) -> Value {
    let of = &object["metadata"];
    json!({
        "name": of["name"], "namespace": of["namespace"], "uid": of["uid"], "resourceVersion": of["resourceVersion"],
        "creationTimestamp": of["creationTimestamp"],
    })
}

/// The present, as objects have it.
fn now() -> String {
    written(Timestamp::now())
}
