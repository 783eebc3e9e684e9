//! A look that takes nothing: said, as a mistyped prefix or regex looks like a bucket with nothing in it.
//!
//! Promise: a warning, no failure; it names the setting that took nothing, with its numbers and the remedy.
//! Not here: what is gone at once (`holds`); where that is held, nothing is said here.

use crate::control::api::Reason;
use crate::settings::SourceSettings;
use crate::sync::source::Counts;

const NO_REGEX: &str = "no_regex";
const NOTHING_LISTED: &str = "nothing_listed";
const NOTHING_SELECTED: &str = "nothing_selected";

/// What may be said of a look; at most one of them stands.
pub(super) const CODES: [&str; 3] = [NO_REGEX, NOTHING_LISTED, NOTHING_SELECTED];

/// What a look at `root` that took nothing gives to say. An empty bucket without a prefix is no surprise.
pub(super) fn reason(counts: &Counts, settings: &SourceSettings, root: &str, project: &str) -> Option<Reason> {
    let Counts { listed, selected, skipped, .. } = counts;
    let skipped: u64 = skipped.values().sum();
    let (code, message, hint) = match (listed, selected) {
        _ if settings.regex.is_none() => (
            NO_REGEX,
            format!("no regex is set, so nothing is taken ({skipped} keys skipped), as in Label Studio"),
            format!("`lsctl set-source {project} --regex '.*'` takes everything"),
        ),
        (0, _) if !settings.prefix.is_empty() => (
            NOTHING_LISTED,
            format!("{root} lists nothing below the prefix `{}`", settings.prefix),
            format!("nothing if that is so; else correct it: `lsctl set-source {project} --prefix …`"),
        ),
        (1.., 0) => (
            NOTHING_SELECTED,
            format!("none of the {listed} objects that {root} lists is taken"),
            format!(
                "`lsctl list {project} --state skipped` says why; correct the pattern: `lsctl set-source {project} --regex …`"
            ),
        ),
        _ => return None,
    };
    Some(Reason { code: code.to_owned(), message, hint })
}
