//! Encoding of a request that is passed to another gateway, and of the answer. Pure; what a member sends may be anything.
//!
//! Whether the other gateway understands it is the message's version to say (`cluster::wire`): nothing here is optional.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::StatusCode;

use crate::{
    proto::{bosh::condition::Condition, page::Page},
    session::{Origin, Protocol},
};

const SECURE: u8 = 1;
const KNOWN: u8 = 1 << 1;
const OVERSIZED: u8 = 1 << 2;
const PAGE: u8 = 1 << 3;
const IPV6: u8 = 1 << 4;
const HTTP_10: u8 = 1 << 5;
const HTTP_2: u8 = 1 << 6;
/// Longest head of a request: flags, address, page.
const HEAD: usize = 1 + 16 + 2 + 8;

const CLOSE: u8 = 1;
const TRY_AGAIN: u8 = 1 << 1;
const REFUSED: u8 = 1 << 2;

/// A request for a session of another gateway.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::front) struct Request {
    /// Where the client is, as the gateway knows that it has come to.
    pub(in crate::front) client: Origin,
    /// The web page that sent it, if pages say who they are.
    pub(in crate::front) page: Option<Page>,
    pub(in crate::front) body: Body,
}

/// What is known of the body of a request.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::front) enum Body {
    /// All of it.
    Document(Bytes),
    /// It was too large to be read; this is the sid in it.
    Oversized(Bytes),
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// No session gave it, for this reason.
    pub(super) refusal: Option<Condition>,
    /// It is the last one on its connection.
    pub(super) closes: bool,
    /// The client may come again.
    pub(super) try_again: bool,
    pub(super) content_type: Bytes,
    pub(super) body: Bytes,
}

/// What a member has sent makes no sense.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a request or an answer that cannot be read")]
pub(in crate::front) struct Unreadable;

impl Request {
    /// As it travels. The document is copied once.
    pub(super) fn encode(&self) -> Bytes {
        let Self { client, page, body } = self;
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let (oversized, rest) = match body {
            Body::Document(document) => (false, document),
            Body::Oversized(sid) => (true, sid),
        };
        let protocol = match client.protocol {
            Protocol::Http10 => HTTP_10,
            Protocol::Http11 => 0,
            Protocol::Http2 => HTTP_2,
        };
        let flags = flag(client.secure, SECURE)
            | flag(client.is_known, KNOWN)
            | flag(oversized, OVERSIZED)
            | flag(page.is_some(), PAGE)
            | flag(client.address.is_ipv6(), IPV6)
            | protocol;
        let mut bytes = BytesMut::with_capacity(HEAD.saturating_add(rest.len()));
        bytes.put_u8(flags);
        match client.address.ip() {
            IpAddr::V4(ip) => bytes.put_slice(&ip.octets()),
            IpAddr::V6(ip) => bytes.put_slice(&ip.octets()),
        }
        bytes.put_u16(client.address.port());
        if let Some(page) = page {
            bytes.put_u64(page.number());
        }
        bytes.put_slice(rest);
        bytes.freeze()
    }

    /// Reads what [`Self::encode`] has made, without copying the document.
    pub(in crate::front) fn decode(mut bytes: Bytes) -> Result<Self, Unreadable> {
        let flags = bytes.try_get_u8().map_err(|_| Unreadable)?;
        let is = |flag: u8| flags & flag != 0;
        let ip = if is(IPV6) {
            IpAddr::from(bytes.try_get_u128().map_err(|_| Unreadable)?.to_be_bytes())
        } else {
            IpAddr::from(bytes.try_get_u32().map_err(|_| Unreadable)?.to_be_bytes())
        };
        let port = bytes.try_get_u16().map_err(|_| Unreadable)?;
        let page = match is(PAGE) {
            true => Some(bytes.try_get_u64().map_err(|_| Unreadable)?),
            false => None,
        };
        let protocol = match (is(HTTP_10), is(HTTP_2)) {
            (false, false) => Protocol::Http11,
            (true, false) => Protocol::Http10,
            (false, true) => Protocol::Http2,
            (true, true) => return Err(Unreadable),
        };
        Ok(Self {
            client: Origin {
                address: SocketAddr::new(ip, port),
                is_known: is(KNOWN),
                secure: is(SECURE),
                protocol,
            },
            page: page.map(Page::numbered),
            body: match is(OVERSIZED) {
                true => Body::Oversized(bytes),
                false => Body::Document(bytes),
            },
        })
    }
}

