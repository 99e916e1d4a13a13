//! The embedded development hub (AMQP 1.0, Event Hubs-compatible, in memory, loopback only) and a simulated fleet.

pub mod amqp;
pub mod fleet;
pub mod hub;
