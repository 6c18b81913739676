//! What clients see of an API server, asked of the one in memory and, with the same words, of a real kube-apiserver.

#[path = "apiserver/asked.rs"]
mod asked;
#[path = "apiserver/changes.rs"]
mod changes;
#[path = "apiserver/controllers.rs"]
mod controllers;
#[path = "apiserver/kubectl.rs"]
mod kubectl;
#[path = "apiserver/objects.rs"]
mod objects;
#[path = "apiserver/watches.rs"]
mod watches;
#[path = "apiserver/webhooks.rs"]
mod webhooks;
