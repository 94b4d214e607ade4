//! Programs under test; none outlives the tests, however these end.

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Runs "$@" and prints its pid. When standard input closes, which the kernel sees to when this process dies, ends it
/// and all that it has started; then removes `$SCRATCH`.
const KEEPER: &str = r#"
setsid sh -c 'echo "$$"; exec "$@"' sh "$@" </dev/null &
child=$!
exec 3<&0
{ cat <&3; kill -s KILL -- "-$child"; } >/dev/null 2>&1 &
watcher=$!
exec >&- <&- 3<&-
wait "$child"
status=$?
kill "$watcher" 2>/dev/null
[ -n "$SCRATCH" ] && rm -rf "$SCRATCH"
exit "$status"
"#;

/// A running program: its standard output line by line, its standard error in a file.
pub struct Process {
    name: String,
    keeper: Child,
    pid: u32,
    /// Locked only so that a static can hold it.
    lines: Mutex<Receiver<String>>,
    log: PathBuf,
    status: Option<ExitStatus>,
}

/// The program to start for `name`: the value of the variable, so that another version can be tested, or the one that
/// is installed.
pub fn program(variable: &str, name: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| name.into())
        .into()
}

impl Process {
    pub fn start<S: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = S>,
        environment: &[(&str, &str)],
        log: PathBuf,
    ) -> Self {
        let stderr = File::create(&log).expect("the log can be written");
        Self::start_logging_to(stderr.into(), program, args, environment, log)
    }

    /// The same with standard error going elsewhere; `log` stays empty.
    pub fn start_logging_to<S: AsRef<OsStr>>(
        stderr: Stdio,
        program: &Path,
        args: impl IntoIterator<Item = S>,
        environment: &[(&str, &str)],
        log: PathBuf,
    ) -> Self {
        let name = program.file_name().expect("a program has a name");
        let name = name.to_string_lossy().into_owned();
        let mut keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, &name])
            .arg(program)
            .args(args)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let output = BufReader::new(keeper.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The test may not read the rest, but the program must still be able to write it.
                let _ = sender.send(line);
            }
        });
        let pid = lines.recv().expect("the keeper says the pid");
        let pid = pid.parse().expect("a pid is a number");
        let lines = Mutex::new(lines);
        Self {
            name,
            keeper,
            pid,
            lines,
            log,
            status: None,
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The next line of output; `None` if no more can come.
    #[track_caller]
    pub fn line(&mut self, within: Duration) -> Option<String> {
        match self.lines.get_mut().recv_timeout(within) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!(
                    "{} says nothing for {within:?}\n{}",
                    self.name,
                    self.log_tail()
                )
            }
        }
    }

    /// Sends a signal, named as `kill` does (`TERM`, `HUP`, `KILL`, `STOP`, `CONT`).
    pub fn signal(&self, signal: &str) {
        let kill = Command::new("kill")
            .args(["-s", signal, &self.pid.to_string()])
            .status();
        let _ = kill.expect("kill can be run");
    }

    /// Waits for it to end; panics if it does not.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        let deadline = Instant::now() + within;
        // The output closes when the program ends, so that no polling is needed.
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.get_mut().recv_timeout(left) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!(
                        "{} does not end within {within:?}\n{}",
                        self.name,
                        self.log_tail()
                    )
                }
            }
        }
        let status = self.keeper.wait().expect("it is our child");
        self.status = Some(status);
        status
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if self.status.is_none() {
            drop(self.keeper.stdin.take());
            self.status = self.keeper.wait().ok();
        }
    }

    /// The last part of what it wrote to standard error.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.name, self.log_tail());
        }
    }
}

/// The last part of a file.
pub fn tail(path: &Path) -> String {
    const LENGTH: u64 = 16 * 1024;
    let Ok(mut file) = File::open(path) else {
        return String::new();
    };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    let start = SeekFrom::Start(length.saturating_sub(LENGTH));
    if file.seek(start).is_ok() {
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
