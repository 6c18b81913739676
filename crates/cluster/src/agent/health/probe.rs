//! `millrace agent probe`: asks an agent of this node, by its own socket, whether it is live or ready.
//!
//! For exec probes: no port, no network. It changes nothing, and answers within its deadline.

use super::serve::namespace;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The environment variable that names the agent's own socket, to the agent and to whoever asks it.
pub(crate) const VARIABLE: &str = "MILLRACE_PROBE_SOCKET";
/// The longest answer that is read.
const LONGEST: u64 = 64 << 10;
/// The most sockets that are tried: there are two agents during an upgrade.
const MOST: usize = 16;

/// Ask the agent whether it is live or ready; for exec probes. Exit status 0 if it is, else 1 with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct Probe {
    /// What to ask.
    #[arg(value_enum)]
    pub(crate) question: Question,
    /// The agent's own socket; else MILLRACE_PROBE_SOCKET, else the one of an agent of the same container, else the newest.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Where the agents' own sockets are.
    #[arg(long, value_name = "DIRECTORY", default_value = "/run/millrace/agents")]
    pub(crate) sockets: PathBuf,
    /// How long to wait for the answer, in milliseconds.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2_000)]
    pub(crate) timeout: u64,
}

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Question {
    /// Whether its tasks still go on.
    Live,
    /// Whether the node may rely on it.
    Ready,
}

/// Asks and prints the answer; true if it is yes. `get` answers for a variable of the environment.
pub(crate) fn run(args: &Probe, get: impl Fn(&str) -> Option<String>, out: &mut dyn Write) -> Result<bool> {
    let named = args.socket.clone().or_else(|| get(VARIABLE).map(PathBuf::from));
    let candidates = named.map_or_else(|| sockets(&args.sockets), |path| Ok(vec![path]))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start a runtime")?;
    let limit = Duration::from_millis(args.timeout);
    let asked = runtime.block_on(async { timeout(limit, first(&candidates, args.question)).await });
    let answer = asked.with_context(|| format!("no answer within {} ms", args.timeout))??;
    write!(out, "{}", answer.body)?;
    Ok(answer.yes)
}

struct Answer {
    yes: bool,
    body: String,
}

/// The sockets in a directory: those of this process namespace, which is the container's, if there are any; newest first.
fn sockets(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.with_context(|| {
        format!("list {}; see that the agent runs, or name its socket by --socket", folder.display())
    })?;
    let own = format!("{}-", namespace());
    let mut found: Vec<(bool, SystemTime, PathBuf)> = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|kind| kind == "sock") {
            let born = entry.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            found.push((entry.file_name().to_string_lossy().starts_with(&own), born, path));
        }
    }
    if found.iter().any(|(own, ..)| *own) {
        found.retain(|(own, ..)| *own);
    }
    found.sort();
    Ok(found.into_iter().rev().take(MOST).map(|(.., path)| path).collect())
}

/// The answer of the first agent that is there.
async fn first(candidates: &[PathBuf], question: Question) -> Result<Answer> {
    let mut last = None;
    for path in candidates {
        match UnixStream::connect(path).await {
            Ok(stream) => {
                return ask(stream, question).await.with_context(|| format!("ask {}", path.display()));
            }
            Err(cause) => last = Some(format!("{}: {cause}", path.display())),
        }
    }
    match last {
        Some(last) => bail!("no agent listens: {last}"),
        None => bail!("no agent has a socket here; see that the agent runs, or name its socket by --socket"),
    }
}

