//! `lsctl set-target`.
//!
//! Promise: prints old → new and what the next cycle will do; with `--dry-run` nothing is changed.
//! Not here: which values are valid; the daemon knows and says every problem at once.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use hyper::Method;
use labelsync::settings::{OnDeleted, TargetPatch};

use super::{Session, print_changed, words};
use crate::failure::{Exit, Failure};

/// Arguments of `set-target`.
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
    /// Completions stand at P/ID
    #[arg(long, value_name = "P")]
    prefix: Option<String>,
    /// Bring completions found in the target into completions/
    #[arg(long, value_name = "BOOL")]
    create_local_copy: Option<bool>,
    /// What happens to the object when the local completions are deleted
    #[arg(long, value_parser = deleted())]
    on_deleted: Option<OnDeleted>,
}

fn deleted() -> impl TypedValueParser<Value = OnDeleted> {
    PossibleValuesParser::new(["keep", "delete"])
        .map(|word| if word == "delete" { OnDeleted::Delete } else { OnDeleted::Keep })
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let Settings { prefix, create_local_copy, on_deleted } = args.settings;
    let patch = TargetPatch { prefix, create_local_copy, on_deleted };
    let path = words::path(args.project.as_deref(), &format!("/target?dry_run={}", args.dry_run))?;
    let answer = session.client.send(Method::PATCH, &path, &patch).await?;
    print_changed(session, &answer)
}
