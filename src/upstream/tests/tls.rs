//! TLS: when it is asked for, and what is told before it.

use super::*;

#[tokio::test]
async fn keeps_to_its_tls_policy() {
    let policy = |port, tls| refused(connector(port, Scheme::Xmpp, tls));
    let port = say(features(&format!("{REQUIRED}{SASL}"))).await;
    let error = policy(port, UpstreamTls::Plain).await;
    assert!(matches!(error, ConnectError::StartTlsRequired));

    // Nothing else offered means required (RFC 6120 §5.3.1).
    let port = say(features(STARTTLS)).await;
    let error = policy(port, UpstreamTls::Plain).await;
    assert!(matches!(error, ConnectError::StartTlsRequired));

    let port = say(features(SASL)).await;
    let error = policy(port, UpstreamTls::Insecure).await;
    assert!(matches!(error, ConnectError::StartTlsNotOffered));
}

#[tokio::test]
async fn is_not_fooled_during_starttls() {
    let answer = |answer: String| {
        serve(async move |mut server: Server| {
            server.expect(OPENED).await;
            server.send(&features(&format!("{REQUIRED}{SASL}"))).await;
            server.expect(STARTTLS).await;
            server.send(&answer).await;
            server.end().await;
        })
    };
    for injected in ["<message/>", "<mess", " ", HEADER] {
        let port = answer(format!("{PROCEED}{injected}")).await;
        let error = refused(auto(port)).await;
        assert!(
            matches!(error, ConnectError::Injected),
            "{injected}: {error:?}"
        );
    }
    let port = answer("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned()).await;
    assert!(matches!(
        refused(auto(port)).await,
        ConnectError::StartTlsRefused
    ));
    let port = answer("<message/>".to_owned()).await;
    assert!(matches!(
        refused(auto(port)).await,
        ConnectError::Unexpected { .. }
    ));
}

#[tokio::test]
async fn tells_who_it_is_once_nobody_can_overhear() {
    const WITH_FROM: &str = "to='example.org' from='john@example.org' xml:lang='en' ";
    let direct = serve(async |server: Server| {
        let (mut server, alpn) = server.encrypt("example.net").await;
        assert_eq!(alpn.as_deref(), Some(&b"xmpp-client"[..]));
        server.expect(WITH_FROM).await;
        server.expect(OPENED).await;
        server.send(&features(SASL)).await;
        server.end().await;
    })
    .await;
    let starttls = serve(async |mut server: Server| {
        server.expect("to='example.org' xml:lang='en' ").await;
        server.expect(OPENED).await;
        server.send(&features(&format!("{REQUIRED}{SASL}"))).await;
        server.expect(STARTTLS).await;
        server.send(PROCEED).await;
        let (mut server, alpn) = server.encrypt("example.net").await;
        assert_eq!(alpn, None);
        server.expect(WITH_FROM).await;
        server.expect(OPENED).await;
        server.send(&features(SASL).replace("s1", "s2")).await;
        server.end().await;
    })
    .await;
    let from = BareJid::new("john@example.org").unwrap();
    for (port, scheme, id) in [
        (direct, Scheme::Xmpps, "s1"),
        (starttls, Scheme::Xmpp, "s2"),
    ] {
        let connector = connector(port, scheme, UpstreamTls::Auto);
        let (upstream, hello) = connector
            .connect(Initiator {
                jid: Some(&from),
                ..WEB
            })
            .await
            .unwrap();
        assert!(upstream.is_encrypted());
        assert_eq!(hello.stream_id.as_deref(), Some(id));
    }
}
