//! Requests for objects: which verb it is, what it needs, and what it is answered.

use super::request::Request;
use super::{
    Body, HeaderMap, HeaderValue, Method, Parts, Query, Refusal, Response, Shared, StatusCode, Written, json,
    not_allowed, parts, read, reviews,
};
use crate::apiserver::draft::Asked;
use crate::apiserver::draft::delete::Options;
use crate::apiserver::patch;
use crate::apiserver::path::Objects;
use crate::apiserver::present;
use crate::apiserver::store::{Stored, Wanted};
use crate::apiserver::watch::{self, Start, Watch};
use axum::http::header::CONTENT_TYPE;
use futures::stream;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How long a watch lasts whose client does not say.
const WATCH: Duration = Duration::from_secs(3600);

/// Answers one.
pub(super) async fn answer(
    shared: &Shared,
    target: Objects,
    head: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    let registry = shared.server.registry();
    if let Some(review) = reviews::find(&target) {
        let asked = read(shared, &head.headers, body).await?;
        return Ok(json(StatusCode::CREATED, review(asked).to_string()));
    }
    let served =
        registry.find(&target.group, &target.version, &target.plural).ok_or_else(Refusal::nowhere)?;
    let misplaced = served.kind.namespaced == target.namespace.is_empty();
    if misplaced && (!served.kind.namespaced || !target.name.is_empty()) {
        return Err(Refusal::nowhere());
    }
    let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&head.uri)
        .map_err(|cause| Refusal::bad_request(format!("the query cannot be read: {cause}")))?;
    let request = Request { shared, served, target, query: Query::new(query.0), head };
    request.answer(body).await
}

