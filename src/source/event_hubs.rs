//! Source `event_hubs`.
