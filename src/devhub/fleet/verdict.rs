//! The alerts received, judged against the fleet's own record.

use std::collections::{HashMap, HashSet};

use super::roster::{Member, Roster};
use super::truth::{TrueOutage, Truth};
use crate::engine::{Millis, Timestamp};

/// The most names kept as examples of a fault.
const MAX_EXAMPLES: usize = 5;

/// An alert message as its receiver got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `webhook-id`: a repeated delivery carries the same.
    pub message_id: String,
    /// Device id.
    pub device_id: String,
    /// Module id.
    pub module_id: Option<String>,
    /// What it tells.
    pub status: NoticeStatus,
    /// The deadline that passed.
    pub first_missed_at: Timestamp,
    /// When the service decided.
    pub detected_at: Timestamp,
    /// When it was received.
    pub received_at: Timestamp,
}

/// What an alert message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeStatus {
    /// An outage began.
    Firing,
    /// It ended.
    Resolved,
    /// There was none.
    Retracted,
    /// It began at another time than told; `first_missed_at` is the right one.
    Amended,
}

/// How the service did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Devices in the fleet.
    pub devices: u32,
    /// Messages that the hub accepted from them.
    pub heartbeats: u64,
    /// Outages that had to be told, and those told although there would have been time left.
    pub silenced: u64,
    /// Those of them that were told, and not taken back.
    pub flagged: u64,
    /// Those of them that were not.
    pub missed: u64,
    /// Alerts of outages that did not happen, or not then.
    pub false_offline: u64,
    /// Outages that were told and ended, long enough ago for the end to be told too.
    pub returned: u64,
    /// Outages whose end was told after it happened.
    pub resolved: u64,
    /// From the true deadline to the receipt of the alert, of each one flagged, sorted.
    pub verdict_delay_ms: Vec<Millis>,
    /// From the deadline to the decision as the alert says, of each one flagged, sorted.
    pub detection_lag_ms: Vec<Millis>,
    /// Names of a few that were missed.
    pub missed_examples: Vec<String>,
    /// Names of a few that were falsely flagged.
    pub false_examples: Vec<String>,
}

impl Verdict {
    /// Nothing was missed, and nobody was falsely flagged.
    pub fn passed(&self) -> bool {
        self.missed == 0 && self.false_offline == 0
    }

    /// Judges the alerts received until `ended`. What happened less than `settle_ms` before need not have been told.
    pub fn judge(truth: &Truth, notices: &[Notice], ended: Timestamp, settle_ms: Millis) -> Self {
        let mut verdict = Self {
            devices: truth.roster().devices,
            heartbeats: truth.messages(),
            ..Self::default()
        };
        let mut told = verdict.sort(truth.roster(), notices);
        let due = ended.minus(settle_ms);
        for member in truth.watched() {
            let notices = told.remove(&member).unwrap_or_default();
            let outages: Vec<TrueOutage> = truth.outages(member, ended).collect();
            for outage in &outages {
                verdict.judge_outage(truth.roster(), member, outage, &notices, due);
            }
            for notice in notices.iter().filter(|notice| notice.claims()) {
                if !outages.iter().any(|outage| notice.tells(outage)) {
                    verdict.falsely_flagged(notice);
                }
            }
        }
        verdict.verdict_delay_ms.sort_unstable();
        verdict.detection_lag_ms.sort_unstable();
        verdict
    }

    /// Each member's messages, repeated deliveries left out. Alerts of strangers are false.
    fn sort<'a>(
        &mut self,
        roster: Roster,
        notices: &'a [Notice],
    ) -> HashMap<Member, Vec<&'a Notice>> {
        let mut seen = HashSet::new();
        let mut told: HashMap<Member, Vec<&Notice>> = HashMap::new();
        for notice in notices {
            if !seen.insert(notice.message_id.as_str()) {
                continue;
            }
            match roster.find(&notice.device_id, notice.module_id.as_deref()) {
                Some(member) => told.entry(member).or_default().push(notice),
                None if notice.claims() => self.falsely_flagged(notice),
                None => {}
            }
        }
        told
    }

    fn judge_outage(
        &mut self,
        roster: Roster,
        member: Member,
        outage: &TrueOutage,
        notices: &[&Notice],
        due: Timestamp,
    ) {
        let of = |status| {
            notices.iter().filter(move |notice| {
                notice.status == status && notice.first_missed_at == outage.deadline
            })
        };
        let told = notices.iter().find(|notice| notice.tells(outage));
        let retracted = of(NoticeStatus::Retracted).next().is_some();
        match told.filter(|_| !retracted) {
            Some(notice) => {
                self.silenced += 1;
                self.flagged += 1;
                self.verdict_delay_ms.push(notice.received_at.since(outage.deadline));
                self.detection_lag_ms.push(notice.detected_at.since(notice.first_missed_at));
            }
            None if outage.deadline <= due => {
                self.silenced += 1;
                self.missed += 1;
                keep_example(&mut self.missed_examples, || name(roster, member));
            }
            None => return,
        }
        if let Some(ended) = outage.ended {
            let resolved = of(NoticeStatus::Resolved).any(|notice| notice.received_at >= ended);
            self.resolved += u64::from(resolved);
            self.returned += u64::from(resolved || ended <= due);
        }
    }

    fn falsely_flagged(&mut self, notice: &Notice) {
        self.false_offline += 1;
        keep_example(&mut self.false_examples, || match &notice.module_id {
            Some(module) => format!("{}/{module}", notice.device_id),
            None => notice.device_id.clone(),
        });
    }
}

impl Notice {
    /// Says that the member is silent.
    fn claims(&self) -> bool {
        match self.status {
            NoticeStatus::Firing | NoticeStatus::Amended => true,
            NoticeStatus::Resolved | NoticeStatus::Retracted => false,
        }
    }

    /// Says that this outage began, and not before it did.
    fn tells(&self, outage: &TrueOutage) -> bool {
        self.claims()
            && self.first_missed_at == outage.deadline
            && self.received_at >= outage.deadline
    }
}

fn keep_example(examples: &mut Vec<String>, name: impl FnOnce() -> String) {
    if examples.len() < MAX_EXAMPLES {
        examples.push(name());
    }
}

fn name(roster: Roster, member: Member) -> String {
    let device = roster.device_id(member.device);
    match member.module {
        Some(module) => format!("{device}/{}", module.as_str()),
        None => device,
    }
}
