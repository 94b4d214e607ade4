//! A login with a server that is played.
#![expect(clippy::expect_used, reason = "tests")]

use super::*;

fn credentials() -> Credentials {
    Credentials {
        username: "user".to_owned(),
        password: "pencil".to_owned(),
        is_private: true,
        is_token: false,
        resource: None,
        nonce: "fyko+d2lbbFgONRv9qkxdawL".to_owned(),
    }
}

fn features(mechanisms: &[&str]) -> Stanza {
    let mechanisms: Vec<_> = mechanisms
        .iter()
        .map(|name| format!("<mechanism>{name}</mechanism>"))
        .collect();
    let mechanisms = mechanisms.concat();
    parse(&format!(
        "<stream:features xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'>\
         <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{mechanisms}</mechanisms></stream:features>"
    ))
}

fn parse(text: &str) -> Stanza {
    Stanza::parse(text.to_owned()).expect("well-formed")
}

fn sasl(name: &str, data: &str) -> Stanza {
    let data = BASE64_STANDARD.encode(data);
    parse(&format!(
        "<{name} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</{name}>"
    ))
}

const BINDING: &str = "<stream:features xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'>\
     <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>SESSION</stream:features>";
const BOUND: &str = "<iq xmlns='jabber:client' type='result' id='rg-bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
     <jid>user@example.org/r</jid></bind></iq>";

fn sent(step: Result<Option<Step>, LoginError>) -> Stanza {
    match step {
        Ok(Some(Step::Send(stanza))) => stanza,
        other => panic!("{other:?}"),
    }
}

fn mechanism(credentials: Credentials, offered: &[&str]) -> Result<String, LoginError> {
    match Login::new(credentials).handle(&features(offered))? {
        Some(Step::Send(auth)) => Ok(auth.attribute("mechanism").expect("one").into_owned()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_strongest_mechanism_is_taken_that_may_be() {
    let all = ["PLAIN", "SCRAM-SHA-1", "X-OTHER", "SCRAM-SHA-256"];
    let token = Credentials {
        is_token: true,
        ..credentials()
    };
    assert_eq!(
        mechanism(credentials(), &all).as_deref(),
        Ok("SCRAM-SHA-256")
    );
    assert_eq!(
        mechanism(credentials(), &all[..3]).as_deref(),
        Ok("SCRAM-SHA-1")
    );
    assert_eq!(mechanism(credentials(), &all[..1]).as_deref(), Ok("PLAIN"));
    assert_eq!(mechanism(token.clone(), &all).as_deref(), Ok("PLAIN"));
    let overheard = |credentials| Credentials {
        is_private: false,
        ..credentials
    };
    assert_eq!(
        mechanism(overheard(credentials()), &all).as_deref(),
        Ok("SCRAM-SHA-256")
    );
    for (credentials, offered) in [
        (overheard(credentials()), &all[..1]),
        (overheard(token.clone()), &all[..]),
        (token, &all[1..]),
        (credentials(), &["X-OTHER"][..]),
        (credentials(), &[][..]),
    ] {
        let refused = mechanism(credentials, offered);
        assert!(
            matches!(refused, Err(LoginError::NoMechanism(_))),
            "{refused:?} {offered:?}"
        );
    }
}

#[test]
fn a_login_by_plain_ends_with_a_resource() {
    let mut login = Login::new(Credentials {
        resource: Some("a&b".to_owned()),
        ..credentials()
    });
    let auth = sent(login.handle(&features(&["PLAIN"])));
    assert_eq!(auth.text(), BASE64_STANDARD.encode("\0user\0pencil"));
    let restart = login.handle(&sasl("success", ""));
    assert!(matches!(restart, Ok(Some(Step::Restart))), "{restart:?}");
    let iq = sent(login.handle(&parse(&BINDING.replace("SESSION", ""))));
    let bind = iq.children().next().expect("a payload");
    let resource = bind.children().next().map(|it| it.text().into_owned());
    assert_eq!(resource.as_deref(), Some("a&b"));
    // A message that comes before it is none of ours.
    let early = login.handle(&parse("<message xmlns='jabber:client'/>"));
    assert!(matches!(early, Ok(None)));
    match login.handle(&parse(BOUND)) {
        Ok(Some(Step::Bound(jid))) => assert_eq!(jid, "user@example.org/r"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_insists_on_a_session_gets_one() {
    let session = |inner: &str| {
        format!("<session xmlns='urn:ietf:params:xml:ns:xmpp-session'>{inner}</session>")
    };
    for (session, is_asked) in [(session(""), true), (session("<optional/>"), false)] {
        let mut login = Login::new(credentials());
        sent(login.handle(&features(&["PLAIN"])));
        login.handle(&sasl("success", "")).expect("a restart");
        sent(login.handle(&parse(&BINDING.replace("SESSION", &session))));
        let step = login.handle(&parse(BOUND)).expect("no failure");
        if !is_asked {
            assert!(matches!(step, Some(Step::Bound(_))), "{step:?}");
            continue;
        }
        assert!(matches!(step, Some(Step::Send(_))), "{step:?}");
        let result = "<iq xmlns='jabber:client' type='result' id='rg-session'/>";
        let step = login.handle(&parse(result)).expect("no failure");
        assert!(matches!(step, Some(Step::Bound(jid)) if jid == "user@example.org/r"));
    }
}

#[test]
fn a_login_by_scram_proves_both_sides() {
    let challenge = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
    for (last, is_genuine) in [
        ("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=", true),
        ("v=AAAA", false),
        ("", false),
    ] {
        let mut login = Login::new(credentials());
        sent(login.handle(&features(&["SCRAM-SHA-1"])));
        let response = sent(login.handle(&sasl("challenge", challenge)));
        let response = BASE64_STANDARD.decode(response.text()).expect("base64");
        assert!(response.ends_with(b"p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="));
        match login.handle(&sasl("success", last)) {
            Ok(Some(Step::Restart)) => assert!(is_genuine, "{last}"),
            Err(LoginError::Impostor) => assert!(!is_genuine, "{last}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_the_server_refuses_is_named() {
    let mut login = Login::new(credentials());
    sent(login.handle(&features(&["PLAIN"])));
    let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><text>no</text><not-authorized/></failure>";
    let refused = login.handle(&parse(failure)).expect_err("refused");
    assert_eq!(refused, LoginError::Refused("not-authorized".to_owned()));

    let mut login = Login::new(credentials());
    sent(login.handle(&features(&["PLAIN"])));
    login.handle(&sasl("success", "")).expect("a restart");
    sent(login.handle(&parse(&BINDING.replace("SESSION", ""))));
    let error = "<iq xmlns='jabber:client' type='error' id='rg-bind'><error type='cancel'>\
         <conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>";
    let refused = login.handle(&parse(error)).expect_err("refused");
    assert_eq!(refused, LoginError::Unbound("conflict".to_owned()));
}

#[test]
fn a_challenge_that_nobody_asked_for_ends_the_login() {
    let mut login = Login::new(credentials());
    sent(login.handle(&features(&["PLAIN"])));
    let refused = login
        .handle(&sasl("challenge", "r=x"))
        .expect_err("refused");
    assert_eq!(refused, LoginError::Malformed);
}
