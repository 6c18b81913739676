//! One request for objects, as far as it is read, and how a write is answered.

use super::{Answer, Parts, Query, Refusal, Response, Shared, StatusCode, Written, accept, json, warned};
use crate::apiserver::draft::Asked;
use crate::apiserver::path::Objects;
use crate::apiserver::present::{self, Form};
use crate::apiserver::registry::Served;
use crate::apiserver::server::seed;
use axum::http::header::USER_AGENT;
use k8s_openapi::jiff::Timestamp;

/// One request.
pub(super) struct Request<'a> {
    pub(super) shared: &'a Shared,
    pub(super) served: Served,
    pub(super) target: Objects,
    pub(super) query: Query,
    pub(super) head: &'a Parts,
}

impl Request<'_> {
    pub(super) fn asked(&self) -> Result<Asked, Refusal> {
        let agent =
            self.head.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let agent = agent.split('/').next().filter(|agent| !agent.is_empty()).unwrap_or("unknown");
        let user = self.head.headers.get("impersonate-user").and_then(|user| user.to_str().ok());
        Ok(Asked {
            user: user.unwrap_or("anybody").to_owned(),
            served: self.served.clone(),
            namespace: self.target.namespace.clone(),
            name: self.target.name.clone(),
            subresource: self.target.subresource.clone(),
            manager: self.query.get("fieldManager").unwrap_or(agent).to_owned(),
            seed: seed(),
            validation: self.query.validation()?,
            force: self.query.is("force"),
            dry_run: self.query.dry_run()?,
        })
    }

    pub(super) fn form(&self) -> Result<Form, Refusal> {
        Form::read(accept(&self.head.headers))
    }

    /// The answer to a write.
    pub(super) fn written(&self, answer: Answer) -> Result<Response, Refusal> {
        let (form, now) = (self.form()?, Timestamp::now());
        let bytes = match answer.written {
            Written::Kept(kept) => present::object(form, &self.served, &kept, now).to_vec(),
            Written::Only(value) => present::value(form, &self.served, value, now).to_string().into_bytes(),
        };
        let status = if answer.created { StatusCode::CREATED } else { StatusCode::OK };
        Ok(warned(json(status, bytes), &answer.warnings))
    }
}
