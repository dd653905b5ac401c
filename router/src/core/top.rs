//! Which rows of a list have the most of something, kept as the rows change.

/// What a row has that may not be chosen: less than any other.
pub(super) const CLOSED: f64 = -1.0;

/// The most that any row has, and which rows have it.
#[derive(Clone, Debug)]
pub(super) struct Top {
    most: f64,
    /// A bit for each row.
    rows: Vec<u64>,
    /// How many bits are set.
    count: u32,
}

impl Top {
    /// Looks at all rows.
    pub(super) fn take(&mut self, all: &[f64]) {
        // Four at a time, for each comparison waits for the one before.
        let mut most = [CLOSED; 4];
        for four in all.chunks(4) {
            for (most, own) in most.iter_mut().zip(four) {
                *most = if *own > *most { *own } else { *most };
            }
        }
        self.most = most.into_iter().fold(CLOSED, |most, own| if own > most { own } else { most });
        let most = self.most;
        let bits = |rows: &[f64]| rows.iter().rev().fold(0, |bits, own| bits << 1 | u64::from(*own == most));
        self.rows.clear();
        self.rows.extend(all.chunks(64).map(bits));
        self.count = self.rows.iter().map(|rows| rows.count_ones()).sum();
    }

    /// Notes what a row has now; false when it was the last one at the top and is not any more.
    #[inline]
    pub(super) fn note(&mut self, row: usize, has: f64) -> bool {
        let (word, bit) = (row / 64, 1 << (row % 64));
        let Some(rows) = self.rows.get_mut(word) else { return false };
        let was = u32::from(*rows & bit != 0);
        if has > self.most {
            self.rows.fill(0);
            self.rows[word] = bit;
            (self.most, self.count) = (has, 1);
        } else if has == self.most {
            *rows |= bit;
            self.count += 1 - was;
        } else {
            *rows &= !bit;
            self.count -= was;
        }
        self.count > 0
    }

    /// The row at the top where there is one alone, and not the row `without`.
    #[inline]
    pub(super) fn only(&self, without: Option<usize>) -> Option<usize> {
        if self.count != 1 || self.most == CLOSED {
            return None;
        }
        let (word, rows) = self.rows.iter().enumerate().find(|(_, rows)| **rows != 0)?;
        Some(word * 64 + rows.trailing_zeros() as usize).filter(|row| Some(*row) != without)
    }

    /// Of the rows at the top the first from `start` on, or else the first of all, but for the row `without`.
    #[inline]
    pub(super) fn one_from(&self, start: usize, without: Option<usize>) -> Option<usize> {
        if self.most == CLOSED {
            return None;
        }
        let mut found = None;
        for (word, rows) in self.rows.iter().enumerate() {
            let first = word * 64;
            let rows = match without {
                Some(row) if row / 64 == word => rows & !(1 << (row % 64)),
                Some(_) | None => *rows,
            };
            let later = rows & u64::MAX.checked_shl(start.saturating_sub(first) as u32).unwrap_or(0);
            if later != 0 {
                return Some(first + later.trailing_zeros() as usize);
            }
            if found.is_none() && rows != 0 {
                found = Some(first + rows.trailing_zeros() as usize);
            }
        }
        found
    }
}

impl Default for Top {
    fn default() -> Self {
        Self { most: CLOSED, rows: Vec::new(), count: 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However rows change, the top is that of the whole list.
        #[test]
        fn the_top_is_kept(
            start in prop::collection::vec(0u8..4, 1..150),
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4), 0..200),
        ) {
            let value = |level: u8| if level == 0 { CLOSED } else { f64::from(level) };
            let mut all: Vec<f64> = start.into_iter().map(value).collect();
            let mut top = Top::default();
            top.take(&all);
            for (row, level) in changes {
                let row = row.index(all.len());
                all[row] = value(level);
                if !top.note(row, all[row]) {
                    top.take(&all);
                }
                let most = all.iter().copied().fold(CLOSED, f64::max);
                let tied: Vec<usize> = (0..all.len()).filter(|row| most > CLOSED && all[*row] == most).collect();
                for without in [None, Some(row)] {
                    let others = || tied.iter().filter(|row| Some(**row) != without);
                    prop_assert_eq!(top.only(without), others().next().copied().filter(|_| tied.len() == 1));
                }
                for start in [0, row, all.len() - 1] {
                    for without in [None, Some(row)] {
                        let others = || tied.iter().copied().filter(|row| Some(*row) != without);
                        let one = others().find(|row| *row >= start).or(others().next());
                        prop_assert_eq!(top.one_from(start, without), one);
                    }
                }
            }
        }
    }
}
