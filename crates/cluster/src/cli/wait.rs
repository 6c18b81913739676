//! Waiting until a cluster is where it was sent: one watch of the MeshCNI, a deadline, and an interrupt that ends the waiting
//! alone. How far it is goes to standard error: one line that replaces itself, or, where nobody watches, one for each step.

mod judge;

pub(crate) use judge::{Verdict, judge};

use super::Outcome;
use super::connect::{Connection, Error};
use crate::api::mesh::MeshCNI;
use crate::api::status::State;
use crate::args::output::{Form, Style};
use anyhow::Result;
use futures::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::pin::pin;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};

/// Waits until the generation is reached, cannot be reached, or `limit` is over. What came of it is printed.
pub(crate) async fn wait(
    connection: &Connection,
    generation: i64,
    limit: Duration,
    interrupt: &mut Signal,
    style: Style,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let api: Api<MeshCNI> = Api::all(connection.client.clone());
    let mut line = Line { live: style.live };
    let (mut told, mut debt) = (None, 0);
    let mut last = style.say("nothing was seen of the MeshCNI", "尚未看到 MeshCNI").to_owned();
    let watched = Watched { api, name: super::change::NAME, act: "watch MeshCNI default" };
    let reached = watched.until(connection, Instant::now() + limit, |mesh| {
        let now = mesh.and_then(|mesh| step(mesh, generation));
        debt = now.map_or(debt, |(_, debt)| debt);
        match judge(mesh, generation, style) {
            Verdict::There(words) => Some((words, Outcome::Well)),
            Verdict::Never(words) => Some((words, Outcome::Wrong)),
            Verdict::NotYet(words) => {
                line.show(&words);
                if !style.live && now.is_some_and(|now| is_news(told, now)) {
                    eprintln!("{words}");
                    told = now;
                }
                last = words;
                None
            }
        }
    });
    let reached = tokio::select! {
        reached = reached => Some(reached),
        _ = interrupt.recv() => None,
    };
    Line { live: style.live }.clear();
    let (words, outcome) = match reached {
        Some(Ok(Some(reached))) => reached,
        Some(Ok(None)) => {
            let words = style.say("not reached in time", "未在时限内到达");
            (format!("{words} ({} s): {last}", limit.as_secs()), Outcome::Wrong)
        }
        Some(Err(error)) => return Err(error.into()),
        None => {
            let words = style.say(
                "interrupted: the change goes on; `millrace status --watch` shows how far it is",
                "已中断等待:变更仍在继续;`millrace status --watch` 显示进度",
            );
            (words.to_owned(), Outcome::Interrupted)
        }
    };
    say(&words, style, out)?;
    if debt > 0 {
        say(&format!("{}: millrace migrate", style.say("next", "下一步")), style, out)?;
    }
    Ok(outcome)
}

/// An object that is watched.
pub(crate) struct Watched<'a, K> {
    /// Where it is.
    pub(crate) api: Api<K>,
    /// Its name.
    pub(crate) name: &'a str,
    /// What for, as in "watch MeshCNI default".
    pub(crate) act: &'a str,
}

impl<K: Resource + Clone + DeserializeOwned + Debug + Send + 'static> Watched<'_, K> {
    /// Waits until `judge` has an answer to the object as it is, or to its absence; nothing once the deadline is over.
    pub(crate) async fn until<T>(
        self,
        connection: &Connection,
        deadline: Instant,
        mut judge: impl FnMut(Option<&K>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let states = watcher::watch_object(self.api, self.name).default_backoff();
        until(connection, self.act, deadline, states, |object| judge(object.as_ref())).await
    }
}

/// Objects of a kind that are watched.
pub(crate) struct Group<'a, K> {
    /// Where they are.
    pub(crate) api: Api<K>,
    /// Those with these labels; all, if empty.
    pub(crate) labels: &'a str,
    /// What for, as in "watch PodDisruptionBudgets".
    pub(crate) act: &'a str,
}

