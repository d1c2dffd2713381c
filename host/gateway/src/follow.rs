//! Follows what a running gateway tells as it happens: server-sent events, as the WHATWG's HTML standard defines them.

use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::bail;
use ureq::BodyReader;

use crate::client::{Client, Refusal};
use crate::show::{reasons, safe};

/// The largest event that is read.
const MAX_EVENT_BYTES: usize = 256 << 20;

/// The pauses before a stream that broke off is asked for again: each is twice the one before.
#[derive(Clone, Copy)]
pub(crate) struct Pauses {
    first: Duration,
    longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(30) }
    }
}

/// An event of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its name.
    pub(crate) name: String,
    /// What it tells.
    pub(crate) data: String,
}

/// Hands over each event of a stream until there is enough, and comes back to the stream when it breaks off.
pub(crate) fn follow(
    client: &Client,
    path: &str,
    pauses: Pauses,
    mut take: impl FnMut(&Message) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    // Whoever cannot be reached at first is probably not there.
    let mut stream = BufReader::new(client.stream(path)?);
    loop {
        let why = loop {
            match next(&mut stream) {
                Ok(Some(message)) if take(&message)?.is_break() => return Ok(()),
                Ok(Some(_)) => {}
                Ok(None) => break "the gateway has ended the stream".to_owned(),
                Err(error) => break format!("the stream has broken off: {}", reasons(&error)),
            }
        };
        stream = BufReader::new(again(client, path, pauses, why)?);
    }
}

/// Asks until the gateway answers.
fn again(client: &Client, path: &str, pauses: Pauses, mut why: String) -> anyhow::Result<BodyReader<'static>> {
    let mut pause = pauses.first;
    loop {
        eprintln!("{}; asking again in {} s", safe(&why), pause.as_secs());
        std::thread::sleep(pause);
        pause = (pause * 2).min(pauses.longest);
        match client.stream(path) {
            Ok(stream) => {
                eprintln!("the gateway answers again; what happened meanwhile is not shown");
                return Ok(stream);
            }
            // It will not say anything else next time.
            Err(error) if error.downcast_ref::<Refusal>().is_some_and(|r| (400..429).contains(&r.status)) => {
                return Err(error);
            }
            Err(error) => why = reasons(&error),
        }
    }
}

/// The next event; none at the end of the stream. What the end cuts off is dropped.
fn next(stream: &mut impl BufRead) -> anyhow::Result<Option<Message>> {
    let (mut name, mut data, mut size) = (String::new(), None::<String>, 0);
    loop {
        let mut line = Vec::new();
        let left = (MAX_EVENT_BYTES - size) as u64;
        size += stream.by_ref().take(left).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            if size == MAX_EVENT_BYTES {
                bail!("an event is larger than {MAX_EVENT_BYTES} bytes");
            }
            return Ok(None);
        }
        let line = String::from_utf8(line)?;
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if line.is_empty() {
            if !name.is_empty() || data.is_some() {
                return Ok(Some(Message { name, data: data.unwrap_or_default() }));
            }
            // Comments keep the stream alive, as long as it may last.
            size = 0;
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value.to_owned(),
            "data" => match &mut data {
                Some(data) => *data = format!("{data}\n{value}"),
                None => data = Some(value.to_owned()),
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::{answer, scripted};

    const AT_ONCE: Pauses = Pauses { first: Duration::ZERO, longest: Duration::ZERO };

    fn messages(text: &str) -> Vec<(String, String)> {
        let mut stream = text.as_bytes();
        let read = std::iter::from_fn(|| next(&mut stream).unwrap());
        read.map(|message| (message.name, message.data)).collect()
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let text =
            ": alive\n\nevent: entry\r\ndata: {\r\ndata:  }\r\n\r\nid: 7\ndata\n\nevent:end\n\nevent: cut\ndata: off\n";
        let expected = [("entry", "{\n }"), ("", ""), ("end", "")];
        assert_eq!(messages(text), expected.map(|(name, data)| (name.to_owned(), data.to_owned())));
        assert!(messages("").is_empty());
        assert!(next(&mut &b"data: \xff\n\n"[..]).is_err());
    }

    #[test]
    fn a_stream_that_breaks_off_is_asked_for_again() {
        let stream = |events: &str| format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{events}");
        let answers = vec![
            stream("data: 1\n\ndata: cut"),
            answer("503 Service Unavailable", "{}"),
            stream("data: 2\n\nevent: end\n\n"),
        ];
        let (client, server) = scripted(answers);
        let mut seen = Vec::new();
        let take = |message: &Message| {
            seen.push(message.data.clone());
            Ok(if message.name == "end" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        follow(&client, "approvals/watch", AT_ONCE, take).unwrap();
        assert_eq!(seen, ["1", "2", ""]);
        assert_eq!(server.join().unwrap(), ["GET /v1/approvals/watch"; 3]);
    }

    #[test]
    fn a_refusal_is_final() {
        let gone = answer("404 Not Found", r#"{"detail":"there is no such session"}"#);
        let (client, server) = scripted(vec!["HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".into(), gone]);
        let error = follow(&client, "sessions/s/watch", AT_ONCE, |_| unreachable!()).unwrap_err();
        assert_eq!(error.to_string(), "there is no such session");
        server.join().unwrap();
    }
}
