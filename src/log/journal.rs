//! Lines for the journal of systemd: each begins with its priority (sd-daemon(3)), and bears no time, as the journal
//! knows it.

use std::{
    env, fmt,
    fs::File,
    io::{self, IsTerminal as _},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext,
        format::{FormatEvent, FormatFields, Writer},
    },
    registry::LookupSpan,
};

/// Lines of another format, behind their priorities.
pub(super) struct Prioritized<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Prioritized<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// Lines for standard error, where no log is kept; in the journal, each with the priority of `level`.
pub fn prioritized(level: Level, text: &str) -> String {
    let mark = is_reader().then(|| format!("<{}>", priority(level)));
    let mark = mark.unwrap_or_default();
    text.lines().map(|line| format!("{mark}{line}\n")).collect()
}

/// As syslog(3) counts them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Whether it is the journal that reads standard error: `JOURNAL_STREAM` names it, and may have been inherited by a
/// program whose standard error goes elsewhere.
pub(super) fn is_reader() -> bool {
    let Ok(named) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = io::stderr();
    !stderr.is_terminal()
        && stderr
            .as_fd()
            .try_clone_to_owned()
            .and_then(|it| File::from(it).metadata())
            .is_ok_and(|it| named == format!("{}:{}", it.dev(), it.ino()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Seek as _},
        sync::Arc,
    };

    use tracing::{debug, error, info, subscriber::with_default, trace, warn};
    use tracing_subscriber::{fmt, layer::SubscriberExt as _, registry};

    use super::*;

    #[test]
    fn each_line_begins_with_its_priority() {
        let mut file = tempfile::tempfile().expect("a file");
        let writer = Arc::new(file.try_clone().expect("a handle"));
        let format = Prioritized(fmt::format().without_time().with_level(false));
        let layer = fmt::layer().event_format(format).with_writer(writer);
        with_default(registry().with(layer.with_ansi(false)), || {
            error!(target: "t", "worst");
            warn!(target: "t", "bad");
            info!(target: "t", "said");
            debug!(target: "t", "more");
            trace!(target: "t", "most");
        });
        file.rewind().expect("a file");
        let mut lines = String::new();
        file.read_to_string(&mut lines).expect("text");
        let expected = "<3>t: worst\n<4>t: bad\n<6>t: said\n<7>t: more\n<7>t: most\n";
        assert_eq!(lines, expected);
    }
}
