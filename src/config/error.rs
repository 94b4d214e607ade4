//! Errors of a configuration file: what is wrong, where, and what to do about it.

use std::fmt;

use super::{Config, redact};

/// One thing that is wrong with a configuration.
///
/// Shown as `file:line:column: key: problem (got value); cure`, without the parts that are unknown.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct ConfigError {
    /// The file, as the user named it.
    pub file: String,
    /// The place in it; absent when the file itself is the problem.
    pub position: Option<Position>,
    /// The key, with its table: `bosh.wait`; empty when none is concerned.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// The offending value; never that of a secret.
    pub got: Option<String>,
    /// What to do about it.
    pub cure: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.problem)?;
        if let Some(got) = &self.got {
            write!(f, " (got {got})")?;
        }
        if let Some(cure) = &self.cure {
            write!(f, "; {cure}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, in the order of the file; one line each.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The errors, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    pub(super) fn new(mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by_key(|error| error.position);
        Self(errors)
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

/// A place in a text, both counted from 1; the column in characters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Position {
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Keys that have moved, and where to.
const MOVED: [(&str, &str); 11] = [
    ("bosh.cors_headers", "web.headers"),
    ("bosh.cors_origins", "web.origins"),
    ("bosh.cors_strict", "web.strict"),
    (
        "bosh.creations_per_address",
        "session.creations_per_address",
    ),
    ("bosh.max_pending", "session.max_pending"),
    ("bosh.max_pending_total", "session.max_pending_total"),
    ("bosh.max_request_rate", "session.max_request_rate"),
    ("bosh.max_sessions", "session.max_sessions"),
    ("bosh.max_unconfirmed", "session.max_unconfirmed"),
    ("bosh.sessions_per_address", "session.sessions_per_address"),
    ("bosh.sessions_per_user", "session.sessions_per_user"),
];

/// The key that `key` has become.
pub(super) fn moved(key: &str) -> Option<&'static str> {
    let entry = MOVED.iter().find(|(old, _)| *old == key);
    entry.map(|(_, new)| *new)
}

/// The error for a fault of syntax, in the words of the TOML reader.
pub(super) fn from_toml(file: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    ConfigError {
        file: file.to_owned(),
        position: error.span().map(|span| Position::of(text, span.start)),
        key: String::new(),
        // The message comes from the TOML reader, and may quote the file.
        problem: redact::value("", &error.message().replace('\n', " ")),
        got: None,
        cure: None,
    }
}

/// Suggests what to write instead of `key`.
pub(super) fn nearest(key: &str, known: &[&str]) -> String {
    let distance = |name: &&&str| strsim::damerau_levenshtein(key, name);
    match known.iter().min_by_key(distance) {
        Some(name) if distance(&name) <= 1 + key.chars().count() / 4 => {
            format!("did you mean {name}?")
        }
        _ => format!("the keys known here are {}", known.join(", ")),
    }
}

/// How the example configuration writes `key`.
pub(super) fn example(table: &str, key: &str) -> Option<String> {
    let line = example_line(table, key)?;
    Some(format!("for example {line}"))
}

/// The line of the example configuration that sets `key` in `table`, commented out or not.
pub(super) fn example_line(table: &str, key: &str) -> Option<&'static str> {
    let mut here = "";
    Config::example().lines().find_map(|line| {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if line.starts_with('[') {
            here = line.trim_matches(['[', ']']);
        }
        let sets_key = line
            .strip_prefix(key)
            .is_some_and(|rest| rest.starts_with(" = "));
        (here == table && sets_key).then_some(line)
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn position_counts_lines_and_characters_from_one() {
        let text = "a\nü = 1";
        assert_eq!(Position::of(text, 0), Position { line: 1, column: 1 });
        assert_eq!(Position::of(text, 2), Position { line: 2, column: 1 });
        assert_eq!(Position::of(text, 5), Position { line: 2, column: 3 });
    }

    #[test]
    fn unknown_parts_leave_no_trace() {
        let mut error = ConfigError {
            file: "a.toml".to_owned(),
            position: None,
            key: String::new(),
            problem: "cannot be read".to_owned(),
            got: None,
            cure: None,
        };
        assert_eq!(error.to_string(), "a.toml: cannot be read");
        error.position = Some(Position { line: 3, column: 8 });
        error.key = "bosh.wait".to_owned();
        error.got = Some("1".to_owned());
        error.cure = Some("write 1s".to_owned());
        assert_eq!(
            error.to_string(),
            "a.toml:3:8: bosh.wait: cannot be read (got 1); write 1s"
        );
    }

    #[test]
    fn a_key_that_has_moved_is_told_where_to() {
        for (old, new) in MOVED {
            let (table, key) = old.split_once('.').expect("a table and a key");
            let text = format!("[{table}]\n{key} = 1\n");
            let errors = Config::parse(&text, "a.toml", Path::new(".")).expect_err("it has moved");
            let line = format!("a.toml:2:1: {old}: moved; it is now {new}");
            assert!(
                errors.iter().any(|error| error.to_string() == line),
                "{errors}"
            );
            let (table, key) = new.split_once('.').expect("a table and a key");
            assert!(example_line(table, key).is_some(), "{new} is no key");
        }
    }

    #[test]
    fn far_keys_get_the_whole_list() {
        assert_eq!(
            nearest("lisen", &["listen", "path"]),
            "did you mean listen?"
        );
        assert_eq!(
            nearest("workers", &["listen", "path"]),
            "the keys known here are listen, path"
        );
    }
}
