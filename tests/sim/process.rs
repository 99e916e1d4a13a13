//! One life of the service: a desk per partition, what sources and workers do around it, and the sinks.

use std::collections::VecDeque;
use std::sync::Arc;

use lastseen::engine::rules::Policy;
use lastseen::engine::{
    Attached, Audience, Backlog, BlindReason, Change, ClockSettings, Dating, ForeignClock,
    ForeignClocks, Generation, Identity, IdentityRef, Message, News, Output, PartitionId, Proof,
    Reply, Signal, SignalKind, Tiding, Timestamp, Witness,
};
use lastseen::journal::entry::What;
use lastseen::journal::{Desk, Moment, Next, Pace, Read, Setup};

use crate::broker::Broker;
use crate::bug::Bug;
use crate::disk::{Disk, Position, Put};
use crate::plan::{ALLOWANCE_MS, Fact, Kind, Plan, T0};
use crate::random::Random;
use crate::sink::{Receiver, Sink};
use crate::trace::Trace;

/// How far in the future an event time may lie.
const MAX_FUTURE_MS: i64 = 300_000;

/// Everything around the service.
pub struct Outside {
    pub now_ms: i64,
    pub plan: Plan,
    pub brokers: Vec<Broker>,
    pub disks: Vec<Disk>,
    pub facts: Vec<Fact>,
    pub receivers: Vec<Receiver>,
    pub wall_offset_ms: i64,
    pub bug: Option<Bug>,
    pub trace: Trace,
    pub attaches: usize,
    pub gaps: usize,
    pub store_trouble_ms: i64,
}

impl Outside {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn moment(&self) -> Moment {
        let wall = at(self.now_ms + self.wall_offset_ms);
        Moment { boot_ms: self.now_ms, wall }
    }

    /// Broker time, never later than the truth.
    fn broker_time(&self, random: &mut Random) -> Timestamp {
        at(self.now_ms - random.range(0, self.plan.error_ms + 1))
    }
}

pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(T0 + ms)
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Attached(u64, Attached),
    Message { attachment: u64, sequence: i64, index: usize },
    Proof(u64, Proof),
    Blind(BlindReason),
}

#[derive(Clone, Copy, Debug)]
enum Link {
    Down { retry_ms: i64 },
    Up { shared: bool },
}

#[derive(Debug)]
struct Writing {
    number: u64,
    bytes: Vec<u8>,
    position: Option<Position>,
    snapshot: Option<Vec<u8>>,
    at_ms: i64,
    tries: usize,
}

#[derive(Debug)]
struct Snapshotting {
    number: u64,
    bytes: Vec<u8>,
    at_ms: i64,
}

/// One partition in one process.
pub struct Seat {
    partition: usize,
    desk: Option<Desk>,
    link: Link,
    attachment: u64,
    /// The last message handed over, and its log.
    position: Option<(i64, u64)>,
    delivered: i64,
    /// Something was handed over on this attachment.
    given: bool,
    events: VecDeque<Event>,
    asked_ms: i64,
    /// An answer of the broker's: when it comes, its date, and the end of the log.
    answer: Option<(i64, Timestamp, i64)>,
    worker_attachment: u64,
    firing: bool,
    /// What others know of how far it was read.
    told_clock: ForeignClock,
    /// When anybody was heard on it, as others know it.
    told_heard: Option<Witness>,
    writing: Option<Writing>,
    snapshotting: Option<Snapshotting>,
    deleted: Option<lastseen::engine::PartitionClock>,
}

pub struct Process {
    pub life: u64,
    pub paused_until_ms: i64,
    /// Another process was started; this one ends then.
    pub superseded: Option<i64>,
    /// Somebody else writes a journal of its: it ends.
    pub lost: bool,
    /// It has read something that tells the time of the broker.
    is_stamped: bool,
    owner: String,
    policy: Arc<Policy>,
    seats: Vec<Seat>,
    sinks: Vec<Sink>,
    random: Random,
    speed: i64,
}

