//! The oracle bites: each kind of violation is caught, and what is right is not taken for one.

use serde_json::json;

use super::told::{Effect, Request};
use super::truth::{Sent, What};
use super::*;

const TERMS: Terms =
    Terms { window_ms: 1_500, grace_ms: 500, first_window_ms: 2_500, bridge_ms: 500 };
/// Everything happens after this instant.
const T0: i64 = 1_767_225_600_000;

/// A device that is silent from 1,000 to 9,000 (its deadline is 3,000), beside one that beats all the time.
struct Case {
    truth: Truth,
    told: Told,
    healthy: Healthy,
    budget: Budget,
}

impl Case {
    fn silent_until(ended_ms: Option<i64>) -> Self {
        let mut case = Self {
            truth: Truth::new(TERMS),
            told: Told::default(),
            healthy: Healthy::default(),
            budget: Budget {
                promise: Promise::EventTime,
                recovery_ms: 1_000,
                tell_ms: 1_000,
                raw_repeats: 0,
            },
        };
        case.healthy.set(true, T0);
        for at_ms in (0..=20_000).step_by(100) {
            case.send("steady", What::Beat, at_ms);
            if at_ms <= 1_000 || ended_ms.is_some_and(|ended| at_ms >= ended) {
                case.send("d", What::Beat, at_ms);
            }
        }
        case
    }

    fn outage() -> Self {
        Self::silent_until(Some(9_000))
    }

    fn send(&mut self, device: &str, what: What, at_ms: i64) {
        let device = device.to_owned();
        let at_ms = T0 + at_ms;
        self.truth.note(&Sent { device, what, at_ms, partition: 0, accepted: true });
    }

    fn request(&self, status: &str, at_ms: i64) -> Request {
        self.request_of("d", "a1", "m1", status, 3_000, at_ms)
    }

    fn request_of(
        &self,
        device: &str,
        alert: &str,
        id: &str,
        status: &str,
        missed_ms: i64,
        at_ms: i64,
    ) -> Request {
        let id = format!("{id}-{status}");
        let missed = jiff::Timestamp::from_millisecond(T0 + missed_ms).unwrap();
        let data = json!({
            "id": id, "alert_id": alert, "status": status, "device_id": device,
            "first_missed_at": format!("{missed:.3}"),
        });
        Request {
            received_ms: T0 + at_ms,
            webhook_id: id,
            body: json!({ "type": "device.silent", "data": data }).to_string().into_bytes(),
            signature_fault: None,
            effect: Effect::Taken,
        }
    }

    fn tell(&mut self, status: &str, at_ms: i64) {
        let request = self.request(status, at_ms);
        self.told.note(request);
    }

    fn tell_of(&mut self, device: &str, alert: &str, id: &str, missed_ms: i64, at_ms: i64) {
        let request = self.request_of(device, alert, id, "firing", missed_ms, at_ms);
        self.told.note(request);
    }

    fn told() -> Self {
        let mut case = Self::outage();
        case.tell("firing", 3_600);
        case.tell("resolved", 9_400);
        case
    }

    fn verdict(&self) -> Verdict {
        judge(&self.truth, &self.told, &self.healthy, &self.budget, T0 + 20_000)
    }

    fn only_violation(&self) -> Violation {
        let violations = self.verdict().violations;
        assert_eq!(violations.len(), 1, "{violations:?}");
        violations.into_iter().next().unwrap()
    }

    fn assert_clean(&self) -> Verdict {
        let verdict = self.verdict();
        assert!(verdict.violations.is_empty(), "{:?}", verdict.violations);
        verdict
    }
}

#[test]
fn an_outage_that_is_told_and_resolved_is_right() {
    let verdict = Case::told().assert_clean();
    assert_eq!((verdict.outages, verdict.raw_repeats, verdict.requests), (1, 0, 2));
}

#[test]
fn an_outage_that_is_not_told_is_lost() {
    let violation = Case::outage().only_violation();
    assert!(matches!(violation, Violation::Lost(outage) if outage.deadline_ms == T0 + 3_000));
    let open = Case::silent_until(None).only_violation();
    assert!(matches!(open, Violation::Lost(outage) if outage.ended_ms.is_none()));
}

#[test]
fn an_outage_is_lost_if_all_that_is_told_about_it_is_taken_back() {
    let mut case = Case::outage();
    case.tell("firing", 3_600);
    case.tell("retracted", 4_000);
    assert!(matches!(case.only_violation(), Violation::Lost(_)));
    assert_eq!(case.verdict().retracted, 1);
}

#[test]
fn a_heartbeat_that_the_hub_refused_ends_no_outage() {
    let mut case = Case::silent_until(None);
    let refused = Sent {
        device: "d".into(),
        what: What::Beat,
        at_ms: T0 + 20_000,
        partition: 0,
        accepted: false,
    };
    case.truth.note(&refused);
    assert!(matches!(case.only_violation(), Violation::Lost(outage) if outage.ended_ms.is_none()));
}

