//! Hostile cost: what makes the gateway allocate, compute or write much more than it was sent. Whatever comes,
//! memory and time are a small multiple of it, and a session next to it notices nothing.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use support::{
    backend::Backend,
    bosh::{Bosh, FIRST_RID},
    gateway::Gateway,
    prosody::{DOMAIN, Prosody},
    within,
    xml::{CLIENT, HTTPBIND, ROSTER, message},
};

use crate::{backpressure::Deaf, hostile_bystander::Bystander, idle::cpu_time, site::Site};

/// A request body that is as large as allowed.
const LARGE: usize = 1000 << 10;
/// What the gateway may need for one, bytes: it is read, copied and taken apart.
const ALLOWED: usize = 8 << 20;

async fn scene() -> (Gateway, Bystander) {
    let prosody = Prosody::shared();
    let gateway = Gateway::start(prosody);
    let bystander = Bystander::log_in(&gateway, prosody).await;
    (gateway, bystander)
}

fn creation_with(attributes: &str, content: &str) -> String {
    format!(
        "<body xmlns='{HTTPBIND}' rid='{FIRST_RID}' to='{DOMAIN}' {attributes}>{content}</body>"
    )
}

/// `count` declarations of prefixes, each with a URI of `length` bytes.
fn declarations(count: usize, length: usize) -> String {
    let uri = "u".repeat(length);
    (0..count).fold(String::new(), |mut all, number| {
        write!(all, " xmlns:p{number}='{uri}{number}'").expect("a string takes it");
        all
    })
}

/// Documents that are short, and would not be if all that they stand for were written down or looked at.
#[tokio::test]
async fn a_document_costs_what_it_is_long() {
    let (gateway, mut bystander) = scene().await;
    let half = "u".repeat(LARGE / 2);
    let children = |each: &str| each.repeat(LARGE / 2 / each.len());
    let nested = |each: &str| format!("{}{}", each.repeat(99), "</a>".repeat(99));
    let attributes: String = (0..120).map(|number| format!(" a{number}=''")).collect();
    let documents = [
        (
            "a prefix",
            creation_with(&format!("xmlns:a='{half}'"), &children("<a/>")),
        ),
        (
            "a default namespace",
            format!(
                "<b:body xmlns:b='{HTTPBIND}' xmlns='{half}'>{}</b:body>",
                children("<a/>")
            ),
        ),
        (
            "a language",
            creation_with(&format!("xml:lang='{half}'"), &children("<a/>")),
        ),
        (
            "short prefixes",
            creation_with(&declarations(61, 2), &children("<a/>")),
        ),
        (
            "long prefixes",
            creation_with(&declarations(4, 200), &children("<a/>")),
        ),
        (
            "prefixes of the stream",
            creation_with(
                &declarations(60, 2).replace("'uu", "'http://etherx.jabber.org/streams' x='"),
                &children("<a/>"),
            ),
        ),
        (
            "what uses them",
            creation_with(&declarations(61, 2), &children("<p0:a/>")),
        ),
        (
            "what inherits them through a hundred levels",
            creation_with("", &children(&nested("<a xmlns='urn:a'>"))),
        ),
        (
            "many attributes",
            creation_with("", &children(&format!("<a{attributes}/>"))),
        ),
        (
            "very many attributes",
            creation_with(&" a=''".repeat(LARGE / 5), ""),
        ),
        (
            "text in pieces",
            creation_with("", &format!("<a>{}</a>", children("&amp;"))),
        ),
        (
            "names that are long",
            creation_with("", &format!("<{half}/>")),
        ),
        (
            "an address",
            creation_with(&format!("x='' to2='{half}'"), ""),
        ),
    ];
    for (what, document) in documents {
        assert!(document.len() < 1 << 20, "{what}: it is to be read");
        let before = (gateway.peak_memory(), cpu_time(gateway.pid()));
        let response = gateway.bosh().post(&document).await;
        assert_eq!(response.status(), 200, "{what}");
        let grown = gateway.peak_memory() - before.0;
        assert!(grown < ALLOWED, "{what}: {grown} bytes");
        // The debug build is slow; it took minutes of what is cut off now.
        let took = cpu_time(gateway.pid()) - before.1;
        assert!(took.as_secs() < 3, "{what}: {took:?} of CPU time");
        bystander.chats_on().await;
    }
}

fn presence(size: usize) -> String {
    let status = "x".repeat(size);
    format!("<presence xmlns='{CLIENT}' id='p'><status>{status}</status></presence>")
}

