//! What becomes of events whose receiver does not take them.

use std::{path::Path, time::Duration};

use tokio::{
    io::AsyncReadExt as _,
    net::TcpListener,
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::{config::Config, roster::testing::user};

/// Settings with a receiver at this port.
fn settings(port: u16) -> config::Events {
    let text = format!(
        "[[host]]\ndomain = 'example.org'\nupstream = 'xmpp://127.0.0.1'\n\
         events_url = 'http://127.0.0.1:{port}/'\noffline_after = '10m'\n"
    );
    let config = Config::parse(&text, "test.toml", Path::new("."));
    config.expect("valid").hosts.remove(0).events
}

fn presence() -> crate::proto::stanza::Stanza {
    crate::proto::stanza::Stanza::parse("<presence xmlns='jabber:client'/>").unwrap()
}

#[tokio::test]
async fn what_waits_for_a_receiver_is_bounded_and_what_is_lost_is_counted() {
    let metrics = metrics::Domain::default();
    let availability = Availability::new("example.org", metrics.clone(), None);
    // Nobody listens there.
    availability.configure(&settings(1));
    let users = 20_000;
    for number in 0..users {
        let user = user(&format!("{number:0>1000}"));
        let mut resource = availability.resource(&user, number);
        resource.sends(&presence());
        drop(resource);
    }
    let waiting = availability.pending();
    assert!(waiting <= (16 << 20) / (1000 + 96) + 2, "{waiting} wait");
    let lost = metrics.events_lost.get();
    assert_eq!(
        lost + waiting as u64 - 1,
        1 + users,
        "with the reset, without the gap"
    );
    assert_eq!(metrics.events_pending.get(), waiting as i64);

    // Nobody wants them any longer.
    availability.configure(&config::Events::default());
    assert_eq!(availability.pending(), 0);
    assert_eq!(metrics.events_lost.get(), lost + waiting as u64);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_does_not_answer_is_asked_again_elsewhere_if_it_has_moved() {
    let listeners = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let ports = [0, 1].map(|it: usize| listeners[it].local_addr().unwrap().port());
    let availability = Availability::new("example.org", metrics::Domain::default(), None);
    availability.configure(&settings(ports[0]));
    let (mut silent, _) = listeners[0].accept().await.unwrap();
    silent.read_u8().await.expect("a request");
    let began = Instant::now();
    availability.configure(&settings(ports[1]));
    let (mut other, _) = timeout(Duration::from_secs(20), listeners[1].accept())
        .await
        .expect("at once")
        .unwrap();
    let mut request = vec![0; 4096];
    let length = other.read(&mut request).await.unwrap();
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    assert!(request.starts_with("POST / HTTP/1.1"), "{request}");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_to_come_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let endpoint = settings(port).endpoint.expect("there is one");
    let posted = Receiver::new(&endpoint).post("[]".into()).await;
    let after = Duration::from_secs(30);
    assert_eq!(posted, Err(PostError::Timeout { after }));
    assert!(
        PostError::Timeout { after }.is_too_much(),
        "the next is shorter"
    );
}

#[tokio::test(start_paused = true)]
async fn at_the_end_a_receiver_is_waited_for_as_long_as_it_takes_something() {
    let patience = Duration::from_secs(2);
    for takes in [true, false] {
        let availability = Availability::new("example.org", metrics::Domain::default(), None);
        // Nobody listens there: this test is the receiver.
        availability.configure(&settings(1));
        let mut resources = Vec::new();
        for number in 0..2000 {
            let user = user(&format!("u{number}"));
            let mut resource = availability.resource(&user, number);
            resource.sends(&presence());
            resources.push(resource);
        }
        let finishing = tokio::spawn({
            let availability = Arc::clone(&availability);
            async move { availability.finish(patience).await }
        });
        let mut requests = 0;
        while !finishing.is_finished() {
            sleep(patience * 3 / 4).await;
            if takes && let Some(batch) = availability.next_decided().await {
                availability.delivered(&batch, None);
                requests += 1;
            }
        }
        assert_eq!(finishing.await.ok(), Some(takes));
        assert!(!takes || requests > 3, "{requests}");
    }
}
