//! Formatter of an event's fields as text: the message, then `name=value` for each of the others.

use std::{
    error::Error,
    fmt::{self, Debug, Write as _},
    iter,
};

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
};

use super::plain::Plain;

const ITALIC: &str = "\u{1b}[3m";
const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

/// Writes fields down. Values go through [`Plain`], whatever they are: only what is written here itself can have
/// an effect on a terminal.
pub(super) struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Visitor {
            writer,
            is_first: true,
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Visitor<'writer> {
    writer: Writer<'writer>,
    is_first: bool,
    result: fmt::Result,
}

impl Visitor<'_> {
    fn field(&mut self, name: &str, value: fmt::Arguments<'_>) {
        if self.result.is_ok() {
            self.result = self.write(name, value);
        }
    }

    fn write(&mut self, name: &str, value: fmt::Arguments<'_>) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        let name = name.strip_prefix("r#").unwrap_or(name);
        if name != MESSAGE {
            match self.writer.has_ansi_escapes() {
                true => write!(self.writer, "{ITALIC}{name}{RESET}{DIM}={RESET}")?,
                false => write!(self.writer, "{name}=")?,
            }
        }
        Plain::new(&mut self.writer).write_fmt(value)
    }
}

const MESSAGE: &str = "message";

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field.name(), format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            MESSAGE => self.field(MESSAGE, format_args!("{value}")),
            name => self.field(name, format_args!("{value:?}")),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.field(field.name(), format_args!("{value}"));
        if let Some(source) = value.source() {
            let sources = iter::successors(Some(source), |&error| error.source());
            let sources: Vec<_> = sources.map(ToString::to_string).collect();
            self.field(
                &format!("{}.sources", field.name()),
                format_args!("{sources:?}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read as _, Seek as _},
        sync::Arc,
    };

    use tracing::{info, subscriber::with_default};
    use tracing_subscriber::{fmt, layer::SubscriberExt as _, registry};

    use super::*;

    /// What is written of one event.
    fn line(ansi: bool, log: impl Fn()) -> String {
        let mut file = tempfile::tempfile().expect("a file");
        let writer = Arc::new(file.try_clone().expect("a handle"));
        let layer = fmt::layer().without_time().with_ansi(ansi);
        let layer = layer.fmt_fields(Fields).with_writer(writer);
        with_default(registry().with(layer), log);
        file.rewind().expect("a file");
        let mut line = String::new();
        file.read_to_string(&mut line).expect("text");
        line
    }

    #[test]
    fn values_are_plain_whatever_their_kind() {
        let error = io::Error::other(io::Error::other("b\nc"));
        let error: &(dyn Error + 'static) = &error;
        let log = || {
            let shown = "x\ny";
            info!(target: "t", %shown, said = "\u{202e}\"", code = 7, error, "m\u{1b}[0m");
        };
        let expected =
            " INFO t: m\\u{1b}[0m shown=x\\ny said=\"\\u{202e}\\\"\" code=7 error=b\\nc\n";
        assert_eq!(line(false, log), expected);
        let coloured = line(true, log);
        assert!(coloured.contains("\u{1b}[3mshown\u{1b}[0m\u{1b}[2m=\u{1b}[0mx\\ny"));
        assert!(
            coloured.contains("m\\u{1b}[0m "),
            "not theirs: {coloured:?}"
        );
    }
}