impl Process {
    pub fn start(life: u64, scale_percent: i64, outside: &mut Outside) -> Result<Self, String> {
        let owner =
            if outside.plan.same_owner { "host".to_owned() } else { format!("host-{life}") };
        let mut random = Random::new(outside.plan.seed, 100 + life);
        // A fleet is more than the slowest can keep up with.
        let slowest = if outside.plan.stop.is_some() { 10 } else { 2 };
        let mut process = Self {
            life,
            paused_until_ms: 0,
            superseded: None,
            lost: false,
            is_stamped: false,
            owner,
            policy: Arc::new(outside.plan.policy(scale_percent)),
            seats: Vec::new(),
            sinks: (0..outside.plan.sinks).map(|_| Sink::default()).collect(),
            speed: random.pick(&[2, 10, 1_000]).max(slowest),
            random,
        };
        for partition in 0..outside.plan.kinds.len() {
            process.seats.push(Seat::new(partition));
            process.load(partition, outside)?;
        }
        Ok(process)
    }

    /// Takes up what the store holds of a partition.
    fn load(&mut self, index: usize, outside: &mut Outside) -> Result<(), String> {
        let stored = outside.disks[index].load();
        let snapshot = stored.snapshot.as_ref().map(|(number, _)| *number);
        outside.trace.note(|| {
            format!("life {} loads {index}: snapshot {snapshot:?}, next {}", self.life, stored.next)
        });
        let setup = self.setup(index, &outside.plan);
        let mut desk = Desk::new(setup, stored, outside.moment())
            .map_err(|error| format!("a snapshot that was written can't be read: {error}"))?;
        if let Some(Bug::Engine(planted)) = outside.bug {
            desk.plant(planted);
        }
        let seat = &mut self.seats[index];
        seat.desk = Some(desk);
        seat.firing = true;
        seat.link = Link::Down { retry_ms: outside.now_ms + self.random.range(0, 500) };
        Ok(())
    }

    fn setup(&self, index: usize, plan: &Plan) -> Setup {
        let sinks: Vec<Arc<str>> = SINKS[..plan.sinks].iter().map(|&name| name.into()).collect();
        Setup {
            policy: self.policy.clone(),
            clock: ClockSettings {
                allowance_ms: ALLOWANCE_MS,
                tick_ms: 100,
                bridge_ms: plan.bridge_ms,
            },
            seed: plan.seed,
            source: "source".into(),
            partition: format!("{index}").into(),
            sinks: sinks.into(),
            has_log: plan.kinds[index] == Kind::Log,
            has_places: plan.kinds[index] == Kind::Log,
            owner: self.owner.clone(),
            pace: Pace {
                urgent_ms: 50,
                acknowledge_ms: 50,
                settled_ms: 200,
                idle_ms: 1_000,
                snapshot_ms: 4_000,
            },
        }
    }

    /// Everything that happens at one instant.
    pub fn step(&mut self, outside: &mut Outside) -> Result<(), String> {
        if outside.now_ms < self.paused_until_ms {
            outside.store_trouble_ms = outside.now_ms;
            return Ok(());
        }
        for index in 0..self.seats.len() {
            self.receive(index, outside);
            self.work(index, outside)?;
            self.write(index, outside)?;
            if self.lost {
                return Ok(());
            }
        }
        self.send(outside)
    }

    /// Whether everything that a partition gives is read and judged as it comes.
    pub fn observes(&self, partition: usize, now_ms: i64) -> bool {
        let seat = &self.seats[partition];
        let desk = seat.desk.as_ref();
        let has_settled = |writing: &Writing| writing.tries < 2;
        now_ms >= self.paused_until_ms
            && desk.is_some_and(|desk| !desk.is_recovering())
            && matches!(seat.link, Link::Up { shared: false })
            && seat.events.len() < 8
            && seat.writing.as_ref().is_none_or(has_settled)
    }

    /// The process ends: nothing more than what is durable, or on its way, is left of it.
    pub fn crash(&mut self, outside: &mut Outside) -> Result<(), String> {
        for seat in &mut self.seats {
            let broker = &mut outside.brokers[seat.partition];
            if broker.receiver.is_some_and(|(life, _)| life == self.life) {
                broker.detach();
            }
            if let Some(Snapshotting { number, bytes, .. }) = seat.snapshotting.take()
                && self.random.permille(outside.plan.faults.tear)
            {
                outside.disks[seat.partition].tear_snapshot(number, &bytes);
            }
        }
        for (sink, receiver) in self.sinks.iter().zip(&mut outside.receivers) {
            sink.crash(outside.now_ms, receiver, &mut self.random)?;
            receiver.sender_ended(outside.now_ms);
        }
        Ok(())
    }

