//! `lsctl set-source`: what can be said of a source.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use labelsync::settings::{OnChanged, OnRemoved, SourcePatch};

use super::set;

/// At least one.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct Settings {
    /// Where in the bucket to look
    #[arg(long, value_name = "P")]
    prefix: Option<String>,
    /// Python's `re.match` on the full key; '' selects nothing
    #[arg(long, value_name = "R")]
    regex: Option<String>,
    /// Python's `re.search` on the full key: what it finds is left out; '' leaves nothing out
    #[arg(long, value_name = "R")]
    exclude: Option<String>,
    /// Keep a local copy of each object
    #[arg(long, value_name = "BOOL")]
    create_local_copy: Option<bool>,
    /// Tasks hold the blob's URL (true), or each object is a JSON task (false)
    #[arg(long, value_name = "BOOL")]
    use_blob_urls: Option<bool>,
    /// The task's data key for URLs; '' takes the label config's first
    #[arg(long, value_name = "K")]
    data_key: Option<String>,
    /// Look at all levels below the prefix
    #[arg(long, value_name = "BOOL")]
    recursive: Option<bool>,
    /// Time between two listings, such as 30s or 5m
    #[arg(long, value_name = "D")]
    poll_interval: Option<String>,
    /// What happens to the task of an object that is gone
    #[arg(long, value_parser = removed())]
    on_removed: Option<OnRemoved>,
    /// What happens to the task of an object that has changed
    #[arg(long, value_parser = changed())]
    on_changed: Option<OnChanged>,
}

fn removed() -> impl TypedValueParser<Value = OnRemoved> {
    PossibleValuesParser::new(["keep", "hide"])
        .map(|word| if word == "hide" { OnRemoved::Hide } else { OnRemoved::Keep })
}

fn changed() -> impl TypedValueParser<Value = OnChanged> {
    PossibleValuesParser::new(["update", "keep"])
        .map(|word| if word == "keep" { OnChanged::Keep } else { OnChanged::Update })
}

impl set::Settings for Settings {
    const SIDE: &'static str = "source";
    type Patch = SourcePatch;

    fn patch(self) -> SourcePatch {
        SourcePatch {
            prefix: self.prefix,
            regex: self.regex,
            exclude: self.exclude,
            create_local_copy: self.create_local_copy,
            use_blob_urls: self.use_blob_urls,
            data_key: self.data_key,
            recursive: self.recursive,
            poll_interval: self.poll_interval,
            on_removed: self.on_removed,
            on_changed: self.on_changed,
        }
    }
}
