//! A stub of the node's agent: one thread, one answer to every question.

use millrace_core::ask::{self, Answer, Question};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Starts it; it answers for as long as this process lives.
pub(crate) fn start(folder: &Path, stamp: String) -> PathBuf {
    let path = folder.join("agent.sock");
    let listener = UnixListener::bind(&path).expect("a socket can be made in a folder of ours");
    let answer = Answer::Decided(stamp).write().expect("a stamp fits a frame");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A caller that went away is its own affair; the ADD then fails and says so.
            drop(stream.and_then(|stream| reply(stream, &answer)));
        }
    });
    path
}

fn reply(mut stream: UnixStream, answer: &[u8]) -> std::io::Result<()> {
    let mut header = [0; 4];
    stream.read_exact(&mut header)?;
    let mut body = vec![0; ask::length(header).expect("the plugin keeps to the bound")];
    stream.read_exact(&mut body)?;
    Question::read(&body).expect("the plugin asks a question");
    stream.write_all(answer)
}
