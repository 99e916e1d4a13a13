//! What an attempt came to.

use std::fmt;
use std::time::Duration;

use http::{StatusCode, header};

use crate::engine::Timestamp;
use crate::sink::http_client::{Answer, PostError};

use super::schedule::retry_after;

/// What became of an attempt, or of a message that is not attempted any more: the label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 2xx.
    Delivered,
    /// 410: the endpoint wants no more messages.
    Gone,
    /// 3xx: redirects are not followed.
    Redirect,
    /// 408, 425, 429: not at this moment.
    Throttled,
    /// Any other 4xx: the receiver's word on this message.
    Rejected,
    /// 5xx, or a status of no class.
    ServerError,
    /// No answer in time.
    TimedOut,
    /// No connection, or a broken one.
    Unreachable,
    /// The address guard refused the address.
    AddressRefused,
    /// Put into the dead letters: all attempts failed, or too many were rejected.
    GivenUp,
    /// Put into the dead letters: the endpoint answered 410, to it or to one before.
    Disabled,
    /// Dropped: its alert ended before the receiver heard of it.
    Cancelled,
}

impl Outcome {
    /// All of them.
    pub(super) const ALL: [Self; 12] = [
        Self::Delivered,
        Self::Gone,
        Self::Redirect,
        Self::Throttled,
        Self::Rejected,
        Self::ServerError,
        Self::TimedOut,
        Self::Unreachable,
        Self::AddressRefused,
        Self::GivenUp,
        Self::Disabled,
        Self::Cancelled,
    ];

    /// The name used in metrics and logs.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Gone => "gone",
            Self::Redirect => "redirect",
            Self::Throttled => "throttled",
            Self::Rejected => "rejected",
            Self::ServerError => "server_error",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::AddressRefused => "address_refused",
            Self::GivenUp => "given_up",
            Self::Disabled => "disabled",
            Self::Cancelled => "cancelled",
        }
    }

    /// The class of a status: only 2xx is success, and 410 the request to stop (Standard Webhooks 1.0.0,
    /// "Delivery success and failure").
    fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Delivered,
            300..=399 => Self::Redirect,
            410 => Self::Gone,
            408 | 425 | 429 => Self::Throttled,
            400..=499 => Self::Rejected,
            0..=199 | 500.. => Self::ServerError,
        }
    }

    fn of_error(error: &PostError) -> Self {
        match error {
            PostError::Refused { .. } => Self::AddressRefused,
            PostError::TimedOut { .. } => Self::TimedOut,
            PostError::NoHost
            | PostError::Request { .. }
            | PostError::Resolve { .. }
            | PostError::Connect { .. }
            | PostError::Tls { .. }
            | PostError::Exchange { .. } => Self::Unreachable,
        }
    }
}

/// One attempt.
pub(super) struct Attempt {
    pub(super) outcome: Outcome,
    /// In words, for the log.
    pub(super) reason: Reason,
    /// `Retry-After`, if the receiver sent one that can be read.
    pub(super) asked: Option<Duration>,
}

/// Why an attempt came to its outcome.
pub(super) enum Reason {
    Answered(StatusCode),
    Failed(PostError),
}

impl Attempt {
    /// Judges what came back. `now` dates the answer.
    pub(super) fn judge(result: Result<Answer, PostError>, now: Timestamp) -> Self {
        match result {
            Ok(Answer { status, headers }) => Self {
                outcome: Outcome::of_status(status),
                reason: Reason::Answered(status),
                asked: headers
                    .get(header::RETRY_AFTER)
                    .and_then(|value| retry_after(value.to_str().ok()?, now)),
            },
            Err(error) => Self {
                outcome: Outcome::of_error(&error),
                reason: Reason::Failed(error),
                asked: None,
            },
        }
    }
}

impl Attempt {
    /// Whether the receiver may have taken the message although the attempt counts as failed: a server that fails or
    /// is slow to answer may have done its work.
    pub(super) fn may_have_arrived(&self) -> bool {
        match (self.outcome, &self.reason) {
            (Outcome::Unreachable, Reason::Failed(PostError::Exchange { .. })) => true,
            (Outcome::Delivered | Outcome::ServerError | Outcome::TimedOut, _) => true,
            (
                Outcome::Gone
                | Outcome::Redirect
                | Outcome::Throttled
                | Outcome::Rejected
                | Outcome::Unreachable
                | Outcome::AddressRefused
                | Outcome::GivenUp
                | Outcome::Disabled
                | Outcome::Cancelled,
                _,
            ) => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(status) => write!(f, "it answered {}", status.as_u16()),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_status_has_its_outcome() {
        for (status, outcome) in [
            (200, Outcome::Delivered),
            (204, Outcome::Delivered),
            (299, Outcome::Delivered),
            (301, Outcome::Redirect),
            (308, Outcome::Redirect),
            (400, Outcome::Rejected),
            (404, Outcome::Rejected),
            (410, Outcome::Gone),
            (408, Outcome::Throttled),
            (425, Outcome::Throttled),
            (429, Outcome::Throttled),
            (499, Outcome::Rejected),
            (500, Outcome::ServerError),
            (503, Outcome::ServerError),
            (999, Outcome::ServerError),
        ] {
            assert_eq!(Outcome::of_status(StatusCode::from_u16(status).unwrap()), outcome);
        }
    }
}