#[test]
fn a_silence_of_exactly_window_and_grace_is_no_outage() {
    let mut case = Case::silent_until(Some(3_000));
    case.assert_clean();
    case.tell("firing", 3_100);
    assert!(matches!(case.only_violation(), Violation::FalseOffline { .. }));
}

#[test]
fn an_outage_that_ended_before_it_could_be_told_may_be_left_untold_but_not_half_told() {
    let mut case = Case::outage();
    case.healthy = Healthy::default();
    for (works, at_ms) in [(true, 0), (false, 3_900), (true, 8_500)] {
        case.healthy.set(works, T0 + at_ms);
    }
    assert_eq!(case.assert_clean().brief, 1);
    case.tell("firing", 3_600);
    assert!(matches!(case.only_violation(), Violation::Unresolved(_)));
    case.tell("resolved", 9_500);
    assert_eq!(case.assert_clean().told_unowed, 1);
}

#[test]
fn an_outage_that_began_and_went_on_over_a_downtime_is_owed() {
    let mut case = Case::outage();
    case.healthy = Healthy::default();
    for (works, at_ms) in [(true, 0), (false, 900), (true, 7_000)] {
        case.healthy.set(works, T0 + at_ms);
    }
    assert!(matches!(case.only_violation(), Violation::Lost(_)));
}

#[test]
fn an_end_that_is_not_told_is_missed_and_one_that_is_told_without_need_is_false() {
    let mut case = Case::outage();
    case.tell("firing", 3_600);
    assert!(matches!(case.only_violation(), Violation::Unresolved(_)));
    case.tell("resolved", 8_999);
    assert!(matches!(case.only_violation(), Violation::FalseEnd { .. }));
    let mut open = Case::silent_until(None);
    open.tell("firing", 3_600);
    open.assert_clean();
    open.tell("resolved", 9_000);
    assert!(matches!(open.only_violation(), Violation::FalseEnd { .. }));
}

#[test]
fn a_firing_for_a_device_that_beats_is_a_false_offline_unless_retracted() {
    let mut case = Case::told();
    case.tell_of("steady", "a2", "m2", 12_000, 12_500);
    assert!(matches!(
        case.only_violation(),
        Violation::FalseOffline { device, .. } if device == "steady"
    ));
    let retraction = case.request_of("steady", "a2", "m2", "retracted", 12_000, 12_600);
    case.told.note(retraction);
    assert_eq!(case.assert_clean().retracted, 1);
}

#[test]
fn a_firing_for_a_stranger_is_a_false_offline() {
    let mut case = Case::told();
    case.tell_of("nobody", "a2", "m2", 12_000, 12_500);
    assert!(matches!(case.only_violation(), Violation::FalseOffline { .. }));
}

#[test]
fn a_firing_that_names_a_deadline_before_or_after_the_silence_is_a_false_offline() {
    for missed_ms in [2_999, 9_000] {
        let mut case = Case::outage();
        case.tell_of("d", "a1", "m1", missed_ms, 9_100);
        let verdict = case.verdict();
        assert_eq!(verdict.count(|v| matches!(v, Violation::FalseOffline { .. })), 1);
    }
}

#[test]
fn a_firing_that_comes_before_its_deadline_is_early() {
    let mut case = Case::silent_until(None);
    case.tell("firing", 2_990);
    assert!(matches!(case.only_violation(), Violation::Early { by_ms: 10, .. }));
}

#[test]
fn two_alerts_for_one_outage_are_a_duplicate_where_messages_have_event_time() {
    let mut case = Case::told();
    case.tell_of("d", "a2", "m2", 3_000, 9_500);
    let end = case.request_of("d", "a2", "m2", "resolved", 3_000, 9_600);
    case.told.note(end);
    assert!(matches!(case.only_violation(), Violation::Duplicate { .. }));
    case.budget.promise = Promise::Receipt { transit_ms: 0 };
    assert_eq!(case.assert_clean().told_again, 1);
}

#[test]
fn a_second_message_with_another_id_for_one_alert_and_status_is_a_duplicate() {
    for status in ["firing", "resolved"] {
        let mut case = Case::outage();
        case.tell("firing", 3_600);
        if status == "resolved" {
            case.tell("resolved", 9_100);
        }
        let again = case.request_of("d", "a1", "m2", status, 3_000, 9_200);
        case.told.note(again);
        let duplicates = case.verdict().count(|v| matches!(v, Violation::Duplicate { .. }));
        assert_eq!(duplicates, 1, "{status}");
    }
}

#[test]
fn a_firing_after_the_end_and_an_end_before_the_firing_are_out_of_order() {
    let mut case = Case::told();
    case.tell_of("d", "a1", "m2", 3_000, 9_500);
    assert!(matches!(case.only_violation(), Violation::Order { .. }));
    let mut case = Case::outage();
    case.tell("resolved", 9_100);
    assert_eq!(case.verdict().count(|v| matches!(v, Violation::Order { .. })), 1);
}

