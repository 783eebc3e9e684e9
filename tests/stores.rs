//! The contract of stores, and what S3 and GCS do when the network or the server does not.
//!
//! Promise: one contract for every kind: memory, directory, S3 on moto, S3 on SeaweedFS, GCS on fake-gcs-server.
//! Not here: whole projects.

#[path = "stores/ahead.rs"]
mod ahead;
#[path = "stores/answers.rs"]
mod answers;
#[path = "stores/careless.rs"]
mod careless;
#[path = "stores/clocks.rs"]
mod clocks;
#[path = "stores/contract.rs"]
mod contract;
#[path = "stores/errors.rs"]
mod errors;
#[path = "stores/gcs.rs"]
mod gcs;
#[path = "stores/gcs_errors.rs"]
mod gcs_errors;
#[path = "stores/regions.rs"]
mod regions;
#[path = "stores/s3.rs"]
mod s3;
mod support;
#[path = "stores/ways.rs"]
mod ways;

use std::process::ExitCode;

use labelsync::store::StoreErrorKind;
use labelsync::store::gcs::GcsStore;
use labelsync::store::local::LocalStore;
use labelsync::store::memory::MemoryStore;
use labelsync::store::s3::S3Store;

use self::contract::Differences;
use self::support::Kind;

/// Runs every function of the contract for every kind of store.
macro_rules! contract {
    ($trials:ident: $($name:ident),* $(,)?) => {$(
        $trials.test(concat!("memory::", stringify!($name)), || async {
            contract::$name(&MemoryStore::new("s3://memory"), &MEMORY).await;
            contract::$name(&MemoryStore::new("s3://memory").with_page_objects(3), &MEMORY).await;
        });
        $trials.test(concat!("local::", stringify!($name)), || async {
            let dir = tempfile::tempdir().expect("a directory");
            contract::$name(&LocalStore::open(dir.path()).expect("a store"), &LOCAL).await;
        });
        for kind in Kind::S3 {
            $trials.test_on(kind, stringify!($name), move |server| async move {
                let settings = server.settings(&server.new_bucket().await);
                let store = S3Store::connect(&settings).await.expect("a store");
                contract::$name(&store, differences(kind)).await;
            });
        }
        $trials.test_on(Kind::Gcs, stringify!($name), |server| async move {
            let settings = server.gcs_settings(&server.new_bucket().await);
            let store = GcsStore::connect(&settings).await.expect("a store");
            contract::$name(&store, &GCS).await;
        });
    )*};
}

fn main() -> ExitCode {
    support::trials(|trials| {
        contract!(trials:
            l70_every_listed_key_can_be_read,
            l67_a_key_that_cannot_be_held_is_refused,
            l24_create_only_has_exactly_one_winner,
            l23_a_replacement_needs_the_version_it_replaces,
            l23_of_eight_replacements_of_one_version_one_wins,
            a_delete_needs_the_version_it_removes,
            l34_an_object_over_the_limit_is_not_read,
            bodies_are_whole_whatever_their_size,
            a_prefix_is_a_plain_string,
            a_listing_of_many_pages_is_whole,
            a_page_can_start_after_any_key,
            l5_byte_order_is_kept_or_noticed,
            a_missing_object_is_named_so,
        );
        s3::add(trials);
        ahead::add(trials);
        errors::add(trials);
        careless::add(trials);
        regions::add(trials);
        ways::add(trials);
        clocks::add(trials);
        gcs::add(trials);
        gcs_errors::add(trials);
    })
}

const MEMORY: Differences = Differences { cannot_hold: |_| false, lists_directories_first: false, refuses_with: None };

/// Segments that are empty, `.` or `..`; `a` and `dir` are directories of other keys.
const LOCAL: Differences = Differences {
    cannot_hold: |key| key.split('/').any(|segment| matches!(segment, "" | "." | "..")),
    lists_directories_first: false,
    refuses_with: Some(StoreErrorKind::UnsupportedKey),
};

/// moto answers 404 with a web page where a key holds a newline.
const MOTO: Differences =
    Differences { cannot_hold: |key| key.contains('\n'), lists_directories_first: false, refuses_with: None };

/// SeaweedFS keeps keys as paths: it joins slashes, refuses `.` and `..`, takes a backslash for a slash, and
/// drops the body of a key that ends with a slash.
const SEAWEEDFS: Differences = Differences {
    cannot_hold: |key| key.contains('\\') || key.split('/').any(|segment| matches!(segment, "" | "." | "..")),
    lists_directories_first: true,
    refuses_with: None,
};

/// Google has no objects of these names, and no URL can carry them.
const GCS: Differences = Differences {
    cannot_hold: |key| matches!(key, "." | ".."),
    lists_directories_first: false,
    refuses_with: Some(StoreErrorKind::UnsupportedKey),
};

fn differences(kind: Kind) -> &'static Differences {
    match kind {
        Kind::Moto => &MOTO,
        Kind::SeaweedFs => &SEAWEEDFS,
        Kind::Gcs => &GCS,
    }
}
