//! Several gateways, more at once than they like, and somebody who may publish to their NATS and lies.

use std::{thread, time::Duration};

use rostergate::{
    cluster::wire::{Hello, Message, Part, Question, Said},
    config::NodeName,
};
use tokio::time::sleep;

use support::{
    bosh::Bosh, gateway::Gateway, liar::Liar, nats::Nats, prosody::Prosody, several::Gateways,
    xml::message,
};

fn two() -> Gateways {
    Gateways::start(Nats::shared(), 2, &Gateway::builder(Prosody::shared()))
}

fn message_of(node: &str, id: u64, said: Said) -> Vec<u8> {
    let from = NodeName::new(node).expect("a name");
    Message { id, from, said }.encode().to_vec()
}

fn hello(node: &str, incarnation: u64, number: u64) -> Vec<u8> {
    let hello = Hello {
        number,
        began: 0,
        sessions: 0,
        joining: false,
        version: "0.1.0".to_owned(),
        others: Vec::new(),
    };
    message_of(node, incarnation, Said::Hello(hello))
}

/// A gateway that stands still for a moment finds a lot when it goes on.
#[tokio::test]
async fn what_comes_in_a_burst_is_not_lost() {
    let gateways = two();
    let prosody = Prosody::shared();
    let john = prosody.account("john");
    let mut desk = prosody.contact("marie").await;
    let mut web = Bosh::log_in(&gateways.all[1].bosh(), &john, "web").await;
    web.endpoint = gateways.all[0].bosh();
    let mut liar = Liar::at(Nats::shared());
    let subject = format!("{}.to.b", gateways.name());
    gateways.all[1].signal("STOP");
    for _ in 0..20_000 {
        liar.publish(&subject, b"nothing that anybody understands");
    }
    liar.sent();
    let sent = web.send("", &message(&desk.jid, "in the burst")).await;
    sleep(Duration::from_millis(500)).await;
    gateways.all[1].signal("CONT");
    desk.expect_message("in the burst").await;
    sent.abort();
}

#[tokio::test]
async fn a_member_that_never_answers_costs_a_client_seconds() {
    let gateways = two();
    let mut web = Bosh::log_in(
        &gateways.all[1].bosh(),
        &Prosody::shared().account("john"),
        "web",
    )
    .await;
    web.endpoint = gateways.all[0].bosh();
    web.sid = "z-0123456789abcdef0123456789abcdef".to_owned();
    let subject = format!("{}.hello", gateways.name());
    thread::spawn(move || {
        let mut liar = Liar::at(Nats::shared());
        for number in 1..60 {
            liar.publish(&subject, &hello("z", 7, number));
            thread::sleep(Duration::from_millis(500));
        }
    });
    gateways.all[0].await_members(3);
    let answer = web.send("", "").await.response().await;
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_crowd_of_members_does_not_fill_the_log() {
    let gateways = two();
    let mut liar = Liar::at(Nats::shared());
    let subject = format!("{}.hello", gateways.name());
    for number in 0..20_000 {
        liar.publish(&subject, &hello("z", number, 1));
    }
    // All of that has been heard when this one is.
    liar.publish(&subject, &hello("y", 1, 1));
    gateways.all[0].await_members(4);
    let log = gateways.all[0].log();
    let lines = log.lines().filter(|it| it.contains("gateway")).count();
    assert!((3..300).contains(&lines), "{lines} lines");
}

/// Parts of bodies that never come whole.
#[tokio::test]
async fn small_parts_among_large_messages_take_no_more_memory_than_they_have() {
    let gateways = two();
    let mut liar = Liar::at(Nats::shared());
    let subject = format!("{}.to.a", gateways.name());
    let large = vec![b'x'; 1_000_000];
    let before = gateways.all[0].peak_memory();
    for index in 1..400 {
        let part = Part {
            index,
            count: 1000,
            bytes: b"x"[..].into(),
        };
        let said = Said::Question {
            question: Question::Bosh,
            heard: 1,
            patience: Duration::from_secs(5),
            part,
        };
        liar.publish(&subject, &message_of("b", 7, said));
        liar.publish(&subject, &large);
    }
    let subject = format!("{}.hello", gateways.name());
    liar.publish(&subject, &hello("z", 7, 1));
    gateways.all[0].await_members(3);
    liar.sent();
    let grown = gateways.all[0].peak_memory() - before;
    assert!(grown < 200 << 20, "{grown} bytes");
}
