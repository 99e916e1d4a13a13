//! Recorded messages, one JSON object a line, from a file or standard input: for tests, replay and bug reports.
//!
//! The lines are one partition without a known end, so a recording never turns live and nothing of it is muted. This is
//! the only source whose normal return is no failure: it returns when all lines have been applied.

use std::path::Path;

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};
use tokio_util::sync::CancellationToken;

use super::{Delivery, Event, MAX_BATCH, PartitionLink, SourceContext, SourceError};
use crate::clock;
use crate::config::FileConfig;
use crate::engine::{Attached, Backlog, Dating, Millis, Timestamp};
use crate::metrics::{CONNECTED, CONNECTS};
use crate::wire::{EventTimeFrom, MAX_MESSAGE_BYTES, RawMessage};

/// The name of the one partition.
const PARTITION: &str = "0";
/// The number of the one attachment.
const ATTACHMENT: u64 = 1;
/// One byte more than decoding looks at: the rest of a longer line is skipped, and what is left is rejected for
/// its size.
const MAX_LINE_BYTES: usize = MAX_MESSAGE_BYTES + 1;
/// With [`super::EVENT_QUEUE`] batches waiting, at most some 16 MiB of lines are in memory.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// Larger than nearly every line.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Reads `config.path` to its end, or until `stop`.
pub async fn run(
    config: FileConfig,
    ctx: SourceContext,
    stop: CancellationToken,
) -> Result<(), SourceError> {
    let input = open(&config.path, &ctx).await?;
    let dating = match config.event_time {
        EventTimeFrom::Stamps | EventTimeFrom::TrustedHeader => Dating::EventTime,
        EventTimeFrom::Receipt => Dating::Receipt,
    };
    let reading = replay(input, dating, &ctx);
    stop.run_until_cancelled(reading).await.unwrap_or(Ok(()))
}

type Input = Box<dyn AsyncRead + Send + Unpin>;

async fn open(path: &Path, ctx: &SourceContext) -> Result<Input, SourceError> {
    if path == Path::new("-") {
        return Ok(Box::new(tokio::io::stdin()));
    }
    let file = tokio::fs::File::open(path).await;
    let file = file.map_err(|error| SourceError::Misconfigured {
        source_name: ctx.name.to_string(),
        message: format!(
            "{} can't be opened ({error}): correct its path, or let this user read it",
            path.display()
        ),
    })?;
    Ok(Box::new(file))
}

async fn replay(input: Input, dating: Dating, ctx: &SourceContext) -> Result<(), SourceError> {
    let time = ReceiptTime::anchored(ctx.max_clock_error_ms);
    let mut link = ctx.partitions.open(PARTITION);
    let attached = Event::Attached {
        attachment: ATTACHMENT,
        attached: Attached {
            at: time.get(),
            error_ms: 0,
            stream: None,
            first_available: None,
            backlog: Backlog::Endless,
            dating,
        },
    };
    send(&link, ctx, attached).await?;
    report_connected(ctx);

    let mut lines = Lines::new(BufReader::with_capacity(READ_BUFFER_BYTES, input));
    let mut last_sequence = None;
    loop {
        let batch = lines.next_batch(time).await;
        let deliveries = batch.map_err(|error| failed(ctx, &format!("can't be read ({error})")))?;
        let Some(last) = deliveries.last() else { break };
        last_sequence = Some(last.sequence);
        let event = Event::Batch { attachment: ATTACHMENT, deliveries };
        send(&link, ctx, event).await?;
    }
    match last_sequence {
        Some(sequence) => until_applied(&mut link, ctx, sequence).await,
        None => Ok(()),
    }
}

async fn send(link: &PartitionLink, ctx: &SourceContext, event: Event) -> Result<(), SourceError> {
    let sent = link.events.send(event).await;
    sent.map_err(|_| failed(ctx, "the worker of its partition is gone"))
}

async fn until_applied(
    link: &mut PartitionLink,
    ctx: &SourceContext,
    last: i64,
) -> Result<(), SourceError> {
    let applied = link.progress.wait_for(|progress| {
        let acknowledged = progress.acknowledge;
        acknowledged.is_some_and(|(_, sequence)| sequence >= last)
    });
    match applied.await {
        Ok(_) => Ok(()),
        Err(_) => Err(failed(ctx, "the worker of its partition is gone")),
    }
}