impl Request<'_> {
    async fn answer(&self, body: Body) -> Result<Response, Refusal> {
        let (named, part) = (!self.target.name.is_empty(), self.target.subresource.clone());
        let whole = part.is_empty() || part == "status" && self.served.kind.status;
        let method = self.head.method.clone();
        if named && !whole {
            return parts::answer(self, &part, body).await;
        }
        if (method == Method::GET || method == Method::HEAD) && self.query.is("watch") {
            return self.watch();
        }
        match (method, named) {
            (Method::GET | Method::HEAD, true) => self.get(),
            (Method::GET | Method::HEAD, false) => self.list(),
            (Method::POST, false) if self.served.kind.namespaced != self.target.namespace.is_empty() => {
                let body = read(self.shared, &self.head.headers, body).await?;
                let answer = self.shared.server.create(&self.asked()?, body).await?;
                self.written(answer)
            }
            (Method::PUT, true) => {
                let body = read(self.shared, &self.head.headers, body).await?;
                let answer = self.shared.server.update(&self.asked()?, body).await?;
                self.written(answer)
            }
            (Method::PATCH, true) => self.patch(body).await,
            (Method::DELETE, true) if part.is_empty() => self.delete(body).await,
            (Method::DELETE, false) => self.delete_all(body).await,
            _ => Err(not_allowed()),
        }
    }

    fn get(&self) -> Result<Response, Refusal> {
        let found = self.shared.server.get(&self.served.kind, &self.target.namespace, &self.target.name)?;
        let bytes = present::object(self.form()?, &self.served, &found, Timestamp::now());
        Ok(json(StatusCode::OK, bytes.to_vec()))
    }

    async fn patch(&self, body: Body) -> Result<Response, Refusal> {
        let form = content_type(&self.head.headers).and_then(patch::Form::read).ok_or_else(|| {
            let words = "the body of the request was in an unknown format - accepted media types include: \
                         application/json-patch+json, application/merge-patch+json, \
                         application/strategic-merge-patch+json, application/apply-patch+yaml";
            Refusal::new(415, "UnsupportedMediaType", words)
        })?;
        if form == patch::Form::Apply && self.query.get("fieldManager").is_none() {
            let words = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
            return Err(Refusal::new(422, "Invalid", words));
        }
        let body = read(self.shared, &self.head.headers, body).await?;
        let answer = self.shared.server.patch(&self.asked()?, form, &body).await?;
        self.written(answer)
    }

    async fn delete(&self, body: Body) -> Result<Response, Refusal> {
        let body = read(self.shared, &self.head.headers, body).await?;
        let options = Options::read(&body, |name| self.query.get(name).map(str::to_owned))?;
        let answer = self.shared.server.delete(&self.asked()?, &options).await?;
        let last = match &answer.written {
            // Of most kinds only a word is told when they are gone at once.
            Written::Only(last) if self.served.kind.kind != "Pod" => last,
            _ => return self.written(answer),
        };
        let mut details = json!({"name": self.target.name, "kind": self.served.kind.plural, "uid": last["metadata"]["uid"]});
        if !self.served.group.is_empty() {
            details["group"] = self.served.group.as_str().into();
        }
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
        });
        Ok(json(StatusCode::OK, status.to_string()))
    }

    async fn delete_all(&self, body: Body) -> Result<Response, Refusal> {
        let body = read(self.shared, &self.head.headers, body).await?;
        let options = Options::read(&body, |name| self.query.get(name).map(str::to_owned))?;
        let wanted = self.query.wanted(&self.served.kind, &self.target.namespace, "")?;
        let asked = self.asked()?;
        let found = self.shared.server.list(&self.served.kind.id(), &wanted);
        for object in &found {
            let one =
                Asked { namespace: object.namespace.clone(), name: object.name.clone(), ..asked.clone() };
            match self.shared.server.delete(&one, &options).await {
                // Somebody else was faster.
                Err(refusal) if refusal.code == 404 => {}
                deleted => drop(deleted?),
            }
        }
        let meta = json!({"resourceVersion": self.revision()});
        let pieces = present::list(self.form()?, &self.served, &found, meta, Timestamp::now());
        Ok(json(StatusCode::OK, pieces.concat()))
    }

    fn revision(&self) -> String {
        self.shared.server.read(|store| store.revision()).to_string()
    }

    fn list(&self) -> Result<Response, Refusal> {
        let wanted = self.query.wanted(&self.served.kind, &self.target.namespace, "")?;
        let page = self.page(&wanted)?;
        let mut meta = json!({"resourceVersion": page.revision.to_string()});
        if let Some(last) = page.objects.last().filter(|_| page.more > 0) {
            meta["continue"] = format!("{}:{}", page.revision, last.key()).into();
            if !wanted.is_selective() {
                meta["remainingItemCount"] = page.more.into();
            }
        }
        let pieces = present::list(self.form()?, &self.served, &page.objects, meta, Timestamp::now());
        let pieces = pieces.into_iter().map(Ok::<_, std::convert::Infallible>);
        Ok(json(StatusCode::OK, Body::from_stream(stream::iter(pieces))))
    }

    /// One page of a list; the pages of one list are all of one revision.
    fn page(&self, wanted: &Wanted) -> Result<Page, Refusal> {
        let id = self.served.kind.id();
        let asked = self.query.number("resourceVersion")?.unwrap_or(0);
        let (exact, after) = match self.query.get("continue") {
            Some(token) => {
                let (revision, key) = token.split_once(':').ok_or_else(no_token)?;
                (Some(revision.parse::<u64>().map_err(|_| no_token())?), key.to_owned())
            }
            None if self.query.get("resourceVersionMatch") == Some("Exact") => (Some(asked), String::new()),
            None => (None, String::new()),
        };
        let found = self.shared.server.read(|store| {
            let now = store.revision();
            if asked.max(exact.unwrap_or(0)) > now {
                return Err(too_new(asked.max(exact.unwrap_or(0)), now));
            }
            match exact {
                None => Ok((now, store.list(&id, wanted, &after))),
                Some(revision) => store.list_at(&id, wanted, &after, revision).map(|found| (revision, found)).map_err(
                    |oldest| {
                        let words = format!(
                            "The provided continue parameter is too old to display a consistent list result: {} is \
                             forgotten, {} is the oldest revision known; begin again without continue",
                            revision, oldest.0
                        );
                        Refusal::expired(words)
                    },
                ),
            }
        });
        let (revision, mut objects) = found?;
        let limit = self.query.number("limit")?.filter(|limit| *limit > 0);
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let more = objects.len().saturating_sub(limit);
        objects.truncate(limit);
        Ok(Page { revision, objects, more })
    }

    fn watch(&self) -> Result<Response, Refusal> {
        let revision = self.query.number("resourceVersion")?.unwrap_or(0);
        let start = match self.query.is("sendInitialEvents") {
            true => Start::List,
            false if revision == 0 => Start::Now,
            false => Start::After(revision),
        };
        let place = Arc::clone(&self.shared.watches).try_acquire_owned().map_err(|_| {
            Refusal::too_many("this server has as many watches as it may; end some, or raise --max-watches")
        })?;
        let time =
            self.query.number("timeoutSeconds")?.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let asked = watch::Asked {
            served: self.served.clone(),
            form: self.form()?,
            wanted: self.query.wanted(&self.served.kind, &self.target.namespace, &self.target.name)?,
            start,
            bookmarks: self.query.is("allowWatchBookmarks"),
            time: time.unwrap_or(WATCH),
        };
        let watch = Watch::new(Arc::clone(&self.shared.server), asked, place);
        let lines = stream::unfold(watch, Watch::next);
        let mut response = json(StatusCode::OK, Body::from_stream(lines));
        response.headers_mut().insert("cache-control", HeaderValue::from_static("no-cache, private"));
        Ok(response)
    }
}

struct Page {
    revision: u64,
    objects: Vec<Arc<Stored>>,
    more: usize,
}

fn no_token() -> Refusal {
    Refusal::bad_request("continue key is not valid: it is none that this server gave")
}

fn too_new(asked: u64, now: u64) -> Refusal {
    let words = format!("Too large resource version: {asked}, current: {now}");
    Refusal::new(504, "Timeout", words).because("ResourceVersionTooLarge", "Too large resource version")
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()
}
