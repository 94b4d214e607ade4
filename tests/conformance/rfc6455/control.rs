//! 5.5: Control Frames.

use support::{
    gateway::Gateway,
    site::{Site, domain},
    websocket::{CLOSE, CONTINUATION, FIN, PING, PONG, frame},
    webstream::WebStream,
};

async fn open() -> (Gateway, WebStream) {
    let gateway = Gateway::start(Site::shared());
    let stream = WebStream::open(&gateway.websocket(), domain()).await;
    (gateway, stream)
}

/// The data of the next pong.
async fn pong(stream: &mut WebStream) -> Vec<u8> {
    let seen = stream.pongs.len();
    while stream.pongs.len() == seen {
        let frame = support::within("a pong", stream.frame()).await;
        let frame = frame.expect("the connection is open");
        stream.handle_control(frame).await;
    }
    stream.pongs[seen].clone()
}

#[tokio::test]
async fn answers_a_ping_with_its_own_data() {
    let (_gateway, mut stream) = open().await;
    for data in [&b""[..], b"hello", b"\0\xff\xfe", &[b'x'; 125]] {
        stream.ping(data).await;
        assert_eq!(pong(&mut stream).await, data);
    }
}

/// Not every ping has to be answered, but the last one has.
#[tokio::test]
async fn answers_the_last_of_many_pings() {
    let (_gateway, mut stream) = open().await;
    let mut bytes = Vec::new();
    for number in 0..50_u8 {
        bytes.extend(frame(FIN | PING, &[number]));
    }
    stream.write(&bytes).await;
    let mut last = Vec::new();
    while last != [49] {
        let next = pong(&mut stream).await;
        assert!(next > last, "in order");
        last = next;
    }
}

#[tokio::test]
async fn ignores_pongs_that_nobody_asked_for() {
    let (_gateway, mut stream) = open().await;
    for data in [&b""[..], b"1", b"hello", &[0xff; 125]] {
        stream.send_frame(FIN | PONG, data).await;
    }
    stream.ping(b"still there").await;
    assert_eq!(pong(&mut stream).await, b"still there");
}

#[tokio::test]
async fn fails_for_a_control_frame_that_is_too_long() {
    for opcode in [PING, PONG, CLOSE] {
        let (_gateway, mut stream) = open().await;
        stream.send_frame(FIN | opcode, &[b'x'; 126]).await;
        assert_eq!(stream.end().await.steps, ["1002"], "opcode {opcode}");
    }
}

#[tokio::test]
async fn fails_for_a_control_frame_in_fragments() {
    for opcode in [PING, PONG, CLOSE] {
        let (_gateway, mut stream) = open().await;
        let mut bytes = frame(opcode, b"");
        bytes.extend(frame(FIN | CONTINUATION, b""));
        stream.write(&bytes).await;
        assert_eq!(stream.end().await.steps, ["1002"], "opcode {opcode}");
    }
}
