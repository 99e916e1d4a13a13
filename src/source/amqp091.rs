//! Source `amqp091`.
