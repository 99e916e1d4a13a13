//! `lastseen` answers one question for every device and module of an Azure IoT Hub fleet - *is it alive?* - and says so
//! with evidence. It never says "offline" because the service, the broker or the link was down; where it can't know, it
//! says nothing about anybody. It only reads: it never commands, restarts or disables a device.
//!
//! This page is the architecture. `README.md` is for those who run it.
//!
//! # The flow
//!
//! ```text
//! broker -> source -> partition's queue -> worker: decode -> engine -> alerting -> sink's queue -> sink
//!           adapter   bounded                      pure      pure     pure        bounded         adapter
//! ```
//!
//! Data goes one way. Everything that *decides* is pure: [`engine`], [`alert`] and [`wire`] know no tokio, I/O, clock,
//! randomness, logs or metrics. Time is an argument, effects are values. `tests/tidy.rs` and the lints guard that boundary.
//! Adapters hold the sockets and the clock, never call one another, and are joined in [`app`]. When a queue is full, whoever
//! fills it waits, until the source gives the broker no more credit: the broker holds the backlog.
//!
//! | folder | what is in it |
//! |---|---|
//! | [`config`] | one YAML file in, small checked types out; one section per file |
//! | [`source`] | adapters in: `event_hubs`, `amqp10`, `amqp091`, `file`. A source says what it was given and what it can prove |
//! | [`wire`] | PURE: raw messages into signals. Section scanner, header tables, recorded lines; nothing recursive over input |
//! | [`engine`] | PURE: clock, last-seen table, timer wheel, rules, verdicts, placement |
//! | [`alert`] | PURE: stable ids, canonical JSON, signature, muting of old history, the path alert, alerts about ourselves |
//! | [`partitions`] | the last-seen map: a `DashMap` from partition to engine, one worker each, the way to the sinks |
//! | [`sink`] | adapters out: webhooks with retries, an address guard and limits; every parcel is settled once |
//! | [`journal`] | PURE: what has to be durable before anybody is told: entries, snapshots, outbox, and the way back after a crash |
//! | [`store`] | journals and snapshots in a folder or an object store; dead letters of what could not be read or delivered |
//! | [`api`] | health and metrics over HTTP, and the data of the fleet on loopback |
//! | [`devhub`] | the embedded development hub, a simulated fleet and a webhook receiver, for the demo, the load test and the tests |
//! | [`cli`] | one command per file |
//!
//! # Words
//!
//! An *identity* is `(hub, device id, module id?)`; an *incarnation* one life of it, told apart by the hub's generation id
//! or by a create after a delete. A *signal* is what one message says about an identity; a *proof of life* is a signal that
//! shows that the device sent something. *Window* is the longest normal silence, *grace* the margin on top, and
//! `deadline = last proof of life + window + grace`. A *partition* is an ordered part of a source; its *clock* is the instant
//! up to which everything is known to have been applied; a *proof* is evidence that nothing unread remains, dated; a *gap* is
//! a span in which nothing can be known; a partition is *blind* while its clock can't advance.
//!
//! # Time: the rule that everything follows from
//!
//! > An identity is declared offline only when its observed silence reaches its window and grace: silence over a span in
//! > which everything on its partition was read and applied.
//!
//! * The *event time* of a message is the hub's ingress time, at most the broker's append time. A device's own clock is kept
//!   as evidence and never counts. On sources whose headers the publisher writes, event time has to be declared as trusted.
//! * The clock is the greatest event time applied, less an allowance for reordering, in whole ticks; it never goes back.
//!   What becomes due is fired, in the order of deadlines, before the message that moved the clock is applied. So neither
//!   batches nor speed can be seen in the result: a dense log gives the same transitions live and as a backlog.
//! * On a silent partition the clock moves only by proof, never by idleness; and a proof covers only the span since the last
//!   message or proof on the same unbroken attachment, less the route's recent lag.
//! * While a backlog is read, a hole between consecutive messages longer than `bridge`, and the rest up to the attachment,
//!   is a gap. Whoever was last heard before the end of a gap is due a window and grace (and a spread of up to an eighth of
//!   the window) after it. A gap costs nothing per identity: the new deadline is derived when the old one is looked at.
//! * A verdict remembers what it was judged on. A heartbeat dated inside that span, whenever it is read, proves the verdict
//!   false: it is retracted, or amended if the heartbeat's own deadline has passed too, and counted.
//! * A heartbeat beyond its own deadline that is read before the clock gets there stands beside the record until it does:
//!   then outage and end are told together, unless a heartbeat dated in between has turned up.
//!
//! # The table
//!
//! A partition's identities are split into shards of at most [`engine::partition::MAX_SHARD_IDENTITIES`], by hash of hub and
//! device, so that a device and its modules share one. A shard is an index, columns by slot, an arena for what of an id does
//! not fit into its record, and a timer wheel. One identity takes:
//!
//! | field | bytes | |
//! |---|---|---|
//! | `last_seen` | 6 | last proof of life, in milliseconds |
//! | `sequence` | 6 | where that stands in the log: evidence |
//! | `generation` | 8 | the hub's generation id, as a number or a hash |
//! | id | 36 | all of a UUID, and of most ids; of a longer one the first 32 bytes, and where in the arena the others stand |
//! | `hub`, `rule` | 2 + 2 | indices |
//! | id lengths | 1 + 1 | device, module |
//! | `state`, `flags` | 1 + 1 | flags say what stands beside the record: verdicts, crossings, put-off deadlines, guests |
//! | **record** | **64** | one line of the processor's cache: all that a heartbeat reads and writes |
//! | `first_seen` | 8 | first proof of life of the generation: what was heard before a deletion died with it |
//! | `armed` | 4 | low bits of the tick at which its valid entry stands in the wheel |
//! | the rest of its id | length - 32 | none of an id of up to 36 bytes |
//! | place in the index | 10 to 12.5 | 8 bytes, 64 to 80 % full, in buckets of a line of the cache |
//! | wheel entry | 4.6 | in blocks of 14; more only after a deadline came forward |
//!
//! A worker decodes some messages, looks ahead at all of them, then applies one after the other: looking ahead asks for one
//! line of the index and one record each, all at once, so that the second pass waits for neither. That request is the one use
//! of `unsafe` in the service (`engine::prefetch`).
//!
//! What few identities have stands in side tables: creation and deletion, verdicts that can still be disproved, crossings,
//! the hub's last word on the connection, other partitions on which it is heard.
//!
//! The wheel re-arms lazily: a heartbeat writes `last_seen` and nothing else; when the entry comes up, the deadline is looked
//! at again. Whatever brings a deadline forward inserts again, and the record knows which entry is valid. Deadlines beyond
//! the horizon wait in the furthest slot, so nothing cascades.
//!
//! # Identities as a join
//!
//! What is known of an identity (creation, deletion, generation, first and last proof of life) is joined, not overwritten:
//! [`engine::facts`]. Whatever the order in which signals are read, the same facts result, and the state follows from the
//! facts and the clock. Partitions exchange the same facts: an identity that is new to a partition is announced to the
//! others before anything more is applied ([`engine::placement`]), and whoever knows it answers which of them judges it. An
//! identity that was created but never heard is judged on the least clock of all partitions that could carry it; one that is
//! heard on several, on the least of theirs, and a gap on any of them puts it off.
//!
//! # Walkthrough: a heartbeat
//!
//! 1. The source's receiver hands a batch of encoded messages to the partition's queue, with their places in the log.
//! 2. The worker notes which messages it decodes ([`store::decoding`]), so that one that ends the process is known to the
//!    next. It decodes each in place ([`wire::decode`]); what can't be read goes to the dead letters and is counted.
//! 3. [`engine::Partition::prepare`] says where its event time moves the clock, [`engine::Partition::fire`] decides what that
//!    makes due, [`engine::Partition::apply`] writes `last_seen`.
//! 4. After the batch the worker says how far it may be acknowledged: at once where the log keeps the message, else when the
//!    journal entry that holds what it said is durable.
//!
//! # Walkthrough: a silence
//!
//! 1. The clock reaches the end of the window: the identity is late. It reaches the deadline: [`engine::Transition`] with
//!    the judged pair, the cause, the rule, the place of the last heartbeat, and whether the route was proven.
//! 2. The transition becomes an [`alert::Alert`] with an id that is a hash of what was judged, so that the same log gives
//!    the same id whoever reads it, and one message per sink, rendered once.
//! 3. The message stands in the partition's open journal entry ([`journal::Book`]). The partition's writer makes the entry
//!    durable; only then the outbox gives the message to its sink, and remembers it until the sink has settled it.
//! 4. The sink signs each attempt, keeps the order per identity, and retries for days. What becomes of each parcel is
//!    said once, after what has to be durable is: a message that is given up is in the dead letters first. An alert
//!    that ends before anything about it can have reached the receiver is not told there at all. On a stop nothing
//!    overtakes: what waits for its retry stays owed, with everything behind it in its lane.
//!
//! # Own health
//!
//! [`alert::vitals`] looks at three clocks and the store every 100 ms. While the service was frozen, suspended, late or
//! can't write, or its wall clock was set, proofs are not applied ([`journal::Desk::hold`]): the clock of a silent partition
//! stands, and moves again with the first proof after the hold. Messages go on being applied, since their clock is the
//! log's. The watchdog ([`partitions::Watchman`]) goes through the same journal, outbox and sink as every alert, and is sent
//! only while workers and writers make progress and no verdict is held.
//!
//! # Durability
//!
//! The state of a partition is a fold over its log and what a [`journal`] keeps of it: verdicts and their ends, gaps, what
//! other partitions said, the clock; of a queue, whose log is gone once it is acknowledged, also what each message said
//! ([`engine::Change`]). Entries are numbered, created once and never changed, so one write is commit and fence: who finds the
//! next number taken has lost the journal and ends. A snapshot beside entry `n` contains everything up to it.
//!
//! After a crash the newest readable snapshot is taken up, then the log is read again up to the place of the last entry, and
//! the entries' changes are made again in between ([`engine::Partition::absorb`], [`engine::Partition::redo`]). Nothing is
//! decided meanwhile: every verdict of that span is in the journal, and may have been told. So rules may be others after a
//! restart, and a log that no longer reaches back costs a gap and not a false alarm. `tests/sim` and the properties beside the
//! code show that a restart at any point changes no later decision.
//!
//! What one partition tells another about an identity stands in both journals, and one may be ahead of the other at the
//! crash. So after a start each tells again what others may have missed, before anything is decided, and what is told again
//! says nothing about the time before it ([`engine::News`]). Until a partition is where its journal ends, others hear nothing
//! of its clock, so that nobody is judged without what it will still say. What an earlier process owed is sent once the
//! first entry of this one is durable: from then on the earlier one, should it still run, can own nothing new.
//!
//! Decisions that differ from the obvious, and why:
//!
//! * *Effects are journaled, not inputs.* Replaying proofs and other partitions' answers in their exact places would give the
//!   same state only under the same rules and the same code, and only while the log reaches back to the snapshot.
//! * *A partition is imaged in one piece* under its lock, some 60 ns an identity, and written beside. Shards with places of
//!   their own would shorten the pause of the largest partitions, and make every recovery several.
//! * *The old home of an identity writes down that it gave it up without waiting for the new one.* If the new home loses the
//!   message by which it learnt of it, it reads or is given that message again and asks again.
//! * *A partition whose store fails does not send before the entry is durable.* It would save minutes in a rare case, and could
//!   tell one outage under two ids. What concerns the service itself is sent all the same.
//!
//! # The route
//!
//! The end of a log proves the log, not the way into it. If proofs make a verdict due and nobody of the ten or more identities
//! of a partition was heard in the last half of the window, on no partition of the source, the clock stands and the partition is
//! blind (`route_unproven`) until somebody is heard in time; the span before, up to where the proofs reached, is then a gap,
//! unless what was kept back has come by then and nobody is due any more. It is the same gap if the message that ends such a
//! silence is read before any proof, or while its proofs are still on their way: who is heard after a deadline proves nothing
//! about the time before it.
//!
//! What a route kept back is dated by when it was sent, so a date alone does not show that the route worked then. Only who is
//! heard *in time* bears witness: dated no earlier than what the clock had passed when the message was read. By the same rule
//! one partition is witness for another of the same hub: what was heard there counts from where the clock here had come to when
//! it was told.
//! A log that is read again after a start does not show who was in time, so that stands in the journal.
//! Where no broker says when a message arrived (queues), one that is new and dated before the last proof shows how slow the
//! route is, and later proofs are dated back by that.
//!
//! # What is deliberately absent
//!
//! * Hand-over between replicas: one process owns every partition. The journal's numbers fence a second one off.
//! * Fleet-wide grouping of single alerts: what can't be observed is one alert, but a thousand true deaths are a thousand.
//! * Proofs for RabbitMQ quorum queues and streams: replicas deliver while the leader answers, and a stream does not say how
//!   many messages it holds. Their clocks move by messages; if all of one falls silent, the path alert tells.
//! * An AMQP server library under [`devhub`]: a hub of its own tests the client library against another implementation, and
//!   writes every field of a performative, as the vendor's Python client expects.

pub mod alert;
pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod devhub;
pub mod engine;
mod failpoint;
pub mod journal;
pub mod metrics;
pub mod partitions;
pub mod shutdown;
pub mod sink;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod wire;
