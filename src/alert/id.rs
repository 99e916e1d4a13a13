//! Stable ids of alerts and messages.
