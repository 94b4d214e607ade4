//! Queue of log lines, and the thread that writes them. It does not format events.
//!
//! ```text
//!            room                          written
//!  line ------------> waiting ----------------------------> standard error, by a thread of its own
//!         |
//!         | no room: lines are dropped and counted, until all that waited has been written;
//!         +--------> then the log says how many are missing
//! ```
//!
//! If nobody reads standard error, the gateway must go on: logging only puts a line into memory.

use std::{
    borrow::Cow,
    io::{self, Write},
    mem,
    sync::{Arc, LazyLock},
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex, MutexGuard};
use prometheus_client::metrics::counter::Counter;
use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

use super::plain::plain_json;

/// Target of events about the log itself.
pub(super) const TARGET: &str = module_path!();

/// Most bytes that wait, besides those that are being written.
const ROOM: usize = 1 << 20;
/// Most bytes written at once, but for a longer line: a pipe takes that whole or not at all (`PIPE_BUF`), so that
/// lines stay whole beside those of other programs, and if the gateway ends.
const PIECE: usize = 4096;
/// How long the end of the gateway waits for what has been logged.
const LAST_LINES: Duration = Duration::from_secs(2);
/// Delay before another try when standard error is non-blocking and full.
const AGAIN: Duration = Duration::from_millis(10);

static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// How many lines were not logged, as nobody read those before.
pub fn dropped() -> Counter {
    DROPPED.clone()
}

/// The log. When dropped, it waits for what has been logged to be written, but not for long.
#[derive(Debug)]
#[must_use = "what is logged when the gateway ends would be lost"]
pub struct Log(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    lines: Mutex<Lines>,
    /// Tells the writer that there is something to write.
    due: Condvar,
    /// Tells the end of the gateway that everything is written.
    done: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    waiting: Vec<u8>,
    /// Lines dropped since the last time that the log said so.
    dropped: u64,
    is_writing: bool,
}

impl Lines {
    fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.dropped == 0 && !self.is_writing
    }
}

impl Log {
    /// Begins to write to `out`.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let writer = Arc::clone(&queue);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_to(out))?;
        Ok(Self(queue))
    }

    /// A writer of lines of text.
    pub(super) fn text(&self) -> LineWriter {
        LineWriter {
            queue: Arc::clone(&self.0),
            is_json: false,
        }
    }

    /// A writer of lines of JSON.
    pub(super) fn json(&self) -> LineWriter {
        LineWriter {
            is_json: true,
            ..self.text()
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let mut lines = self.0.lines.lock();
        let is_not_done = |lines: &mut Lines| !lines.is_done();
        self.0
            .done
            .wait_while_for(&mut lines, is_not_done, LAST_LINES);
    }
}

impl Queue {
    fn push(&self, line: &[u8]) {
        let mut lines = self.lines.lock();
        if lines.dropped > 0 || lines.waiting.len() + line.len() > ROOM {
            lines.dropped += 1;
            DROPPED.inc();
        } else {
            lines.waiting.extend_from_slice(line);
        }
        self.due.notify_one();
    }

    fn write_to(&self, mut out: impl Write) {
        let mut chunk = Vec::new();
        loop {
            let mut lines = self.next();
            if lines.waiting.is_empty() {
                let missing = mem::take(&mut lines.dropped);
                drop(lines);
                warn!(
                    lines = missing,
                    "lines are missing here: nobody read those before"
                );
                continue;
            }
            mem::swap(&mut lines.waiting, &mut chunk);
            drop(lines);
            let unwritten = write_all(&mut out, &chunk);
            DROPPED.inc_by(count(unwritten));
            // A burst must not cost its memory for ever.
            chunk.clear();
            chunk.shrink_to(PIECE);
        }
    }

    /// Waits for something to do.
    fn next(&self) -> MutexGuard<'_, Lines> {
        let mut lines = self.lines.lock();
        lines.is_writing = false;
        while lines.is_done() {
            self.done.notify_all();
            self.due.wait(&mut lines);
        }
        lines.is_writing = true;
        lines
    }
}

/// Writes whole lines, a piece at a time. Returns what could not be written because the reader is gone.
fn write_all<'a>(out: &mut impl Write, lines: &'a [u8]) -> &'a [u8] {
    let mut rest = lines;
    while !rest.is_empty() {
        match out.write(piece(rest)) {
            Ok(0) => return rest,
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another program on the same terminal may have made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(AGAIN),
            Err(_) => return rest,
        }
    }
    rest
}

/// The lines at the beginning that can be written at once, at least one.
fn piece(lines: &[u8]) -> &[u8] {
    let Some(window) = lines.get(..PIECE) else {
        return lines;
    };
    let end = memchr::memrchr(b'\n', window).or_else(|| memchr::memchr(b'\n', lines));
    end.map_or(lines, |end| &lines[..=end])
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// Writer into the log: each call of `write` is one line.
#[derive(Clone, Debug)]
pub(super) struct LineWriter {
    queue: Arc<Queue>,
    is_json: bool,
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.is_json {
            let text = String::from_utf8_lossy(line);
            let text: Cow<'_, str> = plain_json(&text);
            self.queue.push(text.as_bytes());
        } else {
            self.queue.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes a piece whenever the test says so.
    struct Reader {
        go: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            if self.go.recv().is_err() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.read.send(piece.to_vec()).expect("the test runs");
            Ok(piece.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pieces_are_whole_lines() {
        let line = |length: usize| "x".repeat(length - 1) + "\n";
        let short = line(1000).repeat(10);
        assert_eq!(piece(short.as_bytes()).len(), 4000);
        let long = line(5000) + &line(10);
        assert_eq!(piece(long.as_bytes()).len(), 5000);
        assert_eq!(piece(b"a\nb\n"), b"a\nb\n");
    }

    #[test]
    fn a_reader_that_does_not_read_stops_nobody() {
        let (go, gone) = channel();
        let (read, lines) = channel();
        let log = Log::start(Reader { go: gone, read }).expect("a thread");
        let mut way = &log.text();
        let line = [b'x'; 999];
        let mut write = || {
            way.write_all(&[&line[..], b"\n"].concat())
                .expect("never fails")
        };
        let before = dropped().get();
        let many = 3 * ROOM / 1000;
        for _ in 0..many {
            write();
        }
        let missing = dropped().get() - before;
        assert!(missing > 0 && missing < 2 * many as u64);
        for _ in 0..=many {
            let _ = go.send(());
        }
        drop(log);
        let read: usize = lines.try_iter().map(|piece| count(&piece) as usize).sum();
        assert_eq!(read as u64 + missing, many as u64, "none is lost uncounted");
    }
}
