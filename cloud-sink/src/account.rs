//! What became of the runs that are not here: which places of a gateway's chain a signed tombstone accounts for, and which
//! nobody does.
//!
//! Pure but for [`of_gateway`], which asks the store. A place that a tombstone stands for is accounted for, not well: its
//! evidence is gone. A place that nothing stands for is an evidence gap.

use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::tombstone::Cause;
use jiff::Timestamp;
use rusqlite::Connection;
use serde::Serialize;

use crate::store::StoreError;
use crate::store::runs::{self, ChainGap};
use crate::store::tombstones::{self, TombstoneMeta};

/// A stretch of missing runs that a tombstone stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Buried {
    /// The first missing place.
    pub from: u64,
    /// The last missing place.
    pub to: u64,
    /// How many runs are missing here; null when not even the gateway knows.
    pub runs: Option<u64>,
    /// Why they are gone, as the gateway signed it.
    pub cause: Cause,
    /// When they went, by the gateway's clock.
    pub buried_at: Timestamp,
    /// When this sink was told, by its own clock.
    pub received_at: Timestamp,
    /// SHA-256 of the tombstone's payload.
    pub tombstone: Digest,
}

/// Every missing stretch of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// Those that a tombstone stands for, in order.
    pub buried: Vec<Buried>,
    /// Those that nobody accounts for, in order.
    pub unaccounted: Vec<ChainGap>,
}

impl Account {
    /// How many places nobody accounts for.
    #[must_use]
    pub fn unaccounted_runs(&self) -> u64 {
        self.unaccounted.iter().fold(0, |sum, gap| sum.saturating_add(gap.to - gap.from + 1))
    }
}

/// What is missing of a gateway's chain: the first hundred stretches, and what tombstones say of the places behind its end.
///
/// # Errors
/// The database's.
pub fn of_gateway(connection: &Connection, gateway: GatewayId) -> Result<Account, StoreError> {
    let stones = tombstones::list(connection, gateway)?;
    let mut account = account(&runs::gaps(connection, gateway)?, &stones);
    let end = runs::head(connection, gateway)?.map_or(1, |(head, _)| head.saturating_add(1));
    let last = stones.iter().map(|stone| stone.to).max().unwrap_or(0);
    if end <= last {
        // What comes there may be on its way; what is gone is not.
        let tail = self::account(&[ChainGap { from: end, to: last }], &stones);
        account.buried.extend(tail.buried);
    }
    Ok(account)
}

/// Which of the missing stretches `gaps` the tombstones `stones` stand for.
#[must_use]
pub fn account(gaps: &[ChainGap], stones: &[TombstoneMeta]) -> Account {
    let mut account = Account::default();
    for gap in gaps {
        let mut next = gap.from;
        while next <= gap.to {
            // Of several the one that reaches furthest: it has grown, and says all that the shorter ones said.
            let over = stones.iter().filter(|stone| (stone.from..=stone.to).contains(&next));
            if let Some(stone) = over.max_by_key(|stone| (stone.to, stone.received_at)) {
                let to = stone.to.min(gap.to);
                account.buried.push(Buried {
                    from: next,
                    to,
                    runs: stone.runs.map(|_| to - next + 1),
                    cause: stone.cause,
                    buried_at: stone.buried_at,
                    received_at: stone.received_at,
                    tombstone: stone.digest,
                });
                next = to.saturating_add(1);
            } else {
                let begins = stones.iter().map(|stone| stone.from).filter(|from| *from > next).min();
                let to = begins.map_or(gap.to, |begins| (begins - 1).min(gap.to));
                account.unaccounted.push(ChainGap { from: next, to });
                next = to.saturating_add(1);
            }
        }
    }
    account
}

#[cfg(test)]
mod tests {
    use gatepost_evidence::chain::Piece;

    use super::*;

    fn stone(from: u64, to: u64, runs: Option<u64>, cause: Cause) -> TombstoneMeta {
        let at = "2026-03-01T10:00:00Z".parse().unwrap();
        let digest = Digest::of(&[from.to_be_bytes(), to.to_be_bytes()].concat());
        let piece = Piece { from, to, prev: None, first: None, last: None, own: None };
        TombstoneMeta { digest, from, to, runs, cause, buried_at: at, received_at: at, piece }
    }

    fn buried(account: &Account) -> Vec<(u64, u64, Option<u64>, Cause)> {
        account.buried.iter().map(|it| (it.from, it.to, it.runs, it.cause)).collect()
    }

    #[test]
    fn each_missing_place_is_accounted_for_or_not() {
        use Cause::{Damaged, NoRoom, TooOld};
        let gaps = [ChainGap { from: 2, to: 9 }, ChainGap { from: 20, to: 30 }, ChainGap { from: 40, to: 40 }];
        let stones = [
            stone(4, 5, Some(2), NoRoom),
            stone(4, 6, Some(3), NoRoom),
            stone(8, 22, Some(15), TooOld),
            stone(25, 99, None, Damaged),
        ];
        let account = account(&gaps, &stones);
        let expected = [
            (4, 6, Some(3), NoRoom),
            (8, 9, Some(2), TooOld),
            (20, 22, Some(3), TooOld),
            (25, 30, None, Damaged),
            (40, 40, None, Damaged),
        ];
        assert_eq!(buried(&account), expected);
        let left: Vec<_> = account.unaccounted.iter().map(|gap| (gap.from, gap.to)).collect();
        assert_eq!(left, [(2, 3), (7, 7), (23, 24)]);
        assert_eq!(account.unaccounted_runs(), 5);
    }

    #[test]
    fn the_last_place_of_a_tombstone_is_its_own_too() {
        let gaps = [ChainGap { from: 2, to: 2 }, ChainGap { from: 5, to: 6 }];
        let account = account(&gaps, &[stone(2, 2, Some(1), Cause::NoRoom), stone(4, 5, Some(2), Cause::NoRoom)]);
        assert_eq!(buried(&account), [(2, 2, Some(1), Cause::NoRoom), (5, 5, Some(1), Cause::NoRoom)]);
        assert_eq!(account.unaccounted, [ChainGap { from: 6, to: 6 }]);
    }

    #[test]
    fn without_tombstones_nobody_accounts_for_anything() {
        let gaps = [ChainGap { from: 2, to: 3 }];
        assert_eq!(account(&gaps, &[]), Account { buried: Vec::new(), unaccounted: gaps.to_vec() });
        assert_eq!(account(&[], &[stone(1, 5, Some(5), Cause::NoRoom)]), Account::default());
    }
}