fn contacts(count: usize) -> Value {
    let contacts = (0..count).map(|number| (format!("c{number}@example.org"), json!({})));
    contacts.collect::<Map<_, _>>().into()
}

/// A presence to all contacts is written for as many of them as the server takes, and no more at once.
#[tokio::test]
async fn presence_to_thousands_costs_no_more_than_the_server_takes() {
    let (deaf, prosody, backend) = (Deaf::start().await, Prosody::shared(), Backend::start());
    backend.set("web", contacts(20_000));
    let gateway = Gateway::builder(&deaf)
        .backend(&backend)
        .another_host(prosody, "")
        .start();
    let mut bystander = Bystander::log_in(&gateway, prosody).await;
    let mut web = Bosh::log_in(&gateway.bosh(), &Deaf::account(), "tab").await;
    let get = format!("<iq xmlns='{CLIENT}' type='get' id='r'><query xmlns='{ROSTER}'/></iq>");
    web.exchange_until(&get, |stanza| stanza.is_reply_to("r"))
        .await;
    let before = gateway.peak_memory();
    // 300 MB in all.
    let open = web.send("", &presence(15_000)).await;
    // An answer shows that it has been taken up.
    let next = web.send("", &get).await;
    let answer = open.body().await;
    assert!(answer.children().any(|it| it.is_reply_to("r")), "{answer}");
    next.abort();
    for _ in 0..5 {
        bystander.chats_on().await;
    }
    let grown = gateway.peak_memory() - before;
    assert!(grown < ALLOWED, "{grown} bytes");
}

#[tokio::test]
async fn presence_reaches_all_contacts_however_many_there_are() {
    const CONTACTS: usize = 5000;
    let site = Site::new();
    let mut web = site
        .crowded(&site.prosody.account("popular"), CONTACTS)
        .await;
    let refused = web
        .exchange_until(&presence(LARGE - 1000), |it| it.attr("id") == Some("p"))
        .await;
    assert_eq!(refused.error(), Some("policy-violation"));
    let open = web.send("", &presence(100)).await;
    // One to the server itself, and one for each contact; none of the large one.
    let all = format!(
        "stanzas_total{{direction=\"to_server\",kind=\"presence\"}} {}\n",
        CONTACTS + 1
    );
    let metrics = site.gateway.admin().at("/metrics");
    let told = async { while !metrics.request("GET", &[], "").await.text().contains(&all) {} };
    within("all to be told", told).await;
    open.abort();
}

/// Who asks and asks, and does not take the answers.
#[tokio::test]
async fn answers_that_are_not_taken_are_not_made() {
    let site = Site::new();
    let mut bystander = Bystander::log_in(&site.gateway, site.prosody).await;
    let jid = "c0@example.org";
    let query = |item: &str| format!("<query xmlns='{ROSTER}'>{item}</query>");
    let get = format!("<iq xmlns='{CLIENT}' type='get' id='r'>{}</iq>", query(""));
    let item = format!("<item jid='{jid}'/>");
    let set = format!(
        "<iq xmlns='{CLIENT}' type='set' id='s'>{}</iq>",
        query(&item)
    );
    let subscribe = format!("<presence xmlns='{CLIENT}' type='subscribe' to='{jid}'/>");
    let large = "i".repeat(4000);
    let large = format!(
        "<iq xmlns='{CLIENT}' type='set' id='{large}'>{}</iq>",
        query("")
    );
    for (what, stanza) in [
        ("gets", get),
        ("sets", set),
        ("subscribes", subscribe),
        ("large ids", large),
    ] {
        let account = site.prosody.account("greedy");
        let mut web = site.crowded(&account, 100).await;
        let before = site.gateway.peak_memory();
        let payload = stanza.repeat((LARGE / stanza.len()).min(4000));
        let mut ended = None;
        // 50 MB of requests would be as many answers, some of ten times their size.
        for number in 0..50 {
            let answer = web.send("", &payload).await.body().await;
            ended = answer.attr("condition").map(str::to_owned);
            if ended.is_some() {
                break;
            }
            if number % 20 == 0 {
                bystander.chats_on().await;
            }
        }
        let grown = site.gateway.peak_memory() - before;
        assert!(grown < 3 * ALLOWED, "{what}: {grown} bytes");
        assert!(
            ended.is_none() || ended.as_deref() == Some("policy-violation"),
            "{what}: {ended:?}"
        );
    }
}

