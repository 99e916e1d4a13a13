//! What is known of one identity, as a join: whatever the order in which signals are read, the same facts result.

use super::signal::Generation;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What is known of one identity. [`Facts::merge`] is commutative and idempotent, and associative as long as the
/// messages of two generations don't overlap in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Event time of the last create notification; [`Timestamp::MIN`] if none.
    pub created_at: Timestamp,
    /// Event time of the last delete notification; [`Timestamp::MIN`] if none.
    pub deleted_at: Timestamp,
    /// The newest generation heard.
    pub generation: Generation,
    /// First proof of life of that generation; meaningless if `last_seen` is [`Timestamp::MIN`].
    pub first_seen: Timestamp,
    /// Last proof of life of that generation; [`Timestamp::MIN`] if none.
    pub last_seen: Timestamp,
    /// Place of `last_seen` in its partition.
    pub sequence: i64,
}

/// What the facts amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Created, not heard since.
    Pending {
        /// Event time of the creation.
        since: Timestamp,
    },
    /// Heard.
    Heard {
        /// The last proof of life.
        last_seen: Timestamp,
    },
    /// Deleted.
    Deleted {
        /// Event time of the deletion.
        at: Timestamp,
    },
}

impl Facts {
    /// Nothing known.
    pub const NONE: Self = Self {
        created_at: Timestamp::MIN,
        deleted_at: Timestamp::MIN,
        generation: Generation::UNKNOWN,
        first_seen: Timestamp::MIN,
        last_seen: Timestamp::MIN,
        sequence: i64::MIN,
    };

    /// Life was proved at `at`.
    pub fn heard(at: Timestamp, sequence: i64, generation: Generation) -> Self {
        Self { generation, first_seen: at, last_seen: at, sequence, ..Self::NONE }
    }

    /// A create notification.
    pub fn created(at: Timestamp) -> Self {
        Self { created_at: at, ..Self::NONE }
    }

    /// A delete notification.
    pub fn deleted(at: Timestamp) -> Self {
        Self { deleted_at: at, ..Self::NONE }
    }

    /// Joins what another signal or another partition knows.
    pub fn merge(&mut self, other: &Self) {
        self.created_at = self.created_at.max(other.created_at);
        self.deleted_at = self.deleted_at.max(other.deleted_at);
        if other.last_seen == Timestamp::MIN {
            return;
        }
        if self.last_seen == Timestamp::MIN || supersedes(other, self) {
            self.generation = other.generation;
            self.first_seen = other.first_seen;
            self.last_seen = other.last_seen;
            self.sequence = other.sequence;
        } else if !supersedes(self, other) {
            if !self.generation.is_known() {
                self.generation = other.generation;
            }
            self.first_seen = self.first_seen.min(other.first_seen);
            let newest = (self.last_seen, self.sequence).max((other.last_seen, other.sequence));
            (self.last_seen, self.sequence) = newest;
        }
    }

    /// What the facts amount to; `None` if nothing is known.
    ///
    /// A generation that was heard before a deletion died with it, whatever it is said to have sent later. What was
    /// first heard after the deletion, or heard after a later creation, is the next incarnation.
    pub fn life(&self) -> Option<Life> {
        let reborn = self.created_at > self.deleted_at;
        let heard = self.last_seen > self.deleted_at
            && (self.first_seen > self.deleted_at || (reborn && self.last_seen > self.created_at));
        if heard {
            Some(Life::Heard { last_seen: self.last_seen })
        } else if reborn {
            Some(Life::Pending { since: self.created_at })
        } else if self.deleted_at > Timestamp::MIN {
            Some(Life::Deleted { at: self.deleted_at })
        } else {
            None
        }
    }
}

