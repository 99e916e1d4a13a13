//! Keeps old history quiet: while a backlog is replayed, nothing is told; at its end, only what is still open.

use std::collections::{BTreeMap, HashMap};

use crate::engine::TransitionKind;

use super::Alert;
use super::id::AlertId;

/// Holds back the alerts of one partition until [`Mute::unmute`], then lets everything pass.
///
/// It has to see all alerts of the partition since its start: an outage that it does not hold is taken as over.
/// Holds at most the open outages of the partition, one for each of its identities.
#[derive(Debug)]
pub struct Mute {
    /// `None` once unmuted.
    held: Option<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// In the order in which they were first decided.
    open: BTreeMap<u64, Alert>,
    /// Where each stands in `open`.
    places: HashMap<AlertId, u64>,
    /// The next place.
    next: u64,
}

impl Mute {
    /// Muted, holding nothing.
    pub fn muted() -> Self {
        Self { held: Some(Held::default()) }
    }

    /// Passes everything: for partitions that never mute.
    pub fn open() -> Self {
        Self { held: None }
    }

    /// Whether alerts are held back.
    pub fn is_muted(&self) -> bool {
        self.held.is_some()
    }

    /// How many outages are held.
    pub fn held(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.open.len())
    }

    /// Takes an alert. Gives it back if it is to be told.
    pub fn pass(&mut self, alert: Alert) -> Option<Alert> {
        match &mut self.held {
            Some(held) => {
                held.take(alert);
                None
            }
            None => Some(alert),
        }
    }

    /// Ends the muting: what is still open, in the order in which it was decided, each as firing.
    /// A second call yields nothing.
    pub fn unmute(&mut self) -> impl Iterator<Item = Alert> + use<> {
        self.held.take().unwrap_or_default().open.into_values()
    }
}

impl Held {
    fn take(&mut self, alert: Alert) {
        let id = AlertId::of(&alert.transition);
        match alert.transition.kind {
            TransitionKind::Offline => self.hold(id, alert),
            TransitionKind::Resolved { .. } | TransitionKind::Retracted { .. } => self.release(id),
            TransitionKind::Amended { .. } => self.correct(id, alert),
        }
    }

    fn hold(&mut self, id: AlertId, alert: Alert) {
        let next = &mut self.next;
        let place = *self.places.entry(id).or_insert_with(|| {
            *next += 1;
            *next
        });
        self.open.insert(place, alert);
    }

    fn release(&mut self, id: AlertId) {
        if let Some(place) = self.places.remove(&id) {
            self.open.remove(&place);
        }
    }

    /// Nobody was told the pair that is corrected, so the corrected outage fires as if it were the first word.
    fn correct(&mut self, id: AlertId, mut alert: Alert) {
        if let Some(place) = self.places.get(&id) {
            alert.transition.kind = TransitionKind::Offline;
            self.open.insert(*place, alert);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alert::sample;
    use crate::engine::{Judged, ResolvedBy, Timestamp};

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Fire,
        Resolve,
        Retract,
        Amend,
    }

    /// Alert number `at` of a history: what `step` says about the outage (`device`, `armed_ms`).
    fn alert(at: i64, step: Step, device: u8, armed_ms: i64) -> Alert {
        let mut alert = sample::firing();
        let transition = &mut alert.transition;
        transition.identity.device = format!("d{device}").into();
        transition.outage.first_armed_at = Timestamp::from_ms(armed_ms);
        transition.decided_at = Timestamp::from_ms(at);
        let heartbeat_at = Timestamp::from_ms(at);
        transition.kind = match step {
            Step::Fire => TransitionKind::Offline,
            Step::Resolve => {
                TransitionKind::Resolved { at: heartbeat_at, by: ResolvedBy::Heartbeat }
            }
            Step::Retract => TransitionKind::Retracted { heartbeat_at },
            Step::Amend => TransitionKind::Amended {
                told: Judged { armed_at: heartbeat_at, deadline: heartbeat_at },
            },
        };
        alert
    }

    fn history() -> impl Strategy<Value = Vec<Alert>> {
        let step =
            prop::sample::select(vec![Step::Fire, Step::Resolve, Step::Retract, Step::Amend]);
        prop::collection::vec((step, 0_u8..4, 0_i64..2), 0..60).prop_map(|steps| {
            let numbered = (0_i64..).zip(steps);
            numbered
                .map(|(at, (step, device, armed_ms))| alert(at, step, device, armed_ms))
                .collect()
        })
    }

    /// The model: a plain list of what is open.
    fn still_open(history: &[Alert]) -> Vec<Alert> {
        let mut open: Vec<Alert> = Vec::new();
        for alert in history {
            let same = |other: &Alert| {
                other.transition.identity == alert.transition.identity
                    && other.transition.outage.first_armed_at
                        == alert.transition.outage.first_armed_at
            };
            let place = open.iter().position(same);
            let mut firing = alert.clone();
            firing.transition.kind = TransitionKind::Offline;
            match (alert.transition.kind, place) {
                (TransitionKind::Offline, None) => open.push(firing),
                (TransitionKind::Offline | TransitionKind::Amended { .. }, Some(place)) => {
                    open[place] = firing
                }
                (
                    TransitionKind::Resolved { .. } | TransitionKind::Retracted { .. },
                    Some(place),
                ) => {
                    open.remove(place);
                }
                (
                    TransitionKind::Amended { .. }
                    | TransitionKind::Resolved { .. }
                    | TransitionKind::Retracted { .. },
                    None,
                ) => {}
            }
        }
        open
    }

    proptest! {
        #[test]
        fn nothing_is_told_while_muted_and_then_exactly_what_is_still_open(history in history()) {
            let mut mute = Mute::muted();
            for alert in &history {
                prop_assert_eq!(mute.pass(alert.clone()), None);
            }
            let open = still_open(&history);
            prop_assert_eq!(mute.held(), open.len());
            prop_assert_eq!(mute.unmute().collect::<Vec<_>>(), open);
            prop_assert_eq!(mute.unmute().count(), 0);
            for alert in &history {
                let passed = mute.pass(alert.clone());
                prop_assert_eq!(passed.as_ref(), Some(alert));
            }
        }
    }

    #[test]
    fn an_outage_that_was_over_before_its_amendment_stays_untold() {
        let mut mute = Mute::muted();
        for (at, step) in [(1, Step::Fire), (2, Step::Resolve), (3, Step::Amend)] {
            mute.pass(alert(at, step, 0, 0));
        }
        assert_eq!(mute.unmute().count(), 0);
    }

    #[test]
    fn a_partition_that_never_mutes_passes_a_resolve_for_an_outage_it_has_not_seen() {
        let resolved = alert(1, Step::Resolve, 0, 0);
        assert_eq!(Mute::open().pass(resolved.clone()), Some(resolved));
    }
}
