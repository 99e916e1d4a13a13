//! What is kept on disk: dead letters only, so far.

pub mod dead_letter;
