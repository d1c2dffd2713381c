//! Connections to PostgreSQL servers, made with the target's credentials.

use std::io;

use bytes::BytesMut;
use portcullis_wire::pg::connect::{Connect, ConnectError, Ready};
use portcullis_wire::pg::login::{put_cancel_request, put_ssl_request};
use portcullis_wire::pg::message::Fault;
use rustls_pki_types::ServerName;
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::{Limits, PgTarget, UpstreamTls};
use crate::io::{Stream, prepare};

/// A server that is ready for queries.
pub(crate) struct Upstream {
    pub(crate) stream: Stream,
    pub(crate) ready: Ready,
    /// What came behind the login.
    pub(crate) input: BytesMut,
}

/// Why a server could not be reached. The texts are for the log; the client is told no more than that it failed, or that the server is full.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("it closed the connection during the login")]
    Closed,
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Login(#[from] ConnectError),
    #[error("`{0}` is not a name that TLS can verify")]
    Name(String),
    #[error(
        "it does not offer TLS, which the target's configuration demands; turn it on at the server, or set `tls = \"disable\"` where \
         nobody else is on the way"
    )]
    NoTls,
    #[error("it was not ready within {} s", .0.as_secs())]
    Timeout(std::time::Duration),
}

impl UpstreamError {
    /// What a client is told whose session could not open.
    pub(super) fn fault(&self, target: &str) -> Fault {
        match self {
            Self::Login(ConnectError::Refused { code, .. }) if code == "53300" => {
                let message = format!("too many connections for target \"{target}\": its server takes no more");
                Fault::fatal("53300", message)
            }
            _ => Fault::fatal("08006", "the server behind this target cannot be reached"),
        }
    }
}

/// Connects and logs in within the limit for that.
pub(crate) async fn connect(
    target: &PgTarget,
    parameters: &[(String, String)],
    limits: &Limits,
) -> Result<Upstream, UpstreamError> {
    let login = async {
        let mut stream = dial(target).await?;
        let password = target.password.as_ref().map(|p| p.expose_secret().to_owned());
        let mut login = Connect::new(&target.user, &target.database, password, parameters);
        let mut input = BytesMut::with_capacity(4096);
        loop {
            let output = login.take_output();
            if !output.is_empty() {
                stream.write_all(&output).await?;
                stream.flush().await?;
            }
            if stream.read_buf(&mut input).await? == 0 {
                return Err(UpstreamError::Closed);
            }
            if let Some(ready) = login.handle(&mut input)? {
                return Ok(Upstream { stream, ready, input });
            }
        }
    };
    tokio::time::timeout(limits.connect, login).await.unwrap_or(Err(UpstreamError::Timeout(limits.connect)))
}

/// Asks a server to cancel what the session with this key does. When this returns the server has taken the request, or
/// it could not be reached in time.
pub(crate) async fn cancel(target: PgTarget, key: Vec<u8>, limits: Limits) -> Result<(), UpstreamError> {
    let request = async {
        let mut stream = dial(&target).await?;
        let mut output = Vec::new();
        put_cancel_request(&mut output, &key);
        stream.write_all(&output).await?;
        stream.flush().await?;
        // The server closes the connection when it has acted.
        let mut rest = [0; 16];
        while stream.read(&mut rest).await? > 0 {}
        Ok(())
    };
    tokio::time::timeout(limits.connect, request).await.unwrap_or(Err(UpstreamError::Timeout(limits.connect)))
}

async fn dial(target: &PgTarget) -> Result<Stream, UpstreamError> {
    let mut tcp = TcpStream::connect((target.host.as_str(), target.port)).await?;
    prepare(&tcp)?;
    let UpstreamTls::VerifyFull(config) = &target.tls else { return Ok(Stream::Plain(tcp)) };
    let mut request = Vec::new();
    put_ssl_request(&mut request);
    tcp.write_all(&request).await?;
    // One byte and no more: what follows belongs to the handshake.
    if tcp.read_u8().await? != b'S' {
        return Err(UpstreamError::NoTls);
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|_| UpstreamError::Name(target.host.clone()))?;
    let tls = TlsConnector::from(config.clone()).connect(name, tcp).await?;
    Ok(Stream::Client(Box::new(tls)))
}

/// Runs one query on a connection of the gateway's own and gives the rows as text.
pub(crate) async fn query(upstream: &mut Upstream, text: &str) -> Result<Vec<Vec<Option<String>>>, UpstreamError> {
    use portcullis_wire::pg::frame::{Fields, next};
    use portcullis_wire::pg::message::{field, put_query, sqlstate};
    const LIMIT: usize = 1 << 20;

    let mut output = Vec::new();
    put_query(&mut output, text);
    upstream.stream.write_all(&output).await?;
    upstream.stream.flush().await?;
    let (mut rows, mut refused) = (Vec::new(), None);
    loop {
        while let Some(frame) = next(&upstream.input, LIMIT).map_err(ConnectError::from)? {
            let length = frame.raw.len();
            match frame.tag {
                b'D' => {
                    let mut fields = Fields::new(b'D', frame.body);
                    let count = fields.count().map_err(ConnectError::from)?;
                    let mut row = Vec::with_capacity(count);
                    for _ in 0..count {
                        let value = fields.value().map_err(ConnectError::from)?;
                        row.push(value.map(|v| String::from_utf8_lossy(v).into_owned()));
                    }
                    rows.push(row);
                }
                b'E' => {
                    let code = sqlstate(frame.body).unwrap_or("XX000").to_owned();
                    let message = String::from_utf8_lossy(field(frame.body, b'M').unwrap_or_default()).into_owned();
                    refused = Some(ConnectError::Refused { code, message });
                }
                b'Z' => {
                    bytes::Buf::advance(&mut upstream.input, length);
                    return refused.map_or(Ok(rows), |e| Err(e.into()));
                }
                _ => {}
            }
            bytes::Buf::advance(&mut upstream.input, length);
        }
        if upstream.stream.read_buf(&mut upstream.input).await? == 0 {
            return Err(UpstreamError::Closed);
        }
    }
}
