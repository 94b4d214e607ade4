//! Keys that a reload cannot change.

use super::Config;

impl Config {
    /// Sets the keys that only a restart can change back to their values in `running`. Returns the keys that would
    /// have changed.
    pub fn keep_until_restart(&mut self, running: &Self) -> Vec<&'static str> {
        let mut kept = Kept(Vec::new());
        let (server, was) = (&mut self.server, &running.server);
        kept.keep("server.listen", &mut server.listen, &was.listen);
        kept.keep("server.listen_tls", &mut server.listen_tls, &was.listen_tls);
        kept.keep(
            "server.proxy_protocol",
            &mut server.proxy_protocol,
            &was.proxy_protocol,
        );
        kept.keep("server.threads", &mut server.threads, &was.threads);
        let (admin, was) = (&mut self.admin, &running.admin);
        kept.keep("admin.listen", &mut admin.listen, &was.listen);
        kept.keep("admin.listen_tls", &mut admin.listen_tls, &was.listen_tls);
        kept.keep(
            "monitoring.listen",
            &mut self.monitoring.listen,
            &running.monitoring.listen,
        );
        let (cluster, was) = (&mut self.cluster, &running.cluster);
        kept.keep("cluster.nats", &mut cluster.nats, &was.nats);
        kept.keep("cluster.name", &mut cluster.name, &was.name);
        kept.keep("cluster.node", &mut cluster.node, &was.node);
        let (log, was) = (&mut self.log, &running.log);
        kept.keep("log.filter", &mut log.filter, &was.filter);
        kept.keep("log.format", &mut log.format, &was.format);
        for host in &mut self.hosts {
            let running = running.hosts.iter().find(|old| old.domain == host.domain);
            // A host without rosters so far gets new ones, as they are configured now.
            let Some(old) = running.filter(|old| old.http_roster_url.is_some()) else {
                continue;
            };
            let (concurrency, was) = (&mut host.backend.concurrency, &old.backend.concurrency);
            kept.keep("host.backend_concurrency", concurrency, was);
            // Sessions keep to who held their list when they began, and have to be refreshed by the same.
            let is_other = host.writer.is_some() != old.writer.is_some();
            if is_other && host.http_roster_url.is_some() {
                host.writer.clone_from(&old.writer);
                kept.0.push("host.rosters");
            }
        }
        kept.0
    }
}

/// The keys whose new values wait for a restart.
struct Kept(Vec<&'static str>);

impl Kept {
    /// Sets `value` back to the one `in_use`, and remembers `key`, if they differ.
    fn keep<T: Clone + PartialEq>(&mut self, key: &'static str, value: &mut T, in_use: &T) {
        if value != in_use {
            value.clone_from(in_use);
            self.0.push(key);
        }
    }
}