/// What the gateway itself has to say waits for a client that is away, and is no reason to end it.
#[tokio::test]
async fn a_list_that_changes_while_its_client_is_away_ends_nothing() {
    const CONTACTS: usize = 4000;
    let site = Site::new();
    let account = site.prosody.account("away");
    let mut web = site.crowded(&account, CONTACTS).await;
    let paused = web.exchange_pause(60).await;
    assert_eq!(paused.attr("type"), None);
    let renamed = (0..CONTACTS).map(|number| {
        let name = format!("{number} {}", "x".repeat(200));
        (format!("c{number}@example.org"), json!({ "name": name }))
    });
    site.backend
        .set(&account.local, renamed.collect::<Map<_, _>>().into());
    site.refresh(&[&account]).await;
    // A poll of somebody else that nothing comes for takes three seconds: longer than a client may take that has
    // not asked for a pause.
    let other = site.prosody.account("other");
    let patient = [("wait", "3")];
    let mut other = Bosh::log_in_with(&site.gateway.bosh(), &other, "web", &patient).await;
    other.exchange("").await;
    let mut pushes = 0;
    while pushes < CONTACTS {
        let answer = web.exchange("").await;
        assert_eq!(
            answer.attr("type"),
            None,
            "the session goes on after {pushes}"
        );
        pushes += answer
            .children()
            .filter(|it| it.attr("type") == Some("set"))
            .count();
    }
}

/// Stanzas that wait, as answers of others have not been taken, are bounded by what they take.
#[tokio::test]
async fn a_client_that_is_not_heard_cannot_go_on_speaking() {
    let site = Site::new();
    let account = site.prosody.account("loud");
    let mut web = site.crowded(&account, 1).await;
    let subscribe = format!("<presence xmlns='{CLIENT}' type='subscribe' to='a@b'/>");
    web.send("", &subscribe.repeat(3000)).await.body().await;
    let before = site.gateway.peak_memory();
    let payload = message("a@b", &"x".repeat(LARGE));
    let mut ended = None;
    for _ in 0..200 {
        let answer = web.send("", &payload).await.body().await;
        ended = answer.attr("condition").map(str::to_owned);
        if ended.is_some() {
            break;
        }
    }
    assert_eq!(ended.as_deref(), Some("policy-violation"));
    let grown = site.gateway.peak_memory() - before;
    assert!(grown < ALLOWED, "{grown} bytes");
}

/// Whoever asks for much and takes it has it all.
#[tokio::test]
async fn many_questions_are_answered_as_long_as_answers_are_taken() {
    let site = Site::new();
    let mut web = site.crowded(&site.prosody.account("eager"), 10).await;
    let set = |number: usize| {
        format!(
            "<iq xmlns='{CLIENT}' type='set' id='s{number}'><query xmlns='{ROSTER}'>\
             <item jid='c0@example.org'/></query></iq>"
        )
    };
    let payload: String = (0..1500).map(set).collect();
    let mut answers = 0;
    let mut next = web.send("", &payload).await;
    while answers < 1500 {
        let answer = next.body().await;
        assert_eq!(answer.attr("type"), None, "the session goes on");
        for reply in answer
            .children()
            .filter(|it| it.attr("type") == Some("error"))
        {
            assert_eq!(reply.attr("id"), Some(&*format!("s{answers}")), "in order");
            answers += 1;
        }
        next = web.send("", "").await;
    }
}

/// What waits for a server that does not read is what has been said, not the white space around it.
#[tokio::test]
async fn short_stanzas_in_long_documents_are_kept_short() {
    let deaf = Deaf::start().await;
    let gateway = Gateway::start(&deaf);
    let mut web = Bosh::log_in(&gateway.bosh(), &Deaf::account(), "tab").await;
    // 6 MB: more than the kernels take (4 MB), and not so much that the gateway stops listening.
    let filling = message("a@b", &"x".repeat(125 << 10));
    let mut open = web.send("", &filling).await;
    for _ in 0..48 {
        let next = web.send("", &filling).await;
        open.body().await;
        open = next;
    }
    let before = gateway.peak_memory();
    let presence = format!("<presence xmlns='{CLIENT}' to='a@b'/>");
    let payload = format!("{}{presence}", " ".repeat(LARGE));
    for _ in 0..200 {
        // 200 MB, with 10 KB in it. Each request frees the one before.
        let next = web.send("", &payload).await;
        open.body().await;
        open = next;
    }
    let grown = gateway.peak_memory() - before;
    assert!(grown < ALLOWED, "{grown} bytes");
}
