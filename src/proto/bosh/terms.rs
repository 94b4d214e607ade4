//! Terms of a session: what client and gateway agree on when it is created (XEP-0124 "Session Creation Response").

use std::time::Duration;

use bytes::Bytes;

use super::{Rid, body::Creation};
use crate::proto::xml::write;

/// The protocol version spoken here (XEP-0124, `ver`).
const VERSION: (u32, u32) = (1, 11);
/// The content type of answers, unless the client asks for another.
const XML: &str = "text/xml; charset=utf-8";
/// Shortest time between the empty requests of a polling session.
pub(super) const POLLING: Duration = Duration::from_secs(5);

/// What the gateway grants to any session.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Longest time a request is held.
    pub wait: Duration,
    /// Longest time without an open request.
    pub inactivity: Duration,
    /// Longest pause.
    pub max_pause: Duration,
    /// How long a client that acknowledges may be behind before it is told of the answer that it lacks.
    pub report_grace: Duration,
}

/// What was agreed at creation (XEP-0124 "Session Creation Response").
#[derive(Clone, Debug)]
pub struct Terms {
    /// Longest time a request is held.
    pub(super) wait: Duration,
    /// Most requests held at once.
    pub(super) hold: usize,
    /// Most requests the client may have open: the window of rids.
    pub(super) requests: u64,
    /// Longest time without an open request.
    pub(super) inactivity: Duration,
    /// Longest pause.
    pub(super) max_pause: Duration,
    /// How long an acknowledgement may be behind.
    pub(super) report_grace: Duration,
    version: Option<(u32, u32)>,
    /// The client acknowledges answers, and wants its requests acknowledged.
    pub(super) acks: bool,
    /// Value of the Content-Type header of every answer.
    pub(super) content_type: Bytes,
}

impl Terms {
    /// Grants what the client asks for, within bounds.
    pub(super) fn agree(creation: &Creation, policy: &Policy) -> Self {
        let wait = creation.wait.unwrap_or(policy.wait).min(policy.wait);
        let hold = usize::from(creation.hold.unwrap_or(1) > 0);
        Self {
            wait,
            hold,
            requests: if hold == 0 { 1 } else { 2 },
            inactivity: policy.inactivity,
            max_pause: policy.max_pause,
            report_grace: policy.report_grace,
            version: creation.ver.map(|version| version.min(VERSION)),
            acks: creation.acks,
            content_type: Bytes::from_static(creation.content.unwrap_or(XML).as_bytes()),
        }
    }

    /// A session whose requests are never held (XEP-0124 "Polling Sessions").
    pub(super) fn polling(&self) -> bool {
        self.hold == 0 || self.wait.is_zero()
    }

    /// The attributes of the creation answer, each with a leading space.
    pub(super) fn announce(
        &self,
        sid: &str,
        domain: &str,
        stream_id: Option<&str>,
        rid: Rid,
    ) -> String {
        let mut out = b" xmlns:xmpp='urn:xmpp:xbosh'".to_vec();
        let mut number = |name, value: u64| write::attribute(&mut out, name, &value.to_string());
        number("wait", self.wait.as_secs());
        number("hold", self.hold as u64);
        number("requests", self.requests);
        number("inactivity", self.inactivity.as_secs());
        number("polling", POLLING.as_secs());
        number("maxpause", self.max_pause.as_secs());
        write::attribute(&mut out, "sid", sid);
        write::attribute(&mut out, "from", domain);
        write::attribute(&mut out, "xmpp:version", "1.0");
        write::attribute(&mut out, "xmpp:restartlogic", "true");
        if let Some(id) = stream_id {
            write::attribute(&mut out, "authid", id);
        }
        if let Some((major, minor)) = self.version {
            write::attribute(&mut out, "ver", &format!("{major}.{minor}"));
        }
        if self.acks {
            write::attribute(&mut out, "ack", &rid.to_string());
        }
        String::from_utf8(out).unwrap_or_default()
    }
}
