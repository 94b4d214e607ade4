use std::{future::poll_fn, task::Waker, time::Duration};

use proptest::{collection::vec, prelude::*};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tungstenite::protocol::{Role, WebSocket};

use super::*;

const FOREVER: Duration = Duration::from_secs(30);
const MAX: usize = 1 << 16;
/// First bytes of frames.
const TEXT: u8 = 0x81;
const TEXT_BEGINS: u8 = 0x01;
const GOES_ON: u8 = 0x00;
const ENDS: u8 = 0x80;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

async fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap());
    let (peer, accepted) = tokio::join!(peer, listener.accept());
    let transport = Transport::Plain(accepted.unwrap().0);
    let connection = Connection::new(transport, Bytes::new(), None, MAX);
    (Socket::over(connection), peer.unwrap())
}

/// The header of a client's frame, in the shortest form. The mask is zero, so that payload stands as it is.
fn header(first: u8, length: usize) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..=125 => header.push(0x80 | length as u8),
        126..=0xFFFF => {
            header.push(0x80 | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend((length as u64).to_be_bytes());
        }
    }
    header.extend([0; 4]);
    header
}

fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = header(first, payload.len());
    frame.extend(payload);
    frame
}

async fn next(socket: &mut Socket) -> Result<Received, SocketError> {
    let next = poll_fn(|cx| {
        let read = socket.poll_read(cx);
        let _ = socket.poll_write(cx);
        read
    });
    timeout(FOREVER, next).await.expect("something in time")
}

/// What can be read now, once what the peer wrote is there.
async fn next_text(socket: &mut Socket) -> Bytes {
    match next(socket).await {
        Ok(Received::Text(text)) => text,
        other => panic!("no text but {other:?}"),
    }
}

async fn flush(socket: &mut Socket) {
    let flushed = timeout(FOREVER, poll_fn(|cx| socket.poll_write(cx)));
    flushed.await.expect("written in time");
}

async fn shut_down(socket: &mut Socket) {
    let shut = timeout(FOREVER, poll_fn(|cx| socket.poll_shutdown(cx)));
    shut.await.expect("shut down in time");
}

/// A frame of the server: its first byte and its payload.
async fn heard(peer: &mut TcpStream) -> (u8, Vec<u8>) {
    let read = async {
        let first = peer.read_u8().await.unwrap();
        let length = match peer.read_u8().await.unwrap() {
            126 => peer.read_u16().await.unwrap().into(),
            127 => peer.read_u64().await.unwrap(),
            length => length.into(),
        };
        assert!(length < 1 << 32, "a frame without mask");
        let mut payload = vec![0; length as usize];
        peer.read_exact(&mut payload).await.unwrap();
        (first, payload)
    };
    timeout(FOREVER, read).await.expect("a frame in time")
}

async fn heard_close(peer: &mut TcpStream) -> u16 {
    let (first, payload) = heard(peer).await;
    assert_eq!(first, CLOSE);
    u16::from_be_bytes(payload[..2].try_into().unwrap())
}

