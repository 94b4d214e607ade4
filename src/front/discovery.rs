//! Discovery documents, by which clients that know only the domain find the gateway (XEP-0156 "HTTP Lookup Method").

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;

use crate::{config::DISCOVERY_PATHS, net::answer, proto::xml::write::Tag};

/// Link relation of BOSH.
const BOSH: &str = "urn:xmpp:alt-connections:xbosh";
const XRD: HeaderValue = HeaderValue::from_static("application/xrd+xml");

/// The two documents (RFC 6415).
#[derive(Clone, Debug)]
pub struct Discovery {
    xml: Bytes,
    json: Bytes,
}

impl Discovery {
    /// Documents that say that the connection manager is at `url`.
    pub fn new(url: &str) -> Self {
        let mut xml = b"<?xml version='1.0' encoding='utf-8'?>\n\
            <XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\n  "
            .to_vec();
        Tag::within(&mut xml, "Link")
            .attribute("rel", BOSH)
            .attribute("href", url)
            .empty();
        xml.extend(b"\n</XRD>\n");
        let json = serde_json::json!({ "links": [{ "rel": BOSH, "href": url }] });
        Self {
            xml: xml.into(),
            json: json.to_string().into(),
        }
    }

    /// Whether `path` is that of one of them.
    pub fn serves(path: &str) -> bool {
        DISCOVERY_PATHS.contains(&path)
    }

    /// The answer to a request, if it is for one of the documents.
    pub fn answer(&self, method: &Method, path: &str) -> Option<Response<Full<Bytes>>> {
        let [xml, json] = DISCOVERY_PATHS;
        let (document, content_type) = match path {
            _ if path == xml => (&self.xml, XRD),
            _ if path == json => (&self.json, answer::JSON),
            _ => return None,
        };
        let mut response = if answer::is_read(method) {
            let document = Full::from(document.clone());
            answer::with_content(StatusCode::OK, content_type, document)
        } else {
            answer::only_reads()
        };
        // Any page may look (XEP-0156 "Implementation Notes").
        response.headers_mut().insert(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static("*"),
        );
        Some(response)
    }
}