    /// Writes what there is before the end.
    pub fn stop(&mut self, outside: &mut Outside) {
        for seat in &mut self.seats {
            let Some(desk) = seat.desk.as_mut().filter(|_| seat.writing.is_none()) else {
                continue;
            };
            let Some(taken) = desk.take(outside.moment(), true, true) else { continue };
            let (Ok(bytes), disk) = (taken.entry.encode(), &mut outside.disks[seat.partition])
            else {
                continue;
            };
            let position = position(&taken.entry);
            let now_ms = outside.now_ms;
            let put =
                disk.put(now_ms, taken.number, &bytes, position, &outside.plan, &mut self.random);
            if put == Put::Done
                && let Some(Ok(bytes)) = taken.snapshot.map(|snapshot| snapshot.encode())
            {
                disk.put_snapshot(taken.number, bytes);
            }
        }
    }

    // ---- what a source does

    fn receive(&mut self, index: usize, outside: &mut Outside) {
        let seat = &mut self.seats[index];
        let mine = Some((self.life, seat.attachment));
        if let Link::Up { .. } = seat.link
            && outside.brokers[index].receiver != mine
        {
            if outside.has(Bug::ProofAcrossBreak) {
                if outside.brokers[index].is_up(outside.now_ms) && self.superseded.is_none() {
                    outside.brokers[index].receiver = mine;
                }
                return;
            }
            let stolen = outside.brokers[index].receiver.is_some();
            let reason = if stolen { BlindReason::NotOwner } else { BlindReason::LinkDown };
            seat.events.push_back(Event::Blind(reason));
            seat.link = Link::Down { retry_ms: outside.now_ms + self.random.range(50, 1_500) };
            seat.answer = None;
        }
        if let Link::Down { retry_ms } = seat.link {
            let is_up = outside.brokers[index].is_up(outside.now_ms);
            if is_up && outside.now_ms >= retry_ms && self.superseded.is_none() {
                self.attach(index, outside);
            }
            return;
        }
        match outside.plan.kinds[index] {
            Kind::Log => self.receive_log(index, outside),
            Kind::Queue { proves } => self.receive_queue(index, proves, outside),
        }
    }

    fn attach(&mut self, index: usize, outside: &mut Outside) {
        let seat = &mut self.seats[index];
        seat.attachment += 1;
        outside.attaches += 1;
        let broker = &mut outside.brokers[index];
        broker.detach();
        broker.receiver = Some((self.life, seat.attachment));
        let is_log = broker.kind == Kind::Log;
        let backlog = if is_log {
            let ahead = if outside.bug == Some(Bug::ResumedAhead) { 3 } else { 0 };
            let resume = seat.desk.as_ref().and_then(Desk::resume);
            let from = resume.map(|resume| (resume.after + ahead, resume.stream.unwrap_or(0)));
            let position = seat.position.or(from);
            let (first, last) = (broker.first(), broker.last());
            let earliest = if broker.messages.is_empty() { last } else { first - 1 };
            let after = match position {
                Some((sequence, stream)) if stream == broker.stream && sequence <= last => {
                    if sequence + 1 < first {
                        earliest
                    } else {
                        sequence
                    }
                }
                Some(_) | None => earliest,
            };
            let nothing = broker.messages.is_empty() || last <= after;
            let position = if nothing { last.max(after) } else { after };
            broker.given = position;
            seat.position = Some((position, broker.stream));
            if nothing { Backlog::Empty } else { Backlog::UpTo(last) }
        } else {
            match broker.messages.len() {
                0 => Backlog::Empty,
                count => Backlog::Count(count as u64),
            }
        };
        let (stream, first) = (broker.stream, broker.first());
        let shared = broker.other;
        let (at, error_ms) = match self.is_stamped {
            true => (outside.broker_time(&mut self.random), 0),
            false => {
                let error_ms = outside.plan.cold_error_ms;
                (at(outside.now_ms - self.random.range(0, error_ms + 1)), error_ms)
            }
        };
        let attached = Attached {
            at,
            error_ms,
            stream: is_log.then_some(stream),
            first_available: is_log.then_some(first),
            backlog,
            dating: Dating::EventTime,
        };
        outside.trace.note(|| format!("life {} attaches {index}: {attached:?}", self.life));
        seat.events.push_back(Event::Attached(seat.attachment, attached));
        let noticed = shared && !outside.has(Bug::SharedNotNoticed);
        if noticed {
            seat.events.push_back(Event::Blind(BlindReason::Shared));
        }
        seat.link = Link::Up { shared: noticed };
        seat.given = false;
        seat.asked_ms = outside.now_ms;
    }

