//! The embedded development hub (AMQP 1.0, Event Hubs-compatible, in memory, loopback only), a simulated fleet, and a
//! receiver of webhooks.
//!
//! [`hub`] holds the partitions and knows no socket; [`amqp`] lets clients read and write them as they would an event
//! hub; [`fleet`] plans what devices do. The AMQP side is written against the protocol (OASIS AMQP 1.0) and shares no
//! code with the client library that the service uses, so that a test of one against the other tests both.

pub mod amqp;
pub mod fleet;
pub mod hub;
pub mod receiver;
mod value;
