//! What pages from elsewhere may send (requirement B-CORS-3).

use support::{gateway::Gateway, prosody::Prosody};

#[tokio::test]
async fn allows_the_headers_that_are_configured() {
    let gateway = Gateway::builder(Prosody::shared())
        .web("headers = [\"Authorization\"]")
        .start();
    let origin = [("Origin", "https://site.example")];
    let response = gateway.bosh().request("OPTIONS", &origin, "").await;
    let headers = response.header("access-control-allow-headers");
    assert_eq!(headers, Some("content-type, authorization"));
}
