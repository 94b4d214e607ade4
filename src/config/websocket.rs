//! `[websocket]`: settings of the WebSocket front only.

use std::time::Duration;

use super::{
    bosh::Bosh,
    paths,
    reader::Section,
    value::{self, Fault, HOUR, KIB, MIB, SECOND},
};

/// `[websocket]`
#[derive(Clone, Debug)]
pub struct WebSocket {
    /// Path of the front, without a trailing slash; `None`: there is none.
    pub path: Option<String>,
    /// What holds for each connection.
    pub terms: Terms,
}

/// What holds for each connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    /// How long a session can be resumed after its connection has broken; zero: never.
    pub resume: Duration,
    /// The same after a Close frame, which browsers send when a page is left.
    pub resume_after_close: Duration,
    /// How long a client may be silent before it is pinged.
    pub ping: Duration,
    /// How long it may then take to answer.
    pub pong_timeout: Duration,
    /// Longest message, bytes.
    pub max_message: usize,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            path: Some("/xmpp-websocket".to_owned()),
            terms: Terms::default(),
        }
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            resume: Duration::from_secs(5 * 60),
            resume_after_close: Duration::from_secs(60),
            ping: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(45),
            max_message: 256 << 10,
        }
    }
}

impl WebSocket {
    pub(super) fn read(section: &mut Section<'_, '_>, bosh: &Bosh) -> Self {
        let mut it = Self::default();
        section.set(&mut it.path, "path", |text| match text {
            "" => Ok(None),
            _ => value::path(text).map(Some),
        });
        if let Some(path) = &it.path {
            if paths::overlap(&bosh.path, path) {
                let cure = "choose two paths that share no prefix";
                section.fault("path", Fault::new("overlaps bosh.path", cure));
            }
            section.keep_path_apart("path", path);
        }
        let terms = &mut it.terms;
        section.set(
            &mut terms.resume,
            "resume",
            value::seconds(Duration::ZERO..=24 * HOUR),
        );
        section.set(
            &mut terms.resume_after_close,
            "resume_after_close",
            value::duration(Duration::ZERO..=24 * HOUR),
        );
        section.set(&mut terms.ping, "ping", value::duration(SECOND..=HOUR));
        section.set(
            &mut terms.pong_timeout,
            "pong_timeout",
            value::duration(SECOND..=HOUR),
        );
        section.set(
            &mut terms.max_message,
            "max_message",
            value::size(4 * KIB..=16 * MIB),
        );
        it
    }
}
