//! Standard Webhooks signature.