    fn receive_log(&mut self, index: usize, outside: &mut Outside) {
        let seat = &mut self.seats[index];
        let broker = &outside.brokers[index];
        let mut position = seat.position.map_or(-1, |(sequence, _)| sequence);
        let mut room = self.speed.min(64 - i64::try_from(seat.events.len()).unwrap_or(64));
        let before = position;
        while room > 0 {
            let skip = usize::try_from(position + 1 - broker.first()).unwrap_or(0);
            let Some(stored) = broker.messages.get(skip) else { break };
            position = stored.sequence;
            room -= 1;
            let (attachment, sequence) = (seat.attachment, stored.sequence);
            seat.events.push_back(Event::Message { attachment, sequence, index: stored.index });
        }
        seat.position = Some((position, broker.stream));
        seat.given |= before < position;
        self.is_stamped |= before < position;
        outside.brokers[index].given = position;
        let broker = &outside.brokers[index];
        let last = broker.last();
        if before < position && position == last && self.random.permille(300) {
            let at = outside.broker_time(&mut self.random);
            self.proof(index, at, Some(last), outside);
        }
        let now_ms = outside.now_ms;
        let seat = &mut self.seats[index];
        if seat.answer.is_none() && now_ms - seat.asked_ms >= 200 {
            seat.asked_ms = now_ms;
            let at = outside.broker_time(&mut self.random);
            seat.answer = Some((now_ms + self.random.range(10, 300), at, last));
        }
        if outside.has(Bug::ClockByIdleness) && seat.events.is_empty() && before == position {
            self.proof(index, at(now_ms), None, outside);
            return;
        }
        if let Some((at_ms, at, last)) = seat.answer.filter(|(at_ms, ..)| *at_ms <= now_ms)
            && position >= last
        {
            debug_assert!(at_ms <= now_ms);
            seat.answer = None;
            let last = Some(last).filter(|_| self.seats[index].given);
            self.proof(index, at, last, outside);
        }
    }

    fn receive_queue(&mut self, index: usize, proves: bool, outside: &mut Outside) {
        let seat = &mut self.seats[index];
        let broker = &mut outside.brokers[index];
        let shared = matches!(seat.link, Link::Up { shared: true });
        if shared && !broker.other && outside.now_ms - seat.asked_ms > 1_000 {
            broker.detach();
            seat.link = Link::Down { retry_ms: outside.now_ms };
            return;
        }
        let mut room = self.speed.min(64 - i64::try_from(seat.events.len()).unwrap_or(64));
        while room > 0 && broker.unacknowledged.len() < outside.plan.prefetch {
            let Some(stored) = broker.messages.pop_front() else { break };
            seat.delivered += 1;
            self.is_stamped = true;
            room -= 1;
            broker.unacknowledged.push_back((seat.delivered, stored.index));
            let (attachment, sequence) = (seat.attachment, seat.delivered);
            seat.events.push_back(Event::Message { attachment, sequence, index: stored.index });
        }
        let is_idle = outside.bug == Some(Bug::ClockByIdleness) && seat.events.is_empty();
        let may_prove = proves && !shared && broker.messages.is_empty();
        if (may_prove || is_idle) && outside.now_ms - seat.asked_ms >= 200 {
            seat.asked_ms = outside.now_ms;
            let at = outside.broker_time(&mut self.random);
            self.proof(index, at, None, outside);
        }
    }

