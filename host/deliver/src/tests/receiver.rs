//! An HTTP server that answers as it is told.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver as Channel, Sender, channel};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::PATIENCE;

pub(super) enum Reply {
    Status(u16),
    /// To elsewhere, with GET, as clients like to do it.
    Redirect(String),
    /// Closes without a word.
    Close,
    /// Closes in the middle of the answer's head.
    CloseMidAnswer,
    /// Answers 200 with a body that is cut.
    CloseMidBody,
    /// Says nothing until the other end of the channel is gone, and closes.
    Hang(Channel<()>),
}

/// A request as it came.
pub(super) struct Request {
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
}

impl Request {
    /// The body's lines of JSON.
    pub(super) fn lines(&self) -> Vec<Value> {
        assert!(self.body.ends_with('\n'));
        self.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The numbers of its lines.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.lines().iter().map(|line| line["number"].as_u64().unwrap()).collect()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    requests: Channel<Request>,
}

impl Receiver {
    /// Answers in this order, and with 200 after that.
    pub(super) fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, sender) = (script.clone(), sender.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &script, &sender));
            }
        });
        Self { address, requests }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/in?key=hush", self.address)
    }

    pub(super) fn next(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).expect("a request comes")
    }

    /// What has come and was not looked at.
    pub(super) fn rest(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

fn serve(stream: TcpStream, script: &Mutex<VecDeque<Reply>>, sender: &Sender<Request>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream) {
        let reply = script.lock().unwrap().pop_front().unwrap_or(Reply::Status(200));
        // A test that has ended does not look any more.
        let _ = sender.send(request);
        let answer = match reply {
            Reply::Status(status) => format!("HTTP/1.1 {status} So\r\ncontent-length: 2\r\n\r\nok"),
            Reply::Redirect(to) => format!("HTTP/1.1 303 So\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"),
            Reply::Close => return,
            Reply::CloseMidAnswer => {
                let _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-le");
                return;
            }
            Reply::CloseMidBody => {
                let _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
                return;
            }
            Reply::Hang(until) => {
                let _ = until.recv();
                return;
            }
        };
        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A request; none at the end of the connection.
pub(super) fn read(stream: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
    assert!(line.starts_with("POST /in?key=hush HTTP/1.1"), "{line}");
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(Request { headers, body: String::from_utf8(body).unwrap() })
}
