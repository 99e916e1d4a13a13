//! Why a connection or link failed, and what follows from it.

use fe2o3_amqp::connection::{ConnectionStopReason, OpenError};
use fe2o3_amqp::link::{
    DetachError, IllegalLinkStateError, LinkStateError, ReceiverAttachError, RecvError, SendError,
    SenderAttachError, SessionStopReason,
};
use fe2o3_amqp::session::BeginError;
use fe2o3_amqp::types::definitions::{self, ErrorCondition};
use fe2o3_amqp::types::primitives::Value;
use serde_amqp::primitives::Symbol;

use super::dial::DialError;
use super::value;
use crate::engine::{BlindReason, Millis};

/// Longest text of the peer's that goes into a log line or state.
const MAX_TEXT_CHARS: usize = 300;

/// Base of the wait that the services ask for with `server-busy`.
const BUSY_MS: Millis = 4_000;
/// What an operator has to put right, or what another receiver holds, is not asked for more often than this.
const SLOW_MS: Millis = 60_000;

/// Why a connection, session, link or request failed. Texts are one line and hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No stream.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// SASL.
    #[error("the broker refused the credentials (SASL outcome {0})")]
    Sasl(String),
    /// The peer ended a connection, session or link with an error condition.
    #[error("{condition}: {description}")]
    Refused {
        /// Its condition, as in OASIS AMQP 1.0, part 2, section 2.8.14, or the vendor's.
        condition: String,
        /// Its text.
        description: String,
        /// Texts of its `info` map: of a redirect.
        info: Vec<(String, String)>,
    },
    /// A request was answered with a status other than success.
    #[error("{node} answered {status}: {description}")]
    Status {
        /// `$cbs` or `$management`.
        node: &'static str,
        /// HTTP-like code.
        status: i32,
        /// Its text.
        description: String,
    },
    /// Nothing came in time.
    #[error("no answer from the broker within 10 s: {0}")]
    Timeout(&'static str),
    /// The broker holds messages back.
    #[error("{0}")]
    Stalled(String),
    /// The token file.
    #[error("{0}")]
    Token(String),
    /// Anything else.
    #[error("{0}")]
    Ended(String),
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consequence {
    /// Why the partitions are blind.
    pub reason: BlindReason,
    /// At least this long before the next attempt.
    pub wait_ms: Millis,
}

impl LinkError {
    /// The classes are those of the vendor's clients (`should_retry` and the like).
    pub fn consequence(&self) -> Consequence {
        let (reason, wait_ms) = match self {
            Self::Sasl(_) | Self::Token(_) => (BlindReason::Unauthorized, 0),
            Self::Status { status: 401 | 403 | 404, node: "$cbs", .. }
            | Self::Status { status: 401, .. } => (BlindReason::Unauthorized, 0),
            Self::Status { status: 429 | 503, .. } => (BlindReason::Throttled, BUSY_MS),
            Self::Refused { condition, .. } => match condition.as_str() {
                "amqp:unauthorized-access" | "com.microsoft:auth-failed" => {
                    (BlindReason::Unauthorized, 0)
                }
                "com.microsoft:server-busy" | "amqp:resource-limit-exceeded" => {
                    (BlindReason::Throttled, BUSY_MS)
                }
                "amqp:link:stolen" => (BlindReason::NotOwner, SLOW_MS),
                _ => (BlindReason::LinkDown, 0),
            },
            Self::Stalled(_) => (BlindReason::Stalled, 0),
            Self::Dial(_) | Self::Status { .. } | Self::Timeout(_) | Self::Ended(_) => {
                (BlindReason::LinkDown, 0)
            }
        };
        Consequence { reason, wait_ms }
    }

    /// Whether the peer ended it with this condition.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { condition, .. } if condition == wanted)
    }
}

impl From<&definitions::Error> for LinkError {
    fn from(error: &definitions::Error) -> Self {
        let text = |found: &Value| {
            value::text(found)
                .map(one_line)
                .or_else(|| value::integer(found).map(|number| number.to_string()))
        };
        let info = error.info.iter().flat_map(|info| info.iter());
        Self::Refused {
            condition: one_line(&symbol(&error.condition)),
            description: one_line(error.description.as_deref().unwrap_or("no description")),
            info: info
                .filter_map(|(key, found)| Some((one_line(key), text(found)?)))
                .take(16)
                .collect(),
        }
    }
}

