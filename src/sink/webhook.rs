//! The webhook sink.
