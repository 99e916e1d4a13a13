//! Source `event_hubs`: IoT Hub's built-in endpoint or any event hub, over AMQP 1.0.

pub mod connection_string;
pub mod sas;