async fn ask(mut stream: UnixStream, question: Question) -> Result<Answer> {
    let page = match question {
        Question::Live => "/livez",
        Question::Ready => "/readyz",
    };
    let request = format!("GET {page} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(LONGEST).read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("what answers is no agent")?;
    let status = head.split(' ').nth(1).context("what answers is no agent")?;
    Ok(Answer { yes: status == "200", body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::{Check, Health, router, serve};
    use super::*;
    use crate::agent::metrics::Metrics;
    use tokio_util::sync::CancellationToken;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("millrace-probe-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn probe(folder: &Path, question: Question, socket: Option<&str>) -> (bool, String) {
        let args = Probe { question, socket: None, sockets: folder.to_owned(), timeout: 30_000 };
        let mut out = Vec::new();
        match run(&args, |_| socket.map(str::to_owned), &mut out) {
            Ok(yes) => (yes, String::from_utf8(out).unwrap()),
            Err(error) => (false, format!("{error:#}")),
        }
    }

    /// An agent on a thread of its own until it is dropped.
    struct Agent(CancellationToken, Option<std::thread::JoinHandle<()>>);

    impl Agent {
        fn start(folder: &Path, health: Health) -> Agent {
            let stop = CancellationToken::new();
            let (folder, token) = (folder.to_owned(), stop.clone());
            let (said, heard) = std::sync::mpsc::channel();
            let thread = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let own = serve::Own::bind(serve::unnamed(&folder), SystemTime::now()).unwrap();
                    said.send(()).unwrap();
                    own.serve(router(health, Metrics::new("0.0.0")), token).await;
                });
            });
            heard.recv_timeout(Duration::from_secs(30)).unwrap();
            Agent(stop, Some(thread))
        }
    }

    impl Drop for Agent {
        fn drop(&mut self) {
            self.0.cancel();
            self.1.take().unwrap().join().unwrap();
        }
    }

    #[test]
    fn a_probe_has_the_agents_answer() {
        let folder = Folder::new("answer");
        let (yes, why) = probe(&folder.0, Question::Ready, None);
        assert!(!yes && why.starts_with(&format!("list {}", folder.0.display())), "{why}");
        std::fs::create_dir(&folder.0).unwrap();
        let stale = folder.0.join(format!("{}-1.sock", namespace()));
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        let (yes, why) = probe(&folder.0, Question::Ready, None);
        assert!(!yes && why.starts_with("no agent listens"), "{why}");
        let health = Health::new(&[Check::Watch]);
        let agent = Agent::start(&folder.0, health.clone());
        let (yes, why) = probe(&folder.0, Question::Ready, None);
        assert!(!yes && why.ends_with("not ok watch: not looked at yet\nnot ready\n"), "{why}");
        health.ok(Check::Watch, "no pods");
        let (yes, why) = probe(&folder.0, Question::Ready, None);
        assert!(yes && why.ends_with("ok     watch: no pods\nready\n"), "{why}");
        assert_eq!(probe(&folder.0, Question::Live, None), (true, "live\n".to_owned()));
        let (yes, why) = probe(&folder.0, Question::Live, stale.to_str());
        assert!(!yes && why.starts_with("no agent listens"), "{why}");
        drop(agent);
        let left: Vec<_> = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [stale], "an agent takes its socket with it");
    }

    /// As when somebody wipes /run/millrace: a kubelet must not end an agent that is well.
    #[test]
    fn an_agent_whose_socket_was_taken_away_makes_another() {
        let folder = Folder::new("wiped");
        let health = Health::new(&[Check::Watch]);
        let _agent = Agent::start(&folder.0, health);
        assert_eq!(probe(&folder.0, Question::Live, None), (true, "live\n".to_owned()));
        std::fs::remove_dir_all(&folder.0).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !probe(&folder.0, Question::Live, None).0 {
            assert!(std::time::Instant::now() < deadline, "it answers again");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_dead_agents_left_is_removed_once_it_is_old() {
        let folder = Folder::new("sweep");
        std::fs::create_dir(&folder.0).unwrap();
        let dead = folder.0.join("1-1.sock");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let young = serve::Own::bind(folder.0.join("young.sock"), SystemTime::now()).unwrap();
        assert!(dead.exists());
        let later = SystemTime::now() + Duration::from_secs(60);
        let own = serve::Own::bind(folder.0.join("own.sock"), later).unwrap();
        assert!(!dead.exists() && own.path().exists());
        drop(young);
    }
}
