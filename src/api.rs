//! HTTP listeners: health and metrics, and the data of the fleet.

pub mod data;
pub mod health;
mod server;
