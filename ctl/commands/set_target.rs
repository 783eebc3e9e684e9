//! `lsctl set-target`: what can be said of a target.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use labelsync::settings::{OnDeleted, TargetPatch};

use super::set;

/// At least one.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct Settings {
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

impl set::Settings for Settings {
    const SIDE: &'static str = "target";
    type Patch = TargetPatch;

    fn patch(self) -> TargetPatch {
        let Self { prefix, create_local_copy, on_deleted } = self;
        TargetPatch { prefix, create_local_copy, on_deleted }
    }
}
