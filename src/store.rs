//! What is kept on disk: dead letters of both kinds, so far.

pub mod dead_letter;
