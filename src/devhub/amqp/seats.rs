//! Who reads which partition: the epoch rules ("Azure Event Hubs event processor host", epoch; "Event Hubs quotas":
//! five receivers without epoch for a partition of a consumer group).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::Notify;

use super::performative::{Fault, condition};

/// The most receivers without epoch on a partition of a consumer group.
const MAX_SHARED: usize = 5;

/// A partition of a consumer group.
pub(super) type Place = (String, usize);

/// All seats of an endpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats {
    taken: Arc<Mutex<HashMap<Place, Vec<Arc<Holder>>>>>,
}

#[derive(Debug)]
struct Holder {
    epoch: Option<i64>,
    name: String,
    stolen: OnceLock<String>,
    /// Wakes the holder's connection.
    wake: Arc<Notify>,
}

/// A receiver's right to read; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    place: Place,
    holder: Arc<Holder>,
    seats: Seats,
}

impl Seats {
    /// Takes a seat. With an epoch everybody with none, a lower or the same one is displaced; without one, or with a lower one
    /// than a present reader, the seat is refused.
    pub(super) fn take(
        &self,
        place: Place,
        epoch: Option<i64>,
        name: &str,
        wake: Arc<Notify>,
    ) -> Result<Seat, Fault> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let holders = taken.entry(place.clone()).or_default();
        if let Some(refusal) = refuse(holders, epoch, name) {
            return Err(refusal);
        }
        if let Some(epoch) = epoch {
            for loser in holders.drain(..) {
                loser.displace(name, epoch);
            }
        }
        let holder =
            Arc::new(Holder { epoch, name: name.to_owned(), stolen: OnceLock::new(), wake });
        holders.push(Arc::clone(&holder));
        Ok(Seat { place, holder, seats: self.clone() })
    }
}

fn refuse(holders: &[Arc<Holder>], epoch: Option<i64>, name: &str) -> Option<Fault> {
    let present = holders.iter().filter_map(|holder| Some((holder, holder.epoch?))).next();
    match (present, epoch) {
        (Some((holder, held)), Some(epoch)) if held > epoch => Some(Fault::new(
            condition::STOLEN,
            format!(
                "Receiver '{}' with a higher epoch of '{held}' already exists. Receiver '{name}' with epoch '{epoch}' cannot be created. Make sure you are creating receiver with increasing epoch value to ensure connectivity, or ensure all old epoch receivers are closed or disconnected.",
                holder.name
            ),
        )),
        (Some((_, held)), None) => Some(Fault::new(
            condition::STOLEN,
            format!(
                "At least one receiver for the endpoint is created with epoch of '{held}', and so non-epoch receiver is not allowed. Either reconnect with a higher epoch, or make sure all epoch receivers are closed or disconnected."
            ),
        )),
        (None, None) if holders.len() >= MAX_SHARED => Some(Fault::new(
            condition::RESOURCE_LIMIT,
            format!(
                "Exceeded the maximum number of allowed receivers per partition in a consumer group which is {MAX_SHARED}."
            ),
        )),
        (Some(_) | None, Some(_)) | (None, None) => None,
    }
}

impl Holder {
    fn displace(&self, by: &str, epoch: i64) {
        let own = self.epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string());
        let text = format!(
            "New receiver '{by}' with higher epoch of '{epoch}' is created hence current receiver '{}' with epoch '{own}' is getting disconnected. If you are recreating the receiver, make sure a higher epoch is used.",
            self.name
        );
        // Already stolen: the first thief is named.
        let _ = self.stolen.set(text);
        self.wake.notify_one();
    }
}

impl Seat {
    /// The detach error, once another receiver has taken the seat.
    pub(super) fn stolen(&self) -> Option<Fault> {
        let text = self.holder.stolen.get()?;
        Some(Fault::new(condition::STOLEN, text))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(holders) = taken.get_mut(&self.place) {
            holders.retain(|holder| !Arc::ptr_eq(holder, &self.holder));
            if holders.is_empty() {
                taken.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(seats: &Seats, epoch: Option<i64>) -> Result<Seat, Fault> {
        let place = ("$default".to_owned(), 0);
        seats.take(place, epoch, "r", Arc::new(Notify::new()))
    }

    #[test]
    fn an_equal_or_higher_epoch_displaces_and_a_lower_or_none_is_refused() {
        let seats = Seats::default();
        let shared = take(&seats, None).unwrap();
        let first = take(&seats, Some(3)).unwrap();
        assert_eq!(shared.stolen().unwrap().condition, condition::STOLEN);
        let equal = take(&seats, Some(3)).unwrap();
        assert!(first.stolen().is_some());
        let lower = take(&seats, Some(2)).unwrap_err();
        assert_eq!(lower.condition, condition::STOLEN);
        let none = take(&seats, None).unwrap_err();
        assert_eq!(none.condition, condition::STOLEN);
        assert!(equal.stolen().is_none());
        drop((first, equal));
        assert!(take(&seats, None).is_ok());
    }

    #[test]
    fn the_sixth_receiver_without_epoch_is_refused_until_one_leaves() {
        let seats = Seats::default();
        let mut five: Vec<Seat> = (0..5).map(|_| take(&seats, None).unwrap()).collect();
        let sixth = take(&seats, None).unwrap_err();
        assert_eq!(sixth.condition, condition::RESOURCE_LIMIT);
        five.pop();
        assert!(take(&seats, None).is_ok());
    }
}
