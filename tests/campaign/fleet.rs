//! A small fleet that beats into a hub or a queue, some of it on a seeded schedule of silence, and the record of what was
//! accepted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastseen::clock;
use lastseen::devhub::hub::{DeviceMessage, Hub, HubError, RegistryChange};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::oracle::Terms;
use super::oracle::truth::{Sent, Truth, What};
use super::random::Random;

/// Devices beat this often, give or take a fifth.
const INTERVAL_MS: i64 = 300;
/// The step of the fleet.
const STEP: Duration = Duration::from_millis(10);

/// The device that is silenced and revived by hand.
pub(crate) const CANARY: &str = "canary";

/// Takes messages to where the program reads them.
pub(crate) enum Carrier {
    /// The embedded hub.
    Hub(Hub),
    /// Any other way, with confirms: gives the messages in the order in which they were sent.
    Other(Box<dyn Carry>),
}

/// A way other than the hub. It carries heartbeats only.
pub(crate) trait Carry: Send {
    /// Sends a heartbeat of each device, and says which were accepted, and dated when.
    fn carry<'a>(
        &'a mut self,
        devices: &'a [String],
    ) -> std::pin::Pin<Box<dyn Future<Output = Vec<Sent>> + Send + 'a>>;
}

/// What a device does when the fleet follows its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Beats all the time: whoever flags it is wrong.
    Steady,
    /// Falls silent and returns.
    Flapping,
    /// Is created, maybe beats, is deleted, is created again.
    Recycled,
    /// Does what it is told.
    Canary,
}

/// What the fleet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everybody beats.
    Calm,
    /// Everybody by their role.
    Scheduled,
    /// A third of the flapping stays silent, everybody else beats.
    Settled,
}

#[derive(Debug)]
struct Device {
    name: String,
    role: Role,
    life: Life,
    /// When the next step of its schedule is due.
    change_at_ms: i64,
    beat_at_ms: i64,
    random: Random,
    /// Whether it is one of those that stay silent in the end.
    ends_silent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Beats,
    Silent,
    /// Not in the registry any more.
    Deleted,
}

#[derive(Debug)]
struct State {
    devices: Vec<Device>,
    mode: Mode,
    truth: Truth,
}

/// The fleet, until dropped.
pub(crate) struct Fleet {
    state: Arc<Mutex<State>>,
    _stop: DropGuard,
}

impl Fleet {
    pub(crate) fn start(carrier: Carrier, terms: Terms, seed: u64) -> Self {
        let recycles = matches!(carrier, Carrier::Hub(_));
        let devices = roles(recycles).enumerate().map(|(index, role)| device(index, role, seed));
        let state =
            State { devices: devices.collect(), mode: Mode::Calm, truth: Truth::new(terms) };
        let state = Arc::new(Mutex::new(state));
        let stop = CancellationToken::new();
        let driven = state.clone();
        tokio::spawn(stop.clone().run_until_cancelled_owned(drive(driven, carrier)));
        Self { state, _stop: stop.drop_guard() }
    }

    pub(crate) fn enter(&self, mode: Mode) {
        let mut state = self.state.lock().unwrap();
        state.mode = mode;
        let now_ms = clock::wall().as_ms();
        for device in state.devices.iter_mut().filter(|device| device.role != Role::Canary) {
            // Not all of them at once.
            device.change_at_ms = now_ms + device.random.between(0, 6_000);
        }
    }

    pub(crate) fn silence_canary(&self) {
        self.set_canary(Life::Silent);
    }

    pub(crate) fn revive_canary(&self) {
        self.set_canary(Life::Beats);
    }

    fn set_canary(&self, life: Life) {
        let mut state = self.state.lock().unwrap();
        for device in state.devices.iter_mut().filter(|device| device.role == Role::Canary) {
            device.life = life;
        }
    }

    /// Looks at what was accepted.
    /// See [`Truth::unknowable`].
    pub(crate) fn unknowable(&self, from_ms: i64, until_ms: i64) {
        self.state.lock().unwrap().truth.unknowable(from_ms, until_ms);
    }

    pub(crate) fn truth<T>(&self, look: impl FnOnce(&Truth) -> T) -> T {
        look(&self.state.lock().unwrap().truth)
    }
}

/// Forty devices. Most are steady, so that every partition has messages many times in each `bridge`.
fn roles(recycles: bool) -> impl Iterator<Item = Role> {
    let last = if recycles { Role::Recycled } else { Role::Flapping };
    std::iter::once(Role::Canary)
        .chain(std::iter::repeat_n(Role::Steady, 23))
        .chain(std::iter::repeat_n(Role::Flapping, 12))
        .chain(std::iter::repeat_n(last, 4))
}

fn device(index: usize, role: Role, seed: u64) -> Device {
    let mut random = Random::split(seed, u64::try_from(index).unwrap());
    let kind = match role {
        Role::Canary => CANARY.to_owned(),
        Role::Steady => format!("steady-{index:02}"),
        Role::Flapping => format!("flapping-{index:02}"),
        Role::Recycled => format!("recycled-{index:02}"),
    };
    let beat_at_ms = clock::wall().as_ms() + random.between(0, INTERVAL_MS);
    let ends_silent = role == Role::Flapping && random.chance(33);
    Device { name: kind, role, life: Life::Beats, change_at_ms: 0, beat_at_ms, random, ends_silent }
}

