//! `lastseen` answers one question for every device and module of an Azure IoT Hub fleet: is it alive?

pub mod alert;
pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod devhub;
pub mod engine;
pub mod metrics;
pub mod partitions;
pub mod shutdown;
pub mod sink;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod wire;