    fn proof(&mut self, index: usize, date: Timestamp, last: Option<i64>, outside: &Outside) {
        let by_wall = outside.has(Bug::ProofByWallClock);
        let date = if by_wall { outside.moment().wall } else { date };
        let seat = &mut self.seats[index];
        let last_enqueued = last;
        seat.events.push_back(Event::Proof(seat.attachment, Proof { at: date, last_enqueued }));
    }

    // ---- what a worker does

    fn work(&mut self, index: usize, outside: &mut Outside) -> Result<(), String> {
        let mut left = self.random.range(1, self.speed + 2);
        let budget = self.random.pick(&[1, 2, 100]);
        while left > 0 {
            left -= 1;
            self.tell_clocks(index, outside);
            if self.seats[index].firing && !self.fire(index, budget, outside)? {
                break;
            }
            let Some(desk) = &self.seats[index].desk else { break };
            let Some(&event) = self.seats[index].events.front().filter(|_| !desk.book().is_full())
            else {
                break;
            };
            if !self.handle(index, event, budget, outside)? {
                continue; // not all that it makes due was fired
            }
            let seat = &mut self.seats[index];
            seat.events.pop_front();
            seat.firing = true;
        }
        self.settle(index, outside)
    }

    fn fire(&mut self, index: usize, budget: usize, outside: &mut Outside) -> Result<bool, String> {
        let mut out = Output::default();
        let now = outside.moment();
        let seat = &mut self.seats[index];
        let Some(desk) = &mut seat.desk else { return Ok(true) };
        let fired = desk.fire(budget, now, &mut out);
        seat.firing = !fired;
        self.exchange(index, out, outside)?;
        self.answer_deferred(index, outside)?;
        Ok(fired)
    }

    /// Returns whether the event is over.
    fn handle(
        &mut self,
        index: usize,
        event: Event,
        budget: usize,
        outside: &mut Outside,
    ) -> Result<bool, String> {
        let mut out = Output::default();
        let now = outside.moment();
        let seat = &mut self.seats[index];
        let Some(desk) = &mut seat.desk else { return Ok(true) };
        let mut done = true;
        match event {
            Event::Attached(attachment, attached) => {
                seat.worker_attachment = attachment;
                desk.attach(attached, now, &mut out);
            }
            Event::Message { attachment, .. } | Event::Proof(attachment, _)
                if attachment != seat.worker_attachment => {}
            Event::Message { attachment, sequence, index: place } => {
                let message = message(outside, index, sequence, place, desk);
                let read = desk.read(&message, budget, now, &mut out);
                let skips = outside.bug == Some(Bug::SpeedVisible);
                done = read != Read::MoreToFire || skips;
                let words = outside.trace.is_on().then(|| format!("{message:?}"));
                if done {
                    outside.trace.note(|| format!("{index} reads {read:?} {words:?}"));
                    self.acknowledge(index, attachment, sequence, outside);
                }
            }
            Event::Proof(_, proof) => {
                desk.prove(proof);
            }
            Event::Blind(reason) => {
                outside.trace.note(|| format!("{index} is blind: {reason:?}"));
                desk.blind(reason);
            }
        }
        self.exchange(index, out, outside)?;
        self.answer_deferred(index, outside)?;
        Ok(done)
    }

    fn acknowledge(&mut self, index: usize, attachment: u64, sequence: i64, outside: &mut Outside) {
        let now = outside.moment();
        let seat = &mut self.seats[index];
        let Some(desk) = &mut seat.desk else { return };
        let done = desk.acknowledge(attachment, sequence, now);
        let early = outside.has(Bug::AckBeforeDurable).then_some((attachment, sequence));
        if let Some(acknowledge) = early.or(done.acknowledge) {
            self.release(index, acknowledge, outside);
        }
    }

    fn release(&self, index: usize, (attachment, sequence): (u64, i64), outside: &mut Outside) {
        let broker = &mut outside.brokers[index];
        if broker.receiver == Some((self.life, attachment)) {
            broker.acknowledge(sequence);
        }
    }

