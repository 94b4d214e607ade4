//! Streams that are open.

use super::*;

#[tokio::test]
async fn refuses_an_element_without_end() {
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server.send("<message/><message><body>").await;
        server.send(&"x".repeat(MAX_ELEMENT)).await;
        server.end().await;
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Stanza(_))
    ));
    assert!(matches!(
        event(&mut upstream).await,
        Err(UpstreamError::Garbage(Malformed::Split(
            SplitError::TooLong { .. }
        )))
    ));
}

#[tokio::test]
async fn restarts_on_the_same_connection() {
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server.expect("<auth/>").await;
        server
            .send("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            .await;
        server
            .expect("<?xml version='1.0'?><stream:stream to='example.org' version='1.0' ")
            .await;
        server
            .send(&features(
                "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>",
            ))
            .await;
        server.expect("</stream:stream>").await;
        assert!(server.seen.is_empty());
        server.send(" </stream:stream>").await;
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    upstream.queue_bytes(Bytes::from_static(b"<auth/>"));
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Stanza(_))
    ));
    upstream.restart(None);
    let Ok(UpstreamEvent::Features(features)) = event(&mut upstream).await else {
        panic!("no features");
    };
    assert!(text(&features).contains("xmpp-bind"));
    upstream.close();
    upstream.queue_bytes(Bytes::from_static(b"too late"));
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Closed)
    ));
    assert!(matches!(
        event(&mut upstream).await,
        Err(UpstreamError::Eof)
    ));
}

#[tokio::test]
async fn writes_everything_in_order_and_reads_only_when_told() {
    const COUNT: usize = 40_000;
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server.send("<message/>").await;
        for number in 0..COUNT {
            server
                .expect(&format!("<a n='{number}'>{}</a>", "x".repeat(100)))
                .await;
        }
        server.expect(" ").await;
        assert!(server.seen.is_empty());
        server.send("</stream:stream>").await;
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    let mut total = 0;
    for number in 0..COUNT {
        let element = format!("<a n='{number}'>{}</a>", "x".repeat(100));
        total += element.len();
        upstream.queue_bytes(element.into());
    }
    assert_eq!(upstream.queued(), total);
    // This is more than a socket takes at once: it is written as the server reads, without any event.
    poll_fn(|cx| {
        assert!(upstream.poll(cx, false).is_pending());
        if upstream.queued() > 0 {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    upstream.keepalive();
    upstream.keepalive();
    assert_eq!(upstream.queued(), 1);
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Stanza(_))
    ));
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Closed)
    ));
}

#[tokio::test]
async fn tells_a_stream_error_before_the_loss() {
    let (told, tell) = tokio::sync::oneshot::channel();
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server
            .send(
                "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                 </stream:error></stream:stream>",
            )
            .await;
        drop(server);
        told.send(()).unwrap();
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    tell.await.unwrap();
    upstream.queue_bytes(Bytes::from_static(b"<message/>"));
    let Ok(UpstreamEvent::StreamError(error)) = event(&mut upstream).await else {
        panic!("no stream error");
    };
    assert_eq!(StreamCondition::of(&error).name, "conflict");
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Closed)
    ));
    assert!(event(&mut upstream).await.is_err());
}

#[tokio::test]
async fn lets_others_have_their_turn() {
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server.send(&" ".repeat(4 << 20)).await;
        server.send("<message/>").await;
        server.end().await;
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    // Endless white space is read in portions: the task yields, and wakes itself.
    let mut turns = 0;
    let mut next = pin!(poll_fn(|cx| upstream.poll(cx, true)));
    let event = poll_fn(|cx| {
        turns += 1;
        next.as_mut().poll(cx)
    })
    .await;
    assert!(matches!(event, Ok(UpstreamEvent::Stanza(_))));
    assert!(turns > 10, "{turns}");
}

#[test]
fn is_small() {
    // One per session, for as long as it lives.
    let size = size_of::<Upstream>();
    assert!(size <= 320, "{size}");
    // Part of every session's task.
    let size = size_of_val(&auto(1).connect(WEB));
    assert!(size <= 320, "{size}");
}

#[tokio::test]
async fn a_space_keeps_an_idle_connection() {
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server.expect(" <presence/> ").await;
        server.send("<message/>").await;
        server.end().await;
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    upstream.keepalive();
    upstream.queue_bytes(Bytes::from_static(b"<presence/>"));
    upstream.keepalive();
    // No space is queued while something else is; so flush, then ask once more.
    poll_fn(|cx| {
        let _ = upstream.poll(cx, false);
        Poll::Ready(())
    })
    .await;
    upstream.keepalive();
    assert!(matches!(
        event(&mut upstream).await,
        Ok(UpstreamEvent::Stanza(_))
    ));
}

/// If a server leaves Nagle's algorithm on, its next stanza waits for the acknowledgement.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn data_that_was_read_can_be_acknowledged_at_once() {
    const TURNS: usize = 20;
    let port = serve(async |mut server: Server| {
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        for _ in 0..TURNS {
            server.expect("<presence/>").await;
            server.send("<message/>").await;
        }
        server.end().await;
    })
    .await;
    let (mut upstream, _) = auto(port).connect(WEB).await.unwrap();
    for _ in 0..TURNS {
        // On a connection with answers, Linux delays an acknowledgement until the next answer can carry it.
        upstream.queue_bytes(Bytes::from_static(b"<presence/>"));
        event(&mut upstream).await.unwrap();
        upstream.acknowledge();
        let Upstream::C2s(c2s) = &upstream else {
            panic!("no stream");
        };
        assert!(c2s.acknowledges_at_once());
    }
}
