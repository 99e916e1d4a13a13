//! `loadtest compare redis`: the same fleet over keys of Redis that expire, and the ratios.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use lastseen::clock::{self, Stopwatch};
use lastseen::engine::Millis;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::carrier::redis::{Expiries, RedisKeys};
use crate::carrier::{self, Carrier};
use crate::judge::{News, Told, Verdict};
use crate::measure::{Fleet, Measured, Watcher};
use crate::profile::Profile;
use crate::progress::Progress;
use crate::rabbitmq::ports;
use crate::report::{Report, bytes, grouped};
use crate::vitals::Vitals;

/// A server without data answers at once.
const START_LIMIT_MS: Millis = 10_000;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A private server, its subscriber and what that was told. It ends when this is dropped.
struct Keyspace {
    server: Child,
    told: Arc<Mutex<Vec<Told>>>,
    subscriber: Option<JoinHandle<anyhow::Result<()>>>,
    _folder: TempDir,
}

impl Keyspace {
    async fn start(port: u16, watch: Stopwatch) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("lastseen-redis-").tempdir()?;
        let port_text = port.to_string();
        let options: [(&str, &[&str]); 8] = [
            ("--bind", &["127.0.0.1"]),
            ("--port", &[&port_text]),
            ("--save", &[""]),
            ("--appendonly", &["no"]),
            ("--daemonize", &["no"]),
            ("--notify-keyspace-events", &["Ex"]),
            // A subscriber that is told much at once is not thrown out.
            ("--client-output-buffer-limit", &["pubsub", "0", "0", "0"]),
            ("--logfile", &["redis.log"]),
        ];
        let server = Command::new("redis-server")
            .args(
                options
                    .iter()
                    .flat_map(|(name, values)| [*name].into_iter().chain(values.iter().copied())),
            )
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("Redis is not installed: run tests/parts/redis.sh")?;
        let told = Arc::default();
        let mut keyspace = Self { server, told, subscriber: None, _folder: folder };
        let began_ms = clock::boot_ms();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if clock::boot_ms() - began_ms > START_LIMIT_MS {
                bail!("Redis does not answer after {START_LIMIT_MS} ms");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let expiries = Expiries::subscribe(port).await?;
        keyspace.subscriber = Some(tokio::spawn(listen(expiries, keyspace.told.clone(), watch)));
        Ok(keyspace)
    }
}

/// Keeps every notice, under an id of its own.
async fn listen(
    mut expiries: Expiries,
    told: Arc<Mutex<Vec<Told>>>,
    watch: Stopwatch,
) -> anyhow::Result<()> {
    let stencil = carrier::stencil();
    for count in 0_u64.. {
        let key = expiries.next().await?;
        told.lock().unwrap_or_else(PoisonError::into_inner).push(Told {
            message_id: count.to_string(),
            number: stencil.number(&key),
            news: News::Silent,
            received: watch.now(),
        });
    }
    Ok(())
}

impl Watcher for Keyspace {
    fn vitals(&self) -> anyhow::Result<Vitals> {
        Vitals::of(self.server.id())
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check(&mut self) -> anyhow::Result<()> {
        if self.subscriber.as_ref().is_some_and(JoinHandle::is_finished) {
            bail!("the subscription to Redis ended");
        }
        match self.server.try_wait()? {
            Some(status) => bail!("Redis ended by itself, {status}"),
            None => Ok(()),
        }
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        if let Some(subscriber) = &self.subscriber {
            subscriber.abort();
        }
        // Nobody is left to tell if that fails.
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

/// Runs the fleet of a profile over Redis.
pub(crate) async fn redis(
    profile: &Profile,
    seed: u64,
    progress: &mut Progress,
) -> anyhow::Result<(Measured, Verdict)> {
    let watch = Stopwatch::start();
    // Redis tells only that keys expire, not that they are back.
    let profile = Profile { returning_percent: 0, storm: None, ..profile.clone() };
    let port = ports::reserve();
    let mut keyspace = Keyspace::start(port, watch).await?;
    let seconds = profile.silence_ms().unsigned_abs().div_ceil(1_000);
    let carrier = Carrier::Redis(Box::new(RedisKeys::open(port, seconds).await?));
    progress.say(&format!("the same fleet over Redis: SET id \"\" EX {seconds}, expired events"));
    let mut fleet = Fleet::start(&profile, seed, carrier, watch)?;
    let measured = fleet.until_told(&mut keyspace, progress).await?;
    let verdict = fleet.verdict(&keyspace)?;
    Ok((measured, verdict))
}

/// Both beside each other, for people.
pub(crate) fn table(ours: &Report, redis: &Measured, verdict: &Verdict) -> String {
    let per_core_second = |cpu_ns: u64| 1_000_000_000 / cpu_ns.max(1);
    let (our_rate, redis_rate) =
        (per_core_second(ours.cpu_ns_per_heartbeat), per_core_second(redis.cpu_ns_per_heartbeat()));
    let redis_bytes = redis.bytes_per_identity(ours.identities);
    let delay = ours.verdict_delay_ms;
    let rows = [
        ["".to_owned(), "lastseen".to_owned(), "Redis".to_owned(), "ratio".to_owned()],
        row("heartbeats a core-second", our_rate, redis_rate),
        row("bytes a device", ours.rss_bytes_per_identity, redis_bytes),
        [
            "resident".to_owned(),
            bytes(ours.rss_bytes),
            bytes(redis.resident_bytes()),
            ratio(ours.rss_bytes, redis.resident_bytes()),
        ],
        row("delay p50, ms", delay.p50, verdict.p50_ms()),
        row("delay p99, ms", delay.p99, verdict.p99_ms()),
        row("delay max, ms", delay.max, verdict.delay_ms.max()),
        row("silenced", ours.silenced, verdict.silenced),
        row("told", ours.told, verdict.told),
        row("not told in time", ours.missed, verdict.missed),
    ];
    let line = |[what, ours, redis, ratio]: [String; 4]| {
        format!("{what:>26}  {ours:>12}  {redis:>12}  {ratio:>8}\n")
    };
    let note = "Delays are those of what was told.\n";
    rows.into_iter().map(line).chain([note.to_owned()]).collect()
}

fn row(what: &str, ours: u64, redis: u64) -> [String; 4] {
    [what.to_owned(), grouped(ours), grouped(redis), ratio(ours, redis)]
}

/// Ours in terms of the other, with two digits behind the point.
fn ratio(ours: u64, other: u64) -> String {
    match (ours * 100).checked_div(other) {
        Some(hundredths) => format!("{}.{:02}", hundredths / 100, hundredths % 100),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_has_two_digits_and_is_left_out_where_there_is_nothing_to_compare() {
        assert_eq!(ratio(150, 100), "1.50");
        assert_eq!(ratio(5, 100), "0.05");
        assert_eq!(ratio(5, 0), "-");
    }
}