async fn drive(state: Arc<Mutex<State>>, mut carrier: Carrier) {
    let mut steps = tokio::time::interval(STEP);
    steps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        steps.tick().await;
        match &mut carrier {
            Carrier::Hub(hub) => state.lock().unwrap().step(hub),
            Carrier::Other(carrier) => {
                let due = state.lock().unwrap().due();
                if due.is_empty() {
                    continue;
                }
                let sent = carrier.carry(&due).await;
                let truth = &mut state.lock().unwrap().truth;
                sent.iter().for_each(|sent| truth.note(sent));
            }
        }
    }
}

impl State {
    /// Sends to the hub what is due.
    fn step(&mut self, hub: &Hub) {
        let terms = *self.truth.terms();
        for device in &mut self.devices {
            let now_ms = clock::wall().as_ms();
            let change = device.follow(self.mode, now_ms, &terms);
            if let Some(change) = change {
                let what = match change {
                    RegistryChange::Create => What::Created,
                    RegistryChange::Delete => What::Deleted,
                };
                let at = clock::wall();
                let accepted = hub.registry(&device.name, None, change, at);
                self.truth.note(&sent(hub, &device.name, what, at.as_ms(), accepted));
            }
            if device.beats_now(now_ms) {
                let at = clock::wall();
                let message =
                    DeviceMessage { device: device.name.clone(), ..DeviceMessage::default() };
                let accepted = hub.device_to_cloud(message, at);
                self.truth.note(&sent(hub, &device.name, What::Beat, at.as_ms(), accepted));
            }
        }
    }

    /// Who beats now.
    fn due(&mut self) -> Vec<String> {
        let terms = *self.truth.terms();
        let now_ms = clock::wall().as_ms();
        let mode = self.mode;
        let due = self.devices.iter_mut().filter_map(|device| {
            let registry = device.follow(mode, now_ms, &terms);
            assert_eq!(registry, None, "there is no registry");
            device.beats_now(now_ms).then(|| device.name.clone())
        });
        due.collect()
    }
}

fn sent(
    hub: &Hub,
    device: &str,
    what: What,
    at_ms: i64,
    accepted: Result<(usize, i64), HubError>,
) -> Sent {
    Sent {
        device: device.to_owned(),
        what,
        at_ms,
        partition: hub.partition_of(device),
        accepted: accepted.is_ok(),
    }
}

impl Device {
    fn beats_now(&mut self, now_ms: i64) -> bool {
        // A deleted device goes on trying, and is refused.
        let tries = matches!(self.life, Life::Beats | Life::Deleted);
        let due = tries && now_ms >= self.beat_at_ms;
        if due {
            let fifth = INTERVAL_MS / 5;
            self.beat_at_ms = now_ms + INTERVAL_MS + self.random.between(-fifth, fifth);
        }
        due
    }

    /// Takes the next step of the schedule, if it is due. Gives what that changes in the registry.
    fn follow(&mut self, mode: Mode, now_ms: i64, terms: &Terms) -> Option<RegistryChange> {
        if self.role == Role::Canary || now_ms < self.change_at_ms {
            return None;
        }
        match mode {
            Mode::Calm => None,
            Mode::Settled => {
                let was = self.life;
                self.life = if self.ends_silent { Life::Silent } else { Life::Beats };
                (was == Life::Deleted).then_some(RegistryChange::Create)
            }
            Mode::Scheduled => match self.role {
                Role::Steady | Role::Canary => None,
                Role::Flapping => {
                    self.flap(now_ms, terms);
                    None
                }
                Role::Recycled => self.recycle(now_ms, terms),
            },
        }
    }

    fn flap(&mut self, now_ms: i64, terms: &Terms) {
        let lasts_ms = match self.life {
            Life::Beats => {
                self.life = Life::Silent;
                match self.random.between(0, 3) {
                    // Long, but not too long: nobody may be told.
                    0 => self.random.between(terms.due_ms() / 4, terms.due_ms() - INTERVAL_MS),
                    // Returns about when it is told.
                    1 => terms.due_ms() + self.random.between(-300, 2_500),
                    2 => terms.due_ms() + self.random.between(3_000, 10_000),
                    _ => terms.due_ms() + self.random.between(10_000, 30_000),
                }
            }
            Life::Silent | Life::Deleted => {
                self.life = Life::Beats;
                self.random.between(500, 8_000)
            }
        };
        self.change_at_ms = now_ms + lasts_ms;
    }

    fn recycle(&mut self, now_ms: i64, terms: &Terms) -> Option<RegistryChange> {
        let first_due_ms = terms.first_window_ms + terms.grace_ms;
        let (life, lasts_ms, change) = match self.life {
            // Created: it beats at once, late, or not before it is deleted again.
            Life::Deleted => {
                let lasts_ms = self.random.between(0, first_due_ms + 8_000);
                (Life::Silent, lasts_ms, Some(RegistryChange::Create))
            }
            Life::Silent if self.random.chance(70) => {
                (Life::Beats, self.random.between(500, 6_000), None)
            }
            Life::Beats if self.random.chance(50) => {
                (Life::Silent, self.random.between(500, terms.due_ms() + 8_000), None)
            }
            Life::Silent | Life::Beats => {
                (Life::Deleted, self.random.between(500, 5_000), Some(RegistryChange::Delete))
            }
        };
        self.life = life;
        self.change_at_ms = now_ms + lasts_ms;
        change
    }
}
