//! Keeping labels apart.

/// Moves labels, each `height` high and wishing to stand at its place, until none overlaps another and all lie between
/// `top` and `bottom`, if there is room at all. Their order along the axis is kept.
pub(super) fn spread(wishes: &[i32], height: i32, top: i32, bottom: i32) -> Vec<i32> {
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    order.sort_by_key(|index| wishes[*index]);
    let mut places = wishes.to_vec();
    let mut free = top;
    for index in &order {
        places[*index] = places[*index].max(free);
        free = places[*index] + height;
    }
    let mut free = bottom;
    for index in order.iter().rev() {
        places[*index] = places[*index].min(free);
        free = places[*index] - height;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_pushed_apart_and_keep_their_order() {
        assert_eq!(spread(&[50, 10, 52, 51], 10, 0, 100), [50, 10, 70, 60]);
        assert_eq!(spread(&[98, 99, 100], 10, 0, 100), [80, 90, 100]);
        assert_eq!(spread(&[], 10, 0, 100), [] as [i32; 0]);
    }
}
