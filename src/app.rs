//! Composition root: joins sources, partitions and sinks by bounded channels.
