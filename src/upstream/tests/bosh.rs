//! A server's own BOSH.

use super::*;

/// An HTTP answer: its head, and `body`.
fn http(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn tells_the_clients_address_over_bosh() {
    let port = serve(async |mut server: Server| {
        server.expect("x-forwarded-for: 192.0.2.7\r\n").await;
        server.expect("xmpp:version='1.0'").await;
        server.send(&http("200 OK", CREATED)).await;
        server.end().await;
    })
    .await;
    let connector = connector(port, Scheme::Http, UpstreamTls::Auto);
    connector.connect(WEB).await.unwrap();
}

#[tokio::test]
async fn checks_the_certificate_of_bosh_over_https() {
    let bosh = async |mut server: Server| {
        server.expect("xmpp:version='1.0'").await;
        server.send(&http("200 OK", CREATED)).await;
        server.end().await;
    };
    let port = serve(async move |server: Server| {
        bosh(server.encrypt_for("127.0.0.1", None).await.0).await;
    })
    .await;
    let local = connector(port, Scheme::Https, UpstreamTls::Auto);
    let (upstream, hello) = local.connect(WEB).await.unwrap();
    assert!(upstream.is_encrypted() && !upstream.is_manageable());
    assert_eq!(hello.stream_id.as_deref(), Some("s3"));

    let port = serve(async |server: Server| {
        server.encrypt_for("127.0.0.1", None).await;
    })
    .await;
    let error = refused(connector(port, Scheme::Https, UpstreamTls::Verify)).await;
    assert!(
        matches!(
            error,
            ConnectError::Certificate {
                reason: CertificateError::UnknownIssuer,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn says_why_bosh_is_not_to_be_had() {
    let answer = async |answer: String| {
        let port = serve(async move |mut server: Server| {
            server.expect("/>").await;
            server.send(&answer).await;
            server.end().await;
        })
        .await;
        refused(connector(port, Scheme::Http, UpstreamTls::Auto)).await
    };
    let body = |attributes: &str| {
        let body = format!("<body xmlns='http://jabber.org/protocol/httpbind' {attributes}/>");
        http("200 OK", &body)
    };
    for (said, understood) in [
        (http("404 Not Found", ""), "HTTP status 404"),
        (http("503 Service Unavailable", ""), "HTTP status 503"),
        (http("200 OK", "<html/>"), "answer is not BOSH"),
        (
            body("type='terminate' condition='host-unknown'"),
            "host-unknown",
        ),
        (
            String::from("SSH-2.0-x\r\n\r\n"),
            "no answer from the server's BOSH",
        ),
    ] {
        let error = answer(said.clone()).await.to_string();
        assert!(error.contains(understood), "{said}: {error}");
    }
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let error = refused(connector(port, Scheme::Http, UpstreamTls::Auto)).await;
    assert!(matches!(error, ConnectError::Exchange { .. }), "{error:?}");
    let other = CREATED.replace("authid", "from='example.net' authid");
    let error = answer(http("200 OK", &other)).await;
    assert!(
        matches!(error, ConnectError::WrongDomain { .. }),
        "{error:?}"
    );
}
