//! 5.5.1, 7: Close, Closing the Connection.

use support::{
    gateway::Gateway,
    site::{Site, domain},
    websocket::{CLOSE, FIN},
    webstream::WebStream,
};

async fn open() -> (Gateway, WebStream) {
    let gateway = Gateway::start(Site::shared());
    let stream = WebStream::open(&gateway.websocket(), domain()).await;
    (gateway, stream)
}

/// What the server answers to a Close frame with this payload, up to the end of the connection.
async fn answer(payload: &[u8]) -> Vec<String> {
    let (_gateway, mut stream) = open().await;
    stream.send_frame(FIN | CLOSE, payload).await;
    stream.end().await.steps
}

fn with_reason(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

#[tokio::test]
async fn answers_with_the_same_code_and_ends_the_connection() {
    for code in [1000, 1001, 1003, 1011, 3000, 4999] {
        assert_eq!(answer(&with_reason(code, b"")).await, [code.to_string()]);
    }
    assert_eq!(
        answer(&with_reason(1000, "über".as_bytes())).await,
        ["1000"]
    );
}

#[tokio::test]
async fn answers_a_close_frame_without_a_code() {
    let steps = answer(b"").await;
    assert!(matches!(&*steps.concat(), "1000" | "no code"), "{steps:?}");
}

#[tokio::test]
async fn refuses_codes_that_are_not_for_the_wire() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535] {
        assert_eq!(answer(&with_reason(code, b"")).await, ["1002"], "{code}");
    }
}

#[tokio::test]
async fn refuses_half_a_code() {
    assert_eq!(answer(b"\x03").await, ["1002"]);
}

#[tokio::test]
async fn refuses_a_reason_that_is_not_utf_8() {
    let steps = answer(&with_reason(1000, b"\xff")).await;
    assert!(matches!(&*steps.concat(), "1002" | "1007"), "{steps:?}");
}

#[tokio::test]
async fn says_nothing_after_its_close_frame() {
    let (_gateway, mut stream) = open().await;
    stream.close(1000).await;
    stream.ping(b"too late").await;
    assert_eq!(stream.end().await.steps, ["1000"]);
}
