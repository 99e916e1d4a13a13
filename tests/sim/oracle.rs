//! Judges what receivers were told by what was really sent. It knows nothing of the system: only what happened, what arrived
//! in the logs or was lost on the way, and when nothing could be observed.

use std::collections::BTreeMap;

use lastseen::alert::Message;
use lastseen::alert::body::Status;
use lastseen::engine::SignalKind;

use crate::fleet;
use crate::plan::{ALLOWANCE_MS, Fact, Kind, T0};
use crate::world::Outcome;

/// What an estimate of broker time and the order of a log leave open at the end of a gap.
const EDGE_MS: i64 = ALLOWANCE_MS + 300;

/// One message as its receiver reads it.
#[derive(Clone, Debug)]
pub struct Told {
    alert_id: String,
    status: Status,
    person: usize,
    pub armed_ms: i64,
    pub deadline_ms: i64,
    pub window_ms: i64,
    grace_ms: i64,
    never_seen: bool,
    pub route_unproven: bool,
    ended_ms: Option<i64>,
    body: String,
}

/// All that was told about one outage.
#[derive(Debug)]
struct Case {
    person: usize,
    told: Vec<Told>,
}

impl Case {
    /// As last told.
    fn last(&self) -> &Told {
        let spoken = self.told.iter().rev();
        let mut spoken = spoken.filter(|told| !told.status.is_end());
        spoken.next().unwrap_or(&self.told[0])
    }

    fn end(&self) -> Option<&Told> {
        self.told.iter().rev().find(|told| told.status.is_end())
    }

    fn is_retracted(&self) -> bool {
        self.told.iter().any(|told| told.status == Status::Retracted)
    }
}

/// Figures of a world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub outages: usize,
    pub told: usize,
}

/// Checks everything.
pub fn judge(outcome: &Outcome) -> Result<Figures, String> {
    let mut figures = Figures::default();
    for receiver in 0..outcome.received.len() {
        let cases = cases(outcome, receiver)?;
        for case in &cases {
            // That nobody heard of an outage is not kept over a restart; its correction may come all the same.
            let is_orphan = (outcome.plan.late || outcome.plan.two_ways)
                && case
                    .told
                    .iter()
                    .all(|told| matches!(told.status, Status::Retracted | Status::Amended));
            if !is_orphan {
                check_order(case)?;
            }
            check_true(outcome, case)?;
        }
        for person in 0..outcome.plan.people.len() {
            let own: Vec<&Case> = cases.iter().filter(|case| case.person == person).collect();
            let who = format!("{:?}", outcome.plan.people[person]);
            let add = |error: String| {
                let told: Vec<&str> =
                    own.iter().flat_map(|case| &case.told).map(|told| &*told.body).collect();
                format!("{error}\n{who}\ntold: {told:#?}")
            };
            check_apart(&own).map_err(add)?;
            check_end(outcome, person, &own).map_err(add)?;
            let outages = check_told(outcome, person, &own, receiver).map_err(add)?;
            if receiver == 0 {
                figures.outages += outages;
            }
        }
        figures.told += cases.len();
    }
    Ok(figures)
}

fn cases(outcome: &Outcome, receiver: usize) -> Result<Vec<Case>, String> {
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    for (_, message) in &outcome.received[receiver] {
        let told = read(outcome, message)?;
        let case = cases
            .entry(told.alert_id.clone())
            .or_insert_with(|| Case { person: told.person, told: Vec::new() });
        case.told.push(told);
    }
    Ok(cases.into_values().collect())
}

fn read(outcome: &Outcome, message: &Message) -> Result<Told, String> {
    let body = String::from_utf8_lossy(&message.body).into_owned();
    let json: serde_json::Value =
        serde_json::from_slice(&message.body).map_err(|error| error.to_string())?;
    let data = &json["data"];
    let text = |name: &str| data[name].as_str().map(str::to_owned);
    let instant = |name: &str| {
        let instant: jiff::Timestamp = data[name].as_str()?.parse().ok()?;
        Some(instant.as_millisecond() - T0)
    };
    let span = |name: &str| data[name].as_f64().map(|seconds| (seconds * 1_000.0).round() as i64);
    let is_person = |person: &crate::plan::Person| {
        Some(&*person.hub) == data["hub"].as_str()
            && Some(&*person.device) == data["device_id"].as_str()
            && person.module.as_deref() == data["module_id"].as_str()
    };
    let told = || {
        Some(Told {
            alert_id: message.alert_id.clone(),
            status: message.status,
            person: outcome.plan.people.iter().position(is_person)?,
            armed_ms: instant("silent_since")?,
            deadline_ms: instant("first_missed_at")?,
            window_ms: span("window_s")?,
            grace_ms: span("grace_s")?,
            never_seen: text("cause")? == "never_seen",
            route_unproven: data["route_unproven"].as_bool()?,
            ended_ms: instant("resolved_at").or(instant("heartbeat_at")),
            body: body.clone(),
        })
    };
    told().ok_or_else(|| format!("told about nobody: {body}"))
}

