//! Several gateways that are one, while one of them dies, each is restarted after the other, or NATS does not do what it
//! should.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use support::{
    backend::Backend,
    bosh::Bosh,
    client::{Account, Client},
    gateway::Gateway,
    home::Home,
    http::Endpoint,
    line::Line,
    nats::Nats,
    persistent::Persistent,
    prosody::Prosody,
    proxy::Kind,
    several::{Gateways, sum},
    within,
    xml::{Element, message},
};

const PAGES: usize = 12;
/// Each talks to so many that come after it, in a circle.
const FRIENDS: usize = 3;
/// What each says to each of them, before anything happens and again afterwards.
const TEXTS: usize = 20;
/// Time between an answer and the next request, as on a phone: what comes meanwhile waits in the gateway.
const ROUND_TRIP: Duration = Duration::from_millis(30);
/// How long somebody waits for what has been said.
const PATIENCE: Duration = Duration::from_secs(60);

/// What has become of one page.
struct Told {
    /// Where its first session was.
    gateway: char,
    logins: usize,
    /// How many it has said to each of its friends.
    sent: usize,
    /// By who has said it: what was heard, and how often.
    heard: BTreeMap<usize, BTreeMap<usize, usize>>,
}

/// Pages that talk to each other.
struct Talk {
    pages: JoinSet<(usize, Told)>,
    /// How many each has said.
    sent: watch::Sender<[usize; PAGES]>,
    over: watch::Sender<bool>,
}

impl Talk {
    async fn begin(home: &Home, endpoint: &Endpoint) -> Self {
        let mut pages = Vec::new();
        for _ in 0..PAGES {
            let account = home.account("john").await;
            pages.push((account.jid(), Persistent::log_in(endpoint, &account).await));
        }
        let jids: Vec<_> = pages.iter().map(|(jid, _)| jid.clone()).collect();
        let mut talk = Self {
            pages: JoinSet::new(),
            sent: watch::Sender::new([0; PAGES]),
            over: watch::Sender::new(false),
        };
        for (number, (_, page)) in pages.into_iter().enumerate() {
            let friends = (1..=FRIENDS).map(|it| jids[(number + it) % PAGES].clone());
            let friends: Vec<_> = friends.collect();
            let (sent, over) = (talk.sent.clone(), talk.over.subscribe());
            let talking = async move { (number, say(page, number, &friends, &sent, over).await) };
            talk.pages.spawn(talking);
        }
        talk
    }

    /// Waits until each has said so many more.
    async fn go_on(&self) {
        let mut sent = self.sent.subscribe();
        let before = *sent.borrow();
        let all = |now: &[usize; PAGES]| now.iter().zip(before).all(|(now, it)| *now >= it + TEXTS);
        let gone_on = timeout(PATIENCE, sent.wait_for(all)).await;
        gone_on.expect("each goes on").expect("each is there");
    }

    /// Nothing has been lost, and nothing has come twice where no session ended.
    async fn end(self) -> Vec<Told> {
        self.over.send_replace(true);
        let mut all = self.pages.join_all().await;
        all.sort_by_key(|(number, _)| *number);
        let all: Vec<_> = all.into_iter().map(|(_, told)| told).collect();
        let mut sent = 0;
        for (number, told) in all.iter().enumerate() {
            for from in (1..=FRIENDS).map(|it| (number + PAGES - it) % PAGES) {
                let (heard, friend) = (&told.heard[&from], &all[from]);
                let lost: Vec<_> = (0..friend.sent)
                    .filter(|it| !heard.contains_key(it))
                    .collect();
                assert_eq!(lost, [0; 0], "of {}, from {from} to {number}", friend.sent);
                if told.logins + friend.logins == 2 {
                    assert_eq!(heard.values().max(), Some(&1), "from {from} to {number}");
                }
                sent += heard.len();
            }
        }
        assert!(sent >= 1000, "{sent} messages");
        all
    }
}

