//! Several gateways that are one, under load, while one of them dies, or each is restarted after the other.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use support::{
    home::Home,
    http::Endpoint,
    nats::Nats,
    persistent::Persistent,
    proxy::Kind,
    several::Gateways,
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