fn is_correction(status: &Status) -> bool {
    matches!(status, Status::Amended | Status::Retracted)
}

/// Firing comes first, and an end once; after it only a correction.
fn check_order(case: &Case) -> Result<(), String> {
    let statuses: Vec<Status> = case.told.iter().map(|told| told.status).collect();
    let begins = statuses.first() == Some(&Status::Firing);
    let firing = statuses.iter().filter(|status| **status == Status::Firing).count();
    let place = |wanted: Status| statuses.iter().position(|status| *status == wanted);
    let (resolved, retracted) = (place(Status::Resolved), place(Status::Retracted));
    let count = |wanted: Status| statuses.iter().filter(|status| **status == wanted).count();
    let ends_once = count(Status::Resolved) <= 1 && count(Status::Retracted) <= 1;
    let ends_last = retracted.is_none_or(|place| place == statuses.len() - 1)
        && resolved.is_none_or(|place| statuses[place..].iter().skip(1).all(is_correction));
    if begins && firing == 1 && ends_once && ends_last {
        return Ok(());
    }
    let bodies: Vec<&str> = case.told.iter().map(|told| &*told.body).collect();
    Err(format!("told in a wrong order: {statuses:?}\n{bodies:#?}"))
}

/// Facts about an identity: its own, its modules' heartbeats, and its device's deletion.
fn facts_of(outcome: &Outcome, person: usize) -> impl Iterator<Item = &Fact> {
    let who = &outcome.plan.people[person];
    outcome.facts.iter().filter(move |fact| {
        let other = &outcome.plan.people[fact.identity];
        let same_device = other.hub == who.hub && other.device == who.device;
        let is_beat_of_module =
            who.module.is_none() && other.module.is_some() && fact.kind == SignalKind::Telemetry;
        let is_end_of_device =
            who.module.is_some() && other.module.is_none() && fact.kind == SignalKind::Deleted;
        fact.identity == person || (same_device && (is_beat_of_module || is_end_of_device))
    })
}

/// For how many windows without it a partition is expected to carry an identity that another one carries too.
const PLACED_WINDOWS: i64 = 3;

/// An outage as it was last told really was one.
fn check_true(outcome: &Outcome, case: &Case) -> Result<(), String> {
    let last = case.last();
    let at = |message: &str| Err(format!("{message}\n{}", last.body));
    if case.told.iter().any(|told| told.status != Status::Firing && !told.status.is_end())
        || case.is_retracted()
    {
        // Nobody can know that an identity begins to be heard on another partition, before that is read.
        let may_be_late = outcome.plan.late || outcome.plan.two_ways;
        let is_excused = |told: &Told| fleet::is_excused(outcome, case.person, told);
        if !may_be_late && !case.told.iter().filter(|told| !told.status.is_end()).all(is_excused) {
            return at("a verdict was corrected although nothing was late");
        }
        if case.is_retracted() {
            return Ok(());
        }
    }
    let armed = facts_of(outcome, case.person).find(|fact| {
        let kind = if last.never_seen { SignalKind::Created } else { SignalKind::Telemetry };
        fact.event_ms == last.armed_ms && fact.kind == kind
    });
    let Some(armed) = armed else {
        return at("nothing was heard when it is said to have been heard last");
    };
    let terms_ms = if last.never_seen { 0 } else { last.window_ms } + last.grace_ms;
    if last.deadline_ms < last.armed_ms + terms_ms {
        return at("judged before its window and grace were over");
    }
    let window_ms = outcome.plan.people[case.person].window_ms;
    let own = window_ms.min(last.window_ms) + last.grace_ms;
    for fact in facts_of(outcome, case.person) {
        let is_inside = fact.event_ms > last.armed_ms && fact.event_ms <= last.deadline_ms;
        // What is lost on a partition on which nobody expects the identity, or not any more, can't be missed.
        let is_amended = case.told.iter().any(|told| told.status == Status::Amended);
        let is_placed =
            !outcome.plan.two_ways || fact.event_ms <= armed.event_ms + PLACED_WINDOWS * window_ms;
        let is_expected = fact.ways == armed.ways && is_placed && !is_amended;
        let is_missed = is_expected && !outcome.plan.late;
        let is_missed = is_missed && !fleet::goes_unnoticed(outcome, case.person, fact, last);
        let was_late = is_missed && fact.event_ms > last.deadline_ms - own + EDGE_MS;
        match fact.kind {
            SignalKind::Telemetry if is_inside && (fact.lost == 0 || was_late) => {
                return at(&format!("it was heard inside its window: {fact:?}"));
            }
            SignalKind::Deleted
                if is_inside
                    && fact.lost == 0
                    && !outcome.plan.late
                    && was_heard_there(outcome, case.person, fact, armed) =>
            {
                return at(&format!("it was deleted before its deadline: {fact:?}"));
            }
            SignalKind::Telemetry
            | SignalKind::Deleted
            | SignalKind::Created
            | SignalKind::Connected(_)
            | SignalKind::Disconnected(_)
            | SignalKind::LastWill => {}
        }
    }
    check_end_is_true(outcome, case)
}