fn symbol(condition: &ErrorCondition) -> Symbol {
    match condition {
        ErrorCondition::AmqpError(error) => error.into(),
        ErrorCondition::ConnectionError(error) => error.into(),
        ErrorCondition::SessionError(error) => error.into(),
        ErrorCondition::LinkError(error) => error.into(),
        ErrorCondition::Custom(symbol) => symbol.clone(),
    }
}

/// Bounded, without control characters: a peer can't write log lines.
pub(super) fn one_line(text: &str) -> String {
    text.chars().take(MAX_TEXT_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl From<&SessionStopReason> for LinkError {
    fn from(reason: &SessionStopReason) -> Self {
        match reason {
            SessionStopReason::RemoteEndedWithError(error)
            | SessionStopReason::EndedWithError(error)
            | SessionStopReason::ConnectionStopped(
                ConnectionStopReason::RemoteClosedWithError(error)
                | ConnectionStopReason::ClosedWithError(error),
            ) => error.into(),
            SessionStopReason::RemoteEnded => {
                Self::Ended("the broker ended the session".to_owned())
            }
            SessionStopReason::Ended => Self::Ended("the session ended".to_owned()),
            SessionStopReason::ConnectionStopped(ConnectionStopReason::RemoteClosed) => {
                Self::Ended("the broker closed the connection".to_owned())
            }
            SessionStopReason::ConnectionStopped(ConnectionStopReason::Closed) => {
                Self::Ended("the connection broke".to_owned())
            }
        }
    }
}

impl From<LinkStateError> for LinkError {
    fn from(error: LinkStateError) -> Self {
        match &error {
            LinkStateError::SessionStopped(reason) => reason.into(),
            LinkStateError::RemoteDetachedWithError(refusal)
            | LinkStateError::RemoteClosedWithError(refusal) => refusal.into(),
            LinkStateError::RemoteDetached | LinkStateError::RemoteClosed => {
                Self::Ended("the broker detached the link".to_owned())
            }
            LinkStateError::IllegalState | LinkStateError::ExpectImmediateDetach => {
                Self::Ended(error.to_string())
            }
        }
    }
}

impl From<IllegalLinkStateError> for LinkError {
    fn from(error: IllegalLinkStateError) -> Self {
        LinkStateError::from(error).into()
    }
}

impl From<RecvError> for LinkError {
    fn from(error: RecvError) -> Self {
        if let RecvError::LinkStateError(state) = error {
            return state.into();
        }
        Self::Ended(one_line(&error.to_string()))
    }
}

impl From<SendError> for LinkError {
    fn from(error: SendError) -> Self {
        if let SendError::LinkStateError(state) = error {
            return state.into();
        }
        if let SendError::Detached(detached) = error {
            return LinkStateError::from(detached).into();
        }
        Self::Ended(one_line(&error.to_string()))
    }
}

impl From<DetachError> for LinkError {
    fn from(error: DetachError) -> Self {
        LinkStateError::from(error).into()
    }
}

impl From<ReceiverAttachError> for LinkError {
    fn from(error: ReceiverAttachError) -> Self {
        if let ReceiverAttachError::SessionStopped(reason) = &error {
            return reason.into();
        }
        if let ReceiverAttachError::RemoteClosedWithError(refusal) = &error {
            return refusal.into();
        }
        Self::Ended(one_line(&format!("attach refused: {error}")))
    }
}

impl From<SenderAttachError> for LinkError {
    fn from(error: SenderAttachError) -> Self {
        if let SenderAttachError::SessionStopped(reason) = &error {
            return reason.into();
        }
        if let SenderAttachError::RemoteClosedWithError(refusal) = &error {
            return refusal.into();
        }
        Self::Ended(one_line(&format!("attach refused: {error}")))
    }
}

impl From<BeginError> for LinkError {
    fn from(error: BeginError) -> Self {
        if let BeginError::RemoteEndedWithError(refusal) = &error {
            return refusal.into();
        }
        if let BeginError::ConnectionStopped(reason) = &error {
            return (&SessionStopReason::ConnectionStopped(reason.clone())).into();
        }
        Self::Ended(one_line(&error.to_string()))
    }
}

impl From<OpenError> for LinkError {
    fn from(error: OpenError) -> Self {
        if let OpenError::SaslError { code, .. } = &error {
            return Self::Sasl(format!("{code:?}"));
        }
        if let OpenError::RemoteClosedWithError(refusal) = &error {
            return refusal.into();
        }
        Self::Ended(one_line(&format!("no AMQP connection: {error}")))
    }
}
