//! HTTP listeners.

pub mod health;
