//! PROXY protocol, versions 1 and 2: the header by which a proxy for TCP names the client before all else.
//!
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use proxy_header::{Error, ParseConfig, Protocol, ProxiedAddress, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 1, bytes.
const MAX_LINE: usize = 107;
/// Longest header of version 2 that is read, bytes. Addresses are 36 of them; the rest is extensions.
const MAX_BINARY: usize = 4096;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What a header says of the connection behind the proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The client's address; `None` if the proxy itself has connected, or names none.
    pub client: Option<SocketAddr>,
    /// Whether it is encrypted, up to the proxy.
    pub tls: bool,
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Something else came.
    #[error("no header")]
    Absent,
    /// It is longer than any that is of use.
    #[error("header too long")]
    TooLong,
    /// It begins like a header, but is malformed.
    #[error("header malformed")]
    Malformed(#[source] Error),
    /// The connection ended before.
    #[error("connection lost")]
    Lost(#[from] io::Error),
}

/// Reads the header that `stream` begins with, and not a byte more.
///
/// # Errors
///
/// If it does not begin with any. How long that may take is the caller's business.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Header, HeaderError> {
    let mut bytes = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut bytes).await?;
    if bytes == SIGNATURE {
        let (version_and_family, length) = (stream.read_u16().await?, stream.read_u16().await?);
        bytes.extend(version_and_family.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        let start = bytes.len();
        bytes.resize(start + usize::from(length), 0);
        if bytes.len() > MAX_BINARY {
            return Err(HeaderError::TooLong);
        }
        stream.read_exact(&mut bytes[start..]).await?;
    } else if bytes.starts_with(b"PROXY ") {
        // Byte by byte: what follows the line belongs to the next protocol.
        while !bytes.ends_with(b"\n") {
            if bytes.len() == MAX_LINE {
                return Err(HeaderError::TooLong);
            }
            bytes.push(stream.read_u8().await?);
        }
    } else {
        return Err(HeaderError::Absent);
    }
    let (header, _) =
        ProxyHeader::parse(&bytes, ParseConfig::default()).map_err(HeaderError::Malformed)?;
    let client = header.proxied_address();
    let client = client.filter(|address| address.protocol == Protocol::Stream);
    let ssl = header.ssl();
    Ok(Header {
        client: client.map(|address| address.source),
        tls: client.is_some() && ssl.is_some_and(|ssl| ssl.client_ssl()),
    })
}

/// The header that tells a server at `destination` of a client at `source`.
pub fn header(version: ProxyProtocol, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
    let destination = alike(destination, source);
    let header = ProxyHeader::with_address(ProxiedAddress::stream(source, destination));
    let mut bytes = Vec::with_capacity(MAX_LINE);
    match version {
        ProxyProtocol::V1 => header.encode_v1(&mut bytes),
        ProxyProtocol::V2 => header.encode_v2(&mut bytes),
    }
    .expect("two addresses of one family are a header");
    bytes
}

/// `destination` as an address of the source's family, as a header has one family for both. The destination is the one
/// to be converted, because servers look at the source.
fn alike(destination: SocketAddr, source: SocketAddr) -> SocketAddr {
    let ip = match (source, destination) {
        (SocketAddr::V6(_), SocketAddr::V4(to)) => to.ip().to_ipv6_mapped().into(),
        (SocketAddr::V4(_), SocketAddr::V6(to)) => to
            .ip()
            .to_ipv4_mapped()
            .unwrap_or(Ipv4Addr::UNSPECIFIED)
            .into(),
        _ => destination.ip(),
    };
    SocketAddr::new(ip, destination.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header that these bytes begin with, and how many of them it leaves.
    fn read_from(mut bytes: &[u8]) -> Result<(Header, usize), HeaderError> {
        let read = async {
            let header = read(&mut bytes).await?;
            Ok((header, bytes.len()))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(read)
    }

    fn of(client: &str, tls: bool) -> Header {
        let client = client.parse().ok();
        Header { client, tls }
    }

    fn binary(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    const FOUR: [u8; 12] = [192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x67, 0, 80];

    #[test]
    fn a_line_is_read_and_what_follows_is_not() {
        for (line, header) in [
            (
                "PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n",
                of("192.0.2.7:4711", false),
            ),
            (
                "PROXY TCP6 2001:db8::7 ::1 4711 80\r\n",
                of("[2001:db8::7]:4711", false),
            ),
            ("PROXY UNKNOWN\r\n", of("", false)),
            ("PROXY UNKNOWN a b 1 2\r\n", of("", false)),
        ] {
            let read = read_from(format!("{line}GET /").as_bytes()).unwrap();
            assert_eq!(read, (header, 5), "{line}");
        }
    }

    #[test]
    fn a_binary_header_is_read_and_what_follows_is_not() {
        let mut ssl = FOUR.to_vec();
        // The type of the authority, then that of TLS; its value begins with the flags.
        ssl.extend([0x02, 0, 1, b'x', 0x20, 0, 5, 1, 0, 0, 0, 0]);
        let mut six = vec![0; 36];
        six[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        six[33] = 80;
        for (bytes, header) in [
            (binary(1, 0x11, &FOUR), of("192.0.2.7:4711", false)),
            (binary(1, 0x11, &ssl), of("192.0.2.7:4711", true)),
            (binary(1, 0x21, &six), of("[2001:db8::]:80", false)),
            // Health checks of the proxy's own, datagrams, sockets of the file system.
            (binary(0, 0x11, &ssl), of("", false)),
            (binary(0, 0, &[]), of("", false)),
            (binary(1, 0x12, &FOUR), of("", false)),
            (binary(1, 0x31, &[0; 216]), of("", false)),
        ] {
            let mut followed = bytes.clone();
            followed.extend(b"GET /");
            assert_eq!(read_from(&followed).unwrap(), (header, 5), "{bytes:?}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80".to_vec(),
            b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\n".to_vec(),
            b"PROXY TCP4 192.0.2.777 127.0.0.1 4711 80\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 4711 80\r\n".to_vec(),
            [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat(),
            b"PROXY".to_vec(),
            binary(1, 0x11, &FOUR[..11]),
            binary(2, 0x11, &FOUR),
            binary(1, 0x11, &FOUR)[..20].to_vec(),
            binary(1, 0x11, &[0; 8192]),
        ] {
            assert!(read_from(&bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_written_header_can_be_read() {
        for (source, destination, line) in [
            (
                "192.0.2.7:4711",
                "127.0.0.1:5222",
                "PROXY TCP4 192.0.2.7 127.0.0.1 4711 5222\r\n",
            ),
            (
                "[2001:db8::7]:0",
                "127.0.0.1:5222",
                "PROXY TCP6 2001:db8::7 ::ffff:127.0.0.1 0 5222\r\n",
            ),
            (
                "[::ffff:192.0.2.7]:1",
                "[::1]:5222",
                "PROXY TCP4 192.0.2.7 0.0.0.0 1 5222\r\n",
            ),
        ] {
            let (source, destination): (SocketAddr, _) =
                (source.parse().unwrap(), destination.parse().unwrap());
            let canonical = SocketAddr::new(source.ip().to_canonical(), source.port());
            let text = header(ProxyProtocol::V1, source, destination);
            assert_eq!(String::from_utf8(text).unwrap(), line);
            for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
                let bytes = header(version, source, destination);
                let (read, rest) = read_from(&bytes).unwrap();
                assert_eq!((read.client, rest), (Some(canonical), 0), "{version:?}");
            }
        }
    }
}
