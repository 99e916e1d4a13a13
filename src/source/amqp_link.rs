//! What the sources that speak AMQP 1.0 share: dialling, a guarded stream, a connection, request-response links.
//!
//! The stock client decodes nested values by recursion without a limit, so that one message could end the process; it
//! is given only what the [`guard`] has checked, and messages only as opaque bytes, which [`crate::wire`] scans.

pub mod broker_clock;
pub mod connection;
pub mod dial;
mod encoding;
pub mod guard;
mod inbound;
pub mod link_error;
mod outbound;
mod proxy;
pub mod request;
pub mod value;
pub mod websocket;

pub use inbound::{DATA_LINK_PREFIX, LinkCounts, MAX_MESSAGE_BYTES};
pub use outbound::CREDIT_SLACK;
