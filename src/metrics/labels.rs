//! Labels that several families have.

use prometheus_client::encoding::EncodeLabelSet;

/// How something went, in a word.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Outcome {
    pub(super) outcome: &'static str,
}
