//! The agent's sockets as the plugin meets them: well-meant, malformed, slow, uninvited, in crowds, and while it is replaced.

use super::*;
use millrace_host::socket;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream as Stream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of its own.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("millrace-serve-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Place(folder)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An agent on a thread of its own, that answers with the name it is asked for.
struct Agent {
    stop: CancellationToken,
    kill: CancellationToken,
    metrics: Metrics,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    fn start(path: &Path) -> Agent {
        Agent::slow(path, Duration::ZERO, CancellationToken::new())
    }

    /// One that answers only after a while; `asked` is cancelled when it is asked first.
    fn slow(path: &Path, takes: Duration, asked: CancellationToken) -> Agent {
        let (stop, kill, metrics) =
            (CancellationToken::new(), CancellationToken::new(), Metrics::new("test"));
        let (stopped, killed, counted) = (stop.clone(), kill.clone(), metrics.clone());
        let (path, (ready, is_ready)) = (path.to_owned(), std::sync::mpsc::channel());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = listen(&path).unwrap();
                ready.send(()).unwrap();
                let answer = move |question: Question, _| {
                    asked.cancel();
                    async move {
                        tokio::time::sleep(takes).await;
                        Answer::Decided(question.name)
                    }
                };
                let served = serve(listener, || PATIENCE, counted, stopped, answer);
                tokio::select! {
                    () = served => {}
                    // With the runtime everything is closed at once, as when the process is killed.
                    () = killed.cancelled() => {}
                }
            });
        });
        is_ready.recv().unwrap();
        Agent { stop, kill, metrics, thread: Some(thread) }
    }

    fn refused(&self) -> bool {
        self.metrics.write().contains("millrace_asks_total{source=\"refused\"} 1\n")
    }

    fn end(mut self, how: fn(&Agent) -> &CancellationToken) {
        how(&self).cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn question(name: &str) -> Question {
    Question { namespace: "default".into(), name: name.into(), ..Question::default() }
}

fn ask(path: &Path, name: &str) -> Answer {
    socket::ask(path, &question(name), PATIENCE).unwrap()
}

/// What is answered to bytes that somebody sends; nothing if it is hung up.
fn send(path: &Path, bytes: &[u8]) -> Option<Answer> {
    let mut stream = Stream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut reply = Vec::new();
    // A reset is a hanging up too.
    let _ = stream.read_to_end(&mut reply);
    (!reply.is_empty()).then(|| Answer::read(&reply[4..]).unwrap())
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

#[test]
fn sockets_are_roots_and_are_replaced_without_a_gap() {
    let place = Place::new();
    let first = Agent::start(&place.socket());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&place.0), mode(&place.socket())), (0o700, 0o600));
    // Left by one that was killed at the wrong moment.
    std::fs::write(place.0.join("agent.sock.new"), "").unwrap();
    let second = Agent::start(&place.socket());
    first.end(|agent| &agent.stop);
    assert_eq!(ask(&place.socket(), "web"), Answer::Decided("web".into()));
    second.end(|agent| &agent.stop);
    // It is left for the next to replace; a probe of it says that nobody is there.
    assert!(place.socket().exists() && !socket::is_open(&place.socket()));
    assert!(listen(Path::new("/proc/no/agent.sock")).is_err());
}

#[test]
fn every_version_that_is_kept_is_answered() {
    let place = Place::new();
    let _agent = Agent::start(&place.socket());
    let golden = include_str!("../../../core/tests/golden/ask-v1.jsonl");
    let questions = golden
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| name.starts_with("question"));
    let mut count = 0;
    for (_, body) in questions {
        assert_eq!(
            send(&place.socket(), &frame(body.as_bytes())),
            Some(Answer::Decided("reviews-v1".into()))
        );
        count += 1;
    }
    assert!(count >= 2);
}

