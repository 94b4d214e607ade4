//! Log: writes each event as one line to standard error. It does not decide what is logged.
//!
//! Nothing else writes to standard error while the gateway serves. Logging never waits for the reader (`lines`), and
//! text of others cannot forge a line or control a terminal ([`plain()`]).

mod fields;
mod journal;
mod lines;
mod plain;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal as _},
    panic,
};

use tracing::{Metadata, error, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter,
    filter::{FilterExt as _, filter_fn},
    fmt,
    layer::{Layer, SubscriberExt as _},
    registry,
    registry::Registry,
    util::SubscriberInitExt as _,
};

pub use self::{
    journal::prioritized,
    lines::{Log, dropped},
    plain::plain,
};
use fields::Fields;
use journal::Prioritized;

/// How a line is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Lines for people; in the journal of systemd, with its priorities and without the time.
    Text,
    /// One JSON object for each line.
    Json,
}

/// Layer that hears of all events, whatever the filter lets pass.
pub type Listener = Box<dyn Layer<Registry> + Send + Sync>;

/// Begins to log, as long as the result lives: what `filter` lets pass, in this format, and what panics say.
/// `listener` hears of events, too.
pub fn start(filter: EnvFilter, format: Format, listener: Listener) -> io::Result<Log> {
    let log = Log::start(io::stderr())?;
    let layer = fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false);
    let layer = match format {
        Format::Json => layer.json().with_writer(log.json()).boxed(),
        Format::Text => {
            let layer = layer.fmt_fields(Fields).with_writer(log.text());
            if journal::is_reader() {
                let layer = layer.without_time().with_level(false);
                layer.map_event_format(Prioritized).boxed()
            } else {
                layer.boxed()
            }
        }
    };
    // Events about the log itself pass whatever the filter says: that lines are missing has to be seen.
    let is_about_the_log = |about: &Metadata<'_>| about.target() == lines::TARGET;
    let filter = filter.or(filter_fn(is_about_the_log).with_max_level_hint(LevelFilter::WARN));
    registry()
        .with(listener)
        .with(layer.with_filter(filter))
        .init();
    // The usual one writes to standard error itself, and waits until somebody reads it.
    panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        error!(%panic, backtrace = backtrace.map(tracing::field::display), "panicked");
    }));
    Ok(log)
}
