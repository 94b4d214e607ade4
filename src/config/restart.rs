//! What a reload cannot change.

use super::Config;

impl Config {
    /// Puts back what only a restart can change to what it is in `running`. Gives the keys that would
    /// have changed.
    pub fn keep_until_restart(&mut self, running: &Self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        let (server, admin) = (&mut self.server, &mut self.admin);
        keep(
            &mut keys,
            "server.listen",
            &mut server.listen,
            &running.server.listen,
        );
        let (listen_tls, was) = (&mut server.listen_tls, &running.server.listen_tls);
        keep(&mut keys, "server.listen_tls", listen_tls, was);
        keep(
            &mut keys,
            "admin.listen",
            &mut admin.listen,
            &running.admin.listen,
        );
        let (listen_tls, was) = (&mut admin.listen_tls, &running.admin.listen_tls);
        keep(&mut keys, "admin.listen_tls", listen_tls, was);
        let (proxy_protocol, was) = (&mut server.proxy_protocol, &running.server.proxy_protocol);
        keep(&mut keys, "server.proxy_protocol", proxy_protocol, was);
        keep(
            &mut keys,
            "monitoring.listen",
            &mut self.monitoring,
            &running.monitoring,
        );
        let (threads, was) = (&mut server.threads, &running.server.threads);
        keep(&mut keys, "server.threads", threads, was);
        let (filter, was) = (&mut self.log.filter, &running.log.filter);
        keep(&mut keys, "log.filter", filter, was);
        let (format, was) = (&mut self.log.format, &running.log.format);
        keep(&mut keys, "log.format", format, was);
        for host in &mut self.hosts {
            let running = running.hosts.iter().find(|old| old.domain == host.domain);
            // New rosters come with what is configured now.
            if let Some(old) = running.filter(|old| old.http_roster_url.is_some()) {
                let (concurrency, was) = (&mut host.backend.concurrency, &old.backend.concurrency);
                keep(&mut keys, "host.backend_concurrency", concurrency, was);
            }
        }
        keys
    }
}

fn keep<T: Clone + PartialEq>(
    keys: &mut Vec<&'static str>,
    key: &'static str,
    value: &mut T,
    running: &T,
) {
    if value != running {
        value.clone_from(running);
        keys.push(key);
    }
}
