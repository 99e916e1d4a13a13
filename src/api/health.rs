//! `/livez`, `/readyz`, `/metrics`: no data.
