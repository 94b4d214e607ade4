//! Labels that several families share.

use prometheus_client::encoding::EncodeLabelSet;

/// How something went, in one word.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Outcome {
    pub(super) outcome: &'static str,
}
