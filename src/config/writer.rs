//! `rosters`, `writer…`: whether the XMPP server of a host holds its contact lists, and how they get there.

use std::num::NonZeroU32;

use super::{
    credentials::{self, Credentials},
    own_addresses::OwnAddresses,
    reader::Section,
    url::{self, BaseUrl},
    value::{self, Fault},
};
use crate::roster::plan::Own;

/// Interface of an XMPP server by which lists are written into it.
#[derive(Clone, Debug)]
pub struct WriterEndpoint {
    /// Whose interface it is.
    pub kind: WriterKind,
    /// Where it is.
    pub url: BaseUrl,
    /// What it lets the gateway in for.
    pub credentials: Option<Credentials>,
}

/// `writer`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WriterKind {
    /// Prosody, with `mod_rostergate`.
    Prosody,
    /// ejabberd, with `mod_http_api`.
    Ejabberd,
}

/// How lists are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Writing {
    /// Most contacts that are written in a second.
    pub rate: NonZeroU32,
    /// Most contacts of a list that a refresh may remove, percent.
    pub max_removals: u8,
    /// What would be written is logged, and nothing is written.
    pub dry_run: bool,
    /// Whose the contacts are that the site does not list.
    pub own: Own,
}

impl Default for Writing {
    fn default() -> Self {
        Self {
            rate: NonZeroU32::new(500).unwrap_or(NonZeroU32::MIN),
            max_removals: 100,
            dry_run: false,
            own: Own::Written,
        }
    }
}

impl Writing {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let mut it = Self::default();
        section.count(&mut it.rate, "writer_rate", 100_000);
        section.number(&mut it.max_removals, "max_removals", 0..=100);
        section.flag(&mut it.dry_run, "dry_run");
        let choices = [("written", Own::Written), ("all", Own::All)];
        section.choose(&mut it.own, "own", &choices);
        it
    }
}

/// The keys that only make sense where the server holds the lists.
const KEYS: [&str; 7] = [
    "writer",
    "writer_url",
    "writer_token",
    "writer_token_file",
    "writer_user",
    "writer_password",
    "writer_password_file",
];

impl WriterEndpoint {
    /// Reads who holds the lists; `None` if the gateway does.
    pub(super) fn read(section: &mut Section<'_, '_>, own: &OwnAddresses) -> Option<Self> {
        let mut is_server = false;
        let choices = [("gateway", false), ("server", true)];
        section.choose(&mut is_server, "rosters", &choices);
        if is_server {
            section.demand("http_roster_url");
            section.demand("writer");
            section.demand("writer_url");
            if section.has("presence") {
                let cure = "leave presence away: the server tells it to contacts";
                section.fault("presence", Fault::new("set beside host.rosters", cure));
            }
        } else if let Some(key) = KEYS.into_iter().find(|key| section.has(key)) {
            let cure = "set rosters to \"server\", or leave it away";
            section.fault(key, Fault::new("the gateway holds the lists", cure));
        }
        let kinds = [
            ("prosody", WriterKind::Prosody),
            ("ejabberd", WriterKind::Ejabberd),
        ];
        let kind = section.read("writer", |text| value::choice(text, &kinds));
        let url = section.read("writer_url", |text| {
            let (url, place) = url::writer(text)?;
            own.writer_fault(&place).map_or(Ok(url), Err)
        });
        let credentials = Credentials::read(section, &credentials::WRITER, None);
        let (kind, url) = (kind?, url?);
        let is_token = matches!(credentials, Some(Credentials::Token(_)));
        if kind == WriterKind::Prosody && !is_token {
            let problem = "mod_rostergate lets nobody in without a token";
            let cure = "set writer_token_file to a file with its rostergate_token";
            section.fault("writer", Fault::new(problem, cure));
        }
        is_server.then_some(Self {
            kind,
            url,
            credentials,
        })
    }
}