    fn settle(&mut self, index: usize, outside: &mut Outside) -> Result<(), String> {
        let now = outside.moment();
        let seat = &mut self.seats[index];
        let Some(desk) = &mut seat.desk else { return Ok(()) };
        desk.settle(now);
        if !desk.is_recovering() {
            seat.told_clock = desk.engine().as_foreign(index as u64);
            seat.told_heard = desk.engine().heard();
        }
        self.answer_deferred(index, outside)
    }

    fn answer_deferred(&mut self, index: usize, outside: &mut Outside) -> Result<(), String> {
        let Some(desk) = &mut self.seats[index].desk else { return Ok(()) };
        for (identity, from, news) in desk.deferred() {
            self.ask(index, &identity, from, &news, outside)?;
        }
        Ok(())
    }

    fn tell_clocks(&mut self, index: usize, outside: &Outside) {
        if self.seats.len() < 2 {
            return;
        }
        let ignored = outside.has(Bug::ForeignClocksIgnored);
        let far = at(1_000_000_000);
        let told = |seat: &Seat| match ignored {
            true => ForeignClock { clock: far, ..seat.told_clock },
            false => seat.told_clock,
        };
        let others = self.seats.iter().filter(|seat| seat.partition != index);
        let heard = |seat: &Seat| Some((seat.partition as u64, seat.told_heard.clone()?));
        let heard: Vec<_> = others.clone().filter_map(heard).collect();
        let clocks = others.map(told).collect();
        if let Some(desk) = &mut self.seats[index].desk {
            desk.foreign_clocks(ForeignClocks::new(clocks));
            desk.heard_elsewhere(heard);
        }
    }

    /// Tells the others, and gives their answers back, until nothing is left to be told.
    fn exchange(&mut self, from: usize, out: Output, outside: &mut Outside) -> Result<(), String> {
        outside.gaps += out.gaps.len();
        for gap in &out.gaps {
            outside.trace.note(|| format!("{from}: {gap:?}"));
        }
        for transition in &out.transitions {
            outside.trace.note(|| format!("{from} decides {transition:?}"));
        }
        if outside.has(Bug::TidingsDropped) {
            return Ok(());
        }
        let mut waiting = VecDeque::from(out.tidings);
        while let Some(Tiding { identity, news, to }) = waiting.pop_front() {
            for other in 0..self.seats.len() {
                let is_audience = match to {
                    Audience::Everyone => other != from,
                    Audience::One(home) => home == other as u64,
                };
                if is_audience {
                    self.ask(other, &identity, from as u64, &news, outside)?;
                }
            }
        }
        Ok(())
    }

    /// Partition `from` tells `to` what it knows, and is told the answer.
    fn ask(
        &mut self,
        to: usize,
        identity: &Identity,
        from: PartitionId,
        news: &News,
        outside: &mut Outside,
    ) -> Result<(), String> {
        let now = outside.moment();
        let asking = usize::try_from(from).unwrap_or(0);
        let mut out = Output::default();
        let reply = match &mut self.seats[to].desk {
            Some(desk) => desk.told(identity.as_ref(), from, news, now, &mut out),
            None => Reply::Later,
        };
        outside.trace.note(|| format!("{from} tells {to} of {identity:?} {news:?}: {reply:?}"));
        self.exchange(to, out, outside)?;
        let mut out = Output::default();
        if let Some(desk) = self.seats[asking].desk.as_mut().filter(|desk| !desk.is_recovering()) {
            desk.answered(identity.as_ref(), to as u64, reply, now, &mut out);
        }
        self.exchange(asking, out, outside)
    }

    // ---- what is written

