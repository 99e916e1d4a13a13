//! What happens in the fleet, event by event in time order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::life::{Quiet, Why, draw, storm_pause};
use super::random::Random;
use super::roster::{Member, Module};
use super::{FleetError, FleetOptions};
use crate::engine::{Millis, Timestamp};

/// One message in so many carries a body; the others are empty heartbeats.
const TELEMETRY_EVERY: Millis = 8;

/// The most time between a connect and the first message after it.
const FIRST_MESSAGE_MS: Millis = 50;

/// Something that a device does, or that is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetEvent {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: Member,
    /// What.
    pub action: Action,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Sends a message with an empty body.
    Heartbeat,
    /// Sends a message with a body.
    Telemetry,
    /// Connects to the hub.
    Connect,
    /// Loses its connection.
    Disconnect,
    /// Is created in the registry.
    Create,
    /// Is deleted from the registry, with its modules.
    Delete,
}

/// What stands in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The sender's next message, if nothing keeps it quiet then.
    Message,
    /// An event of its life.
    Life(Action),
}

/// Time, order of entry, who, what: the second keeps events of the same instant in the order in which they were planned.
type Entry = (Timestamp, u64, Member, Step);

/// Everything that is going to happen to the fleet: an iterator in time order that ends only when nobody is left
/// to send. The same options give the same events.
#[derive(Clone, Debug)]
pub struct Plan {
    options: FleetOptions,
    quiet: Vec<Option<Quiet>>,
    queue: BinaryHeap<Reverse<Entry>>,
    entries: u64,
    random: Random,
}

impl Plan {
    /// Draws the fleet's future.
    pub fn new(options: FleetOptions) -> Result<Self, FleetError> {
        options.check()?;
        let mut plan = Self {
            quiet: draw(&options),
            queue: BinaryHeap::new(),
            entries: 0,
            random: Random::split(options.seed, 0xbea7),
            options,
        };
        for device in 0..plan.options.roster.devices {
            plan.begin(device);
        }
        Ok(plan)
    }

    /// How many senders and coming events are held: bounded by the fleet, whatever the length of the run.
    pub fn held(&self) -> usize {
        self.queue.len()
    }

    fn begin(&mut self, device: u32) {
        let at = self.options.start.plus(self.random.below(self.options.interval_ms));
        self.push(at, Member::device(device), Step::Life(Action::Connect));
        for sender in self.options.roster.senders(device) {
            self.push_first_message(at, sender);
        }
        match self.quiet[device as usize] {
            Some(quiet) => self.push_quiet(device, quiet),
            None => self.push_storms(device),
        }
    }

    fn push_quiet(&mut self, device: u32, quiet: Quiet) {
        let (before, after): (&[Action], &[Action]) = match quiet.why {
            Why::Mute => (&[], &[]),
            Why::Disconnected => (&[Action::Disconnect], &[Action::Connect]),
            Why::Deleted => {
                (&[Action::Disconnect, Action::Delete], &[Action::Create, Action::Connect])
            }
        };
        self.push_life(quiet.from, device, before);
        if let Some(until) = quiet.until {
            self.push_life(until, device, after);
        }
    }

    fn push_storms(&mut self, device: u32) {
        for storm in 0..self.options.storms {
            if let Some(pause) = storm_pause(&self.options, device, storm) {
                self.push_quiet(device, pause);
            }
        }
    }

    fn push_life(&mut self, at: Timestamp, device: u32, actions: &[Action]) {
        for &action in actions {
            self.push(at, Member::device(device), Step::Life(action));
        }
    }

    fn push_first_message(&mut self, connected: Timestamp, sender: Member) {
        let wait = 1 + self.random.below(FIRST_MESSAGE_MS);
        self.push(connected.plus(wait), sender, Step::Message);
    }

    fn push(&mut self, at: Timestamp, who: Member, step: Step) {
        self.entries += 1;
        self.queue.push(Reverse((at, self.entries, who, step)));
    }

    /// What keeps the sender from sending at that moment.
    fn quiet_at(&self, sender: Member, at: Timestamp) -> Option<Quiet> {
        match self.quiet[sender.device as usize] {
            Some(quiet) => {
                Some(quiet).filter(|quiet| quiet.contains(at) && self.concerns(quiet, sender))
            }
            None => (0..self.options.storms)
                .filter_map(|storm| storm_pause(&self.options, sender.device, storm))
                .find(|pause| pause.contains(at)),
        }
    }

    /// A gateway with a watched module goes on by itself when the module falls silent.
    fn concerns(&self, quiet: &Quiet, sender: Member) -> bool {
        match quiet.why {
            Why::Disconnected | Why::Deleted => true,
            Why::Mute => {
                let watched = self
                    .options
                    .roster
                    .senders(sender.device)
                    .any(|member| member.module == Some(Module::Sensor));
                !watched || sender.module.is_some()
            }
        }
    }

    /// A sender's message is due: the event, unless something keeps it quiet; and its next one is planned.
    fn message(&mut self, at: Timestamp, who: Member) -> Option<FleetEvent> {
        if let Some(quiet) = self.quiet_at(who, at) {
            if let Some(until) = quiet.until {
                self.push_first_message(until, who);
            }
            return None;
        }
        let jitter = self.options.jitter_ms();
        let next = self.options.interval_ms - jitter + self.random.below(2 * jitter + 1);
        self.push(at.plus(next.max(1)), who, Step::Message);
        let action = if self.random.below(TELEMETRY_EVERY) == 0 {
            Action::Telemetry
        } else {
            Action::Heartbeat
        };
        Some(FleetEvent { at, who, action })
    }
}

impl Iterator for Plan {
    type Item = FleetEvent;

    fn next(&mut self) -> Option<FleetEvent> {
        loop {
            let Reverse((at, _, who, step)) = self.queue.pop()?;
            let event = match step {
                Step::Life(action) => Some(FleetEvent { at, who, action }),
                Step::Message => self.message(at, who),
            };
            if event.is_some() {
                return event;
            }
        }
    }
}
