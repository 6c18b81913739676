//! As much HTTP/1.1 as the demo's programs speak: one request and one answer per connection, bodies in JSON.
//!
//! Never waits past its deadline, never reads past its bounds, and never keeps a connection: each request is one
//! connection, so that what the rules count and what the programs say can be compared.

use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// The longest head of a request or of an answer.
const HEAD: usize = 8 << 10;
/// The longest body of an answer.
const BODY: usize = 1 << 20;
/// How long one connection of a server may take from its first byte to its last.
const SERVE: Duration = Duration::from_secs(10);

/// An answer: its status and its body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The body as it came.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, if the status is 200.
    pub(crate) fn json(&self) -> io::Result<Value> {
        if self.status != 200 {
            let body = String::from_utf8_lossy(&self.body);
            return Err(broken(&format!("status {} instead of 200: {}", self.status, body.trim())));
        }
        serde_json::from_slice(&self.body)
            .map_err(|cause| broken(&format!("a body that is no JSON: {cause}")))
    }
}

/// Asks `server` for `path` on a new connection.
pub(crate) fn get(server: SocketAddr, path: &str, patience: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + patience;
    let mut stream = TcpStream::connect_timeout(&server, patience)?;
    stream.set_write_timeout(Some(patience))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {server}\r\naccept: application/json\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let (head, rest) = head(&mut stream, deadline)?;
    let status = status(&head)?;
    let body = if chunked(&head) {
        unchunk(&all(&mut stream, rest, None, deadline)?)?
    } else {
        all(&mut stream, rest, length(&head)?, deadline)?
    };
    Ok(Answer { status, body })
}

/// Answers every connection to `listener` with what `answer` makes of the path and of the peer, a thread for each.
/// Ends only when accepting fails for good.
pub(crate) fn serve<F>(listener: &TcpListener, answer: F) -> io::Result<()>
where
    F: Fn(&str, IpAddr) -> (u16, Value) + Send + Sync,
{
    std::thread::scope(|scope| {
        loop {
            let (mut stream, peer) = match listener.accept() {
                Ok(connection) => connection,
                // The peer went away between its SYN and our accept (accept(2)).
                Err(cause) if cause.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(cause) => return Err(cause),
            };
            let answer = &answer;
            // A connection that breaks is its client's trouble, who says so.
            scope.spawn(move || drop(one(&mut stream, peer.ip().to_canonical(), answer)));
        }
    })
}

fn one(
    stream: &mut TcpStream,
    peer: IpAddr,
    answer: &(impl Fn(&str, IpAddr) -> (u16, Value) + ?Sized),
) -> io::Result<()> {
    stream.set_write_timeout(Some(SERVE))?;
    let (head, _) = head(stream, Instant::now() + SERVE)?;
    let (status, body) = match path(&head) {
        Some(path) => answer(path, peer),
        None => (400, Value::from("only GET with an absolute path")),
    };
    let body = body.to_string();
    let word = if status == 200 { "OK" } else { "No" };
    write!(
        stream,
        "HTTP/1.1 {status} {word}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Reads up to the empty line; gives the head and what came after it.
fn head(stream: &mut TcpStream, deadline: Instant) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            let head = String::from_utf8(bytes).map_err(|_| broken("a head that is no text"))?;
            return Ok((head, rest));
        }
        if bytes.len() > HEAD {
            return Err(broken("a head longer than 8 KiB"));
        }
        if !more(stream, &mut bytes, deadline)? {
            return Err(broken("the connection ended inside the head"));
        }
    }
}

