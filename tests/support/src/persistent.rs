//! Page that goes on, whatever becomes of its gateway: it repeats what is not answered, and logs in again when its session
//! has ended, as web clients do.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::{
    bosh::{Bosh, FIRST_RID, bind_request, creation},
    client::Account,
    http::Endpoint,
    resilient,
    xml::{CLIENT, Element, SASL},
};

/// It repeats a request so often, at most.
const TRIES: usize = 100;
/// It waits that long before it repeats one.
const PAUSE: Duration = Duration::from_millis(100);

pub struct Persistent {
    account: Account,
    session: Bosh,
    /// How often it has logged in.
    pub logins: usize,
    /// What came while it logged in.
    inbox: Vec<Element>,
}

/// The session has ended.
#[derive(Debug)]
struct Ended;

impl Persistent {
    /// Logs in, and is available.
    pub async fn log_in(endpoint: &Endpoint, account: &Account) -> Self {
        let mut page = Self {
            account: account.clone(),
            session: open(endpoint, account).await,
            logins: 0,
            inbox: Vec::new(),
        };
        if let Err(Ended) = page.authenticate().await {
            page.log_in_again().await;
        }
        page
    }

    /// The id of its session.
    pub fn sid(&self) -> &str {
        &self.session.sid
    }

    /// Sends this, and returns what has come. If the session ends before it is answered, it is sent again in the next one.
    pub async fn exchange(&mut self, payload: &str) -> Vec<Element> {
        loop {
            match self.request("", payload).await {
                Ok(body) => {
                    let earlier = self.inbox.drain(..);
                    return earlier.chain(body.children().cloned()).collect();
                }
                Err(Ended) => self.log_in_again().await,
            }
        }
    }

    async fn log_in_again(&mut self) {
        loop {
            self.session = open(&self.session.endpoint, &self.account).await;
            if self.authenticate().await.is_ok() {
                return;
            }
        }
    }

    async fn authenticate(&mut self) -> Result<(), Ended> {
        let Account {
            local, password, ..
        } = &self.account;
        let secret = BASE64.encode(format!("\0{local}\0{password}"));
        let auth = format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{secret}</auth>");
        let answer = self.request("", &auth).await?;
        assert!(answer.child(SASL, "success").is_some(), "refused: {answer}");
        let restart = self.session.restart_attributes();
        self.request(&restart, "").await?;
        let mut answer = self.request("", &bind_request("")).await?;
        while !answer.children().any(|it| it.is_reply_to("bind")) {
            answer = self.request("", "").await?;
        }
        self.logins += 1;
        let presence = format!("<presence xmlns='{CLIENT}'/>");
        let answer = self.request("", &presence).await?;
        self.inbox.extend(answer.children().cloned());
        Ok(())
    }

    /// The next request, until it is answered.
    async fn request(&mut self, attributes: &str, payload: &str) -> Result<Element, Ended> {
        self.session.rid += 1;
        let session = &self.session;
        let document = session.request(session.rid, attributes, payload);
        let body = post(&session.endpoint, &document).await;
        match body.attr("type") {
            None => Ok(body),
            Some(_) => Err(Ended),
        }
    }
}

async fn open(endpoint: &Endpoint, account: &Account) -> Bosh {
    let creation = post(endpoint, &creation(&account.domain, &[("wait", "1")])).await;
    let sid = creation.attr("sid");
    Bosh {
        endpoint: endpoint.clone(),
        domain: account.domain.clone(),
        sid: sid
            .unwrap_or_else(|| panic!("refused: {creation}"))
            .to_owned(),
        rid: FIRST_RID,
        creation,
    }
}

/// Sends a document until it is answered.
async fn post(endpoint: &Endpoint, document: &str) -> Element {
    for _ in 0..TRIES {
        match resilient::post(endpoint, document).await {
            Some(response) if response.status() == 200 => return response.xml(),
            // The gateway, or what is in front of it, says: not now.
            Some(response) => assert!(response.status() >= 500, "{response:?}"),
            None => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("no answer after {TRIES} tries");
}
