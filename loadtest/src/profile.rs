//! What a run is: the fleet, its troubles, the source, the limits. One YAML file, in `loadtest/profiles`.

use std::path::Path;

use anyhow::{Context, ensure};
use lastseen::config::parse_duration;
use lastseen::engine::Millis;
use serde::{Deserialize, Deserializer};

/// More than any machine takes: a larger number is a slip.
const MAX_RATE_PER_MS: u64 = 1_000;

/// A load.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// What it is good for, in a line.
    pub(crate) about: String,
    /// Where the service reads.
    pub(crate) source: SourceKind,
    /// How many devices there are.
    pub(crate) identities: u32,
    /// Partitions of the embedded hub; brokers have one queue.
    #[serde(default = "one")]
    pub(crate) partitions: u32,
    /// From one heartbeat of a device to its next.
    #[serde(rename = "interval", deserialize_with = "duration")]
    pub(crate) interval_ms: Millis,
    /// The longest silence that is normal.
    #[serde(rename = "window", deserialize_with = "duration")]
    pub(crate) window_ms: Millis,
    /// The margin on top.
    #[serde(rename = "grace", deserialize_with = "duration")]
    pub(crate) grace_ms: Millis,
    /// The allowance of the service's clock.
    #[serde(rename = "allowance", default = "a_second", deserialize_with = "duration")]
    pub(crate) allowance_ms: Millis,
    /// How many devices fall silent.
    pub(crate) silenced: u32,
    /// In what span they do, after everybody was heard once.
    #[serde(rename = "silenced_within", deserialize_with = "duration")]
    pub(crate) silenced_within_ms: Millis,
    /// How many percent of them come back after they were told.
    #[serde(default)]
    pub(crate) returning_percent: u32,
    /// Whether they send once more as they fall silent, so that their deadlines are as close together.
    #[serde(default)]
    pub(crate) last_gasp: bool,
    /// Many devices lose their connections and come back together.
    #[serde(default)]
    pub(crate) storm: Option<Storm>,
    /// Heartbeats on top, of devices that are chosen by Zipf's law, in percent of the regular ones.
    #[serde(default)]
    pub(crate) zipf_percent: u32,
    /// The most that the 99th percentile of the verdict delay may be; none: it is only told.
    #[serde(default)]
    pub(crate) max_p99: Option<Limit>,
    /// How long the sender afterwards sends as fast as the service takes: only into the embedded hub.
    #[serde(rename = "flood", default, deserialize_with = "duration")]
    pub(crate) flood_ms: Millis,
    /// How long the last verdicts may take after the last true deadline.
    #[serde(rename = "settle", default = "ten_seconds", deserialize_with = "duration")]
    pub(crate) settle_ms: Millis,
}

/// Where the service reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SourceKind {
    /// The library's embedded hub, in this process.
    Hub,
    /// A quorum queue of RabbitMQ.
    RabbitQueue,
    /// A stream of RabbitMQ.
    RabbitStream,
    /// A queue of RabbitMQ, read by AMQP 1.0.
    Amqp10,
}

/// A reconnect storm.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storm {
    /// How many percent of the devices are away.
    pub(crate) percent: u32,
    /// How long.
    #[serde(rename = "away", deserialize_with = "duration")]
    pub(crate) away_ms: Millis,
    /// In what span they are all back, each with a heartbeat.
    #[serde(rename = "back_within", deserialize_with = "duration")]
    pub(crate) back_within_ms: Millis,
}

/// A duration that is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit(pub(crate) Millis);

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        duration(deserializer).map(Self)
    }
}

impl Profile {
    /// Reads a file, and refuses a load that would flag healthy devices rightly.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("can't read the profile {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("the profile {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let profile: Self = serde_saphyr::from_str(text)?;
        profile.check()?;
        Ok(profile)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.flood_ms == 0 || self.source == SourceKind::Hub,
            "flood: only with `source: hub`, which knows how much was taken"
        );
        ensure!(self.identities > 0, "identities: at least one");
        ensure!(self.interval_ms > 0, "interval: longer than nothing");
        ensure!((1..=32).contains(&self.partitions), "partitions: 1 to 32, as a hub has");
        let regular = u64::from(self.identities) * u64::from(100 + self.zipf_percent) / 100;
        ensure!(
            regular / self.interval_ms.unsigned_abs() <= MAX_RATE_PER_MS,
            "interval: more than a million heartbeats a second"
        );
        ensure!(
            self.silenced < self.identities,
            "silenced: somebody has to stay, or the route would seem to be broken"
        );
        ensure!(self.returning_percent <= 100, "returning_percent: at most 100");
        let away_ms = self.storm.map_or(0, |storm| storm.away_ms + storm.back_within_ms);
        ensure!(
            self.window_ms >= self.interval_ms + away_ms,
            "window: shorter than the longest pause of a healthy device"
        );
        ensure!(self.storm.is_none_or(|storm| storm.percent <= 100), "storm.percent: at most 100");
        Ok(())
    }

    /// Silence until the deadline.
    pub(crate) fn silence_ms(&self) -> Millis {
        self.window_ms + self.grace_ms
    }

    /// Regular heartbeats a second, those of Zipf's law included.
    pub(crate) fn rate(&self) -> u64 {
        let per_interval = u64::from(self.identities) * u64::from(100 + self.zipf_percent) / 100;
        per_interval * 1_000 / self.interval_ms.unsigned_abs().max(1)
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

fn one() -> u32 {
    1
}

fn a_second() -> Millis {
    1_000
}

fn ten_seconds() -> Millis {
    10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "about: a test\nsource: hub\nidentities: 100\ninterval: 1s\nwindow: 2s\ngrace: 1s\nsilenced: 10\nsilenced_within: 2s\n";

    #[test]
    fn every_profile_that_ships_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        let files = std::fs::read_dir(folder).unwrap();
        let read = files.map(|file| Profile::read(&file.unwrap().path()).unwrap());
        assert!(read.count() >= 10);
    }

    #[test]
    fn a_fleet_whose_healthy_devices_would_be_flagged_is_refused() {
        Profile::parse(SMALL).unwrap();
        for (wrong, named) in [
            ("window: 999ms", "window"),
            ("silenced: 100", "silenced"),
            ("interval: 0s", "interval"),
            ("storm: { percent: 50, away: 1s, back_within: 1s }", "window"),
        ] {
            let key = wrong.split(':').next().unwrap();
            let others = SMALL.lines().filter(|line| !line.starts_with(&format!("{key}:")));
            let text = others.chain([wrong]).collect::<Vec<_>>().join("\n");
            let error = Profile::parse(&text).unwrap_err().to_string();
            assert!(error.contains(named), "{wrong}: {error}");
        }
        assert!(Profile::parse(&format!("{SMALL}unknown: 1\n")).is_err());
    }
}
