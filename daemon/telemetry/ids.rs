//! One fixed id for each kind of event: `MESSAGE_ID` of the journal.
//!
//! Promise: an id is never given to another kind; `systemd/labelsyncd.catalog` explains each.
//! Not here: the kinds themselves; whoever tells an event names its kind.

/// In the order of the kinds.
const IDS: [(&str, &str); 64] = [
    ("brought_in", "c3a2378adffa5703b85f5d334c45af45"),
    ("completion_adopted", "38564a2ec9095c9e9b9be69312aba4df"),
    ("completion_deleted", "d34cc72ca6e85caf88518e552058d0d3"),
    ("completion_forgotten", "9c3cf38901d35e178f79a2f1fe32410a"),
    ("conflict", "6075928e197f56a386378a4a3ae38731"),
    ("conflict_over", "3d5a0f0be7b64b12a4a6c2f9d1e8574c"),
    ("copied", "e2af75ea6a365a07aab9f265607b91a6"),
    ("copies_full", "e6b5379279b45d04b62062059103cb31"),
    ("cycle_done", "c81b5fa481fd412491920c4af8353f96"),
    ("cycle_failed", "5d5bdde6b7d0592ea4d81f19b69fbc2b"),
    ("cycle_recovered", "195540b6c4b554a0abcf8474a758c6bb"),
    ("displaced_kept", "2a9c4ba47bb4512fa3a605c6f20a9760"),
    ("displaced_torn", "6dc694cf087a5b399afdfd0723a66971"),
    ("held", "749e0de9d12559f0ae3494dee6dda0cf"),
    ("id_reused", "58d2cd2d57aa5acb93958c6c9e7c3cb6"),
    ("ids_adopted", "03bd5853257b5a0e94c77c75e57e09dd"),
    ("ids_reserved", "b1a6f0c94e3d4c07a58e27d3f60b9a15"),
    ("import_changed", "ff17c50a3fe955d0a235d7307a7856c3"),
    ("import_deleted", "938817af9d645053ac633bb464a7e826"),
    ("import_seen", "b26503e7a09752f1869d82d8f6601d82"),
    ("ledger_rebuilt", "7bd60082d0cc551a91d680e8d2f148a9"),
    ("ledger_restored", "b2e8628dfd8c5c01adc8cfbd47560244"),
    ("listing_unordered", "872358ad27ee5b2d9ec948e85600628a"),
    ("metrics_port", "c9341ecd846f5f9092af157398738759"),
    ("more", "f8fc6c9b414a5e00bb34ec993d643af1"),
    ("object_back", "e214653c2249582d940d863f2ae2f37e"),
    ("object_changed", "1dab3b5f14e358a9a9a06c9a88340e7f"),
    ("object_deleted", "8cc9fccc2bb854349584db771633c478"),
    ("object_gone", "6b42d4e0da84512d90c3deb975617195"),
    ("object_released", "bda2ab1ed74a524893996e68f19c9fcb"),
    ("paused", "ffb7d1e4dd96561f8b2bbf80f313bce3"),
    ("project_stopped", "3f1826c18fe25b42a78a73344ab6170b"),
    ("push_failing", "66c233a335fd5cc590458a3b383c629b"),
    ("push_withdrawn", "92ea5235e6cf5033a21a9405be37cd95"),
    ("pushed", "c555290184c15e08b5f1d009308d238a"),
    ("quarantined", "e94cc1d1b0d053f387e738f0c5762993"),
    ("released", "4dfb101a30c558fbbcfdc8eb4376fee8"),
    ("reload_refused", "7287df16b7e65e55ba7f3495be5ed82c"),
    ("reloaded", "6d44b4cefd14509ca544921efae863cf"),
    ("repaired", "efcfad724a105ce5bb667eef23024662"),
    ("resolved", "09dc7b4684c25d4a92bd13e2aaf4dfe1"),
    ("resumed", "93d6016ee9cf5c0b8196d1c019976783"),
    ("retried", "2ad6b08809ce52789fe1d7736400c30d"),
    ("settings_changed", "8e88c761562452cb8d57e531c91a113e"),
    ("settings_restored", "5c0d4c7745f0fd1239981687ea0e4224"),
    ("started", "b39254a6b6785b678a492ab6542ece1c"),
    ("stopping", "2e54826461e05b7c8d1f0f9a8dde22a4"),
    ("stuck", "2232fc6d26af53b396eabaf4995e9cf1"),
    ("target_changed", "f9942f417ba751cc8477702b08ddf338"),
    ("target_found", "92a4dd6c05b25f91b5cae8502406baea"),
    ("target_missing", "db28632b9c0d58d0a3b382a458c80143"),
    ("target_unsafe", "015ab0e94c4157ee9163ad79eb3c54d3"),
    ("task_added", "beddef0a0f7850098b65dfbf42d0e480"),
    ("task_adopted", "af012f78b9435af380d8d60a5a430718"),
    ("task_hidden", "76d6a6e730995b0785e56db88f6d05b9"),
    ("task_moved", "75da0eb5ae055b10ada06d26c30c3344"),
    ("task_restored", "5dcf0bb8e4a05d8ea5c2ba1eae0dd73b"),
    ("task_retired", "e2682769ba2058ea8b0406f88dd2fa89"),
    ("task_revived", "06554ff31a0f541a9abfb3914f4a310a"),
    ("task_rewritten", "7b154b85fc0b5b91b69b7027bd067247"),
    ("task_shown", "ba7963a4f07350ca8ca3ae7fcb2eda23"),
    ("task_updated", "90220c92818a52d690943d98412d8844"),
    ("task_withdrawn", "e166c22fb8ca5b03b353bf25c3f2d5df"),
    ("watch", "bbb6e6f2375f53958d1540a9f8ed92cd"),
];

/// The id of a kind, as the journal writes ids; `None`: it has none.
pub fn of(kind: &str) -> Option<&'static str> {
    let at = IDS.binary_search_by_key(&kind, |(kind, _)| *kind).ok()?;
    IDS.get(at).map(|(_, id)| *id)
}

/// All kinds and their ids.
pub fn all() -> &'static [(&'static str, &'static str)] {
    &IDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l93_every_kind_has_one_id_and_no_two_share_one() {
        assert!(IDS.is_sorted_by_key(|(kind, _)| *kind));
        let ids: std::collections::BTreeSet<&str> = IDS.iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), IDS.len());
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
        assert_eq!(of("pushed"), IDS.iter().find(|(kind, _)| *kind == "pushed").map(|(_, id)| *id));
        assert_eq!(of("never"), None);
    }
}
