//! Opening of a connection: addresses, referrals, servers that are down.

use super::*;

#[test]
fn a_server_may_spell_its_domain_as_it_likes() {
    let domain = DomainPart::new("b\u{fc}cher.example").unwrap().into_owned();
    assert!(is_same_domain("b\u{fc}cher.example", &domain));
    assert!(is_same_domain("B\u{dc}CHER.example.", &domain));
    assert!(!is_same_domain("bucher.example", &domain));
    assert!(!is_same_domain("", &domain));
}

#[tokio::test]
async fn opens_a_stream_and_hands_over_the_features() {
    let port = serve(async |mut server: Server| {
        server
            .expect("<?xml version='1.0'?><stream:stream to='example.org' xml:lang='de' ")
            .await;
        server.send(&features(&format!("{STARTTLS}{SASL}"))).await;
        server.end().await;
    })
    .await;
    // `from` is not sent where somebody could overhear it (RFC 6120 §4.7.1).
    let from = BareJid::new("john@example.org").unwrap();
    let (upstream, hello) = auto(port)
        .connect(Initiator {
            jid: Some(&from),
            lang: "de",
            ..WEB
        })
        .await
        .unwrap();
    assert_eq!(hello.stream_id.as_deref(), Some("s1"));
    assert_eq!(hello.features.kind(), Kind::Features);
    assert!(text(&hello.features).contains(SASL));
    assert!(!upstream.is_encrypted());
}

#[tokio::test]
async fn reads_a_stream_that_comes_byte_by_byte() {
    let port = serve(async |mut server: Server| {
        let message = "<message><body>h\u{e9}</body></message>";
        for byte in format!("{}{message}", features(SASL)).as_bytes() {
            server.io.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        server.end().await;
    })
    .await;
    let (mut upstream, _) = auto(port)
        .connect(Initiator { lang: "", ..WEB })
        .await
        .unwrap();
    let UpstreamEvent::Stanza(message) = event(&mut upstream).await.unwrap() else {
        panic!("no stanza");
    };
    assert!(text(&message).ends_with("><body>h\u{e9}</body></message>"));
}

#[tokio::test]
async fn tells_what_is_in_the_way() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = listener.local_addr().unwrap().port();
    drop(listener);
    let error = refused(auto(free)).await;
    assert!(matches!(&error, ConnectError::Connect { address, .. } if address.port() == free));
    assert_eq!(
        error.to_string(),
        format!("no connection to 127.0.0.1:{free}")
    );

    let stream_error =
        |inside: &str| format!("{HEADER}<stream:error>{inside}</stream:error></stream:stream>");
    let port = say(stream_error(
        "<host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>not &lt;here&gt;</text>",
    ))
    .await;
    let error = refused(auto(port)).await;
    assert_eq!(error.to_string(), "stream error host-unknown");
    let ConnectError::Stream { condition } = error else {
        panic!("{error:?}");
    };
    assert_eq!(condition.text.as_deref(), Some("not <here>"));

    let port = say(stream_error(
        "<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>\
         [2001:db8::1]:9222</see-other-host>",
    ))
    .await;
    let error = refused(auto(port)).await;
    assert!(matches!(error, ConnectError::SeeOtherHost { host } if host == "[2001:db8::1]:9222"));

    let port = say(features(SASL).replace("example.org", "example.net")).await;
    let error = refused(auto(port)).await;
    assert!(matches!(error, ConnectError::WrongDomain { from } if from == "example.net"));

    let port = say(format!("{HEADER}<message/>")).await;
    let error = refused(auto(port)).await;
    assert!(matches!(error, ConnectError::Unexpected { element } if element == "message"));

    let port = say(format!("{HEADER}</stream:stream>")).await;
    assert!(matches!(refused(auto(port)).await, ConnectError::Closed));
}

#[tokio::test]
async fn tells_garbage_from_a_lost_connection() {
    let port = say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let error = refused(auto(port)).await;
    assert!(matches!(
        error,
        ConnectError::Lost(UpstreamError::Garbage(Malformed::Split(
            SplitError::StrayText
        )))
    ));

    let port = say(HEADER.replace("version='1.0' xmlns", "xmlns")).await;
    let error = refused(auto(port)).await;
    assert!(matches!(
        error,
        ConnectError::Lost(UpstreamError::Garbage(Malformed::Version))
    ));

    let port = say(format!(
        "{HEADER}<stream:features><a></b></stream:features>"
    ))
    .await;
    let error = refused(auto(port)).await;
    assert!(matches!(
        error,
        ConnectError::Lost(UpstreamError::Garbage(Malformed::Scan(_)))
    ));

    for prefix in ["", HEADER, "<?xml version='1.0'?><stream:str"] {
        let error = refused(auto(say(prefix).await)).await;
        assert!(
            matches!(error, ConnectError::Lost(UpstreamError::Eof)),
            "{prefix}: {error:?}"
        );
    }

    let (mut upstream, _) = auto(say(format!("{}<message><bo", features(SASL))).await)
        .connect(WEB)
        .await
        .unwrap();
    assert!(matches!(
        event(&mut upstream).await,
        Err(UpstreamError::Eof)
    ));
}

