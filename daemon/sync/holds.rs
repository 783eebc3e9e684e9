//! When too much vanished at once to be believed.
//!
//! Promise: what is held has an id that names exactly what was seen; another sight has another id.

use crate::names::Sha256;

/// Below this many vanished items nothing is held (unless everything is gone): small projects are tidied by hand.
pub const VANISH_MIN: u64 = 10;

/// More than this share of the known items vanished at once is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VanishLimit {
    /// 0 to 100.
    pub percent: u8,
    /// Hold also when the look was entirely empty and something was known.
    pub hold_empty: bool,
}

/// Too much vanished.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vanish {
    /// How many.
    pub vanished: u64,
    /// Of how many.
    pub known: u64,
    /// The look showed nothing at all.
    pub empty: bool,
    /// Names exactly this sight.
    pub id: String,
}

impl VanishLimit {
    /// `digest`: over the names of what vanished, in order.
    pub fn judge(self, vanished: u64, known: u64, empty: bool, digest: Sha256) -> Option<Vanish> {
        let too_many =
            vanished >= VANISH_MIN && u128::from(vanished) * 100 > u128::from(known) * u128::from(self.percent);
        let gone_empty = empty && vanished > 0 && self.hold_empty;
        if !too_many && !gone_empty {
            return None;
        }
        let id = digest.to_string()[..8].to_owned();
        Some(Vanish { vanished, known, empty: empty && vanished > 0, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(vanished: u64, known: u64, empty: bool) -> bool {
        VanishLimit { percent: 50, hold_empty: true }.judge(vanished, known, empty, Sha256::of(b"")).is_some()
    }

    #[test]
    fn l03_more_than_half_and_at_least_ten_is_held() {
        assert!(!judge(9, 10, false));
        assert!(!judge(10, 20, false));
        assert!(judge(11, 20, false));
        assert!(judge(10, 19, false));
        assert!(!judge(0, 0, true));
    }

    #[test]
    fn l02_an_empty_look_after_a_full_one_is_held() {
        assert!(judge(1, 1, true));
        assert!(!judge(1, 1, false));
    }
}
