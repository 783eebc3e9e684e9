//! `lsctl set-source`.
//!
//! Promise: prints old → new and what the next cycle will do; with `--dry-run` nothing is changed.
//! Not here: which values are valid; the daemon knows and says every problem at once.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use hyper::Method;
use labelsync::settings::{OnChanged, OnRemoved, SourcePatch};

use super::{Session, print_changed, words};
use crate::failure::{Exit, Failure};

/// Arguments of `set-source`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project; may be left out where there is only one
    project: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Only say what would change and what the next cycle would do
    #[arg(long)]
    dry_run: bool,
}

/// At least one.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Settings {
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

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let settings = args.settings;
    let patch = SourcePatch {
        prefix: settings.prefix,
        regex: settings.regex,
        exclude: settings.exclude,
        create_local_copy: settings.create_local_copy,
        use_blob_urls: settings.use_blob_urls,
        data_key: settings.data_key,
        recursive: settings.recursive,
        poll_interval: settings.poll_interval,
        on_removed: settings.on_removed,
        on_changed: settings.on_changed,
    };
    let path = words::path(args.project.as_deref(), &format!("/source?dry_run={}", args.dry_run))?;
    let answer = session.client.send(Method::PATCH, &path, &patch).await?;
    print_changed(session, &answer)
}