#[tokio::test]
async fn gives_up_on_a_silent_server() {
    let deadlines = Deadlines {
        total: Duration::from_millis(50),
        ..Deadlines::default()
    };
    for (scheme, phase) in [(Scheme::Xmpp, Phase::Stream), (Scheme::Xmpps, Phase::Tls)] {
        let port = serve(async |mut server: Server| server.end().await).await;
        let connector = connector(port, scheme, UpstreamTls::Auto).with_deadlines(deadlines);
        let error = timeout(Duration::from_secs(5), refused(connector)).await;
        let error = error.expect("the deadline is kept");
        assert!(
            matches!(error, ConnectError::Timeout { phase: reached } if reached == phase),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn tries_each_address_in_turn() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let alive = listener.local_addr().unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = gone.local_addr().unwrap();
    drop(gone);
    let deadline = Duration::from_secs(5);
    let (_, reached) = dial::first([dead, alive].into_iter(), deadline)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(reached, alive);
    assert!(
        dial::first([dead].into_iter(), deadline)
            .await
            .unwrap()
            .is_err()
    );
}

#[tokio::test]
async fn tells_the_clients_address_before_all_else() {
    for (version, line) in [
        (
            ProxyProtocol::V1,
            &b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 "[..],
        ),
        (
            ProxyProtocol::V2,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x12\x67",
        ),
    ] {
        // Before TLS, too.
        for scheme in [Scheme::Xmpp, Scheme::Xmpps] {
            let port = serve(async move |mut server: Server| {
                let mut begin = vec![0; line.len()];
                server.io.read_exact(&mut begin).await.unwrap();
                assert_eq!(begin, line);
                let rest = if version == ProxyProtocol::V1 { 7 } else { 2 };
                server.io.read_exact(&mut begin[..rest]).await.unwrap();
                if scheme == Scheme::Xmpps {
                    (server, _) = server.encrypt("example.org").await;
                }
                server.expect(OPENED).await;
                server.send(&features(SASL)).await;
                server.end().await;
            })
            .await;
            let mut host = host(port, scheme, UpstreamTls::Auto);
            host.upstream.proxy_protocol = Some(version);
            Connector::new(&host).unwrap().connect(WEB).await.unwrap();
        }
    }
}

/// A server that refers to another.
async fn refer(to: &str) -> u16 {
    say(format!(
        "{HEADER}<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>\
         {to}</see-other-host></stream:error></stream:stream>"
    ))
    .await
}

#[tokio::test]
async fn follows_referrals_that_are_allowed_and_not_for_ever() {
    for (hops, is_followed) in [(0, true), (3, true), (4, false)] {
        let mut port = serve(async |mut server: Server| {
            server.expect(OPENED).await;
            server.send(&features(SASL)).await;
            server.end().await;
        })
        .await;
        let mut referrals = Vec::new();
        for _ in 0..hops {
            referrals.push(config::Place {
                address: "127.0.0.1".to_owned(),
                port,
            });
            port = refer(&format!("127.0.0.1:{port}")).await;
        }
        let mut host = host(port, Scheme::Xmpp, UpstreamTls::Auto);
        host.upstream.referrals = referrals;
        let result = Connector::new(&host).unwrap().connect(WEB).await;
        assert_eq!(result.is_ok(), is_followed, "{hops} hops: {result:?}");
    }
    let port = refer("127.0.0.1:9").await;
    let mut host = host(port, Scheme::Xmpp, UpstreamTls::Auto);
    host.upstream.referrals = vec![config::Place {
        address: "127.0.0.1".to_owned(),
        port: 10,
    }];
    let error = refused(Connector::new(&host).unwrap()).await;
    assert!(matches!(error, ConnectError::SeeOtherHost { host } if host == "127.0.0.1:9"));
}

#[tokio::test]
async fn leaves_a_server_in_trouble_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = auto(listener.local_addr().unwrap().port());
    drop(listener);
    for _ in 0..5 {
        let error = refused(connector.clone()).await;
        assert!(matches!(error, ConnectError::Connect { .. }), "{error:?}");
    }
    let error = refused(connector).await;
    assert!(matches!(error, ConnectError::LeftAlone), "{error:?}");
}