impl Answer {
    /// What comes before the body.
    pub(super) fn encode_head(&self, body: usize) -> BytesMut {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let refusal = self.refusal.map_or("", Condition::as_str);
        let size = 5 + refusal.len() + self.content_type.len();
        let mut bytes = BytesMut::with_capacity(size.saturating_add(body));
        bytes.put_u16(self.status.as_u16());
        bytes.put_u8(
            flag(self.closes, CLOSE)
                | flag(self.try_again, TRY_AGAIN)
                | flag(self.refusal.is_some(), REFUSED),
        );
        for text in [refusal.as_bytes(), &self.content_type] {
            let text = text.get(..usize::from(u8::MAX)).unwrap_or(text);
            bytes.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
            bytes.put_slice(text);
        }
        bytes
    }

    /// Reads what [`Self::encode_head`] has made, and the body after it, which is not copied.
    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, Unreadable> {
        let status = bytes.try_get_u16().map_err(|_| Unreadable)?;
        let flags = bytes.try_get_u8().map_err(|_| Unreadable)?;
        let refusal = text(&mut bytes)?;
        let content_type = text(&mut bytes)?;
        Ok(Self {
            status: StatusCode::from_u16(status).map_err(|_| Unreadable)?,
            // A later version may know more conditions.
            refusal: (flags & REFUSED != 0)
                .then(|| Condition::named(&refusal).unwrap_or(Condition::Undefined)),
            closes: flags & CLOSE != 0,
            try_again: flags & TRY_AGAIN != 0,
            content_type,
            body: bytes,
        })
    }
}

/// A text after its length.
fn text(bytes: &mut Bytes) -> Result<Bytes, Unreadable> {
    let length = usize::from(bytes.try_get_u8().map_err(|_| Unreadable)?);
    if bytes.len() < length {
        return Err(Unreadable);
    }
    Ok(bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin() -> impl Strategy<Value = Origin> {
        let protocol = prop_oneof![
            Just(Protocol::Http10),
            Just(Protocol::Http11),
            Just(Protocol::Http2),
        ];
        let address = any::<(IpAddr, u16)>().prop_map(SocketAddr::from);
        (address, any::<[bool; 2]>(), protocol).prop_map(|(address, flags, protocol)| Origin {
            address,
            is_known: flags[0],
            secure: flags[1],
            protocol,
        })
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
    }

    fn condition() -> impl Strategy<Value = Option<Condition>> {
        proptest::option::of((0..Condition::ALL.len()).prop_map(|index| Condition::ALL[index]))
    }

    proptest! {
        #[test]
        fn a_request_arrives_as_it_was_sent(
            client in origin(),
            page in proptest::option::of(any::<u64>()),
            rest in bytes(),
            oversized: bool,
        ) {
            let body = if oversized { Body::Oversized(rest) } else { Body::Document(rest) };
            let request = Request { client, page: page.map(Page::numbered), body };
            prop_assert_eq!(Request::decode(request.encode()), Ok(request));
        }

        #[test]
        fn an_answer_arrives_as_it_was_given(
            status in 100_u16..1000,
            refusal in condition(),
            flags: [bool; 2],
            content_type in "[a-z/;= -]{0,80}",
            body in bytes(),
        ) {
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                refusal,
                closes: flags[0],
                try_again: flags[1],
                content_type: content_type.into(),
                body: body.clone(),
            };
            let mut bytes = answer.encode_head(body.len());
            bytes.extend_from_slice(&body);
            prop_assert_eq!(Answer::decode(bytes.freeze()), Ok(answer));
        }

        #[test]
        fn whatever_comes_is_read_or_refused(bytes in bytes()) {
            let _ = Request::decode(bytes.clone());
            let _ = Answer::decode(bytes);
        }
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let answer = Answer {
            status: StatusCode::OK,
            refusal: Some(Condition::ItemNotFound),
            closes: true,
            try_again: false,
            content_type: "text/xml".into(),
            body: Bytes::new(),
        };
        let answer = answer.encode_head(0).freeze();
        assert!(Answer::decode(answer.clone()).is_ok());
        for end in 0..answer.len() {
            assert_eq!(Answer::decode(answer.slice(..end)), Err(Unreadable));
        }
        let request = Request {
            client: Origin {
                address: ([127, 0, 0, 1], 1).into(),
                is_known: true,
                secure: false,
                protocol: Protocol::Http2,
            },
            page: Some(Page::numbered(7)),
            body: Body::Document(Bytes::new()),
        };
        let request = request.encode();
        for end in 0..request.len() {
            assert_eq!(Request::decode(request.slice(..end)), Err(Unreadable));
        }
    }
}
