//! What is kept: dead letters of both kinds on disk; journals and snapshots in a folder or an object store.

pub mod dead_letter;
mod error;
pub mod journal;
pub mod objects;

pub use error::StoreError;
