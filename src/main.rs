//! Command line: `serve`, `check` (with `--probe`), `example-config`; `man`, `completions`.
//!
//! The environment is read here and nowhere else, except by `net::systemd` and `log`.
#![forbid(unsafe_code)]

mod manual;

use std::{
    env,
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::Context;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use rostergate::{
    config::{self, Config},
    log::{self, Format, Log},
    net::{refused_heads, systemd::Sockets},
    probe::{self, Subject},
    server,
};
use tokio::runtime::{self, Runtime};
use tracing::{Level, info, warn};
use tracing_subscriber::{EnvFilter, Layer as _};

/// `EX_USAGE` of sysexits(3), for a configuration that cannot be used.
const EXIT_CONFIG: u8 = 64;
/// The client of NATS tells of each attempt; what matters is told by the cluster. The filter may name it.
const QUIET: &str = "async_nats=off";
/// How long a message on standard error may wait to be read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A BOSH and WebSocket gateway that lets a web site own the contact lists of its XMPP chat.
#[derive(Parser)]
#[command(version, after_help = ENVIRONMENT)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const ENVIRONMENT: &str = "Environment:
  ROSTERGATE_CONFIG      configuration file, where --config is not given
  ROSTERGATE_LOG         what to log, such as warn,rostergate=debug, in place of log.filter
  ROSTERGATE_LOG_FORMAT  text or json, in place of log.format
  ROSTERGATE_PROBE_PASSWORD
                         password of the user of check --probe, to log in with

Exit status: 0 done, 1 cannot run, 64 configuration error, 2 bad arguments";

#[derive(Subcommand)]
enum Command {
    /// Run the gateway: SIGTERM drains, SIGHUP reloads
    Serve(ConfigFile),
    /// Check a configuration file without using it; with --probe, also what it leads to
    Check {
        #[command(flatten)]
        file: ConfigFile,
        /// Connect to the XMPP servers, and fetch this user's contact list: a name, or a bare JID for one host alone
        #[arg(long, value_name = "USER")]
        probe: Option<String>,
    },
    /// Print a configuration with every key, its meaning and its default
    ExampleConfig,
    /// Print the manual page, in roff
    Man {
        /// That of the configuration file
        #[arg(long)]
        config: bool,
    },
    /// Print what makes a shell complete these arguments
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Args)]
struct ConfigFile {
    /// Configuration file
    #[arg(
        short,
        long,
        env = "ROSTERGATE_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    config: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(file) => match load(&file) {
            Ok(config) => serve(config, file),
            Err(refused) => return refused,
        },
        Command::Check { file, probe } => match load(&file) {
            Ok(config) => {
                for warning in &config.warnings {
                    complain(Level::WARN, warning);
                }
                let checked = print(format!("{}: no errors\n", file.config.display()).as_bytes());
                match probe {
                    Some(user) => checked.and_then(|()| try_out(&config, &user)),
                    None => checked,
                }
            }
            Err(refused) => return refused,
        },
        Command::ExampleConfig => print(Config::example().as_bytes()),
        Command::Man { config: true } => {
            print(manual::configuration_page(Config::example()).as_bytes())
        }
        Command::Man { config: false } => manual::page(Arguments::command())
            .context("no manual page")
            .and_then(|page| print(&page)),
        Command::Completions { shell } => print(&manual::completions(Arguments::command(), shell)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(Level::ERROR, format_args!("rostergate: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Reads the configuration, or says what is wrong.
fn load(file: &ConfigFile) -> Result<Config, ExitCode> {
    Config::load(&file.config).map_err(|errors| {
        complain(Level::ERROR, &errors);
        ExitCode::from(EXIT_CONFIG)
    })
}

/// Tries what the configuration leads to, for a user.
fn try_out(config: &Config, user: &str) -> anyhow::Result<()> {
    let password = env::var("ROSTERGATE_PROBE_PASSWORD").ok();
    let subject = Subject::new(user, password).context("--probe: no username")?;
    anyhow::ensure!(
        config.hosts.iter().any(|host| subject.is_of(host)),
        "--probe: no [[host]] has this domain"
    );
    let say = |line: &str| {
        // Whoever does not read it does not want to know.
        let _ = writeln!(io::stdout(), "{line}");
    };
    let is_well = runtime(1)?.block_on(probe::run(config, &subject, say));
    anyhow::ensure!(is_well, "something does not work");
    Ok(())
}

fn serve(config: Config, file: ConfigFile) -> anyhow::Result<()> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let sockets = Sockets::inherited(&names).context("LISTEN_FDS")?;
    let _log = log(&config.log)?;
    server::warn_of(&config);
    allow_open_files(&config);
    let runtime = runtime(config.server.threads).context("no runtime")?;
    runtime.block_on(server::run(config, &file.config, sockets))?;
    Ok(())
}

/// Raises the limit of open files, as which connections count, as far as the system allows. The usual limit is low for
/// the sake of programs that use select(2).
fn allow_open_files(config: &Config) {
    let wanted = config.server.connections.in_all + config.session.max_sessions;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(allowed) if usize::try_from(allowed).is_ok_and(|allowed| allowed < wanted) => info!(
            allowed,
            wanted,
            "the system allows fewer open files than configured connections and sessions need"
        ),
        Ok(_) => {}
        Err(error) => warn!(%error, "the number of open files stays as it is"),
    }
}

fn runtime(threads: usize) -> io::Result<Runtime> {
    // A single thread has no others to wake: that saves up to a fifth of the cost of a message.
    let mut builder = match threads {
        1 => runtime::Builder::new_current_thread(),
        _ => runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all().build()
}

fn log(config: &config::Log) -> anyhow::Result<Log> {
    let directives = env::var("ROSTERGATE_LOG").unwrap_or_else(|_| config.filter.clone());
    let filter = EnvFilter::builder()
        .parse(format!("{QUIET},{directives}"))
        .context("ROSTERGATE_LOG")?;
    let format = match env::var("ROSTERGATE_LOG_FORMAT").as_deref() {
        Ok("json") => Format::Json,
        Ok("text") => Format::Text,
        Ok(other) => {
            let got = config::without_secrets(other);
            anyhow::bail!("ROSTERGATE_LOG_FORMAT: neither json nor text (got {got:?})")
        }
        Err(_) => config.format,
    };
    log::start(filter, format, refused_heads::layer().boxed()).context("no thread for the log")
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    io::stdout().write_all(text).context("cannot write")
}

/// Prints `why` on standard error. Does not wait long for a reader.
fn complain(level: Level, why: impl Display) {
    let why = log::prioritized(level, &why.to_string());
    let (said, saying) = mpsc::channel();
    thread::spawn(move || {
        // Without a reader there is nowhere to report this error.
        let _ = io::stderr().write_all(why.as_bytes());
        let _ = said.send(());
    });
    let _ = saying.recv_timeout(LAST_WORDS);
}
