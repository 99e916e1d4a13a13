//! The fleet's own record: what the hub accepted from whom, and the outages that follow from it.

use super::FleetOptions;
use super::roster::{Member, Module, Roster};
use crate::engine::{Millis, Timestamp};

/// A silence that was longer than window and grace, as the fleet knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrueOutage {
    /// Ingress time of the last message before it.
    pub last_sent: Timestamp,
    /// `last_sent` plus window and grace.
    pub deadline: Timestamp,
    /// Ingress time of the message, or the deletion, that ended it.
    pub ended: Option<Timestamp>,
}

/// What was really sent. Memory is proportional to the fleet and its outages.
#[derive(Clone, Debug)]
pub struct Truth {
    roster: Roster,
    silence_ms: Millis,
    tracks: Vec<[Track; 2]>,
    messages: u64,
}

#[derive(Clone, Debug, Default)]
struct Track {
    last_sent: Option<Timestamp>,
    ended: Vec<TrueOutage>,
}

impl Truth {
    /// Nothing was sent yet.
    pub fn new(options: &FleetOptions) -> Self {
        Self {
            roster: options.roster,
            silence_ms: options.silence_ms(),
            tracks: (0..options.roster.devices).map(|_| Default::default()).collect(),
            messages: 0,
        }
    }

    /// Who is in the fleet.
    pub fn roster(&self) -> Roster {
        self.roster
    }

    /// How many messages the hub accepted from devices and modules.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The hub accepted a message at ingress time `at`. A module's message also proves its device alive.
    pub fn sent(&mut self, who: Member, at: Timestamp) {
        self.messages += 1;
        let silence_ms = self.silence_ms;
        if let Some([device, module]) = self.tracks.get_mut(who.device as usize) {
            device.seen(at, silence_ms);
            if who.module == Some(Module::Sensor) {
                module.seen(at, silence_ms);
            }
        }
    }

    /// The hub accepted the deletion of a device, and with it of its modules.
    pub fn deleted(&mut self, device: u32, at: Timestamp) {
        let silence_ms = self.silence_ms;
        for track in self.tracks.get_mut(device as usize).into_iter().flatten() {
            track.end(at, silence_ms);
            track.last_sent = None;
        }
    }

    /// The outages of a watched member whose deadline was before `now`, in order. Only the last can be open.
    pub fn outages(&self, who: Member, now: Timestamp) -> impl Iterator<Item = TrueOutage> + '_ {
        let track = self.tracks.get(who.device as usize).map(|[device, module]| match who.module {
            None => device,
            Some(Module::Sensor | Module::Relay) => module,
        });
        let open = track
            .and_then(|track| track.outage(self.silence_ms, None))
            .filter(|outage| outage.deadline < now);
        let ended = track.map_or(&[][..], |track| &track.ended);
        ended.iter().copied().chain(open)
    }

    /// Every watched member: each device, and each module that is judged on its own.
    pub fn watched(&self) -> impl Iterator<Item = Member> + use<> {
        let roster = self.roster;
        (0..roster.devices).flat_map(move |device| {
            let modules =
                roster.senders(device).filter(|member| member.module == Some(Module::Sensor));
            std::iter::once(Member::device(device)).chain(modules)
        })
    }
}

impl Track {
    fn seen(&mut self, at: Timestamp, silence_ms: Millis) {
        self.end(at, silence_ms);
        self.last_sent = self.last_sent.max(Some(at));
    }

    fn end(&mut self, at: Timestamp, silence_ms: Millis) {
        let outage = self.outage(silence_ms, Some(at));
        self.ended.extend(outage.filter(|outage| outage.deadline < at));
    }

    fn outage(&self, silence_ms: Millis, ended: Option<Timestamp>) -> Option<TrueOutage> {
        self.last_sent.map(|last_sent| TrueOutage {
            last_sent,
            deadline: last_sent.plus(silence_ms),
            ended,
        })
    }
}
