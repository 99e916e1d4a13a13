//! Whether what may be in flight, the pace of the journal and memory fit together.

use super::{Config, SourceKind};
use crate::journal::Pace;
use crate::wire::MAX_MESSAGE_BYTES;

/// Below this a queue is slower than any broker: worth a word at the start.
const SLOW_PER_SECOND: u64 = 1_000;
/// More than this in flight can end a process with an ordinary memory limit, if somebody sends the largest messages.
const MUCH_BYTES: u64 = 1 << 30;

impl Config {
    /// How soon things are written: at once where they are on a disk, grouped where every write is a request.
    pub fn pace(&self) -> Pace {
        let pace = match self.store.remote {
            None => Pace::default(),
            Some(_) => Pace::of_requests(),
        };
        Pace { snapshot_ms: self.store.snapshot_interval_ms, ..pace }
    }

    /// One line for each queue that can't be read fast, or can fill the memory. Every message of a queue is acknowledged
    /// once the journal holds what it said, and only so many may be under way at once.
    pub(super) fn flow_warnings(&self) -> Vec<String> {
        let wait_ms = self.pace().acknowledge_ms.unsigned_abs().max(1);
        let mut warnings = Vec::new();
        for source in &self.sources {
            let (key, in_flight, waits) = match &source.kind {
                SourceKind::Amqp091(config) => {
                    let is_queue = config.queue_type != super::QueueType::Stream;
                    ("prefetch", u64::from(config.prefetch), is_queue)
                }
                SourceKind::Amqp10(config) => ("credit", u64::from(config.credit), true),
                SourceKind::EventHubs(config) => ("credit", u64::from(config.credit), false),
                SourceKind::File(_) => continue,
            };
            let (name, per_second) = (&source.name, in_flight * 1_000 / wait_ms);
            if waits && per_second < SLOW_PER_SECOND {
                warnings.push(format!(
                    "source {name}: at most {per_second} messages a second can be read, since each is acknowledged up to \
                     {wait_ms} ms later, once the journal holds it, and {key} lets {in_flight} be under way: raise {key}"
                ));
            }
            let bytes = in_flight * MAX_MESSAGE_BYTES as u64;
            if bytes > MUCH_BYTES && waits {
                warnings.push(format!(
                    "source {name}: {key} {in_flight} lets up to {} GiB of messages be under way, if all are of the largest \
                     size: lower {key}, or give the process that much memory",
                    bytes >> 30
                ));
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(source: &str, store: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("uri"), "amqp://u:p@127.0.0.1/%2f").unwrap();
        let path = folder.path().join("lastseen.yaml");
        let text = format!(
            "sources:\n  - {{ name: lab, hub: lab, {source} }}\nrules: {{ default: {{ window: 60s }} }}\nstore: {{ path: ./data{store} }}\n"
        );
        std::fs::write(&path, text).unwrap();
        Config::load(&path).unwrap().config
    }

    #[test]
    fn the_defaults_are_fast_enough_on_a_disk_and_on_an_object_store() {
        for store in ["", ", url: 's3://bucket/prefix'"] {
            let queue = "type: amqp091, uri_file: uri, queue: q";
            assert_eq!(config(queue, store).flow_warnings(), [""; 0]);
        }
    }

    #[test]
    fn a_queue_whose_prefetch_is_used_up_before_the_journal_is_written_is_told_to_raise_it() {
        let queue = "type: amqp091, uri_file: uri, queue: q, prefetch: 20";
        let expected = "source lab: at most 400 messages a second can be read, since each is acknowledged up to 50 ms \
                        later, once the journal holds it, and prefetch lets 20 be under way: raise prefetch";
        assert_eq!(config(queue, "").flow_warnings(), [expected]);
        let stream = "type: amqp091, uri_file: uri, queue: q, queue_type: stream, prefetch: 20";
        assert_eq!(config(stream, "").flow_warnings(), [""; 0]);
    }

    #[test]
    fn what_could_fill_the_memory_is_said() {
        let queue = "type: amqp091, uri_file: uri, queue: q, prefetch: 4096";
        let told = config(queue, "").flow_warnings();
        assert!(told.len() == 1 && told[0].contains("up to 4 GiB"), "{told:?}");
    }
}
