//! The connection to a cluster's API server, as kubectl would make it: kubeconfig and context, else the pod this runs in.
//!
//! Every request has a deadline, and every refusal says what to do about it. It reads the kubeconfig and keeps nothing.

mod error;
mod object;

pub(crate) use error::Error;

use crate::args::cluster::Server;
use kube::api::{DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, ObjectList, Request};
use kube::{Api, Client, Config, Resource};
use object::Object;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(10);

/// The most nodes that are looked at (M10); Kubernetes is made for 5 000.
pub(crate) const MOST_NODES: usize = 20_000;
/// How many objects are asked for at once: a page of pods is some megabytes.
const PAGE: u32 = 250;

/// An API server, and how to ask it.
#[derive(Clone)]
pub(crate) struct Connection {
    /// For what has its own way of asking.
    pub(crate) client: Client,
    /// Where it is, for people.
    pub(crate) server: String,
    /// How long one request may take.
    pub(crate) patience: Duration,
    /// As whom it is asked, where that was found out before.
    pub(crate) account: Option<Arc<Account>>,
}

/// As whom an API server is asked.
#[derive(Debug)]
pub(crate) struct Account {
    /// The name that it knows him by.
    pub(crate) name: String,
    is_refused: AtomicBool,
}

impl Account {
    /// One that is known by that name.
    pub(crate) fn new(name: String) -> Account {
        Account { name, is_refused: AtomicBool::new(false) }
    }

    /// Whether an answer said since it was asked last that this account is not known any more.
    pub(crate) fn was_refused(&self) -> bool {
        self.is_refused.swap(false, Ordering::Relaxed)
    }
}

impl Connection {
    /// Reads the configuration. Nothing is asked of the server yet.
    pub(crate) fn open(server: &Server) -> Result<Connection, Error> {
        let mut config = block_on(config(server))?;
        config.connect_timeout = Some(CONNECT.min(server.request_timeout));
        // A watch is silent for long; each request has a deadline of its own.
        config.read_timeout = None;
        config.default_retry = false;
        let url = config.cluster_url.to_string();
        let client = {
            // The client's buffer is a task of the runtime it is made in.
            let _inside = runtime().enter();
            Client::try_from(config).map_err(|error| Error::Config(chain(&error)))?
        };
        Ok(Connection {
            client,
            server: url.trim_end_matches('/').to_owned(),
            patience: server.request_timeout,
            account: None,
        })
    }

    /// By a configuration that is there; to be called within a runtime. `account` is whose it is, where that is known.
    pub(crate) fn of(
        config: Config,
        account: Option<Arc<Account>>,
        patience: Duration,
    ) -> Result<Connection, Error> {
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| Error::Config(chain(&error)))?;
        Ok(Connection { client, server, patience, account })
    }

    /// Asks, for at most as long as a request may take. `act` says what for: "read MeshCNI default".
    pub(crate) async fn ask<T>(
        &self,
        act: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        match timeout(self.patience, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.means(act, &error)),
            Err(_) => Err(Error::Slow {
                act: act.to_owned(),
                server: self.server.clone(),
                seconds: self.patience.as_secs(),
            }),
        }
    }

    /// Looks at every object as it is on the wire, without its managed fields, page by page: what is kept of one is what `look`
    /// keeps.
    pub(crate) async fn each(
        &self,
        act: &str,
        api: &Api<DynamicObject>,
        params: ListParams,
        most: usize,
        look: &mut (dyn FnMut(&Value) + Send),
    ) -> Result<(), Error> {
        let wire = Request::new(api.resource_url());
        let wire = &wire;
        let list = |params: ListParams| async move {
            let request = wire.list(&params).map_err(kube::Error::BuildRequest)?;
            self.client.request::<ObjectList<Object>>(request).await
        };
        self.walk(act, list, params, most, &mut |Object(object)| look(&object)).await
    }

    /// What an error of the client means.
    pub(crate) fn means(&self, act: &str, error: &kube::Error) -> Error {
        let means = Error::of(act, &self.server, error);
        if let (Error::Unknown { .. }, Some(account)) = (&means, &self.account) {
            account.is_refused.store(true, Ordering::Relaxed);
        }
        means
    }

    /// The same for objects of a type. More than `most` are an error (M10).
    pub(crate) async fn pages<K: Clone + DeserializeOwned + Debug>(
        &self,
        act: &str,
        api: &Api<K>,
        params: ListParams,
        most: usize,
        look: &mut (dyn FnMut(K) + Send),
    ) -> Result<(), Error> {
        self.walk(act, |params: ListParams| async move { api.list(&params).await }, params, most, look).await
    }

    async fn walk<K: Clone, Page: Future<Output = kube::Result<ObjectList<K>>>>(
        &self,
        act: &str,
        list: impl Fn(ListParams) -> Page,
        params: ListParams,
        most: usize,
        look: &mut (dyn FnMut(K) + Send),
    ) -> Result<(), Error> {
        let mut params = params.limit(PAGE);
        let mut count = 0;
        loop {
            let page = self.ask(act, list(params.clone())).await?;
            count += page.items.len();
            if count > most {
                let why = format!("there are more than {most}");
                return Err(Error::Other { act: act.to_owned(), why });
            }
            page.items.into_iter().for_each(&mut *look);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    /// Objects of one kind in the whole cluster, as they are on the wire.
    pub(crate) fn all<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<K>(&()))
    }
}

/// Runs what asks, on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

/// The one runtime of a command: it has one thread, which is the command's.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::LazyLock<tokio::runtime::Runtime> = std::sync::LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a process may make an epoll descriptor")
    });
    &RUNTIME
}

async fn config(server: &Server) -> Result<Config, Error> {
    let options = KubeConfigOptions { context: server.context.clone(), ..KubeConfigOptions::default() };
    let Some((file, from)) = kubeconfig(server.kubeconfig.clone())? else {
        if server.context.is_some() {
            return Err(Error::NoConfig);
        }
        return Config::incluster_env().map_err(|_| Error::NoConfig);
    };
    let config = Config::from_custom_kubeconfig(file, &options).await;
    config.map_err(|error| Error::Config(format!("cannot use the kubeconfig {from}: {}", chain(&error))))
}

/// The kubeconfig, and where it is from.
fn kubeconfig(named: Option<PathBuf>) -> Result<Option<(Kubeconfig, String)>, Error> {
    let wrong = |from: &str, error: &dyn std::error::Error| {
        Error::Config(format!("cannot read the kubeconfig {from}: {}", chain(error)))
    };
    let named = match named {
        Some(path) => Some(path),
        None => match Kubeconfig::from_env() {
            Ok(Some(file)) => return Ok(Some((file, "that KUBECONFIG names".to_owned()))),
            Ok(None) => home().filter(|path| path.exists()),
            Err(error) => return Err(wrong("that KUBECONFIG names", &error)),
        },
    };
    let Some(path) = named else { return Ok(None) };
    let from = path.display().to_string();
    let file = Kubeconfig::read_from(&path).map_err(|error| wrong(&from, &error))?;
    Ok(Some((file, from)))
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"))
}

/// An error with all its causes, none said twice.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
