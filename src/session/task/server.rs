//! Events of the server: it is reached or not, it sends stanzas, it ends the stream.

use std::time::Instant;

use tracing::{debug, info, warn};

use super::Task;
use crate::{
    metrics::{Direction, Limit, health::Dependency},
    net::causes::in_words,
    proto::stream::error::{StreamCondition, stream_error},
    session::{State, downstream::Reason},
    upstream::{ConnectError, Hello, UpstreamEvent},
};

impl Task {
    /// The server is there: the client may be answered.
    pub(super) fn connected(&mut self, hello: Hello, now: Instant) {
        let age = self.record.age(now);
        self.host.metrics.connected("ok", true, age);
        self.record.enter(State::Negotiating);
        self.host.warn_of_withheld(&hello.features);
        let sid = self.registration.sid().expose();
        self.client
            .introduce(sid, &self.host.domain, hello.stream_id.as_deref());
        self.pipe.server_stanza(hello.features);
    }

    /// The server could not be reached: whoever asked for the session hears it at once.
    pub(super) fn refuse(&mut self, error: &ConnectError, now: Instant) {
        let (sid, domain) = (self.registration.sid(), &self.host.domain);
        let in_words = in_words(error);
        warn!(?sid, domain, error = %in_words, "server unreachable");
        let metrics = &self.host.metrics;
        metrics.connected(error.outcome(), false, self.record.age(now));
        metrics.failed(Dependency::Upstream, in_words);
        self.client.refuse(now);
    }

    /// Counts the latest stanza of the server, unless it waits for the list: until then, it is not dealt with, and
    /// nothing more is read.
    pub(super) fn count_late(&mut self) {
        if !self.pipe.holds_of_server()
            && let Some((noted, given)) = self.uncounted.take()
        {
            self.link.sm.handle_stanza(self.client.given());
            self.keep(noted, given);
        }
    }

    pub(super) fn handle_upstream(&mut self, event: UpstreamEvent, now: Instant) {
        if self.handover.is_lingering() {
            return self.handle_while_lingering(event, now);
        }
        let Some(event) = self.identify_resumer(event, now) else {
            return;
        };
        match event {
            UpstreamEvent::Features(features) => {
                self.link.note_features(&features);
                self.pipe.server_stanza(features);
            }
            UpstreamEvent::Stanza(element) => {
                if self.link.sm.handle_nonza(&element, now) {
                    return;
                }
                self.count(Direction::FromServer, element.kind());
                self.note_refusal(&element);
                let counts = element.is_stanza();
                let noted = self.note(&element, now);
                let given = self.client.given();
                self.pipe.server_stanza(element);
                if counts {
                    // The order matters: the stanza is acknowledged when the client has confirmed all that it had
                    // been given by now, so the client has to be given the effects of the stanza first.
                    self.drain_events(now);
                    self.uncounted = Some((noted, given));
                    self.count_late();
                }
            }
            UpstreamEvent::Unreadable(husk) => {
                debug!(sid = ?self.registration.sid(), "stanza of the server left out");
                self.registration.metrics().limit(Limit::StanzaShape);
                self.pipe.server_husk(husk);
                self.drain_events(now);
                self.link.sm.handle_stanza(self.client.given());
            }
            UpstreamEvent::StreamError(error) => {
                let condition = StreamCondition::of(&error).name;
                let (sid, domain) = (self.registration.sid(), &self.host.domain);
                info!(
                    ?sid,
                    domain, condition, "server ended the stream with an error"
                );
                // A web client cannot go to another host by TCP; it can come here again.
                let error = match condition.as_str() {
                    "see-other-host" => stream_error("reset", "please connect again"),
                    _ => error,
                };
                self.return_unsent(now);
                self.handover.server_ends();
                self.client.end(Reason::Error(error), now);
            }
            UpstreamEvent::Closed => {
                self.handover.server_ends();
                let (sid, domain) = (self.registration.sid(), &self.host.domain);
                info!(?sid, domain, "server closed the stream without an error");
                self.return_unsent(now);
                self.client.end(Reason::Closed, now);
            }
        }
    }
}
