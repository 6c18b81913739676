//! What has pods admitted by us: its registration, its certificates, and the addresses behind its Service.
//!
//! Of the Secret only the dates and whom to trust are kept.

use crate::cli::check::facts::{Certificates, Registered, Webhook};
use crate::cli::reader::Reader;
use crate::controller::admission::{SECRET, certs_of};
use crate::print::words::{MUTATING, WEBHOOK};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Endpoints, Secret};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

impl Reader<'_> {
    pub(super) async fn webhook(&self) -> Webhook {
        let client = self.connection.client.clone();
        let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let read = self.connection.ask("list webhooks", api.list(&ListParams::default().limit(500))).await;
        let Some(all) = self.noted(read) else { return Webhook::default() };
        let registered = all.items.iter().find(|one| one.name_any() == MUTATING).map(registered);
        let behind = all.items.iter().map(ResourceExt::name_any);
        let behind = behind.filter(|name| name.as_str() > MUTATING && name.contains("sidecar-injector"));
        let mut webhook = Webhook { looked: true, behind: behind.collect(), ..Webhook::default() };
        if let Some(registered) = registered {
            let secrets: Api<Secret> = Api::namespaced(client.clone(), self.home);
            let act = format!("read the dates of Secret {}/{SECRET}", self.home);
            let read = self.connection.ask(&act, secrets.get_opt(SECRET)).await;
            webhook.certs = self.noted(read).flatten().as_ref().and_then(certificates);
            if registered.service {
                let api: Api<Endpoints> = Api::namespaced(client, self.home);
                let act = format!("read the endpoints of {}", self.service());
                let read = self.connection.ask(&act, api.get_opt(WEBHOOK)).await;
                webhook.endpoints = self.noted(read).map(|found| found.as_ref().map_or(0, addresses));
            }
            webhook.probe = self.probe().await;
            webhook.registered = Some(registered);
        }
        webhook
    }
}

fn registered(found: &MutatingWebhookConfiguration) -> Registered {
    let first = found.webhooks.iter().flatten().next();
    let client = first.map(|hook| &hook.client_config);
    let bundle = client.and_then(|client| client.ca_bundle.clone());
    Registered {
        bundle: bundle.map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned()).unwrap_or_default(),
        fails: first.is_some_and(|hook| hook.failure_policy.as_deref() == Some("Fail")),
        service: client.is_some_and(|client| client.service.is_some()),
    }
}

fn certificates(secret: &Secret) -> Option<Certificates> {
    let certs = certs_of(secret)?;
    let validity = certs.serving.validity;
    Some(Certificates { bundle: certs.bundle(), until: validity.until, from: validity.from })
}

fn addresses(endpoints: &Endpoints) -> usize {
    let subsets = endpoints.subsets.iter().flatten();
    subsets.map(|subset| subset.addresses.as_ref().map_or(0, Vec::len)).sum()
}
