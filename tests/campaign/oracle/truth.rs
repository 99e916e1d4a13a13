//! What devices sent and the hub accepted. Memory is proportional to the fleet, its outages and its holes.

use std::collections::BTreeMap;

use super::Terms;

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A heartbeat.
    Beat,
    /// The hub's notification that the device was created.
    Created,
    /// That it was deleted.
    Deleted,
}

/// One message, as the hub stamped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) device: String,
    pub(crate) what: What,
    /// Ingress time.
    pub(crate) at_ms: i64,
    pub(crate) partition: usize,
    /// Whether the hub took it. What it refused never happened.
    pub(crate) accepted: bool,
}

/// A silence that was longer than it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) device: String,
    pub(crate) partition: usize,
    /// The last heartbeat, or the creation.
    pub(crate) since_ms: i64,
    pub(crate) deadline_ms: i64,
    /// The heartbeat or the deletion that ended it.
    pub(crate) ended_ms: Option<i64>,
}

#[derive(Debug, Default)]
struct Track {
    /// What the device was last known by; `None` before its first message and after its deletion.
    last: Option<(What, i64)>,
    partition: usize,
    ended: Vec<Outage>,
}

#[derive(Debug, Default)]
struct Log {
    last_ms: Option<i64>,
    /// Spans without a message that are longer than `bridge`, in order.
    holes: Vec<(i64, i64)>,
}

/// The record of the fleet.
#[derive(Debug)]
pub(crate) struct Truth {
    terms: Terms,
    tracks: BTreeMap<String, Track>,
    logs: BTreeMap<usize, Log>,
    accepted: u64,
}

impl Truth {
    pub(crate) fn new(terms: Terms) -> Self {
        Self { terms, tracks: BTreeMap::new(), logs: BTreeMap::new(), accepted: 0 }
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Messages that the hub accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    pub(crate) fn devices(&self) -> impl Iterator<Item = &str> {
        self.tracks.keys().map(String::as_str)
    }

    /// Takes note of a message. Messages of a device, and of a partition, come in the order of their times.
    pub(crate) fn note(&mut self, sent: &Sent) {
        if !sent.accepted {
            return;
        }
        self.accepted += 1;
        let log = self.logs.entry(sent.partition).or_default();
        if let Some(last_ms) = log.last_ms.replace(sent.at_ms)
            && sent.at_ms - last_ms > self.terms.bridge_ms
        {
            log.holes.push((last_ms, sent.at_ms));
        }
        let terms = self.terms;
        let track = self.tracks.entry(sent.device.clone()).or_default();
        track.partition = sent.partition;
        let outage = track.outage(&sent.device, &terms);
        track.last = match (sent.what, track.last) {
            // A creation says nothing about one that was heard already.
            (What::Created, Some(last)) => Some(last),
            (What::Created, None) => Some((What::Created, sent.at_ms)),
            (What::Beat, _) => Some((What::Beat, sent.at_ms)),
            (What::Deleted, _) => None,
        };
        let ends = matches!(sent.what, What::Beat | What::Deleted);
        if let Some(outage) = outage.filter(|outage| ends && sent.at_ms > outage.deadline_ms) {
            track.ended.push(Outage { ended_ms: Some(sent.at_ms), ..outage });
        }
    }

    /// The outages of a device whose deadline was before `now_ms`, in order. Only the last can be open.
    pub(crate) fn outages(&self, device: &str, now_ms: i64) -> impl Iterator<Item = Outage> {
        let track = self.tracks.get(device);
        let open = track
            .and_then(|track| track.outage(device, &self.terms))
            .filter(|outage| outage.deadline_ms < now_ms);
        track.into_iter().flat_map(|track| track.ended.iter().cloned()).chain(open)
    }

    /// The latest deadline that holes in the log can have made of an outage's own.
    pub(crate) fn latest_deadline_ms(&self, outage: &Outage) -> i64 {
        let holes = self.logs.get(&outage.partition).map_or(&[][..], |log| &log.holes);
        holes.iter().fold(outage.deadline_ms, |deadline_ms, &(from, until)| {
            if until > outage.since_ms && from < deadline_ms {
                deadline_ms.max(until + self.terms.after_gap_ms())
            } else {
                deadline_ms
            }
        })
    }

    /// A span in which the program can't know the time: like a hole in every log.
    pub(crate) fn unknowable(&mut self, from_ms: i64, until_ms: i64) {
        for log in self.logs.values_mut() {
            log.holes.push((from_ms, until_ms));
        }
    }

    /// How many holes there were in all logs.
    pub(crate) fn holes(&self) -> usize {
        self.logs.values().map(|log| log.holes.len()).sum()
    }
}

impl Track {
    /// The outage that the device is in, if the silence goes on for long enough.
    fn outage(&self, device: &str, terms: &Terms) -> Option<Outage> {
        let (what, since_ms) = self.last?;
        let silence_ms = match what {
            What::Beat => terms.due_ms(),
            What::Created => terms.first_window_ms + terms.grace_ms,
            What::Deleted => return None,
        };
        Some(Outage {
            device: device.to_owned(),
            partition: self.partition,
            since_ms,
            deadline_ms: since_ms + silence_ms,
            ended_ms: None,
        })
    }
}
