//! Planted bugs: what the simulator has to find, each a switch of a world.

use lastseen::engine::planted::Planted;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A queue's messages are acknowledged when they are applied.
    AckBeforeDurable,
    /// What an entry owes is sent when it is taken.
    SendBeforeDurable,
    /// A partition on which nothing comes is taken as silent.
    ClockByIdleness,
    /// Proofs are dated by the wall clock.
    ProofByWallClock,
    /// After a break the receiver goes on as if there had been none.
    ProofAcrossBreak,
    /// Alert ids are numbers of this process.
    IdsFromCounter,
    /// Entries don't say what changed.
    ChangesNotJournaled,
    /// Entries don't hold the clock.
    ClockNotJournaled,
    /// A hole in a backlog counts as observed.
    HolesObserved,
    /// Another receiver of the queue is not noticed.
    SharedNotNoticed,
    /// Partitions don't tell one another of identities.
    TidingsDropped,
    /// Deletions are not kept where there is no log.
    DeletesNotKept,
    /// An entry that exists is taken for ours if it bears our name.
    NonceOfOwner,
    /// A process that has lost a partition goes on.
    StaleOwner,
    /// Any event time is accepted.
    FutureAccepted,
    /// A message is passed over if not everything that it makes due was fired at once.
    SpeedVisible,
    /// The source goes on behind the place from which it should.
    ResumedAhead,
    /// That a message was delivered is not kept.
    SettledLost,
    /// A snapshot is written before its entry.
    SnapshotBeforeEntry,
    /// Other partitions' clocks count as far ahead.
    ForeignClocksIgnored,
    /// One inside the engine.
    Engine(Planted),
}

impl Bug {
    /// Whether only worlds with a fleet and a route that stops can show it.
    pub fn is_about_routes(self) -> bool {
        use Planted::{HoldNotHeld, HoldObserved, LateIsWitness};
        matches!(self, Self::Engine(HoldNotHeld | HoldObserved | LateIsWitness))
    }

    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::AckBeforeDurable,
        Self::SendBeforeDurable,
        Self::ClockByIdleness,
        Self::ProofByWallClock,
        Self::ProofAcrossBreak,
        Self::IdsFromCounter,
        Self::ChangesNotJournaled,
        Self::ClockNotJournaled,
        Self::HolesObserved,
        Self::SharedNotNoticed,
        Self::TidingsDropped,
        Self::DeletesNotKept,
        Self::NonceOfOwner,
        Self::StaleOwner,
        Self::FutureAccepted,
        Self::SpeedVisible,
        Self::ResumedAhead,
        Self::SettledLost,
        Self::SnapshotBeforeEntry,
        Self::ForeignClocksIgnored,
        Self::Engine(Planted::WheelOnlyLater),
        Self::Engine(Planted::DuplicateRetracts),
        Self::Engine(Planted::GapArmsNobody),
        Self::Engine(Planted::GapArmsInside),
        Self::Engine(Planted::HoldNotHeld),
        Self::Engine(Planted::HoldObserved),
        Self::Engine(Planted::LateIsWitness),
    ];
}
