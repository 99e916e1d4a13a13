//! Mistakes that a test can plant, to see that its checks find them.

/// A mistake.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A deadline that comes forward is not armed again.
    WheelOnlyLater,
    /// The heartbeat that armed a verdict disproves it when it is read again.
    DuplicateRetracts,
    /// A gap puts nobody off.
    GapArmsNobody,
    /// A gap puts off only those who were due inside it.
    GapArmsInside,
    /// A verdict by proof is told although nobody of many was heard.
    HoldNotHeld,
    /// The span of a silence of all counts as observed.
    HoldObserved,
    /// Who is heard late on another partition bears witness here.
    LateIsWitness,
}
