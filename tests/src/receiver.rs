//! A receiver of webhooks: it keeps what it is sent, and answers as it is told.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::process::until;

/// How it answers a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It has taken it.
    Accept,
    /// It has failed, with status 500.
    Fail,
    /// It closes the connection in the middle of its answer's head.
    Cut,
    /// It says nothing until the sender has given up.
    Stall,
    /// It sends the sender elsewhere, with status 307: the same request is to go there.
    Redirect(String),
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Its headers, with their names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
    /// How it was answered.
    pub reply: Reply,
}

impl Received {
    /// A header that it must have.
    pub fn header(&self, name: &str) -> Result<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        Ok(&found.with_context(|| format!("it has no header {name}: {self:?}"))?.1)
    }

    /// Whether it was taken.
    pub fn is_accepted(&self) -> bool {
        matches!(self.reply, Reply::Accept)
    }
}

#[derive(Default)]
struct State {
    received: Mutex<Vec<Received>>,
    replies: Mutex<VecDeque<Reply>>,
    stopped: AtomicBool,
}

/// It listens until it is dropped.
pub struct Receiver {
    state: Arc<State>,
    listening: Option<JoinHandle<()>>,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Receiver {
    /// One that answers the first requests in these ways, and accepts whatever comes then. Port 0 is a free one.
    pub fn start(port: u16, replies: impl IntoIterator<Item = Reply>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).context("the receiver cannot listen")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State { replies: Mutex::new(replies.into_iter().collect()), ..State::default() });
        let shared = state.clone();
        let listen = move || {
            for stream in listener.incoming().flatten().take_while(|_| !shared.stopped.load(Ordering::SeqCst)) {
                let state = shared.clone();
                // A sender that goes away in the middle is no concern of the next one.
                std::thread::spawn(move || state.serve(&stream));
            }
        };
        Ok(Self { state, listening: Some(std::thread::spawn(listen)), port })
    }

    /// Its address, with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What has come so far.
    pub fn received(&self) -> Vec<Received> {
        locked(&self.state.received).clone()
    }

    /// Waits for a request that fits.
    pub fn wait(&self, what: &str, fits: impl Fn(&Received) -> bool) -> Result<Received> {
        until(what, Duration::from_secs(30), || {
            let received = self.received();
            received.iter().find(|one| fits(one)).cloned().with_context(|| format!("there is only {received:#?}"))
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        // This wakes it up. If nobody listens any more, it has ended already.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) -> Result<()> {
        let mut request = read(stream)?;
        request.reply = locked(&self.replies).pop_front().unwrap_or(Reply::Accept);
        let reply = request.reply.clone();
        locked(&self.received).push(request);
        self.answer(stream, &reply)
    }

    fn answer(&self, mut stream: &TcpStream, reply: &Reply) -> Result<()> {
        let rest = "Content-Length: 2\r\nConnection: close\r\n\r\nok";
        match reply {
            Reply::Accept => write!(stream, "HTTP/1.1 200 OK\r\n{rest}")?,
            Reply::Fail => write!(stream, "HTTP/1.1 500 Internal Server Error\r\n{rest}")?,
            Reply::Cut => stream.write_all(b"HTTP/1.1 20")?,
            Reply::Redirect(to) => write!(stream, "HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}\r\n{rest}")?,
            Reply::Stall => {
                stream.set_read_timeout(Some(Duration::from_millis(50)))?;
                while !self.stopped.load(Ordering::SeqCst) {
                    match stream.read(&mut [0]) {
                        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                        _ => break,
                    }
                }
            }
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a request, whole.
fn read(stream: &TcpStream) -> Result<Received> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    let mut line = || -> Result<String> {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "the request is cut");
        Ok(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = words.next().zip(words.next()).context("the request has no path")?;
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').context("a header has no value")?;
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(Ok(0), |(_, length)| length.parse())?];
    reader.read_exact(&mut body)?;
    Ok(Received { method, path, headers, body: String::from_utf8(body)?, reply: Reply::Accept })
}
