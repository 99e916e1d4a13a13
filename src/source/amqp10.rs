//! Source `amqp10`.