fn report_connected(ctx: &SourceContext) {
    let labels = [("source", ctx.name.as_ref())];
    ctx.metrics.counter(CONNECTS, &labels).increment(1);
    ctx.metrics.gauge(CONNECTED, &labels).set(1.0);
    ctx.status.send_modify(|status| {
        status.connected = true;
        status.reason = None;
        status.connects += 1;
    });
}

fn failed(ctx: &SourceContext, message: &str) -> SourceError {
    SourceError::Failed { source_name: ctx.name.to_string(), message: message.to_owned() }
}

/// Dates receipts by boot time from one reading of the wall clock, so that a step of it moves nothing.
#[derive(Clone, Copy)]
struct ReceiptTime {
    at_boot: Timestamp,
}

impl ReceiptTime {
    fn anchored(max_error_ms: Millis) -> Self {
        Self { at_boot: clock::wall().minus(max_error_ms).minus(clock::boot_ms()) }
    }

    fn get(self) -> Timestamp {
        self.at_boot.plus(clock::boot_ms())
    }
}

/// Numbered lines of bounded length, in batches of bounded size.
struct Lines<R> {
    reader: R,
    number: i64,
}

impl<R: AsyncRead + Unpin> Lines<BufReader<R>> {
    fn new(reader: BufReader<R>) -> Self {
        Self { reader, number: 0 }
    }

    /// The next lines that are not blank; none at the end. Waits only for the first.
    async fn next_batch(&mut self, time: ReceiptTime) -> std::io::Result<Vec<Delivery>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(line) = read_line(&mut self.reader).await? {
            self.number += 1;
            if !line.trim_ascii().is_empty() {
                bytes += line.len();
                batch.push(Delivery {
                    raw: RawMessage::Line(line),
                    sequence: self.number,
                    received_at: time.get(),
                });
            }
            let is_full = batch.len() == MAX_BATCH || bytes >= MAX_BATCH_BYTES;
            let next_is_here = self.reader.buffer().contains(&b'\n');
            if !batch.is_empty() && (is_full || !next_is_here) {
                break;
            }
        }
        Ok(batch)
    }
}

