//! The canonical JSON alert.
