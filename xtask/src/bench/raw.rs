//! A client that does as little as it can: it logs in, sends texts, and looks at what comes back no more than it must.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use super::Address;

/// How much is read at a time.
const BUFFER: usize = 64 << 10;

/// For how long a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server is ready for the next query, in no transaction.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// More than the last two messages of a result take.
const TAIL: usize = 64;

/// One that is logged in.
pub(super) struct Client(BufReader<TcpStream>);

impl Client {
    pub(super) fn connect((port, user, password): Address) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self(BufReader::with_capacity(BUFFER, stream));
        client.send(None, format!("\0\x03\0\0user\0{user}\0database\0shop\0\0").as_bytes())?;
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let (tag, body) = client.message()?;
            match (tag, &body[..]) {
                (b'R', [0, 0, 0, 10, ..]) => {
                    let length = u32::try_from(scram.message().len())?.to_be_bytes();
                    client.send(Some(b'p'), &[b"SCRAM-SHA-256\0", &length[..], scram.message()].concat())?;
                }
                (b'R', [0, 0, 0, 11, challenge @ ..]) => {
                    scram.update(challenge)?;
                    client.send(Some(b'p'), scram.message())?;
                }
                (b'R', [0, 0, 0, 12, proof @ ..]) => scram.finish(proof)?,
                (b'R', [0, 0, 0, 0]) | (b'S' | b'K' | b'N', _) => {}
                (b'Z', _) => return Ok(client),
                _ => bail!("a login as {user} was answered by {}", shown(tag, &body)),
            }
        }
    }

    /// How long it takes from sending a query to the first byte of its first row. The rest of the result stays unread.
    pub(super) fn first_row(&mut self, text: &str) -> Result<Duration> {
        let start = Instant::now();
        self.query(text)?;
        while !self.0.fill_buf()?.starts_with(b"D") {
            let (tag, body) = self.message()?;
            ensure!(tag == b'T', "`{text}` was answered by {} before a row", shown(tag, &body));
        }
        Ok(start.elapsed())
    }

    /// Sends a query and throws away what comes, to the end of its result of so many rows. `more` is told how many bytes have come each
    /// time, and may stop it sooner.
    pub(super) fn discard(
        &mut self,
        text: &str,
        rows: usize,
        mut more: impl FnMut(usize) -> Result<bool>,
    ) -> Result<()> {
        self.query(text)?;
        let mut tail = Vec::new();
        // Rows are not looked at one by one: what ends a result cannot stand within such rows.
        while !tail.ends_with(READY) {
            let read = self.0.fill_buf()?;
            let count = read.len();
            ensure!(count > 0, "the connection was closed in the middle of `{text}`");
            tail.extend_from_slice(&read[count.saturating_sub(TAIL)..]);
            tail.drain(..tail.len().saturating_sub(TAIL));
            self.0.consume(count);
            if !more(count)? {
                return Ok(());
            }
        }
        let tag = format!("SELECT {rows}\0");
        let is_whole = tail.windows(tag.len()).any(|part| part == tag.as_bytes());
        ensure!(is_whole, "`{text}` did not give {rows} rows; it ended in {}", String::from_utf8_lossy(&tail));
        Ok(())
    }

    fn query(&mut self, text: &str) -> Result<()> {
        self.send(Some(b'Q'), format!("{text}\0").as_bytes())
    }

    fn send(&mut self, tag: Option<u8>, body: &[u8]) -> Result<()> {
        let length = u32::try_from(body.len() + 4)?;
        let mut message: Vec<u8> = tag.into_iter().collect();
        message.extend(length.to_be_bytes());
        message.extend(body);
        Ok(self.0.get_mut().write_all(&message)?)
    }

    /// The next message's tag and body.
    fn message(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head)?;
        let [tag, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        ensure!((4..=BUFFER).contains(&length), "a message of {length} bytes");
        let mut body = vec![0; length - 4];
        self.0.read_exact(&mut body)?;
        Ok((tag, body))
    }
}

fn shown(tag: u8, body: &[u8]) -> String {
    format!("`{}`: {}", char::from(tag), String::from_utf8_lossy(body).replace('\0', " "))
}

#[cfg(test)]
mod tests {
    use portcullis_tests::nothing_may_be_missing;
    use portcullis_tests::postgres::{self, Postgres};

    use super::super::growth::series;
    use super::*;

    #[test]
    fn a_result_is_waited_for_and_thrown_away() -> Result<()> {
        if postgres::program("initdb").is_err() && !nothing_may_be_missing() {
            eprintln!("skipped: there is no PostgreSQL; `cargo xtask setup` installs it");
            return Ok(());
        }
        let server = Postgres::start(&postgres::Options::default())?;
        let address = (server.port, postgres::ROLE, postgres::PASSWORD);
        let mut client = Client::connect(address)?;
        let (rows, mut bytes) = (100_000, 0);
        let count = |read: usize| {
            bytes += read;
            Ok(true)
        };
        client.discard(&series(rows), rows, count)?;
        assert!(bytes > 20 * rows, "{bytes} bytes are no {rows} rows");
        client.discard(&series(1), 1, |_| Ok(true))?;
        assert!(client.discard(&series(2), 1, |_| Ok(true)).is_err(), "two rows were taken for one");
        assert!(client.discard("select 1 / 0", 1, |_| Ok(true)).is_err(), "an error was taken for a row");
        client.first_row(&series(rows))?;
        assert!(Client::connect(address)?.first_row("select 1 where false").is_err(), "there is no row to wait for");
        assert!(Client::connect((server.port, postgres::ROLE, "wrong")).is_err(), "a wrong password was taken");
        Ok(())
    }
}