impl<K: Resource + Clone + DeserializeOwned + Debug + Send + 'static> Group<'_, K> {
    /// Waits until `judge` has an answer to all of them as they are; nothing once the deadline is over.
    pub(crate) async fn until<T>(
        self,
        connection: &Connection,
        deadline: Instant,
        mut judge: impl FnMut(&BTreeMap<String, K>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let config = Config::default().labels(self.labels);
        let events = watcher(self.api, config).default_backoff();
        let mut known: BTreeMap<String, K> = BTreeMap::new();
        let hear = |event: Event<K>| {
            let whole = matches!(event, Event::Apply(_) | Event::Delete(_) | Event::InitDone);
            match event {
                Event::Init => known.clear(),
                Event::InitApply(one) | Event::Apply(one) => drop(known.insert(one.name_any(), one)),
                Event::Delete(one) => drop(known.remove(&one.name_any())),
                Event::InitDone => {}
            }
            whole.then(|| judge(&known)).flatten()
        };
        until(connection, self.act, deadline, events, hear).await
    }
}

/// Hears a watch until `hear` has an answer to what it tells; nothing once the deadline is over.
async fn until<E, T>(
    connection: &Connection,
    act: &str,
    deadline: Instant,
    told: impl Stream<Item = watcher::Result<E>>,
    mut hear: impl FnMut(E) -> Option<T>,
) -> Result<Option<T>, Error> {
    let mut told = pin!(told);
    loop {
        match timeout_at(deadline, told.next()).await {
            Err(_) | Ok(None) => return Ok(None),
            Ok(Some(Ok(next))) => {
                if let Some(answer) = hear(next) {
                    return Ok(Some(answer));
                }
            }
            Ok(Some(Err(error))) => {
                if let Some(error) = fatal(connection, act, &error) {
                    return Err(error);
                }
            }
        }
    }
}

/// What came of the waiting: for people on standard output, and beside what a program reads there on standard error.
fn say(words: &str, style: Style, out: &mut dyn Write) -> Result<()> {
    match style.form {
        Form::Table | Form::Wide => writeln!(out, "{words}")?,
        Form::Json | Form::Jsonl | Form::Yaml => eprintln!("{words}"),
    }
    Ok(())
}

/// Where a cluster is, and how many pods wait for people to restart them.
type Step = (State, u32);

fn step(mesh: &MeshCNI, generation: i64) -> Option<Step> {
    let status = mesh.status.as_ref().filter(|status| status.observed_generation >= Some(generation))?;
    Some((status.state?, status.workloads.restart_debt))
}

/// Whether a log has a line of it: each state, and pods by halves, so that ten thousand of them are no ten thousand lines.
fn is_news(told: Option<Step>, (state, debt): Step) -> bool {
    let Some((_, owed)) = told.filter(|(was, _)| *was == state) else { return true };
    debt != owed && (debt <= owed / 2 || debt / 2 >= owed)
}

/// Interrupts from now on: until this is asked for, one ends the program.
pub(crate) fn interrupts() -> Result<Signal> {
    Ok(signal(SignalKind::interrupt())?)
}

/// What no patience helps against.
pub(crate) fn fatal(connection: &Connection, act: &str, error: &watcher::Error) -> Option<Error> {
    let cause = match error {
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => cause,
        _ => return None,
    };
    let error = connection.means(act, cause);
    matches!(error, Error::Forbidden { .. } | Error::Unknown { .. } | Error::NotInstalled { .. })
        .then_some(error)
}

/// One line on standard error that replaces itself, where somebody watches.
#[derive(Debug)]
pub(crate) struct Line {
    /// Whether somebody does.
    pub(crate) live: bool,
}

impl Line {
    /// Shows a line in place of the last.
    pub(crate) fn show(&mut self, words: &str) {
        if self.live {
            // A line that wraps could not be replaced; no terminal of today is narrower.
            let short: String = words.chars().take(78).collect();
            let _ = write!(std::io::stderr(), "\r\x1b[K{short}");
        }
    }

    /// Takes it away.
    pub(crate) fn clear(&mut self) {
        if self.live {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{State, is_news};

    #[test]
    fn a_log_has_each_state_and_pods_by_halves() {
        let mut told = None;
        let mut news = |state: State, debts: &[u32]| {
            let fresh = debts.iter().filter(|debt| {
                let is = is_news(told, (state, **debt));
                told = if is { Some((state, **debt)) } else { told };
                is
            });
            fresh.copied().collect::<Vec<u32>>()
        };
        assert_eq!(news(State::Installing, &[0, 0]), [0]);
        assert_eq!(news(State::Draining, &[9, 9, 8, 5, 4, 3, 2, 1, 0, 0]), [9, 4, 2, 1, 0]);
        assert_eq!(news(State::Draining, &[1, 1, 2, 3, 4]), [1, 2, 4]);
        assert_eq!(news(State::Removing, &[0]), [0]);
    }
}
