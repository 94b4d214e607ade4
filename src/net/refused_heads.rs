//! Request heads that are too long over HTTP/2: counts them.
//!
//! h2 answers them with 431 by itself, and mentions it only in its log. So they are counted by their log lines.

use std::{
    cell::Cell,
    fmt::{self, Write as _},
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    filter::filter_fn,
    layer::{Context, Layer},
    registry::LookupSpan,
};

const TARGET: &str = "h2::proto::streams::recv";
const BEGINNING: &str = "stream error REQUEST_HEADER_FIELDS_TOO_LARGE";

thread_local! {
    static REFUSED: Cell<u32> = const { Cell::new(0) };
}

/// Takes the number of them on this thread since the last call.
///
/// A connection that calls this after each of its polls gets its own number, as a poll stays on one thread.
pub(super) fn take() -> u32 {
    REFUSED.take()
}

/// The layer that counts them, for the program's subscriber.
pub fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let filter = filter_fn(|about| about.is_event() && about.target() == TARGET);
    Counter.with_filter(filter.with_max_level_hint(LevelFilter::DEBUG))
}

struct Counter;

impl<S: Subscriber> Layer<S> for Counter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        if message.0.starts_with(BEGINNING) {
            REFUSED.set(REFUSED.get() + 1);
        }
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a string cannot fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}