#[test]
fn what_is_no_question_is_told_so_once() {
    for (bytes, expected) in [
        (frame(b"{}"), "it has no version"),
        (frame(b"nonsense"), "malformed"),
        (frame(br#"{"v":2,"question":{}}"#), "within one release"),
        (frame(br#"{"v":1,"question":{"namespace":"a"}}"#), "name is missing"),
        (vec![0xff; 4], "longer than"),
    ] {
        let place = Place::new();
        let agent = Agent::start(&place.socket());
        let answer = send(&place.socket(), &bytes);
        let Some(Answer::Failed(failure)) = answer else { panic!("{answer:?}") };
        assert_eq!(failure.code, Code::Answer as u16);
        assert!(failure.message.contains(expected), "{}", failure.message);
        assert!(agent.refused());
    }
}

#[test]
fn who_sends_slowly_or_nothing_holds_up_nobody_and_is_hung_up() {
    let place = Place::new();
    let agent = Agent::start(&place.socket());
    let mut silent = Stream::connect(place.socket()).unwrap();
    let mut half = Stream::connect(place.socket()).unwrap();
    half.write_all(&[0, 0, 0, 9, b'{']).unwrap();
    let crowd: Vec<Stream> = (0..100).map(|_| Stream::connect(place.socket()).unwrap()).collect();
    assert_eq!(ask(&place.socket(), "web"), Answer::Decided("web".into()));
    drop(crowd);
    for slow in [&mut silent, &mut half] {
        slow.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(slow.read(&mut [0; 9]).unwrap(), 0, "hung up");
    }
    assert!(agent.metrics.write().contains("millrace_asks_total{source=\"refused\"} 2\n"));
}

#[test]
fn only_root_may_ask() {
    let place = Place::new();
    let agent = Agent::start(&place.socket());
    let open = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    open(&place.0, 0o711);
    open(&place.socket(), 0o666);
    let path = place.socket();
    let said = std::thread::spawn(move || {
        let (uid, gid) = (rustix::thread::Uid::from_raw(65534), rustix::thread::Gid::from_raw(65534));
        rustix::thread::set_thread_groups(&[]).unwrap();
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        let mut stream = Stream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may be hung up already.
        let _ = stream.write_all(&question("web").write().unwrap());
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        reply
    });
    assert_eq!(said.join().unwrap(), Vec::<u8>::new());
    assert!(agent.refused());
    assert_eq!(ask(&place.socket(), "web"), Answer::Decided("web".into()));
}

/// 200 plugins ask; the agent is killed while it has some of their questions, and another takes over.
#[test]
fn killing_the_agent_loses_no_question() {
    let place = Place::new();
    let asked = CancellationToken::new();
    let first = Agent::slow(&place.socket(), PATIENCE, asked.clone());
    let plugins: Vec<JoinHandle<Answer>> = (0..200)
        .map(|n| {
            let path = place.socket();
            std::thread::spawn(move || ask(&path, &format!("web-{n}")))
        })
        .collect();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(asked.cancelled());
    first.end(|agent| &agent.kill);
    let _second = Agent::start(&place.socket());
    for (n, plugin) in plugins.into_iter().enumerate() {
        assert_eq!(plugin.join().unwrap(), Answer::Decided(format!("web-{n}")));
    }
}

#[test]
fn who_was_heard_is_answered_before_the_agent_ends() {
    let place = Place::new();
    let asked = CancellationToken::new();
    let agent = Agent::slow(&place.socket(), Duration::from_millis(300), asked.clone());
    let path = place.socket();
    // Asks once: it would not be answered by another.
    let plugin = std::thread::spawn(move || send(&path, &question("web").write().unwrap()));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(asked.cancelled());
    agent.end(|agent| &agent.stop);
    assert_eq!(plugin.join().unwrap(), Some(Answer::Decided("web".into())));
}

#[test]
fn events_are_heard_and_nonsense_is_not() {
    let place = Place::new();
    let path = place.0.join("events.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = receive(&path).unwrap();
        let (stop, heard) = (CancellationToken::new(), tokio::sync::mpsc::unbounded_channel());
        let (tell, mut told) = heard;
        let hearing = tokio::spawn(hear(socket, stop.clone(), move |event| tell.send(event).unwrap()));
        let long = Event { verb: "ADD".into(), message: "\u{1}".repeat(5000), ..Event::default() };
        socket::tell(&path, b"nonsense");
        socket::tell(&path, &long.write());
        let event = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
        assert_eq!((event.verb.as_str(), event.message.len()), ("ADD", 4096));
        stop.cancel();
        hearing.await.unwrap();
    });
}

#[test]
fn events_that_were_sent_before_the_end_are_heard() {
    let place = Place::new();
    let path = place.0.join("events.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = receive(&path).unwrap();
        for verb in ["ADD", "CHECK", "DEL"] {
            socket::tell(&path, &Event { verb: verb.into(), ..Event::default() }.write());
        }
        let stop = CancellationToken::new();
        stop.cancel();
        let mut verbs = Vec::new();
        let hearing = hear(socket, stop, |event| verbs.push(event.verb));
        tokio::time::timeout(PATIENCE, hearing).await.expect("it ends");
        assert_eq!(verbs, ["ADD", "CHECK", "DEL"]);
    });
}
