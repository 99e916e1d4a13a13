//! What the receiver got, request by request, in the order in which it was read.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Violation;

/// What the receiver did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It acted on it and said so.
    Taken,
    /// It acted on it, and its answer was lost.
    TakenUnanswered,
    /// It answered with a failure and did nothing.
    Refused,
}

/// One request, read in full.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) received_ms: i64,
    pub(crate) webhook_id: String,
    pub(crate) body: Vec<u8>,
    /// Why the signature does not verify, if it does not.
    pub(crate) signature_fault: Option<String>,
    pub(crate) effect: Effect,
}

/// Where an alert stands by what the receiver acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Firing,
    Resolved { received_ms: i64 },
    Retracted,
}

/// One alert about a device.
#[derive(Clone, Debug)]
pub(crate) struct Alert {
    pub(crate) device: String,
    pub(crate) alert_id: String,
    /// When the receiver first acted on it.
    pub(crate) received_ms: i64,
    /// The deadline that it says was missed, as last amended.
    pub(crate) first_missed_ms: i64,
    pub(crate) amendments: u32,
    pub(crate) standing: Standing,
}

impl Alert {
    /// Device and id, for a violation.
    pub(crate) fn names(&self) -> (String, String) {
        (self.device.clone(), self.alert_id.clone())
    }
}

#[derive(Debug)]
struct Message {
    body: Vec<u8>,
    /// The receiver acted on it.
    taken: bool,
    /// And the answer went out.
    answered: bool,
}

/// What a body says.
struct Word {
    alert_id: String,
    status: String,
    about: About,
}

enum About {
    Service,
    Device { device: String, first_missed_ms: i64 },
    Path { summary: String },
}

/// Everything that was received.
#[derive(Debug, Default)]
pub(crate) struct Told {
    messages: BTreeMap<String, Message>,
    alerts: BTreeMap<String, Alert>,
    /// Alerts about sources that are open, with what was last said about each.
    paths: BTreeMap<String, String>,
    violations: Vec<Violation>,
    raw_repeats: u64,
    requests: u64,
}

impl Told {
    pub(crate) fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub(crate) fn raw_repeats(&self) -> u64 {
        self.raw_repeats
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// Alerts about sources that were told and not resolved: what was last said about each.
    pub(crate) fn open_paths(&self) -> impl Iterator<Item = &str> {
        self.paths.values().map(String::as_str)
    }

    /// Whether the receiver acted on an alert of this device that is open.
    pub(crate) fn is_open(&self, device: &str) -> bool {
        self.alerts
            .values()
            .any(|alert| alert.device == device && alert.standing == Standing::Firing)
    }

    /// Takes a request in.
    pub(crate) fn note(&mut self, request: Request) {
        self.requests += 1;
        let Request { received_ms, webhook_id, body, signature_fault, effect } = request;
        if let Some(why) = signature_fault {
            return self.violations.push(Violation::Signature { webhook_id, why });
        }
        let first_time = self.messages.get(&webhook_id).is_none_or(|known| !known.taken);
        match self.messages.get(&webhook_id) {
            Some(known) if known.body != body => {
                self.violations.push(Violation::DifferingBytes { webhook_id: webhook_id.clone() });
            }
            Some(_) | None => {}
        }
        let word = match read(&webhook_id, &body) {
            Ok(word) => word,
            Err(why) => {
                return self.violations.push(Violation::Malformed { webhook_id, why });
            }
        };
        let message = self.messages.entry(webhook_id).or_insert(Message {
            body,
            taken: false,
            answered: false,
        });
        if effect == Effect::Refused {
            return;
        }
        self.raw_repeats += u64::from(message.answered);
        message.taken = true;
        message.answered |= effect == Effect::Taken;
        if first_time {
            self.act(word, received_ms);
        }
    }

    /// What a receiver that drops repeats does with a message.
    fn act(&mut self, word: Word, received_ms: i64) {
        let Word { alert_id, status, about } = word;
        match about {
            // That the machine is short of something is no verdict on a device.
            About::Service => {}
            About::Path { .. } if status == "resolved" => {
                self.paths.remove(&alert_id);
            }
            About::Path { summary } => {
                self.paths.insert(alert_id, summary);
            }
            About::Device { device, first_missed_ms } => {
                let fault =
                    self.act_on_device(&alert_id, &status, received_ms, &device, first_missed_ms);
                self.violations.extend(fault);
            }
        }
    }

    fn act_on_device(
        &mut self,
        alert_id: &str,
        status: &str,
        received_ms: i64,
        device: &str,
        first_missed_ms: i64,
    ) -> Option<Violation> {
        let names = || (device.to_owned(), alert_id.to_owned());
        let order = |what| {
            let (device, alert_id) = names();
            Some(Violation::Order { device, alert_id, what })
        };
        let duplicate = |what| {
            let (device, alert_id) = names();
            Some(Violation::Duplicate { device, alert_id, what })
        };
        let Some(alert) = self.alerts.get_mut(alert_id) else {
            if status != "firing" {
                return order("an end or a correction without a beginning");
            }
            let (device, alert_id) = names();
            let alert = Alert {
                device,
                alert_id: alert_id.clone(),
                received_ms,
                first_missed_ms,
                amendments: 0,
                standing: Standing::Firing,
            };
            self.alerts.insert(alert_id, alert);
            return None;
        };
        match (alert.standing, status) {
            (Standing::Firing, "resolved") => alert.standing = Standing::Resolved { received_ms },
            (Standing::Firing, "retracted") => alert.standing = Standing::Retracted,
            (Standing::Firing | Standing::Resolved { .. }, "amended") => {
                alert.first_missed_ms = first_missed_ms;
                alert.amendments += 1;
            }
            // A heartbeat that is read after the end can disprove the outage all the same.
            (Standing::Resolved { .. }, "retracted") => alert.standing = Standing::Retracted,
            (Standing::Firing, "firing") => return duplicate("a second firing with another id"),
            (Standing::Resolved { .. } | Standing::Retracted, "firing") => {
                return order("a beginning after the end");
            }
            (Standing::Resolved { .. } | Standing::Retracted, _) => {
                return duplicate("a second end with another id");
            }
            (Standing::Firing, _) => return order("a status that is not known"),
        }
        None
    }
}

fn read(webhook_id: &str, body: &[u8]) -> Result<Word, String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let data = &body["data"];
    let text = |name: &str| {
        data[name].as_str().map(str::to_owned).ok_or_else(|| format!("data.{name} is missing"))
    };
    if data["id"] != webhook_id {
        return Err("data.id is not the webhook-id".to_owned());
    }
    let about = if body["type"] == "self.health" {
        About::Service
    } else if body["type"] == "path.blind" {
        About::Path { summary: text("summary")? }
    } else {
        let first_missed: jiff::Timestamp =
            text("first_missed_at")?.parse().map_err(|error| format!("{error}"))?;
        About::Device { device: text("device_id")?, first_missed_ms: first_missed.as_millisecond() }
    };
    Ok(Word { alert_id: text("alert_id")?, status: text("status")?, about })
}
