//! Causes of errors, also of those that the standard library hides.

use std::{error::Error, io, iter};

/// An error and what has caused it.
pub fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| {
        // The `source` of an `io::Error` is that of its inner error, and skips the inner error itself.
        match error.downcast_ref::<io::Error>() {
            Some(wrapper) => wrapper.get_ref().map(|inner| inner as _),
            None => error.source(),
        }
    })
}

/// The error and its causes, in one line.
pub fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<_> = causes(error).map(ToString::to_string).collect();
    // Some errors repeat the text of their cause.
    words.dedup();
    words.join(": ")
}
