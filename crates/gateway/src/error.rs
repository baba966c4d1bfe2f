//! Ending a connection so that the client surely reads why.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use nap_model::client_error::ClientError;
use nap_wire::messages::{ErrorFields, error_response};
use nap_wire::scram::ScramError;
use nap_wire::startup::StartupError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::branches::Refusal;
use crate::client::ClientStream;

/// How long a client may take to read its error and leave. libpq does both at once.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// What a client may still have on the way; what is sent beyond that is not read.
const LINGER_MAX_BYTES: u64 = 64 * 1024;

/// Why a connection ended before its session began.
pub(crate) enum Ended {
    /// The client left, spoke another protocol, or was served (a cancel request): there is nobody to tell.
    Gone,
    /// The client is told.
    Refused(Refusal),
}

impl Ended {
    pub(crate) fn refused(error: impl ClientError + Send + Sync + 'static) -> Self {
        Ended::Refused(Box::new(error))
    }
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Ended::Gone
    }
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Ended::Refused(refusal)
    }
}

/// An error of the protocol itself, with the SQLSTATE that PostgreSQL gives it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ProtocolError {
    message: String,
    sqlstate: &'static str,
    detail: Option<String>,
}

impl ClientError for ProtocolError {
    fn sqlstate(&self) -> &'static str {
        self.sqlstate
    }

    fn detail(&self) -> Option<String> {
        self.detail.clone()
    }
}

impl ProtocolError {
    pub(crate) fn violation(message: &str) -> Self {
        Self {
            message: message.to_owned(),
            sqlstate: nap_model::client_error::sqlstate::PROTOCOL_VIOLATION,
            detail: None,
        }
    }

    /// As PostgreSQL says it.
    pub(crate) fn unencrypted_data(request: &str) -> Self {
        let detail = "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.";
        let error = Self::violation(&format!("received unencrypted data after {request}"));
        Self { detail: Some(detail.to_owned()), ..error }
    }
}

impl From<&StartupError> for ProtocolError {
    fn from(error: &StartupError) -> Self {
        Self { message: error.to_string(), sqlstate: error.sqlstate(), detail: None }
    }
}

impl From<&ScramError> for ProtocolError {
    fn from(error: &ScramError) -> Self {
        Self { message: error.to_string(), sqlstate: error.sqlstate(), detail: error.detail().map(str::to_owned) }
    }
}

/// The message that tells a client why its connection ends.
fn fatal(error: &dyn ClientError) -> Vec<u8> {
    let fields = ErrorFields {
        detail: error.detail(),
        hint: error.hint().map(Cow::into_owned),
        ..ErrorFields::fatal(error.sqlstate(), error.to_string())
    };
    let mut message = Vec::new();
    error_response(&mut message, &fields);
    message
}

/// Tells the client, and ends the connection.
pub(crate) async fn refuse<S: ClientStream>(stream: &mut S, error: &dyn ClientError) {
    if tell(stream, error).await {
        linger(stream).await;
    }
}

/// Tells the client, and says whether its socket has taken it all.
pub(crate) async fn tell<S: ClientStream>(stream: &mut S, error: &dyn ClientError) -> bool {
    let message = fatal(error);
    let said = async {
        stream.write_all(&message).await?;
        stream.flush().await
    };
    matches!(timeout(LINGER_TIMEOUT, said).await, Ok(Ok(())))
}

/// Tells the client, if its socket takes the words at once: somebody waits for its place.
pub(crate) async fn dismiss<S: ClientStream>(stream: &mut S, error: &dyn ClientError) {
    let said = async {
        stream.write_all(&fatal(error)).await?;
        stream.flush().await
    };
    let _ = timeout(Duration::ZERO, said).await;
}

/// Ends a connection whose last message must arrive: closing a socket with unread input makes the kernel send a
/// reset, which throws away what the client has not read yet.
pub(crate) async fn linger<S: ClientStream>(stream: &mut S) {
    let read_out = async {
        // Fails where it has been done before.
        let _ = stream.shutdown().await;
        tokio::io::copy(&mut (&mut *stream).take(LINGER_MAX_BYTES), &mut tokio::io::sink()).await
    };
    // Whatever came of it, the connection ends now.
    let _ = timeout(LINGER_TIMEOUT, read_out).await;
}