/// Whether `a` is of a later generation than `b`. Generations that are not numbers have only their time.
fn supersedes(a: &Facts, b: &Facts) -> bool {
    if a.generation == b.generation || !a.generation.is_known() || !b.generation.is_known() {
        return false;
    }
    match (a.generation.number(), b.generation.number()) {
        (Some(a), Some(b)) => a > b,
        (Some(_) | None, None) | (None, Some(_)) => {
            (a.last_seen, a.generation.to_bits()) > (b.last_seen, b.generation.to_bits())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn heard(ms: i64, generation: &str) -> Facts {
        Facts::heard(at(ms), ms, Generation::parse(generation))
    }

    fn fold(facts: impl IntoIterator<Item = Facts>) -> Facts {
        facts.into_iter().fold(Facts::NONE, |mut sum, next| {
            sum.merge(&next);
            sum
        })
    }

    /// Calls `check` with every order of every subset of `items`.
    fn every_order(
        items: &mut Vec<Facts>,
        chosen: &mut Vec<Facts>,
        check: &mut impl FnMut(&[Facts]),
    ) {
        check(chosen);
        for index in 0..items.len() {
            let item = items.remove(index);
            chosen.push(item);
            every_order(items, chosen, check);
            chosen.pop();
            items.insert(index, item);
        }
    }

    #[test]
    fn all_orders_of_all_subsets_of_the_alphabet_end_in_the_same_facts() {
        for generations in [("100", "200"), ("a", "b"), ("", "200")] {
            let (old, new) = generations;
            let mut alphabet = vec![
                Facts::created(at(10)),
                heard(30, old),
                heard(20, old),
                Facts::deleted(at(40)),
                Facts::created(at(50)),
                heard(30, old),
                heard(60, new),
            ];
            let mut orders = 0_u32;
            every_order(&mut alphabet, &mut Vec::new(), &mut |order| {
                let mut sorted = order.to_vec();
                sorted.sort_by_key(|f| (f.created_at, f.deleted_at, f.last_seen));
                assert_eq!(fold(order.iter().copied()), fold(sorted), "{order:?}");
                orders += 1;
            });
            assert_eq!(orders, 13_700);
        }
    }

    #[test]
    fn the_whole_alphabet_ends_in_the_new_incarnation() {
        let all = [
            Facts::created(at(10)),
            heard(20, "100"),
            heard(30, "100"),
            Facts::deleted(at(40)),
            Facts::created(at(50)),
            heard(60, "200"),
        ];
        let expected = [
            Life::Pending { since: at(10) },
            Life::Heard { last_seen: at(20) },
            Life::Heard { last_seen: at(30) },
            Life::Deleted { at: at(40) },
            Life::Pending { since: at(50) },
            Life::Heard { last_seen: at(60) },
        ];
        for (count, life) in expected.into_iter().enumerate() {
            assert_eq!(fold(all[..=count].iter().copied()).life(), Some(life));
        }
    }

    #[test]
    fn a_deleted_generation_stays_dead_and_a_new_one_needs_no_notification() {
        let deleted = [heard(20, "100"), Facts::deleted(at(40))];
        assert_eq!(
            fold(deleted.into_iter().chain([heard(45, "100")])).life(),
            Some(Life::Deleted { at: at(40) })
        );
        assert_eq!(
            fold(deleted.into_iter().chain([heard(45, "200")])).life(),
            Some(Life::Heard { last_seen: at(45) })
        );
    }

    #[test]
    fn telemetry_that_overtakes_its_own_create_notification_counts() {
        let facts = fold([Facts::deleted(at(40)), heard(52, "200"), Facts::created(at(60))]);
        assert_eq!(facts.life(), Some(Life::Heard { last_seen: at(52) }));
    }

    #[test]
    fn without_generations_life_after_a_second_creation_counts() {
        let facts =
            fold([heard(20, ""), Facts::deleted(at(40)), Facts::created(at(50)), heard(60, "")]);
        assert_eq!(facts.life(), Some(Life::Heard { last_seen: at(60) }));
        let zombie = fold([heard(20, ""), Facts::deleted(at(40)), heard(45, "")]);
        assert_eq!(zombie.life(), Some(Life::Deleted { at: at(40) }));
    }
}
