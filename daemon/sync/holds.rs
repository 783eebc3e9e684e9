//! When too much vanished, or became another, at once to be believed.
//!
//! Promise: what is held has an id that names exactly what was seen; another sight has another id.

use crate::names::Sha256;

/// Below this many items nothing is held (unless everything is gone): small projects are tidied by hand.
pub const HELD_MIN: u64 = 10;

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

/// More than this share of the known items changed at once is held: a bucket or directory may have been replaced by one
/// with the same names.
#[derive(Clone, Copy, Debug)]
pub struct ChangeLimit {
    /// 0 to 100.
    pub percent: u8,
    /// What of a version stands for the contents: versions that are equal in it are no change to be held.
    pub contents: fn(&str) -> &str,
}

/// Too much changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MassChange {
    /// How many.
    pub changed: u64,
    /// Of how many that are still there.
    pub known: u64,
    /// Names exactly this sight.
    pub id: String,
}

impl ChangeLimit {
    /// Whether other contents may stand behind the version. A row without one was never compared (after a repair, or
    /// where `lsctl retry` wants another look).
    pub fn is_other(self, known: &str, listed: &str) -> bool {
        !known.is_empty() && (self.contents)(known) != (self.contents)(listed)
    }

    /// `digest`: over names and new versions of what changed, in order.
    pub fn judge(self, changed: u64, known: u64, digest: Sha256) -> Option<MassChange> {
        is_mass(changed, known, self.percent).then(|| MassChange { changed, known, id: sight(digest) })
    }
}

fn is_mass(count: u64, known: u64, percent: u8) -> bool {
    count >= HELD_MIN && u128::from(count) * 100 > u128::from(known) * u128::from(percent)
}

fn sight(digest: Sha256) -> String {
    digest.to_string()[..8].to_owned()
}

impl VanishLimit {
    /// `digest`: over the names of what vanished, in order.
    pub fn judge(self, vanished: u64, known: u64, empty: bool, digest: Sha256) -> Option<Vanish> {
        let too_many = is_mass(vanished, known, self.percent);
        let gone_empty = empty && vanished > 0 && self.hold_empty;
        if !too_many && !gone_empty {
            return None;
        }
        Some(Vanish { vanished, known, empty: empty && vanished > 0, id: sight(digest) })
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
    fn l07_more_than_half_and_at_least_ten_that_are_others_are_held() {
        let limit = ChangeLimit { percent: 50, contents: |version| version };
        let held = |changed, known| limit.judge(changed, known, Sha256::of(b"")).is_some();
        assert!(!held(9, 10));
        assert!(!held(10, 20));
        assert!(held(11, 20));
        let off = ChangeLimit { percent: 100, ..limit };
        assert!(off.judge(20, 20, Sha256::of(b"")).is_none());
        assert!(limit.is_other("1", "2"));
        assert!(!limit.is_other("", "2"), "never compared");
    }

    #[test]
    fn l02_an_empty_look_after_a_full_one_is_held() {
        assert!(judge(1, 1, true));
        assert!(!judge(1, 1, false));
    }
}
