//! Authentication and Resource Binding.

use support::{
    bosh::Bosh,
    client::Client,
    gateway::Gateway,
    sasl::Mechanism,
    site::{Site, domain},
    xml::{BIND, SASL, STREAMS, XBOSH},
};

#[tokio::test]
async fn passes_a_refusal_and_lets_try_again() {
    let prosody = Site::shared();
    let gateway = Gateway::start(prosody);
    let account = prosody.account("john");
    let mut wrong = account.clone();
    wrong.password.push('x');
    let mut client = Client::connect(&gateway.transport(), domain()).await;
    let failure = client.try_authenticate(Mechanism::Plain, &wrong).await;
    let failure = failure.expect_err("the password is wrong");
    assert!(failure.child(SASL, "not-authorized").is_some(), "{failure}");
    client.authenticate(Mechanism::Plain, &account).await;
    client.bind("web").await;
    assert_eq!(client.jid, format!("{}/web", account.jid()));
}

#[tokio::test]
async fn takes_every_way_to_write_a_restart() {
    let prosody = Site::shared();
    let gateway = Gateway::start(prosody);
    for attributes in [
        format!(
            "to='{}' xml:lang='en' xmlns:xmpp='{XBOSH}' xmpp:restart='true'",
            domain()
        ),
        format!("xmlns:xmpp='{XBOSH}' xmpp:restart='true'"),
        format!("xmlns:xmpp='{XBOSH}' xmpp:restart='1'"),
        format!("xmlns:any='{XBOSH}' any:restart='true'"),
    ] {
        let account = prosody.account("john");
        let mut bosh = Bosh::open(&gateway.bosh(), domain()).await;
        let plain = {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            STANDARD.encode(format!("\0{}\0{}", account.local, account.password))
        };
        let auth = format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{plain}</auth>");
        bosh.exchange_until(&auth, |child| child.is(SASL, "success"))
            .await;
        // The answer to the restart brings the features: Strophe does not look further.
        let answer = bosh.send(&attributes, "").await.body().await;
        let features = answer
            .child(STREAMS, "features")
            .unwrap_or_else(|| panic!("{answer}"));
        assert!(features.child(BIND, "bind").is_some(), "{features}");
        assert_eq!(
            bosh.bind("web").await,
            format!("{}/web", account.jid()),
            "{attributes}"
        );
    }
}

#[tokio::test]
async fn lets_the_server_choose_a_resource() {
    let prosody = Site::shared();
    let account = prosody.account("john");
    let gateway = Gateway::start(prosody);
    let client = gateway.login(&account, "").await;
    let resource = client.jid.strip_prefix(&format!("{}/", account.jid()));
    assert!(
        resource.is_some_and(|resource| !resource.is_empty()),
        "{}",
        client.jid
    );
}

#[tokio::test]
async fn binds_resources_of_any_script() {
    let prosody = Site::shared();
    let gateway = Gateway::start(prosody);
    let account = prosody.account("john");
    for resource in ["web client", "<&'\">", "/@/", "Büro ☎"] {
        let mut client = gateway.login(&account, resource).await;
        assert_eq!(client.jid, format!("{}/{resource}", account.jid()));
        let jid = client.jid.clone();
        client.send_message(&jid, resource);
        client.expect_message(resource).await;
    }
}

#[tokio::test]
async fn keeps_two_resources_of_a_user_apart() {
    let prosody = Site::shared();
    let gateway = Gateway::start(prosody);
    let account = prosody.account("john");
    let mut one = gateway.login(&account, "one").await;
    let mut two = gateway.login(&account, "two").await;
    one.send_message(&two.jid, "to two");
    two.send_message(&one.jid, "to one");
    one.expect_message("to one").await;
    two.expect_message("to two").await;
    assert_eq!((one.fence().await, two.fence().await), (vec![], vec![]));
}
