//! How sessions end.

use portcullis_wire::pg::message::Fault;
use portcullis_wire::pg::relay::RelayError;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the client left")]
    ClientLeft,
    #[error("the gateway stopped")]
    Drained,
    #[error("the client left UTF-8")]
    Encoding,
    #[error("the client was idle for too long")]
    Idle,
    #[error("killed by {0}")]
    Killed(String),
    #[error("{0}")]
    Protocol(RelayError),
    #[error("the recording could not go on: {0}")]
    Recording(String),
    #[error("the server closed the connection")]
    ServerLeft,
    #[error("the client took no bytes for too long")]
    Stalled,
}

impl End {
    /// What the client is told, if it can still be told.
    pub(super) fn fault(&self) -> Option<Fault> {
        match self {
            Self::ClientLeft | Self::Stalled => None,
            Self::Drained => Some(Fault::fatal("57P01", "the gateway is shutting down")),
            Self::Encoding => {
                Some(Fault::fatal("0A000", "the gateway speaks UTF-8 only: client_encoding must stay UTF8"))
            }
            Self::Idle => Some(Fault::fatal("57P05", "terminating the session: it was idle for too long")),
            Self::Killed(_) => Some(Fault::fatal("57P01", "terminating the session due to administrator command")),
            Self::Protocol(RelayError::Client(e)) => Some(Fault::fatal("08P01", e.to_string())),
            Self::Protocol(RelayError::Server(_)) => Some(Fault::fatal("08006", "the server broke the protocol")),
            Self::Recording(why) => {
                Some(Fault::fatal("58000", format!("terminating the session, which cannot be recorded: {why}")))
            }
            Self::ServerLeft => Some(Fault::fatal("08006", "the server closed the connection")),
        }
    }
}