/// The next line without its end, cut to [`MAX_LINE_BYTES`]; `None` at the end of the input.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Bytes>> {
    let mut line = Vec::new();
    let mut is_empty_input = true;
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok((!is_empty_input).then(|| line.into()));
        }
        is_empty_input = false;
        let end = available.iter().position(|&byte| byte == b'\n');
        let content = &available[..end.unwrap_or(available.len())];
        let room = MAX_LINE_BYTES - line.len();
        line.extend_from_slice(&content[..content.len().min(room)]);
        let consumed = content.len() + usize::from(end.is_some());
        reader.consume(consumed);
        if end.is_some() {
            return Ok(Some(line.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::sync::{mpsc, watch};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::metrics::Metrics;
    use crate::source::{EVENT_QUEUE, OpenPartition, Progress, SourceStatus};

    /// Gives away one partition, once.
    struct OnePartition(Mutex<Option<PartitionLink>>);

    impl OpenPartition for OnePartition {
        fn open(&self, partition: &str) -> PartitionLink {
            assert_eq!(partition, "0");
            self.0.lock().expect("sound").take().expect("opened once")
        }
    }

    /// A source at work on a recording, and the worker's ends.
    struct Bench {
        events: mpsc::Receiver<Event>,
        progress: watch::Sender<Progress>,
        status: watch::Receiver<SourceStatus>,
        running: JoinHandle<Result<(), SourceError>>,
        stop: CancellationToken,
        _folder: tempfile::TempDir,
    }

    fn bench(content: &[u8], event_time: EventTimeFrom) -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("recording.jsonl");
        std::fs::write(&path, content).expect("writable");
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let (progress, receiver) = watch::channel(Progress {
            acknowledge: None,
            clock: Timestamp::MIN,
            next_deadline: None,
        });
        let link = PartitionLink { events: sender, progress: receiver, resume: None };
        let (status_sender, status) = watch::channel(SourceStatus::default());
        let ctx = SourceContext {
            name: "file".into(),
            partitions: Arc::new(OnePartition(Mutex::new(Some(link)))),
            status: status_sender,
            metrics: Arc::new(Metrics::detached()),
            max_clock_error_ms: 30_000,
        };
        let stop = CancellationToken::new();
        let config = FileConfig { path, event_time };
        Bench {
            events,
            progress,
            status,
            running: tokio::spawn(run(config, ctx, stop.clone())),
            stop,
            _folder: folder,
        }
    }

    impl Bench {
        async fn event(&mut self) -> Event {
            let event = tokio::time::timeout(Duration::from_secs(10), self.events.recv());
            event.await.expect("in time").expect("the source runs")
        }

        /// Number and text of each line up to number `last`.
        async fn lines_to(&mut self, last: i64) -> Vec<(i64, Bytes)> {
            let mut lines = Vec::new();
            while lines.last().is_none_or(|(number, _)| *number < last) {
                let Event::Batch { deliveries, .. } = self.event().await else {
                    panic!("not a batch")
                };
                assert!(deliveries.len() <= MAX_BATCH);
                for delivery in deliveries {
                    let RawMessage::Line(line) = delivery.raw else { panic!("not a line") };
                    lines.push((delivery.sequence, line));
                }
            }
            lines
        }

        fn acknowledge(&self, sequence: i64) {
            self.progress.send_modify(|progress| progress.acknowledge = Some((1, sequence)));
        }
    }

    #[tokio::test]
    async fn lines_keep_their_numbers_and_it_returns_once_the_last_is_applied() {
        let mut bench = bench(b"{\"a\":1}\n\n  \r\n{\"b\":2}", EventTimeFrom::Stamps);
        let Event::Attached { attached, .. } = bench.event().await else { panic!("not an attach") };
        assert_eq!(attached.backlog, Backlog::Endless);
        assert_eq!(attached.dating, Dating::EventTime);
        assert!(attached.at <= clock::wall().minus(29_000));
        let lines = bench.lines_to(4).await;
        assert_eq!(lines[0], (1, Bytes::from_static(b"{\"a\":1}")));
        assert_eq!(lines[1], (4, Bytes::from_static(b"{\"b\":2}")));
        assert!(bench.status.borrow().connected);
        bench.acknowledge(3);
        tokio::task::yield_now().await;
        assert!(!bench.running.is_finished());
        bench.acknowledge(4);
        assert!(bench.running.await.expect("no panic").is_ok());
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_so_that_it_is_rejected_for_its_size_and_the_next_one_is_whole()
     {
        let mut content = vec![b'x'; 3 << 20];
        content.extend_from_slice(b"\n{}\n");
        let mut bench = bench(&content, EventTimeFrom::Receipt);
        let first = bench.event().await;
        assert!(
            matches!(first, Event::Attached { attached, .. } if attached.dating == Dating::Receipt)
        );
        let lines = bench.lines_to(2).await;
        assert_eq!(lines[0].1.len(), MAX_LINE_BYTES);
        assert_eq!(lines[1], (2, Bytes::from_static(b"{}")));
    }

    #[tokio::test]
    async fn many_lines_come_in_order_in_bounded_batches() {
        let content: String = (1..=5_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let mut bench = bench(content.as_bytes(), EventTimeFrom::Stamps);
        bench.event().await;
        let lines = bench.lines_to(5_000).await;
        assert_eq!(lines.len(), 5_000);
        assert!(
            lines
                .iter()
                .zip(1..)
                .all(|((number, line), n)| *number == n && *line == format!("{{\"n\":{n}}}"))
        );
    }

    #[tokio::test]
    async fn an_empty_recording_ends_at_once_and_stop_ends_a_full_one() {
        let empty = bench(b"\n\n", EventTimeFrom::Stamps);
        assert!(empty.running.await.expect("no panic").is_ok());
        let waiting = bench(b"{}\n", EventTimeFrom::Stamps);
        waiting.stop.cancel();
        assert!(waiting.running.await.expect("no panic").is_ok());
    }

    #[tokio::test]
    async fn a_partition_that_nobody_works_on_is_a_failure() {
        let bench = bench(b"{}\n", EventTimeFrom::Stamps);
        drop(bench.events);
        let error = bench.running.await.expect("no panic").expect_err("nobody");
        assert!(error.to_string().starts_with("source file: the worker"), "{error}");
    }
}