#[test]
fn a_repeat_is_allowed_up_to_the_bound_and_only_byte_for_byte() {
    let mut case = Case::told();
    case.tell("firing", 9_500);
    assert!(matches!(case.only_violation(), Violation::RawRepeats { seen: 1, allowed: 0 }));
    case.budget.raw_repeats = 1;
    case.assert_clean();
    let mut other = case.request("firing", 9_600);
    other.body.push(b' ');
    other.effect = Effect::Refused;
    case.told.note(other);
    assert!(matches!(case.only_violation(), Violation::DifferingBytes { .. }));
}

#[test]
fn a_repeat_is_free_if_the_answer_was_lost_and_what_was_refused_is_not_told() {
    let mut case = Case::outage();
    for (status, effect) in [
        ("firing", Effect::TakenUnanswered),
        ("firing", Effect::Taken),
        ("resolved", Effect::Refused),
    ] {
        let request = Request { effect, ..case.request(status, 9_100) };
        case.told.note(request);
    }
    assert!(matches!(case.only_violation(), Violation::Unresolved(_)));
    case.tell("resolved", 9_300);
    assert_eq!(case.assert_clean().raw_repeats, 0);
}

#[test]
fn a_signature_that_does_not_verify_and_a_body_that_can_not_be_read_are_violations() {
    let mut case = Case::told();
    let forged = Request { signature_fault: Some("no".into()), ..case.request("firing", 9_500) };
    case.told.note(forged);
    assert!(matches!(case.only_violation(), Violation::Signature { .. }));
    let mut case = Case::told();
    let odd = Request { webhook_id: "other".into(), ..case.request("firing", 9_500) };
    case.told.note(odd);
    assert!(matches!(case.only_violation(), Violation::Malformed { .. }));
}

#[test]
fn an_alert_about_a_source_is_open_until_it_is_resolved() {
    let mut case = Case::told();
    for (status, open) in [("firing", 1), ("updated", 1), ("resolved", 0)] {
        let id = format!("p-{status}");
        let data = json!({ "id": id, "alert_id": "p", "status": status, "summary": "blind" });
        let mut request = case.request(status, 9_500);
        request.webhook_id = id;
        request.body = json!({ "type": "path.blind", "data": data }).to_string().into_bytes();
        case.told.note(request);
        assert_eq!(case.assert_clean().paths_open, open, "{status}");
    }
}

#[test]
fn a_created_device_that_never_beats_is_owed_and_a_deletion_ends_its_outage() {
    let mut case = Case::told();
    case.send("born", What::Created, 20_000);
    for at_ms in (20_100..27_000).step_by(100) {
        case.send("steady", What::Beat, at_ms);
        case.send("d", What::Beat, at_ms);
    }
    let later = T0 + 20_000 + 3_000 + 1_500;
    let verdict = judge(&case.truth, &case.told, &case.healthy, &case.budget, later);
    assert!(matches!(&verdict.violations[..], [Violation::Lost(o)] if o.device == "born"));
    case.tell_of("born", "a2", "m2", 23_000, 23_500);
    case.send("born", What::Deleted, 25_500);
    let verdict = judge(&case.truth, &case.told, &case.healthy, &case.budget, T0 + 27_000);
    assert!(matches!(&verdict.violations[..], [Violation::Unresolved(_)]));
}

#[test]
fn after_a_hole_in_the_log_an_outage_is_owed_a_window_and_grace_and_spread_later() {
    let mut case = Case::told();
    // The fleet stands still from 20,000 to 21,000; "d" does not come back.
    for at_ms in (21_000..30_000).step_by(100) {
        case.send("steady", What::Beat, at_ms);
    }
    assert_eq!(case.truth.holes(), 1);
    let open = |now_ms: i64| {
        judge(&case.truth, &case.told, &case.healthy, &case.budget, T0 + now_ms).violations
    };
    // Its own deadline is 22,000; 21,000 + 2,000 + 187 is the one after the hole, and 1,000 the time to tell.
    assert_eq!(open(24_186), []);
    assert!(matches!(&open(24_187)[..], [Violation::Lost(_)]));
}

#[test]
fn without_event_time_an_outage_is_owed_only_if_it_lasts_a_window_after_the_recovery() {
    let mut case = Case::outage();
    case.budget.promise = Promise::Receipt { transit_ms: 1_000 };
    assert!(matches!(case.only_violation(), Violation::Lost(_)));
    case.healthy = Healthy::default();
    case.healthy.set(true, T0 + 6_000);
    assert_eq!(case.assert_clean().brief, 1);
}

#[test]
fn a_ledger_line_has_every_figure() {
    let line = Case::outage().verdict().to_string();
    for figure in ["outages=1", "lost=1", "duplicates=0", "false_offline=0", "raw_repeats=0"] {
        assert!(line.contains(figure), "{line}");
    }
}