/// Talks to `friends` until it is over and all is heard.
async fn say(
    mut page: Persistent,
    number: usize,
    friends: &[String],
    sent: &watch::Sender<[usize; PAGES]>,
    over: watch::Receiver<bool>,
) -> Told {
    let gateway = page.sid().chars().next().expect("it names its gateway");
    let mut told = Told {
        gateway,
        logins: 0,
        sent: 0,
        heard: BTreeMap::new(),
    };
    // By who says so: how many texts there are in all.
    let mut expected = BTreeMap::new();
    let mut has_ended = false;
    let talking = async {
        let all_heard = |told: &Told, expected: &BTreeMap<usize, usize>| {
            let heard = |(from, all): (&usize, &usize)| told.heard[from].len() == *all;
            expected.len() == FRIENDS && expected.iter().all(heard)
        };
        while !has_ended || !all_heard(&told, &expected) {
            let mut text = None;
            if !*over.borrow() {
                text = Some(format!("{number} {}", told.sent));
                told.sent += 1;
            } else if !has_ended {
                text = Some(format!("{number} all {}", told.sent));
                has_ended = true;
            }
            let to_all = text
                .iter()
                .flat_map(|text| friends.iter().map(|it| message(it, text)));
            let payload: String = to_all.collect();
            sleep(ROUND_TRIP).await;
            for text in page
                .exchange(&payload)
                .await
                .iter()
                .filter_map(Element::body)
            {
                let words: Vec<_> = text.split(' ').collect();
                let number = |word: &str| word.parse::<usize>().expect("a number");
                match *words {
                    [from, "all", all] => {
                        expected.insert(number(from), number(all));
                    }
                    [from, text] => {
                        let heard = told.heard.entry(number(from)).or_default();
                        *heard.entry(number(text)).or_default() += 1;
                    }
                    _ => panic!("{text} is none of ours"),
                }
            }
            sent.send_modify(|all| all[number] = told.sent);
        }
    };
    // What is missing then is told by whoever knows how much there was.
    let _ = timeout(2 * PATIENCE, talking).await;
    told.logins = page.logins;
    told
}

#[tokio::test]
async fn one_that_is_killed_under_load_loses_nothing_and_the_others_notice_nothing() {
    let home = Home::prosody(5000);
    let gateways = Gateways::three(Nats::shared(), &home.gateway());
    let balancer = gateways.balanced(Kind::RoundRobin);
    let talk = Talk::begin(&home, &balancer.bosh).await;
    talk.go_on().await;
    gateways.all[0].signal("KILL");
    talk.go_on().await;
    let all = talk.end().await;
    for told in all {
        match told.gateway {
            'a' => assert!(told.logins > 1, "its gateway was killed"),
            _ => assert_eq!(told.logins, 1, "its gateway goes on"),
        }
    }
}

#[tokio::test]
async fn each_is_restarted_after_the_other_and_nothing_is_lost() {
    let home = Home::prosody(5000);
    let mut gateways = Gateways::three(Nats::shared(), &home.gateway());
    let balancer = gateways.balanced(Kind::RoundRobin);
    let talk = Talk::begin(&home, &balancer.bosh).await;
    talk.go_on().await;
    for number in 0..3 {
        gateways.restart(number).await;
        talk.go_on().await;
    }
    for told in talk.end().await {
        assert!((2..=4).contains(&told.logins), "{} logins", told.logins);
    }
}

/// Two gateways, each with a line of its own to NATS, and one user at the second.
struct Lines {
    backend: Backend,
    gateways: Gateways,
    lines: [Line; 2],
    john: Account,
    web: Client,
}

impl Lines {
    async fn new(nats: &Nats) -> Self {
        let lines = [(); 2].map(|()| Line::start(nats.address()));
        let lines: [Line; 2] = join_all(lines).await.try_into().ok().expect("two");
        let urls: Vec<_> = lines
            .iter()
            .map(|it| format!("nats://{}", it.address))
            .collect();
        let backend = Backend::start();
        let builder = Gateway::builder(Prosody::shared()).backend(&backend);
        let gateways = spawn_blocking(move || Gateways::reaching(&urls, &builder));
        let gateways = gateways.await.expect("they start");
        let john = Prosody::shared().account("john");
        backend.set(&john.local, json!({}));
        let mut web = gateways.all[1].login(&john, "web").await;
        web.roster().await;
        Self {
            backend,
            gateways,
            lines,
            john,
            web,
        }
    }

