//! `[web]`: which pages may use the gateway.

use super::{
    reader::Section,
    url,
    value::{self, Fault},
};

/// `[web]`
#[derive(Clone, Debug)]
pub struct Web {
    /// Origins that may read answers; `*` alone means any.
    pub origins: Vec<String>,
    /// Headers that pages may send besides Content-Type.
    pub headers: Vec<String>,
    /// Whether pages of other origins are refused sessions, too.
    pub strict: bool,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            origins: vec!["*".to_owned()],
            headers: Vec::new(),
            strict: false,
        }
    }
}

impl Web {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let mut it = Self::default();
        section.list(&mut it.origins, "origins", url::origin);
        section.list(&mut it.headers, "headers", value::header);
        section.flag(&mut it.strict, "strict");
        if it.origins.len() > 1 && it.origins.iter().any(|origin| origin == "*") {
            let cure = "write [\"*\"] or leave it away";
            section.fault("origins", Fault::new("\"*\" beside other origins", cure));
        }
        it
    }
}
