//! One sentence for a person who was woken at three in the morning.

use jiff::SignedDuration;

use crate::alert::Alert;
use crate::engine::{Cause, Millis, Outage, ResolvedBy, TransitionKind};

use super::clip;

/// What happened, to whom, since when, by which window, and where it was seen.
pub(super) fn of(alert: &Alert) -> String {
    let outage = &alert.transition.outage;
    let who = who(alert);
    let place = format!(
        "source {}, partition {}",
        clip(&alert.origin.source).escape_debug(),
        clip(&alert.origin.partition).escape_debug()
    );
    let since = outage.judged.armed_at;
    let due = outage.judged.deadline;
    match alert.transition.kind {
        TransitionKind::Offline => format!("{who} {}{} ({place}).", silence(outage), doubt(outage)),
        TransitionKind::Resolved { at, by } => {
            let lasted = human(at.since(since));
            let end = match by {
                ResolvedBy::Heartbeat => "is back: heard again",
                ResolvedBy::Deleted => "was deleted, which ends its alert:",
                ResolvedBy::Recreated => "was deleted and created again, which ends its alert:",
            };
            format!("{who} {end} at {at}, {lasted} after {since} ({place}).")
        }
        TransitionKind::Retracted { heartbeat_at } => format!(
            "{who} was not silent: a heartbeat of {heartbeat_at}, in time for {due}, was read late, \
             so the alert is withdrawn ({place})."
        ),
        TransitionKind::Amended { told } => format!(
            "{who} is silent, but later than first told: last heard at {since}, due by {due}, \
             where {} was told ({place}).",
            told.deadline
        ),
    }
}

fn who(alert: &Alert) -> String {
    let identity = &alert.transition.identity;
    let hub = clip(&identity.hub).escape_debug();
    let device = identity.device.escape_debug();
    match &identity.module {
        Some(module) => format!("Module {} of device {device} on hub {hub}", module.escape_debug()),
        None => format!("Device {device} on hub {hub}"),
    }
}

fn silence(outage: &Outage) -> String {
    let (window, grace) = (human(outage.window_ms), human(outage.grace_ms));
    let (since, due) = (outage.judged.armed_at, outage.judged.deadline);
    let limit = format!(
        "within its window of {window} plus {grace} grace, due by {due}{}",
        put_off(outage)
    );
    match outage.cause {
        Cause::NeverSeen => format!("has never been heard: known since {since}, nothing {limit}"),
        Cause::Silent => format!("is silent: last heard at {since}, nothing {limit}"),
        Cause::Disconnected => {
            format!("is silent and disconnected: last heard at {since}, nothing {limit}")
        }
        Cause::ConnectedButSilent => format!(
            "is silent although the hub's last word is that it is connected: last heard at {since}, nothing {limit}"
        ),
        Cause::LastWill => {
            format!(
                "is silent and its last will was published: last heard at {since}, nothing {limit}"
            )
        }
    }
}

/// A gap moves a deadline: without a word the sum of window and grace would look wrong.
fn put_off(outage: &Outage) -> String {
    let usual = outage.judged.armed_at.plus(outage.window_ms).plus(outage.grace_ms);
    match outage.judged.deadline.since(usual) {
        ..=0 => String::new(),
        by => format!(" (put off by {} that could not be observed)", human(by)),
    }
}

fn doubt(outage: &Outage) -> &'static str {
    if outage.route_unproven {
        "; nothing else of the hub came by this route lately, so the route may be what is silent"
    } else {
        ""
    }
}

/// `1m 30s`.
fn human(span: Millis) -> String {
    format!("{:#}", SignedDuration::from_millis(span))
}
