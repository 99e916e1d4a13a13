//! Source `amqp091`.

mod content;
mod guard;
mod table;