/// Reads a body of `length` bytes, or up to the end of the connection.
fn all(
    stream: &mut TcpStream,
    mut bytes: Vec<u8>,
    length: Option<usize>,
    deadline: Instant,
) -> io::Result<Vec<u8>> {
    let wanted = length.unwrap_or(usize::MAX);
    while bytes.len() < wanted {
        if bytes.len() > BODY {
            return Err(broken("a body longer than 1 MiB"));
        }
        if !more(stream, &mut bytes, deadline)? {
            return if length.is_none() {
                Ok(bytes)
            } else {
                Err(broken("the connection ended inside the body"))
            };
        }
    }
    bytes.truncate(wanted);
    Ok(bytes)
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>, deadline: Instant) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no complete answer in time"));
    }
    stream.set_read_timeout(Some(left))?;
    let mut part = [0; 4096];
    let read = match stream.read(&mut part) {
        // The kernel calls a receive timeout EAGAIN (socket(7), SO_RCVTIMEO), which would read like an oddity.
        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no complete answer in time"));
        }
        other => other?,
    };
    bytes.extend_from_slice(&part[..read]);
    Ok(read > 0)
}

fn path(head: &str) -> Option<&str> {
    let path = head.strip_prefix("GET ")?.split(' ').next()?;
    path.starts_with('/').then_some(path)
}

fn status(head: &str) -> io::Result<u16> {
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    status.and_then(|digits| digits.parse().ok()).ok_or_else(|| broken("an answer that is not HTTP/1"))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn length(head: &str) -> io::Result<Option<usize>> {
    let Some(length) = header(head, "content-length") else { return Ok(None) };
    let length = length.parse().map_err(|_| broken("a content-length that is no number"))?;
    if length > BODY { Err(broken("a body longer than 1 MiB")) } else { Ok(Some(length)) }
}

fn chunked(head: &str) -> bool {
    header(head, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
}

/// Joins the chunks of RFC 9112 §7.1; trailers are left out.
fn unchunk(mut rest: &[u8]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end =
            rest.windows(2).position(|two| two == b"\r\n").ok_or_else(|| broken("a chunk cut short"))?;
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|line| line.split(';').next());
        let size = size.and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok());
        let size = size.filter(|size| *size <= BODY).ok_or_else(|| broken("a chunk without a size"))?;
        if size == 0 {
            return Ok(body);
        }
        let from = end + 2;
        body.extend_from_slice(rest.get(from..from + size).ok_or_else(|| broken("a chunk cut short"))?);
        rest = rest.get(from + size + 2..).ok_or_else(|| broken("a chunk cut short"))?;
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// What `get` makes of a server that says exactly `said` and closes.
    fn check(said: &'static [u8]) -> Result<Answer, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = listener.local_addr().unwrap();
        let speaker = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (head, _) = head(&mut stream, Instant::now() + Duration::from_secs(5)).unwrap();
            assert_eq!(path(&head), Some("/x"));
            stream.write_all(said).unwrap();
        });
        let answer = get(server, "/x", Duration::from_secs(5)).map_err(|cause| cause.to_string());
        speaker.join().unwrap();
        answer
    }

    fn ok(body: &[u8]) -> Result<Answer, String> {
        Ok(Answer { status: 200, body: body.to_vec() })
    }

    #[test]
    fn bodies_end_where_the_sender_says() {
        assert_eq!(check(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), ok(b"{}"));
        assert_eq!(check(b"HTTP/1.1 200 OK\r\n\r\nto the end"), ok(b"to the end"));
        let chunks =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(check(chunks), ok(b"abcd"));
    }

    #[test]
    fn broken_answers_are_errors() {
        let cut = "the connection ended inside the body";
        assert_eq!(check(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}"), Err(cut.to_owned()));
        let no_http = "an answer that is not HTTP/1";
        assert_eq!(check(b"SSH-2.0-x\r\n\r\n"), Err(no_http.to_owned()));
        let short = "a chunk cut short";
        let chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc";
        assert_eq!(check(chunks), Err(short.to_owned()));
    }

    #[test]
    fn a_refusal_is_told_with_its_body() {
        let answer = Answer { status: 502, body: b"\"ratings: refused\"".to_vec() };
        let told = answer.json().unwrap_err().to_string();
        assert_eq!(told, "status 502 instead of 200: \"ratings: refused\"");
    }

    #[test]
    fn a_silent_server_is_left_at_the_deadline() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let cause = get(listener.local_addr().unwrap(), "/", Duration::from_millis(50)).unwrap_err();
        assert_eq!(cause.kind(), io::ErrorKind::TimedOut);
    }
}
