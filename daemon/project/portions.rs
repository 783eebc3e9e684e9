//! Work in portions that fit into memory.
//!
//! Promise: order is kept, nothing is left out; a portion is bounded in number and bytes, one that is too large alone.
//! Not here: what is done with them.

/// Bytes of objects or files that are held at once: some large ones, or as many small ones as the number allows.
pub const BYTES_AT_ONCE: u64 = 64 << 20;

/// Portions of at most so many items and, by `size`, so many bytes.
pub fn portions<T>(items: Vec<T>, (most, most_bytes): (usize, u64), size: impl Fn(&T) -> u64) -> Vec<Vec<T>> {
    let mut portions: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0_u64;
    for item in items {
        let more = size(&item);
        bytes = bytes.saturating_add(more);
        match portions.last_mut().filter(|portion| portion.len() < most && bytes <= most_bytes) {
            Some(portion) => portion.push(item),
            None => {
                portions.push(vec![item]);
                bytes = more;
            }
        }
    }
    portions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l51_a_portion_is_bounded_in_number_and_bytes() {
        let of = |sizes: &[u64]| portions(sizes.to_vec(), (3, BYTES_AT_ONCE), |size| *size);
        assert_eq!(of(&[]), Vec::<Vec<u64>>::new());
        assert_eq!(of(&[1, 2, 3, 4]), [vec![1, 2, 3], vec![4]]);
        let half = BYTES_AT_ONCE / 2;
        assert_eq!(of(&[half, half, 1, 2]), [vec![half, half], vec![1, 2]]);
        assert_eq!(of(&[1, 2 * BYTES_AT_ONCE, 3, u64::MAX, 4]).len(), 5, "too large alone");
    }
}
