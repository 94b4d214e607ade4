//! Reload: reads the configuration again, and applies what needs no restart.

use std::path::Path;

use tracing::{error, info, warn};

use super::{gateway::Gateway, tls::Tls};
use crate::config::Config;

/// The configuration in use, and the file to read the next one from.
pub(super) struct Running<'a> {
    /// As it is in use: keys that need a restart have their values of the start.
    config: Config,
    file: &'a Path,
    tls: Option<Tls>,
}

impl<'a> Running<'a> {
    pub(super) fn new(config: Config, file: &'a Path, tls: Option<Tls>) -> Self {
        Self { config, file, tls }
    }

    /// The configuration in use.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Reads the configuration file again and applies it. A configuration with errors leaves all as it was.
    pub(super) fn reload(&mut self, gateway: &Gateway) -> Reloaded {
        let mut config = match Config::load(self.file) {
            Ok(config) => config,
            Err(errors) => {
                for error in errors.iter() {
                    error!(%error, "configuration not reloaded");
                }
                return Reloaded::Refused;
            }
        };
        warn_of(&config);
        let kept = config.keep_until_restart(&self.config);
        if let Err(error) = gateway.apply(&config) {
            error!(%error, "configuration not reloaded");
            return Reloaded::Refused;
        }
        let mut reloaded = Reloaded::Whole;
        if let Some(tls) = &self.tls
            && let Err(error) = tls.replace(&config)
        {
            error!(%error, "certificates not reloaded, the old ones stay");
            reloaded = Reloaded::WithoutCertificates;
        }
        for key in kept {
            warn!(key, "changed, but not before a restart");
            reloaded = Reloaded::InPart;
        }
        self.config = config;
        info!("configuration reloaded");
        reloaded
    }
}

/// Logs the warnings of a configuration.
pub fn warn_of(config: &Config) {
    for warning in &config.warnings {
        warn!(%warning, "configuration in use");
    }
}

/// How a reload went.
pub(super) enum Reloaded {
    Whole,
    /// The rest needs a restart.
    InPart,
    WithoutCertificates,
    Refused,
}

impl Reloaded {
    /// The status that systemd is told.
    pub(super) fn status(&self) -> &'static str {
        match self {
            Self::Whole => "serving, configuration reloaded",
            Self::InPart => "serving, restart needed for the new configuration",
            Self::WithoutCertificates => "serving, new certificates refused",
            Self::Refused => "serving, new configuration refused",
        }
    }

    /// The label of `rostergate_reloads_total`.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Whole => "ok",
            Self::InPart => "restart_needed",
            Self::WithoutCertificates => "certificates_refused",
            Self::Refused => "refused",
        }
    }
}