/// Whether the partition that carries `fact` had carried the identity shortly before its proof of life, so that it was to be
/// waited for.
fn was_heard_there(outcome: &Outcome, person: usize, fact: &Fact, armed: &Fact) -> bool {
    let recent_ms = armed.event_ms - 2 * outcome.plan.people[person].window_ms;
    facts_of(outcome, person).any(|heard| {
        heard.ways & fact.ways != 0
            && heard.lost == 0
            && heard.kind == SignalKind::Telemetry
            && (recent_ms..=armed.event_ms).contains(&heard.event_ms)
    })
}

fn check_end_is_true(outcome: &Outcome, case: &Case) -> Result<(), String> {
    let Some((end, ended_ms)) = case.end().and_then(|end| Some((end, end.ended_ms?))) else {
        return Ok(());
    };
    let exists = facts_of(outcome, case.person).any(|fact| fact.event_ms == ended_ms);
    if exists && ended_ms > case.last().armed_ms {
        return Ok(());
    }
    Err(format!("ended by nothing: {}", end.body))
}

/// No two outages of one identity at a time, and none told under two ids.
fn check_apart(own: &[&Case]) -> Result<(), String> {
    let mut real: Vec<&&Case> = own.iter().filter(|case| !case.is_retracted()).collect();
    real.sort_by_key(|case| case.last().armed_ms);
    for pair in real.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        let ended_ms = before.end().and_then(|end| end.ended_ms);
        if ended_ms.is_none_or(|ended_ms| ended_ms > after.last().armed_ms) {
            return Err("two outages at a time".to_owned());
        }
    }
    Ok(())
}

/// What is open in the end is what is silent in the end.
fn check_end(outcome: &Outcome, person: usize, own: &[&Case]) -> Result<(), String> {
    let open: Vec<&&Case> = own.iter().filter(|case| case.end().is_none()).collect();
    let mut facts: Vec<&Fact> = facts_of(outcome, person).collect();
    facts.sort_by_key(|fact| fact.event_ms);
    let is_beat = |fact: &&&Fact| fact.kind == SignalKind::Telemetry;
    let is_uncertain = facts.iter().any(|fact| fact.lost > 0 && fact.kind != SignalKind::Telemetry);
    let Some(last) = facts.last() else { return Ok(()) };
    if is_uncertain {
        return if open.len() > 1 { Err("two are open".to_owned()) } else { Ok(()) };
    }
    let deleted = facts.iter().rev().find(|fact| fact.kind == SignalKind::Deleted);
    let deleted_ms = deleted.map_or(i64::MIN, |fact| fact.event_ms);
    let beat = facts.iter().rev().find(is_beat).filter(|beat| beat.event_ms > deleted_ms);
    let known = facts.iter().any(|fact| fact.lost == 0 && fact.event_ms > deleted_ms);
    let terms_ms = outcome.plan.people[person].window_ms + outcome.plan.people[person].grace_ms;
    let is_alive = beat.is_some_and(|beat| beat.event_ms + terms_ms > outcome.plan.end_ms);
    let is_deleted = last.event_ms == deleted_ms;
    let is_close =
        beat.is_some_and(|beat| beat.event_ms + 2 * terms_ms + 5_000 > outcome.plan.end_ms);
    match open[..] {
        [] if is_close || is_deleted || !known => Ok(()),
        [] => Err(format!("dead in the end, and nobody was told: {last:?}")),
        [case] if is_alive => {
            let is_over = |fact: &&Fact| {
                is_beat(&fact)
                    && fact.event_ms > case.last().deadline_ms
                    && fact.event_ms < outcome.plan.end_ms - 5_000
            };
            match facts.iter().copied().find(is_over) {
                Some(beat) => Err(format!("alive in the end, and told dead: {beat:?}")),
                None => Ok(()),
            }
        }
        [_] if is_deleted => Err("deleted, and told dead".to_owned()),
        [case] => {
            let armed = beat.or(facts.iter().rev().find(|fact| fact.kind == SignalKind::Created));
            match armed {
                Some(armed) if armed.lost == 0 && armed.event_ms != case.last().armed_ms => {
                    Err(format!("another outage is open than there is: {armed:?}"))
                }
                Some(_) | None => Ok(()),
            }
        }
        _ => Err("two are open".to_owned()),
    }
}

