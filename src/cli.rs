//! Commands, one per file.

pub mod demo;
pub mod demo_args;