    fn write(&mut self, index: usize, outside: &mut Outside) -> Result<(), String> {
        self.take(index, outside)?;
        let now_ms = outside.now_ms;
        let seat = &mut self.seats[index];
        if let Some(snapshot) = seat.snapshotting.take_if(|s| s.at_ms <= now_ms) {
            if now_ms < outside.disks[index].full_until_ms {
                seat.snapshotting = Some(snapshot);
            } else {
                outside.disks[index].put_snapshot(snapshot.number, snapshot.bytes);
                if let Some(desk) = &mut seat.desk {
                    desk.snapshot_kept(snapshot.number);
                    outside.disks[index].collect(&desk.book().pinned());
                }
            }
        }
        let Some(writing) = seat.writing.take_if(|writing| writing.at_ms <= now_ms) else {
            return Ok(());
        };
        let (number, disk) = (writing.number, &mut outside.disks[index]);
        let random = &mut self.random;
        let mut put =
            disk.put(now_ms, number, &writing.bytes, writing.position, &outside.plan, random);
        let by_name = outside.bug == Some(Bug::NonceOfOwner);
        if by_name && put == Put::Taken && disk.owner(number).as_ref() == Some(&self.owner) {
            put = Put::Done;
        }
        if outside.bug == Some(Bug::StaleOwner) && put == Put::Taken {
            put = Put::Done;
        }
        outside.trace.note(|| format!("{index} puts {number}: {put:?}"));
        match put {
            Put::Done => {
                if let Some(bytes) = writing.snapshot {
                    let at_ms = now_ms + random.range(1, 400);
                    seat.snapshotting = Some(Snapshotting { number, bytes, at_ms });
                }
                self.committed(index, number, outside);
            }
            Put::Failed => {
                let at_ms = now_ms + random.range(20, 500);
                let tries = writing.tries + 1;
                outside.store_trouble_ms = now_ms;
                seat.writing = Some(Writing { at_ms, tries, ..writing });
            }
            Put::Taken => {
                self.lost = true;
                outside.store_trouble_ms = now_ms;
            }
        }
        Ok(())
    }

    fn committed(&mut self, index: usize, number: u64, outside: &mut Outside) {
        let Some(desk) = &mut self.seats[index].desk else { return };
        if let Some(acknowledge) = desk.committed(number).acknowledge {
            self.release(index, acknowledge, outside);
        }
    }

    fn take(&mut self, index: usize, outside: &mut Outside) -> Result<(), String> {
        let now = outside.moment();
        let seat = &mut self.seats[index];
        let Some(desk) = seat.desk.as_mut().filter(|_| seat.writing.is_none()) else {
            return Ok(());
        };
        let Some(mut taken) = desk.take(now, false, true) else { return Ok(()) };
        match outside.bug {
            Some(Bug::ChangesNotJournaled) => taken.entry.records.clear(),
            Some(Bug::ClockNotJournaled) => {
                let first = seat.deleted.get_or_insert(desk.engine().clock_image());
                taken.entry.clock = Some(first.clone());
            }
            Some(Bug::SettledLost) => taken.entry.settled.clear(),
            Some(Bug::DeletesNotKept) => {
                taken.entry.records.retain(|record| !is_deletion(&record.what));
            }
            _ => {}
        }
        let position = position(&taken.entry);
        let bytes = taken.entry.encode().map_err(|error| error.to_string())?;
        let snapshot = taken.snapshot.map(|snapshot| snapshot.encode());
        let mut snapshot = snapshot.transpose().map_err(|error| error.to_string())?;
        let at_ms = outside.now_ms + self.random.range(1, 80);
        if outside.has(Bug::SnapshotBeforeEntry)
            && let Some(bytes) = snapshot.take()
        {
            outside.disks[index].put_snapshot(taken.number, bytes);
            desk.snapshot_kept(taken.number);
        }
        if outside.has(Bug::SendBeforeDurable) {
            desk.committed(taken.number);
        }
        let number = taken.number;
        seat.writing = Some(Writing { number, bytes, position, snapshot, at_ms, tries: 0 });
        Ok(())
    }

    // ---- what is sent

    fn send(&mut self, outside: &mut Outside) -> Result<(), String> {
        for number in 0..self.sinks.len() {
            for index in 0..self.seats.len() {
                self.pull(number, index, outside)?;
            }
            let receiver = &mut outside.receivers[number];
            let (now_ms, random) = (outside.now_ms, &mut self.random);
            let delivered = self.sinks[number].step(now_ms, receiver, random)?;
            self.delivered(&delivered, outside);
        }
        Ok(())
    }

