//! What is kept: dead letters of both kinds and what is being decoded on disk; journals and snapshots in a folder or an object store.

pub mod dead_letter;
pub mod decoding;
mod error;
pub mod journal;
pub mod objects;

pub use error::StoreError;
