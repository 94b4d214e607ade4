//! Discovery documents, by which clients that know only the domain find the gateway (XEP-0156 "HTTP Lookup Method").

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;

use crate::{config::DISCOVERY_PATHS, net::answer, proto::xml::write::Tag};

/// Link relation of WebSocket (RFC 7395 §4).
const WEBSOCKET: &str = "urn:xmpp:alt-connections:websocket";
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
    /// Documents that say where the fronts are; none if there is nothing to say. Clients that look at the order
    /// prefer the first.
    pub fn new(websocket: Option<&str>, bosh: Option<&str>) -> Option<Self> {
        let links = [(WEBSOCKET, websocket), (BOSH, bosh)];
        let links = links.into_iter().filter_map(|(rel, url)| Some((rel, url?)));
        let links: Vec<_> = links.collect();
        (!links.is_empty()).then(|| Self::of(&links))
    }

    fn of(links: &[(&str, &str)]) -> Self {
        let mut xml = b"<?xml version='1.0' encoding='utf-8'?>\n\
            <XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\n"
            .to_vec();
        let mut json = Vec::new();
        for (rel, url) in links {
            xml.extend(b"  ");
            Tag::within(&mut xml, "Link")
                .attribute("rel", rel)
                .attribute("href", url)
                .empty();
            xml.push(b'\n');
            json.push(serde_json::json!({ "rel": rel, "href": url }));
        }
        xml.extend(b"</XRD>\n");
        let json = serde_json::json!({ "links": json });
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
