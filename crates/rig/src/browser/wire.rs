//! WebDriver's wire: one JSON request over one connection to loopback, with a deadline.
//!
//! Of <https://www.w3.org/TR/webdriver2/> ten requests are needed here. The library for all of it, fantoccini, brings forty-six
//! packages, some twice, and one of them, webdriver, is under MPL-2.0, which deny.toml does not take.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long one answer may take: longer than the driver's own deadlines, whose words say more.
const PATIENCE: Duration = Duration::from_secs(150);

/// Where a driver listens.
#[derive(Debug)]
pub(super) struct Wire {
    port: u16,
}

impl Wire {
    pub(super) fn new(port: u16) -> Wire {
        Wire { port }
    }

    pub(super) fn get(&self, path: &str) -> Value {
        self.asked("GET", path, "").unwrap_or_else(|why| panic!("GET {path}: {why}"))
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Value {
        self.try_post(path, body).unwrap_or_else(|why| panic!("POST {path}: {why}"))
    }

    /// The same, where the browser may say no; why is its own words.
    pub(super) fn try_post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.asked("POST", path, &body.to_string())
    }

    fn asked(&self, method: &str, path: &str, body: &str) -> Result<Value, String> {
        let answer = self.sent(method, path, body).map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        let value = answer["value"].take();
        match value["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", value["message"].as_str().unwrap_or_default())),
            None => Ok(value),
        }
    }

    fn sent(&self, method: &str, path: &str, body: &str) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        // A browser that was just started holds the driver's end of the connection too: it has no end to wait for.
        let (mut stream, mut length, mut line) = (BufReader::new(stream), 0, String::new());
        while stream.read_line(&mut line)? > 2 {
            let said = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            length = said.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(length);
            line.clear();
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}
