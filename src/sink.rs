//! Adapters out: each sink has a bounded queue of [`crate::alert::Message`] and delivers in order per lane.

pub mod address_guard;
pub mod http_client;
pub mod webhook;
