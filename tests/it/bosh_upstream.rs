//! The gateway in front of a server's own BOSH. That everything else works there as well is tested by
//! running the other tests with `UPSTREAM_UNDER_TEST=bosh`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::support::{
    client::Client,
    ejabberd::Ejabberd,
    gateway::{Gateway, Server},
    prosody::Prosody,
    xml::CLIENT,
};

/// A line to a server that loses every third answer, and now and then a request, once it is told to.
struct Line {
    address: SocketAddr,
    bad: Arc<AtomicBool>,
    lost: Arc<AtomicUsize>,
    // Ends with this.
    _task: JoinSet<()>,
}

impl Line {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (bad, lost) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut task = JoinSet::new();
        let (is_bad, count) = (Arc::clone(&bad), Arc::clone(&lost));
        task.spawn(async move {
            let passed = Arc::<AtomicUsize>::default();
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(server)
                    .await
                    .expect("the server listens");
                let (bad, lost) = (Arc::clone(&is_bad), Arc::clone(&count));
                let passed = Arc::clone(&passed);
                connections.spawn(async move {
                    carry(near, far, || {
                        let turn = passed.fetch_add(1, Ordering::Relaxed);
                        let lose = bad.load(Ordering::Relaxed) && turn.is_multiple_of(5);
                        lost.fetch_add(usize::from(lose), Ordering::Relaxed);
                        lose
                    })
                    .await;
                });
            }
        });
        Self {
            address,
            bad,
            lost,
            _task: task,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/http-bind", self.address)
    }
}

/// Carries bytes both ways until one side ends, or `loses` says that both are cut.
async fn carry(mut near: TcpStream, mut far: TcpStream, loses: impl Fn() -> bool) {
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    loop {
        let (to, bytes) = tokio::select! {
            read = near.read(&mut up) => (&mut far, &up[..read.unwrap_or(0)]),
            read = far.read(&mut down) => (&mut near, &down[..read.unwrap_or(0)]),
        };
        if bytes.is_empty() || loses() || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// The bodies of as many messages, as they come.
async fn messages(client: &mut Client, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let message = client
            .expect("a message", |it| it.is(CLIENT, "message"))
            .await;
        bodies.push(message.body().expect("a body"));
    }
    bodies
}

#[tokio::test]
async fn loses_nothing_on_a_bad_line() {
    const COUNT: usize = 100;
    let prosody = Prosody::shared();
    let line = Line::to(prosody.bosh().address).await;
    let gateway = Gateway::builder(prosody).upstream(&line.url()).start();
    let mut client = gateway.login(&prosody.account("john"), "web").await;
    let mut contact = prosody.contact("marie").await;
    line.bad.store(true, Ordering::Relaxed);
    let (mut sent, mut answers) = (Vec::new(), Vec::new());
    for round in 0..COUNT / 10 {
        for number in 0..10 {
            let text = format!("{round}.{number}");
            client.send_message(&contact.jid, &text);
            sent.push(text);
        }
        let heard = messages(&mut contact, 10).await;
        for text in &heard {
            contact.send_message(&client.jid, text);
        }
        answers.extend(messages(&mut client, 10).await);
    }
    assert_eq!(answers, sent);
    assert!(line.lost.load(Ordering::Relaxed) > 5, "the line was bad");
    assert_eq!(client.fence().await, [], "nothing came twice");
    assert_eq!(contact.fence().await, [], "nothing came twice");
    client.logout().await;
}

#[tokio::test]
async fn keeps_requests_small_enough_for_the_server() {
    large_messages(Prosody::shared(), Prosody::shared().contact("marie").await).await;
    large_messages(
        Ejabberd::shared(),
        Ejabberd::shared().contact("marie").await,
    )
    .await;
}

async fn large_messages(server: &impl Account, mut contact: Client) {
    // All of it may come in one request; the server takes much less.
    let url = server.place().bosh_url();
    let builder = Gateway::builder(server).upstream(&url);
    let gateway = builder.bosh("max_body = \"4MiB\"").start();
    let mut client = gateway.login(&server.somebody().await, "web").await;
    let texts: Vec<_> = (0..12).map(|n| n.to_string().repeat(50_000)).collect();
    for text in &texts {
        client.send_message(&contact.jid, text);
    }
    assert!(
        messages(&mut contact, texts.len()).await == texts,
        "all, in order"
    );
    assert_eq!(client.fence().await, []);
}

/// Either server, when all that is needed is a user.
trait Account: Server {
    async fn somebody(&self) -> crate::support::client::Account;
}

impl Account for Prosody {
    async fn somebody(&self) -> crate::support::client::Account {
        self.account("john")
    }
}

impl Account for Ejabberd {
    async fn somebody(&self) -> crate::support::client::Account {
        self.account("john").await
    }
}

#[tokio::test]
async fn passes_the_end_on() {
    // It stops without a word to the clients of its BOSH, who are to hear in time.
    let mut prosody = Prosody::builder().bosh_inactivity(5).start();
    let url = prosody.place().bosh_url();
    let gateway = Gateway::builder(&prosody).upstream(&url).start();
    let account = prosody.account("john");
    let mut first = gateway.login(&account, "web").await;
    let mut second = gateway.login(&account, "web").await;
    let end = first.expect_end().await;
    assert_eq!(end.stream_error(), Some("conflict"));
    assert_eq!(second.fence().await, []);
    prosody.stop().await;
    let end = second.expect_end().await;
    assert_eq!(end.condition.as_deref(), Some("remote-stream-error"));
    assert_eq!(end.stream_error(), Some("system-shutdown"));
}
