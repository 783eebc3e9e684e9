//! The label config (`config.xml`): which data keys a task must hold, and of what type.

/// A parsed label config.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LabelConfig {}

/// Why a label config cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LabelConfigError(pub String);

impl LabelConfig {
    /// Parses `config.xml` as Label Studio 0.8 does.
    pub fn parse(_xml: &str) -> Result<Self, LabelConfigError> {
        Ok(Self {})
    }

    /// The data key that Label Studio takes for blob URLs when none is set: the first `$value` in document order.
    pub fn first_data_key(&self) -> Option<&str> {
        None
    }
}
