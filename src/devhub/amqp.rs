//! The AMQP 1.0 endpoint of the hub.