    /// The site gives the user a friend, and tells the first gateway.
    async fn befriend(&self, friend: &str) -> (u16, Value) {
        self.backend.set(&self.john.local, json!({ friend: {} }));
        let endpoint = self.gateways.all[0].admin().at("/roster_admin/refresh");
        let body = json!([self.john.local]).to_string();
        let answer = endpoint.request("POST", &[], &body).await;
        (
            answer.status(),
            serde_json::from_str(answer.text()).expect("JSON"),
        )
    }

    /// Waits until the first gateway knows of so many, itself included.
    async fn await_members(&self, count: usize) {
        within("members", async {
            while sum(&self.gateways.all[0], "rostergate_cluster_members{").await != count {
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

/// A gateway that is cut off is missed for a while, and then counts as gone. It goes on by itself, and asks for what it has
/// missed when it is back.
#[tokio::test]
async fn a_gateway_that_is_cut_off_catches_up() {
    let mut site = Lines::new(Nats::shared()).await;
    site.lines[1].go_dead();
    let (status, body) = site.befriend("ann@example.org").await;
    let reason = &body["failed"][0]["reason"];
    assert_eq!((status, reason), (500, &json!("gateway b did not answer")));
    site.await_members(1).await;
    let (status, body) = site.befriend("ben@example.org").await;
    assert_eq!((status, &body["updated"]), (200, &json!(1)));
    // What is there goes on.
    let web = site.web.jid.clone();
    site.web.send_message(&web, "still here");
    site.web.expect_message("still here").await;
    site.lines[1].go_on();
    // The site has not told anybody again.
    assert_eq!(site.web.expect_push().await.jid, "ben@example.org");
    site.await_members(2).await;
    let (status, _) = site.befriend("cleo@example.org").await;
    assert_eq!(status, 200);
}

/// NATS that hangs says nothing, and its connections stay.
#[tokio::test]
async fn nats_that_hangs_is_away_until_it_goes_on() {
    let nats = Nats::start();
    let mut site = Lines::new(&nats).await;
    nats.signal("STOP");
    let (status, body) = site.befriend("ann@example.org").await;
    assert_eq!(status, 500, "{body}");
    assert_eq!(
        body["failed"][0]["username"],
        json!(site.john.local),
        "{body}"
    );
    site.await_members(0).await;
    let (status, body) = site.befriend("ben@example.org").await;
    let reason = "what other gateways have is not known: NATS is away";
    assert_eq!(
        (status, &body["failed"][0]["reason"]),
        (500, &json!(reason))
    );
    // A session of the other one: not now, it may be there.
    let mut session = Bosh::log_in(&site.gateways.all[1].bosh(), &site.john, "bosh").await;
    session.endpoint = site.gateways.all[0].bosh();
    let answer = session.send("", "").await.response().await;
    assert_eq!(answer.status(), 503, "{answer:?}");
    nats.signal("CONT");
    assert_eq!(site.web.expect_push().await.jid, "ben@example.org");
    site.await_members(2).await;
    let answer = session
        .send_as(session.rid, "", &message(&site.web.jid, "through"))
        .await;
    site.web.expect_message("through").await;
    answer.abort();
}

/// Between continents, say.
#[tokio::test]
async fn slow_lines_to_nats_cost_time_and_nothing_else() {
    let mut site = Lines::new(Nats::shared()).await;
    site.lines
        .iter()
        .for_each(|line| line.delay(Duration::from_millis(250)));
    let (status, body) = site.befriend("ann@example.org").await;
    assert_eq!((status, &body["updated"]), (200, &json!(1)), "{body}");
    assert_eq!(site.web.expect_push().await.jid, "ann@example.org");
    let at_b = Bosh::log_in(&site.gateways.all[1].bosh(), &site.john, "bosh").await;
    let mut session = Bosh {
        endpoint: site.gateways.all[0].bosh(),
        ..at_b
    };
    for number in 0..10 {
        let text = number.to_string();
        session
            .send("", &message(&site.web.jid, &text))
            .await
            .abort();
        site.web.expect_message(&text).await;
    }
    assert_eq!(
        site.gateways.all[0].log().matches("NATS is away").count(),
        0
    );
}
