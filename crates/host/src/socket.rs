//! Frames on the agent's socket: the plugin's blocking side, and the sending and receiving that the agent's side shares.
//!
//! Every wait ends at a deadline. An agent that is not there is waited for by watching its directory, not by asking in a
//! loop. A datagram that nobody wants is dropped; telling never waits.

use millrace_core::ask::{self, Answer, Question};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why the agent could not be asked.
#[derive(Debug)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Error {
    /// Nobody answered at `path` until the deadline; `last` is what the last try met.
    Absent { path: PathBuf, waited: Duration, last: io::Error },
    /// What was said is not of the protocol.
    Protocol(ask::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Absent { path, waited, last } => write!(
                f,
                "the node agent did not answer at {} within {} ms ({last})",
                path.display(),
                waited.as_millis()
            ),
            Error::Protocol(error) => write!(f, "the node agent does not speak our protocol: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// Asks, trying again until `patience` is over whenever the agent is away or goes away: a question changes nothing.
pub fn ask(path: &Path, question: &Question, patience: Duration) -> Result<Answer, Error> {
    let frame = question.write().map_err(Error::Protocol)?;
    let start = Instant::now();
    let deadline = start + patience;
    let mut doorbell = None;
    loop {
        let last = match exchange(path, &frame, deadline) {
            Ok(body) => return Answer::read(&body).map_err(Error::Protocol),
            Err(Fault::Protocol(error)) => return Err(Error::Protocol(error)),
            Err(Fault::Io(last)) => last,
        };
        if Instant::now() >= deadline {
            return Err(Error::Absent { path: path.to_owned(), waited: start.elapsed(), last });
        }
        doorbell.get_or_insert_with(|| Doorbell::at(path)).wait(deadline);
    }
}

/// Whether somebody accepts connections at `path`.
pub fn is_open(path: &Path) -> bool {
    connect(path).is_ok()
}

/// Sends one datagram to `path` if somebody is there to take it now.
pub fn tell(path: &Path, datagram: &[u8]) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let sent = SocketAddrUnix::new(path).and_then(|address| {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        rustix::net::sendto(&socket, datagram, SendFlags::NOSIGNAL | SendFlags::DONTWAIT, &address)
    });
    // Nobody listening, or too slowly, is no concern of the pod that starts.
    let _ = sent;
}

/// Receives the body of one frame.
pub fn receive(stream: &mut UnixStream, deadline: Instant) -> Result<Vec<u8>, Fault> {
    let mut header = [0; 4];
    read_exact(stream, &mut header, deadline)?;
    let mut body = vec![0; ask::length(header).map_err(Fault::Protocol)?];
    read_exact(stream, &mut body, deadline)?;
    Ok(body)
}

/// Sends one whole frame.
pub fn send(stream: &mut UnixStream, mut frame: &[u8], deadline: Instant) -> Result<(), Fault> {
    while !frame.is_empty() {
        stream.set_write_timeout(Some(remaining(deadline)?))?;
        match stream.write(frame) {
            Ok(0) => return Err(Fault::Io(io::ErrorKind::WriteZero.into())),
            Ok(count) => frame = &frame[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::Io(error)),
        }
    }
    Ok(())
}

/// Why a frame did not pass.
#[derive(Debug)]
pub enum Fault {
    /// The other side is away, slow or gone; another try may do.
    Io(io::Error),
    /// The other side says what cannot be understood; another try will not do.
    Protocol(ask::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

fn exchange(path: &Path, frame: &[u8], deadline: Instant) -> Result<Vec<u8>, Fault> {
    let mut stream = UnixStream::from(connect(path).map_err(io::Error::from)?);
    stream.set_nonblocking(false)?;
    send(&mut stream, frame, deadline)?;
    receive(&mut stream, deadline)
}

/// Not std's `connect`: that one waits without a deadline while the other side's backlog is full.
fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

fn read_exact(stream: &mut UnixStream, mut into: &mut [u8], deadline: Instant) -> Result<(), Fault> {
    while !into.is_empty() {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(into) {
            Ok(0) => return Err(Fault::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => into = &mut into[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::Io(error)),
        }
    }
    Ok(())
}

/// A socket's timeout of zero would mean none.
fn remaining(deadline: Instant) -> Result<Duration, io::Error> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Rings when something changes in the directory where the agent's socket will appear.
struct Doorbell(Option<OwnedFd>);

impl Doorbell {
    /// The longest wait without a ring: a full backlog empties, and a missing parent directory appears, silently.
    const LONGEST: Duration = Duration::from_millis(100);

    fn at(path: &Path) -> Doorbell {
        let bell = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok();
        let watched = bell.filter(|bell| {
            let events = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
            path.parent().is_some_and(|folder| inotify::add_watch(bell, folder, events).is_ok())
        });
        Doorbell(watched)
    }

    fn wait(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now()).min(Self::LONGEST);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut watched: Vec<PollFd<'_>> =
            self.0.iter().map(|bell| PollFd::new(bell, PollFlags::IN)).collect();
        if matches!(poll(&mut watched, Some(&timeout)), Ok(1..))
            && let Some(bell) = &self.0
        {
            let mut events = [0; 4096];
            // What rang does not matter: the next try shows.
            let _ = rustix::io::read(bell, &mut events);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    /// A directory of its own, and the path of a socket in it.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let folder = std::env::temp_dir().join(format!("millrace-socket-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir(&folder).unwrap();
            Place(folder.join("s"))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    fn answer() -> Answer {
        Answer::Decided("stamp".into())
    }

    fn serve_one(listener: &UnixListener) -> Question {
        let (mut stream, _) = listener.accept().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let body = receive(&mut stream, deadline).unwrap();
        send(&mut stream, &answer().write().unwrap(), deadline).unwrap();
        Question::read(&body).unwrap()
    }

    #[test]
    fn a_question_is_answered() {
        let place = Place::new("answered");
        let listener = UnixListener::bind(&place.0).unwrap();
        let server = std::thread::spawn(move || serve_one(&listener));
        let question = Question { name: "reviews".into(), ..Question::default() };
        assert_eq!(ask(&place.0, &question, Duration::from_secs(10)).unwrap(), answer());
        assert_eq!(server.join().unwrap(), question);
    }

    #[test]
    fn an_agent_that_comes_late_or_goes_away_once_is_waited_for() {
        let place = Place::new("late");
        let path = place.0.clone();
        let asker = std::thread::spawn(move || ask(&path, &Question::default(), Duration::from_secs(30)));
        let staged = place.0.with_extension("new");
        let listener = UnixListener::bind(&staged).unwrap();
        std::fs::rename(&staged, &place.0).unwrap();
        drop(listener.accept().unwrap());
        serve_one(&listener);
        assert_eq!(asker.join().unwrap().unwrap(), answer());
    }

    #[test]
    fn an_agent_that_is_absent_dead_or_silent_ends_at_the_deadline() {
        let place = Place::new("absent");
        let patience = Duration::from_millis(30);
        let absent = |path: &Path| {
            let error = ask(path, &Question::default(), patience).unwrap_err();
            assert!(matches!(error, Error::Absent { waited, .. } if waited >= patience), "{error}");
        };
        absent(&place.0);
        absent(Path::new("/nonexistent/millrace/agent.sock"));
        assert!(!is_open(&place.0));
        let silent = UnixListener::bind(&place.0).unwrap();
        assert!(is_open(&place.0));
        absent(&place.0);
        drop(silent);
        absent(&place.0);
    }

    #[test]
    fn an_answer_that_is_none_is_not_asked_for_again() {
        let place = Place::new("nonsense");
        let listener = UnixListener::bind(&place.0).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[0xff; 4]).unwrap();
            // Hold it until the asker hangs up, so that what it saw is the answer and not a reset.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let error = ask(&place.0, &Question::default(), Duration::from_secs(30)).unwrap_err();
        assert!(matches!(error, Error::Protocol(ask::Error::TooLong(_))), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn telling_nobody_is_quick_and_telling_somebody_arrives() {
        let place = Place::new("told");
        tell(&place.0, b"x");
        let listener = UnixDatagram::bind(&place.0).unwrap();
        tell(&place.0, b"heard");
        let mut buffer = [0; 16];
        assert_eq!(listener.recv(&mut buffer).unwrap(), 5);
        // More than any socket holds: what does not fit is dropped, nothing waits.
        for _ in 0..10_000 {
            tell(&place.0, b"x");
        }
    }
}