/// The Close code with which bytes of a client are refused, if they are.
async fn refused(bytes: &[u8]) -> Option<u16> {
    let (mut socket, mut peer) = pair().await;
    peer.write_all(bytes).await.unwrap();
    peer.write_all(&frame(TEXT, "end")).await.unwrap();
    loop {
        match next(&mut socket).await {
            Ok(Received::Text(text)) if text == "end" => return None,
            Ok(_) => {}
            Err(SocketError::Violation | SocketError::Encoding | SocketError::Binary) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    flush(&mut socket).await;
    socket.send(Bytes::from_static(b"nothing follows"));
    drop(socket);
    loop {
        let (first, payload) = heard(&mut peer).await;
        if first == CLOSE {
            let mut rest = Vec::new();
            // The connection may be reset, as the socket was dropped with unread data.
            let _ = peer.read_to_end(&mut rest).await;
            assert_eq!(rest, b"", "after the Close frame");
            return Some(u16::from_be_bytes(payload[..2].try_into().unwrap()));
        }
    }
}

#[tokio::test]
async fn text_comes_and_goes_at_each_form_of_the_length() {
    let (mut socket, mut peer) = pair().await;
    for length in [0, 1, 125, 126, SMALL - 1, SMALL, 0xFFFF, 0x1_0000] {
        let text = "x".repeat(length);
        peer.write_all(&frame(TEXT, &text)).await.unwrap();
        let received = next_text(&mut socket).await;
        assert!(received == text, "{length} bytes");
        socket.send(received);
        let (written, (first, payload)) = tokio::join!(flush(&mut socket), heard(&mut peer));
        let () = written;
        assert!((first, payload) == (TEXT, text.into_bytes()), "{length}");
        assert_eq!(socket.queued(), 0);
    }
}

#[tokio::test]
async fn frames_against_the_rules_fail_the_connection() {
    let valid = [0x81, 0x81, 0, 0, 0, 0, b'x'];
    assert_eq!(refused(&valid).await, None);
    let continuation = frame(GOES_ON, "x");
    let start_within = [frame(TEXT_BEGINS, "x"), frame(TEXT, "y")].concat();
    let top_bit = [0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, b'x'];
    let cases: [(&str, &[u8]); 15] = [
        ("no mask", &[0x81, 0x01, b'x']),
        ("opcode 3", &frame(0x83, "x")),
        ("opcode 7", &frame(0x87, "x")),
        ("opcode 11", &frame(0x8B, "x")),
        ("opcode 15", &frame(0x8F, "x")),
        ("RSV1", &frame(0xC1, "x")),
        ("RSV2", &frame(0xA1, "x")),
        ("RSV3", &frame(0x91, "x")),
        ("top bit of the length", &top_bit),
        ("1 in 16 bits", &[0x81, 0xFE, 0, 1, 0, 0, 0, 0, b'x']),
        (
            "1 in 64 bits",
            &[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, b'x'],
        ),
        ("continuation of nothing", &continuation),
        ("start within a message", &start_within),
        ("ping of 126 bytes", &frame(PING, [0; 126])),
        ("ping in fragments", &frame(0x09, "x")),
    ];
    for (name, bytes) in cases {
        assert_eq!(refused(bytes).await, Some(1002), "{name}");
    }
}

#[tokio::test]
async fn text_is_utf8_over_the_whole_message() {
    let split = [frame(TEXT_BEGINS, b"\xC3"), frame(ENDS, b"\xA4")].concat();
    assert_eq!(refused(&split).await, None);
    for bytes in [
        frame(TEXT, b"\xC3"),
        frame(TEXT, b"\xED\xA0\x80"),
        [frame(TEXT_BEGINS, b"\xC3"), frame(ENDS, b"x")].concat(),
        [frame(TEXT_BEGINS, b"\xC3"), frame(ENDS, b"")].concat(),
    ] {
        assert_eq!(refused(&bytes).await, Some(1007), "{bytes:?}");
    }
}

#[tokio::test]
async fn binary_messages_are_refused() {
    assert_eq!(refused(&frame(BINARY, "x")).await, Some(1003));
    let fragmented = [frame(0x02, "x"), frame(ENDS, "y")].concat();
    assert_eq!(refused(&fragmented).await, Some(1003));
}

#[tokio::test]
async fn a_ping_is_answered_within_a_fragmented_message() {
    let (mut socket, mut peer) = pair().await;
    let bytes = [
        frame(TEXT_BEGINS, "one "),
        frame(PING, "now"),
        frame(GOES_ON, "two "),
    ];
    peer.write_all(&bytes.concat()).await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap(), Received::Ping);
    flush(&mut socket).await;
    assert_eq!(heard(&mut peer).await, (PONG, b"now".to_vec()));
    peer.write_all(&frame(ENDS, "three")).await.unwrap();
    assert_eq!(next_text(&mut socket).await, "one two three");
}

#[tokio::test]
async fn a_pong_has_the_number_of_its_ping() {
    let (mut socket, mut peer) = pair().await;
    socket.ping(u64::MAX - 1);
    flush(&mut socket).await;
    let (first, payload) = heard(&mut peer).await;
    assert_eq!((first, payload.len()), (PING, 8));
    let bytes = [frame(PONG, payload), frame(PONG, "unasked")].concat();
    peer.write_all(&bytes).await.unwrap();
    let pong = Received::Pong(Some(u64::MAX - 1));
    assert_eq!(next(&mut socket).await.unwrap(), pong);
    assert_eq!(next(&mut socket).await.unwrap(), Received::Pong(None));
}

#[tokio::test]
async fn a_client_that_takes_no_pongs_is_not_read() {
    let (mut socket, mut peer) = pair().await;
    let pings = frame(PING, [b'x'; 125]).repeat(100);
    let flood = async {
        let patience = Duration::from_millis(300);
        while timeout(patience, peer.write_all(&pings)).await.is_ok() {}
    };
    let answer = poll_fn(|cx| {
        while let Poll::Ready(received) = socket.poll_read(cx) {
            assert_eq!(received.unwrap(), Received::Ping);
            let _ = socket.poll_write(cx);
        }
        Poll::<()>::Pending
    });
    tokio::select! {
        () = flood => {}
        () = answer => {}
    }
    assert!(socket.queued() <= PONGS * 127, "{}", socket.queued());
}

#[tokio::test]
async fn a_close_frame_is_answered_once_with_its_code() {
    for (body, code) in [(&b"\x03\xE9bye"[..], Some(1001)), (&b""[..], None)] {
        let (mut socket, mut peer) = pair().await;
        socket.send(Bytes::from_static(b"before"));
        let bytes = [frame(CLOSE, body), frame(TEXT, "after")].concat();
        peer.write_all(&bytes).await.unwrap();
        assert_eq!(next(&mut socket).await.unwrap(), Received::Closed(code));
        socket.send(Bytes::from_static(b"after"));
        socket.ping(1);
        socket.close(1000);
        let mut said = Vec::new();
        let hear = async {
            peer.read_to_end(&mut said).await.unwrap();
            drop(peer);
        };
        tokio::join!(shut_down(&mut socket), hear);
        let echo = [
            &[CLOSE, body.len().min(2) as u8],
            &body[..body.len().min(2)],
        ]
        .concat();
        assert_eq!(said, [b"\x81\x06before", &echo[..]].concat());
    }
}

#[tokio::test]
async fn bodies_of_close_frames_are_checked() {
    for code in [1000_u16, 1001, 1002, 1003, 1007, 1011, 3000, 4999] {
        let (mut socket, mut peer) = pair().await;
        let bytes = frame(CLOSE, code.to_be_bytes());
        peer.write_all(&bytes).await.unwrap();
        let closed = Received::Closed(Some(code));
        assert_eq!(next(&mut socket).await.unwrap(), closed);
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let refusal = refused(&frame(CLOSE, code.to_be_bytes())).await;
        assert_eq!(refusal, Some(1002), "{code}");
    }
    assert_eq!(refused(&frame(CLOSE, b"\x03")).await, Some(1002));
    assert_eq!(refused(&frame(CLOSE, b"\x03\xE8\xFF")).await, Some(1007));
}

#[tokio::test]
async fn the_client_is_read_until_it_answers_our_close_frame() {
    let (mut socket, mut peer) = pair().await;
    socket.close(1000);
    socket.close(1001);
    socket.send(Bytes::from_static(b"after"));
    flush(&mut socket).await;
    assert_eq!(heard_close(&mut peer).await, 1000);
    let bytes = [
        frame(TEXT, "late"),
        frame(PING, ""),
        frame(CLOSE, b"\x03\xE8"),
    ];
    peer.write_all(&bytes.concat()).await.unwrap();
    assert_eq!(next_text(&mut socket).await, "late");
    assert_eq!(next(&mut socket).await.unwrap(), Received::Ping);
    let closed = Received::Closed(Some(1000));
    assert_eq!(next(&mut socket).await.unwrap(), closed);
    let mut said = Vec::new();
    let hear = async {
        peer.read_to_end(&mut said).await.unwrap();
        drop(peer);
    };
    tokio::join!(shut_down(&mut socket), hear);
    assert_eq!(said, b"", "nothing follows a Close frame");
}

#[tokio::test]
async fn a_length_is_judged_before_payload_comes_and_leaves_room_for_words() {
    let whole = frame(TEXT, "x".repeat(MAX));
    let fragments = [frame(TEXT_BEGINS, "x".repeat(MAX - 1)), header(GOES_ON, 2)];
    for too_long in [header(TEXT, MAX + 1), fragments.concat()] {
        let (mut socket, mut peer) = pair().await;
        peer.write_all(&whole).await.unwrap();
        assert_eq!(next_text(&mut socket).await.len(), MAX, "the most");
        peer.write_all(&too_long).await.unwrap();
        let error = next(&mut socket).await.unwrap_err();
        assert!(matches!(error, SocketError::TooLong), "{error:?}");
        // The client goes on, reading nothing, and would block if nobody read.
        let send = async {
            let payload = vec![b'x'; 8 << 20];
            peer.write_all(&payload).await.unwrap();
            let said = heard(&mut peer).await;
            assert_eq!(said, (TEXT, b"too long".to_vec()));
            assert_eq!(heard_close(&mut peer).await, 1009);
            drop(peer);
        };
        socket.send(Bytes::from_static(b"too long"));
        socket.close(1009);
        let both = async { tokio::join!(shut_down(&mut socket), send) };
        timeout(FOREVER, both).await.expect("heard in time");
    }
}

#[tokio::test]
async fn the_limit_can_be_changed() {
    let (mut socket, mut peer) = pair().await;
    socket.set_max_message(2);
    peer.write_all(&frame(TEXT, "xx")).await.unwrap();
    assert_eq!(next_text(&mut socket).await, "xx");
    socket.set_max_message(3);
    let bytes = [frame(TEXT, "xxx"), frame(TEXT, "xxxx")].concat();
    peer.write_all(&bytes).await.unwrap();
    assert_eq!(next_text(&mut socket).await, "xxx");
    let error = next(&mut socket).await.unwrap_err();
    assert!(matches!(error, SocketError::TooLong), "{error:?}");
}

#[tokio::test]
async fn a_message_in_endless_fragments_is_refused() {
    let (mut socket, mut peer) = pair().await;
    let most = [
        frame(TEXT_BEGINS, ""),
        frame(GOES_ON, "x").repeat(1022),
        frame(ENDS, ""),
    ];
    peer.write_all(&most.concat()).await.unwrap();
    assert_eq!(next_text(&mut socket).await.len(), 1022);
    let endless = [frame(TEXT_BEGINS, ""), frame(GOES_ON, "").repeat(1024)];
    peer.write_all(&endless.concat()).await.unwrap();
    let error = next(&mut socket).await.unwrap_err();
    assert!(matches!(error, SocketError::TooLong), "{error:?}");
}

#[tokio::test]
async fn what_is_unfinished_is_known_and_an_idle_socket_has_no_buffer() {
    let (mut socket, mut peer) = pair().await;
    assert!(socket.resting.is_some());
    let begin = [frame(TEXT_BEGINS, "12345"), header(ENDS, 3)].concat();
    let bytes = [frame(TEXT, "whole"), begin.clone(), frame(PING, "")].concat();
    peer.write_all(&bytes[..bytes.len() - 6]).await.unwrap();
    assert_eq!(next_text(&mut socket).await, "whole");
    while socket.unfinished() < begin.len() {
        let waker = Waker::noop();
        let read = socket.poll_read(&mut Context::from_waker(waker));
        assert!(read.is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(socket.unfinished(), begin.len());
    assert!(socket.resting.is_none());
    peer.write_all(b"678").await.unwrap();
    assert_eq!(next_text(&mut socket).await, "12345678");
    assert_eq!(socket.unfinished(), 0);
    let read = socket.poll_read(&mut Context::from_waker(Waker::noop()));
    assert!(read.is_pending() && socket.resting.is_some());
    socket.send(Bytes::from_static(b"x"));
    assert_eq!(socket.queued(), 3);
    flush(&mut socket).await;
    assert!(socket.resting.is_some());
}

#[tokio::test]
async fn who_reads_a_flood_gives_others_their_turn() {
    let (mut socket, mut peer) = pair().await;
    peer.write_all(&frame(PONG, "").repeat(1000)).await.unwrap();
    let mut received = 0;
    let mut turns = 0;
    let read = poll_fn(|cx| {
        turns += 1;
        while let Poll::Ready(pong) = socket.poll_read(cx) {
            assert_eq!(pong.unwrap(), Received::Pong(None));
            received += 1;
        }
        match received {
            1000 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    });
    timeout(FOREVER, read).await.expect("all in time");
    assert!(turns > 5, "{turns} turns for {received} frames");
}

#[tokio::test]
async fn a_long_message_takes_a_turn_of_its_own() {
    let (mut socket, mut peer) = pair().await;
    let messages = frame(TEXT, " ".repeat(MAX)).repeat(32);
    let (mut received, mut most) = (0, 0);
    let read = poll_fn(|cx| {
        let before = received;
        while let Poll::Ready(text) = socket.poll_read(cx) {
            text.unwrap();
            received += 1;
        }
        most = most.max(received - before);
        match received {
            32 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    });
    let both = async { tokio::join!(read, peer.write_all(&messages)) };
    timeout(FOREVER, both)
        .await
        .expect("all in time")
        .1
        .unwrap();
    assert!(most <= 4, "{most} in one turn");
}

/// Or pings would keep a message out of the bound on all of them.
#[tokio::test]
async fn a_message_with_pings_in_it_is_charged_and_can_be_given_up() {
    let unfinished = Arc::<Unfinished>::default();
    let address = |last| Some(IpAddr::from([192, 0, 2, last]));
    let (mut socket, mut peer) = pair().await;
    socket.charge_to(&unfinished, address(1));
    let begin = frame(TEXT_BEGINS, "x".repeat(2 * SHORT));
    let bytes = [begin, frame(PING, "").repeat(3)].concat();
    peer.write_all(&bytes).await.unwrap();
    for _ in 0..2 {
        assert_eq!(next(&mut socket).await.unwrap(), Received::Ping);
    }
    // Somebody has less than all that there may be, and was there before.
    let mut most = unfinished.track(address(1), Arc::<WakeFlag>::default());
    most.grow_to((32 << 20) - 3 * SHORT);
    let mut other = unfinished.track(address(2), Arc::<WakeFlag>::default());
    other.grow_to(2 * SHORT);
    let error = next(&mut socket).await.unwrap_err();
    assert!(matches!(error, SocketError::GivenUp), "{error:?}");
    flush(&mut socket).await;
}

#[tokio::test]
async fn the_buffer_of_a_long_message_is_charged_until_the_socket_rests() {
    let unfinished = Arc::<Unfinished>::default();
    let address = Some(IpAddr::from([192, 0, 2, 1]));
    let (mut socket, mut peer) = pair().await;
    socket.charge_to(&unfinished, address);
    let charge = |socket: &Socket| socket.charge.as_ref().map(|it| it.charge.size());
    let long = frame(TEXT, " ".repeat(MAX));
    peer.write_all(&[&long[..], b"\x81"].concat())
        .await
        .unwrap();
    next_text(&mut socket).await;
    let pending = async |socket: &mut Socket, unfinished| {
        while socket.unfinished() != unfinished {
            let read = socket.poll_read(&mut Context::from_waker(Waker::noop()));
            assert!(read.is_pending());
            tokio::task::yield_now().await;
        }
    };
    pending(&mut socket, 1).await;
    assert_eq!(charge(&socket), Some(long.len()));
    peer.write_all(&frame(TEXT, "short")[1..]).await.unwrap();
    next_text(&mut socket).await;
    pending(&mut socket, 0).await;
    let read = socket.poll_read(&mut Context::from_waker(Waker::noop()));
    assert!(read.is_pending() && socket.resting.is_some());
    assert_eq!(charge(&socket), None);
}

#[tokio::test]
async fn all_that_is_due_goes_out_in_one_write() {
    let (mut socket, mut peer) = pair().await;
    socket.send(Bytes::from_static(b"one"));
    socket.send(Bytes::from_static(b"two"));
    socket.ping(3);
    flush(&mut socket).await;
    let mut bytes = [0; 100];
    let count = peer.read(&mut bytes).await.unwrap();
    assert_eq!(count, 2 * 5 + 10);
}

#[tokio::test]
async fn a_lost_connection_is_told_after_what_came_before() {
    let (mut socket, mut peer) = pair().await;
    peer.write_all(&frame(TEXT, "why")).await.unwrap();
    drop(peer);
    assert_eq!(next_text(&mut socket).await, "why");
    let error = next(&mut socket).await.unwrap_err();
    assert!(matches!(error, SocketError::Lost(_)), "{error:?}");

    let (mut socket, mut peer) = pair().await;
    peer.write_all(&header(TEXT, 10)).await.unwrap();
    drop(peer);
    let error = next(&mut socket).await.unwrap_err();
    assert!(matches!(error, SocketError::Lost(_)), "{error:?}");
}

#[tokio::test]
async fn a_failure_to_write_is_told_by_reading() {
    let (mut socket, peer) = pair().await;
    // So that the connection is reset, not ended.
    peer.set_zero_linger().unwrap();
    drop(peer);
    let failed = poll_fn(|cx| {
        socket.send(Bytes::from_static(b"x"));
        let _ = socket.poll_write(cx);
        socket.poll_read(cx)
    });
    let error = timeout(FOREVER, failed).await.unwrap().unwrap_err();
    assert!(matches!(error, SocketError::Lost(_)), "{error:?}");
    socket.send(Bytes::from_static(b"x"));
    assert_eq!(socket.queued(), 0);
}

#[tokio::test]
async fn another_implementation_understands() {
    let (mut socket, peer) = pair().await;
    let peer = peer.into_std().unwrap();
    peer.set_nonblocking(false).unwrap();
    let client = tokio::task::spawn_blocking(move || {
        let mut client = WebSocket::from_raw_socket(peer, Role::Client, None);
        for length in [1, 125, 126, 0xFFFF, 0x1_0000] {
            let text = "ä".repeat(length / 2);
            client.send(tungstenite::Message::text(&*text)).unwrap();
            let echo = client.read().unwrap();
            assert!(*echo.into_text().unwrap() == *text, "{length}");
        }
        client.close(None).unwrap();
        while client.read().is_ok() {}
    });
    loop {
        match next(&mut socket).await.unwrap() {
            Received::Text(text) => socket.send(text),
            Received::Closed(_) => break,
            _ => {}
        }
    }
    shut_down(&mut socket).await;
    client.await.unwrap();
}

/// How a message is sent: where it is cut, and whether a ping comes in each cut.
type Sent = (String, Vec<(prop::sample::Index, bool)>);

fn frames((text, cuts): &Sent) -> (Vec<u8>, usize) {
    let text = text.as_bytes();
    let mut at: Vec<_> = cuts
        .iter()
        .map(|(at, ping)| (at.index(text.len() + 1), *ping))
        .collect();
    at.sort_unstable();
    let mut bytes = Vec::new();
    let (mut begin, mut pings) = (0, 0);
    for (number, (end, ping)) in at.iter().enumerate() {
        let first = if number == 0 { TEXT_BEGINS } else { GOES_ON };
        bytes.extend(frame(first, &text[begin..*end]));
        if *ping {
            bytes.extend(frame(PING, "?"));
            pings += 1;
        }
        begin = *end;
    }
    let last = if at.is_empty() { TEXT } else { ENDS };
    bytes.extend(frame(last, &text[begin..]));
    (bytes, pings)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_fragments_in_any_pieces_are_the_same_messages(
        sent in vec((".{0,200}", vec((any::<prop::sample::Index>(), any::<bool>()), 0..5)), 1..8),
        pieces in vec(1..400_usize, 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut socket, mut peer) = pair().await;
            let mut bytes = Vec::new();
            let mut pings = 0;
            for message in &sent {
                let (frames, count) = frames(message);
                bytes.extend(frames);
                pings += count;
            }
            let write = async {
                let mut rest = &bytes[..];
                for piece in pieces.iter().cycle() {
                    let (piece, left) = rest.split_at((*piece).min(rest.len()));
                    peer.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                    rest = left;
                    if rest.is_empty() {
                        break;
                    }
                }
            };
            let read = async {
                let mut texts = Vec::new();
                let mut answered = 0;
                while texts.len() < sent.len() {
                    match next(&mut socket).await.unwrap() {
                        Received::Text(text) => texts.push(text),
                        Received::Ping => answered += 1,
                        other => panic!("{other:?}"),
                    }
                }
                (texts, answered)
            };
            let ((), (texts, answered)) = tokio::join!(write, read);
            let expected: Vec<_> = sent.iter().map(|(text, _)| text.as_bytes()).collect();
            assert_eq!(texts, expected);
            assert_eq!(answered, pings);
            assert_eq!(socket.unfinished(), 0);
        });
    }

    #[test]
    fn any_bytes_end_in_order(bytes in vec(any::<u8>(), 0..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut socket, mut peer) = pair().await;
            peer.write_all(&bytes).await.unwrap();
            drop(peer);
            while let Ok(received) = next(&mut socket).await {
                if matches!(received, Received::Closed(_)) {
                    break;
                }
            }
        });
    }
}