/// Every outage that could be observed from beginning to end was told. Returns how many there were.
fn check_told(
    outcome: &Outcome,
    person: usize,
    own: &[&Case],
    receiver: usize,
) -> Result<usize, String> {
    let plan = &outcome.plan;
    let who = &plan.people[person];
    let factor = if plan.rules_change { 150 } else { 100 };
    let terms_ms = who.window_ms * factor / 100 + who.grace_ms;
    let mut facts: Vec<&Fact> = facts_of(outcome, person).collect();
    facts.sort_by_key(|fact| fact.event_ms);
    let mut outages = 0;
    for pair in facts.windows(2) {
        let both_heard =
            pair.iter().all(|fact| fact.kind == SignalKind::Telemetry && fact.lost == 0);
        let (armed_ms, next_ms) = (pair[0].event_ms, pair[1].event_ms);
        if !both_heard || next_ms <= armed_ms + terms_ms + 3_000 {
            continue;
        }
        outages += 1;
        if plan.flaky[receiver] || plan.late || !was_observed(outcome, armed_ms, next_ms, terms_ms)
        {
            continue;
        }
        let case = own.iter().find(|case| case.last().armed_ms == armed_ms);
        if case.is_none_or(|case| case.end().is_none()) {
            return Err(format!("an outage from {armed_ms} to {next_ms} was not told"));
        }
    }
    Ok(outages)
}

/// Whether no partition had a span in which something may not have been seen, so late that the outage can't be told any more.
fn was_observed(outcome: &Outcome, armed_ms: i64, next_ms: i64, terms_ms: i64) -> bool {
    let in_force = |since_ms: &Option<i64>| since_ms.is_some_and(|since_ms| since_ms < armed_ms);
    let reach_ms = terms_ms + terms_ms / 8 + EDGE_MS;
    outcome.in_force.iter().all(in_force)
        && (0..outcome.unwell.len()).all(|partition| {
            let latest_ms = gaps(outcome, partition, armed_ms, next_ms)
                .max(fleet::unproven(outcome, partition, armed_ms, next_ms));
            latest_ms.is_none_or(|until_ms| until_ms + reach_ms < next_ms)
                && !outcome.unwell[partition].iter().any(|(from_ms, until_ms)| {
                    *from_ms < next_ms + 500 && *until_ms > next_ms - 2_000
                })
        })
}

/// The event times of what arrived on a partition.
pub fn arrived(outcome: &Outcome, partition: usize) -> Vec<i64> {
    let mut times: Vec<i64> = outcome.plan.sent[partition]
        .iter()
        .enumerate()
        .filter(|(index, sent)| !sent.hostile && !outcome.lost[partition].contains(index))
        .map(|(_, sent)| sent.event_ms)
        .collect();
    times.sort_unstable();
    times
}

/// The end of the last span within these bounds in which a partition may have missed something.
pub fn gaps(outcome: &Outcome, partition: usize, from_ms: i64, until_ms: i64) -> Option<i64> {
    let plan = &outcome.plan;
    let times = arrived(outcome, partition);
    let bridge_ms = plan.grace_ms.iter().min().copied().unwrap_or(0) - ALLOWANCE_MS;
    let is_queue = plan.kinds[partition] != Kind::Log;
    let may_be_shared = plan.stop.is_some() && is_queue && plan.faults.other > 0;
    let mut latest = None;
    for &(began_ms, ended_ms) in &outcome.unwell[partition] {
        let (low_ms, high_ms) = (began_ms - 2_500, ended_ms + 2_500 + plan.cold_error_ms);
        // Others may have taken any of what was sent, though a fleet leaves no hole that shows it.
        if may_be_shared && high_ms > from_ms && low_ms < until_ms {
            latest = latest.max(Some(high_ms));
        }
        let inside = times.iter().copied().filter(|ms| (low_ms..high_ms).contains(ms));
        let mut before_ms = low_ms;
        for ms in inside.chain([high_ms]) {
            let is_hole = ms - before_ms > bridge_ms;
            if is_hole && ms > from_ms && before_ms < until_ms {
                latest = latest.max(Some(ms));
            }
            before_ms = ms;
        }
    }
    latest
}
