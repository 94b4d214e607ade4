//! Labels that several families share.

use prometheus_client::encoding::EncodeLabelSet;

/// How something went, in one word.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Outcome {
    pub(super) outcome: &'static str,
}

/// Why something ended or was refused, in one word.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
}
