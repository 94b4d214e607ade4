//! `[log]`: what is logged, and in which format.

use super::{reader::Section, value};
use crate::log::Format;

/// `[log]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// What is logged, as directives of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// The format of the lines.
    pub format: Format,
    /// Whether each HTTP request is logged.
    pub access: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: Format::Text,
            access: false,
        }
    }
}

impl Log {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let mut it = Self::default();
        let formats = [("text", Format::Text), ("json", Format::Json)];
        section.set(&mut it.filter, "filter", value::log_filter);
        section.choose(&mut it.format, "format", &formats);
        section.flag(&mut it.access, "access");
        it
    }
}
