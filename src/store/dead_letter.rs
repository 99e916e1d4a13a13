//! The ingest dead letter: bounded, oldest out.