    fn delivered(&mut self, marks: &[(usize, lastseen::journal::Mark)], outside: &Outside) {
        for (partition, mark) in marks {
            if let Some(desk) = &mut self.seats[*partition].desk {
                desk.delivered(*mark, outside.moment());
            }
        }
    }

    fn pull(&mut self, number: usize, index: usize, outside: &mut Outside) -> Result<(), String> {
        while self.sinks[number].held() < 64 {
            let Some(desk) = &mut self.seats[index].desk else { return Ok(()) };
            match desk.outbox().next(SINKS[number]) {
                Next::Nothing => return Ok(()),
                Next::Fetch(entry) => {
                    let read = outside.disks[index].entry(entry);
                    let lost = desk.outbox().refill(SINKS[number], entry, read.as_ref());
                    if !lost.is_empty() {
                        outside.trace.note(|| format!("{index}: owed and gone: {lost:?}"));
                    }
                }
                Next::Send { mark, mut message, may_have_arrived } => {
                    if may_have_arrived && self.life > 1 && outside.plan.faults.zombie == 0 {
                        let trouble_ms = outside.store_trouble_ms;
                        let receiver = &outside.receivers[number];
                        receiver.may_be_owed_again(&message, trouble_ms)?;
                    }
                    if outside.bug == Some(Bug::IdsFromCounter) {
                        self.sinks[number].number_id(&mut message);
                    }
                    outside.trace.note(|| {
                        format!("{index} sends {}", String::from_utf8_lossy(&message.body))
                    });
                    let now_ms = outside.now_ms;
                    let sink = &mut self.sinks[number];
                    let life = self.life;
                    let done = sink.put(index, mark, message, may_have_arrived, life, now_ms);
                    self.delivered(&done, outside);
                }
            }
        }
        Ok(())
    }
}

impl Seat {
    fn new(partition: usize) -> Self {
        Self {
            partition,
            desk: None,
            link: Link::Down { retry_ms: 0 },
            attachment: 0,
            position: None,
            delivered: 0,
            given: false,
            events: VecDeque::new(),
            asked_ms: 0,
            answer: None,
            worker_attachment: 0,
            firing: false,
            told_clock: unread(partition),
            told_heard: None,
            writing: None,
            snapshotting: None,
            deleted: None,
        }
    }
}

fn unread(partition: usize) -> ForeignClock {
    ForeignClock { partition: partition as u64, clock: Timestamp::MIN, gap_end: Timestamp::MIN }
}

const SINKS: [&str; 2] = ["ops", "audit"];

fn is_deletion(what: &What) -> bool {
    matches!(what, What::Changed(Change::Learned { facts, .. }) if facts.deleted_at > Timestamp::MIN)
}

fn position(entry: &lastseen::journal::Entry) -> Option<Position> {
    let clock = entry.clock.as_ref()?;
    Some((clock.position()?, clock.stream()))
}

/// What the service makes of a message. One from the far future is refused, and that is kept.
fn message<'a>(
    outside: &'a Outside,
    partition: usize,
    sequence: i64,
    place: usize,
    desk: &mut Desk,
) -> Message<'a> {
    let sent = outside.plan.sent[partition][place];
    let was_refused = desk.was_refused(sequence);
    let is_refused =
        was_refused || sent.event_ms > outside.now_ms + outside.wall_offset_ms + MAX_FUTURE_MS;
    if is_refused && !outside.has(Bug::FutureAccepted) {
        if !was_refused {
            desk.refused(sequence);
        }
        return Message { sequence, event_time: None, append_time: None, signal: None };
    }
    let signal = sent.fact.map(|fact| {
        let fact = &outside.facts[fact];
        let person = &outside.plan.people[fact.identity];
        let stamped = fact.kind == SignalKind::Telemetry;
        Signal {
            identity: IdentityRef {
                hub: &person.hub,
                device: &person.device,
                module: person.module.as_deref(),
            },
            kind: fact.kind,
            generation: Generation::from_bits(if stamped { fact.generation } else { 0 }),
            conditions: 0,
            created_by_device: None,
        }
    });
    let append_time = (outside.plan.kinds[partition] == Kind::Log).then(|| at(sent.append_ms));
    Message { sequence, event_time: Some(at(sent.event_ms)), append_time, signal }
}
