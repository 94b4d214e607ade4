//! Who is let in.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::*;
use crate::net::tls::{ClientAuthority, ClientChain};

#[tokio::test]
async fn without_a_token_only_this_machine_gets_in() {
    let setup = Setup::new().await;
    let from = async |peer: Option<&str>, header: Option<&'static str>| {
        let mut request = request("GET", "/roster_admin/refresh/john", "");
        request.extensions_mut().clear();
        if let Some(peer) = peer {
            let peer = Peer(format!("{peer}:40000").parse().unwrap());
            request.extensions_mut().insert(peer);
        }
        if let Some(header) = header {
            let value = HeaderValue::from_static("127.0.0.1");
            request.headers_mut().insert(header, value);
        }
        said(call(&setup.admin, request).await).await.0
    };
    for local in ["127.0.0.1", "127.8.9.1", "[::1]", "[::ffff:127.0.0.1]"] {
        assert_eq!(from(Some(local), None).await, 200, "{local}");
    }
    for stranger in ["10.0.0.1", "[::ffff:10.0.0.1]", "[2001:db8::1]", "0.0.0.0"] {
        assert_eq!(from(Some(stranger), None).await, 403, "{stranger}");
    }
    assert_eq!(from(None, None).await, 403, "unknown peer");
    let browser = async |host: &'static str, site: &'static str| {
        let mut request = request("GET", "/roster_admin/status", "");
        let headers = request.headers_mut();
        headers.insert("host", HeaderValue::from_static(host));
        headers.insert("sec-fetch-site", HeaderValue::from_static(site));
        said(call(&setup.admin, request).await).await.0
    };
    for host in [
        "localhost",
        "LocalHost:5290",
        "127.0.0.1:5290",
        "[::1]:5290",
    ] {
        assert_eq!(browser(host, "same-origin").await, 200, "{host}");
        assert_eq!(browser(host, "none").await, 200, "{host}");
        assert_eq!(browser(host, "cross-site").await, 403, "{host}");
        assert_eq!(browser(host, "same-site").await, 403, "{host}");
    }
    // A name that somebody has given to 127.0.0.1 so that their page may ask.
    for host in ["rebound.example", "localhost.evil.example", "10.0.0.1", ""] {
        assert_eq!(browser(host, "same-origin").await, 403, "{host}");
    }
    for header in [
        "origin",
        "sec-fetch-site",
        "forwarded",
        "x-forwarded-for",
        "x-real-ip",
        "via",
    ] {
        assert_eq!(from(Some("127.0.0.1"), Some(header)).await, 403, "{header}");
    }
}

#[tokio::test]
async fn a_token_lets_its_bearer_in() {
    let setup = Setup::with(|admin| admin.token = Some(Secret::new("s3cret"))).await;
    let bearing = async |values: &[&str], path: &str| {
        let mut request = request("GET", path, "");
        let stranger = Peer(([10, 0, 0, 1], 1).into());
        request.extensions_mut().insert(stranger);
        let headers = request.headers_mut();
        headers.insert("origin", HeaderValue::from_static("https://example.org"));
        for value in values {
            headers.append("authorization", value.parse().unwrap());
        }
        call(&setup.admin, request).await
    };
    let path = "/roster_admin/refresh/john";
    for good in ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret"] {
        assert_eq!(said(bearing(&[good], path).await).await.0, 200, "{good}");
    }
    let bad = [
        "",
        "Bearer",
        "Bearer ",
        "Bearer s3cre",
        "Bearer s3cretx",
        "Bearex s3cret",
        "s3cret",
    ];
    for bad in bad {
        let response = bearing(&[bad], path).await;
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(said(response).await.0, 401, "{bad}");
    }
    assert_eq!(said(bearing(&[], path).await).await.0, 401);
    let nowhere = bearing(&[], "/roster_admin/nope").await;
    assert_eq!(
        said(nowhere).await.0,
        401,
        "strangers learn nothing of paths"
    );
    let local = request("GET", path, "");
    assert_eq!(
        said(call(&setup.admin, local).await).await.0,
        401,
        "not even this machine"
    );
}

/// A test certificate as a client shows it.
fn shown(name: &str) -> ClientChain {
    let file = certs().join(name);
    ClientChain::new(&[CertificateDer::from_pem_file(file).expect("a test certificate")])
}

fn certs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("certs")
}

#[tokio::test]
async fn a_certificate_is_as_good_as_the_token() {
    let authority = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        ClientAuthority::load(&certs().join("ca.crt"), &names).expect("an authority")
    };
    let any = Setup::with(|admin| admin.client_ca = Some(authority(&[]))).await;
    let named = Setup::with(|admin| admin.client_ca = Some(authority(&["other", "BACKEND"]))).await;
    let other = Setup::with(|admin| admin.client_ca = Some(authority(&["other"]))).await;
    let either = Setup::with(|admin| {
        admin.client_ca = Some(authority(&[]));
        admin.token = Some(Secret::new("s3cret"));
    });
    let either = either.await;
    let none = Setup::new().await;
    let stranger = |chain: Option<&str>| {
        let mut request = request("GET", "/roster_admin/refresh/john", "");
        let peer = Peer(([10, 0, 0, 1], 1).into());
        request.extensions_mut().insert(peer);
        if let Some(chain) = chain {
            request.extensions_mut().insert(shown(chain));
        }
        request
    };
    for (setup, chain, status, why) in [
        (&any, Some("client.crt"), 200, "signed"),
        (&any, Some("localhost.crt"), 403, "that of a server"),
        (&any, None, 403, "none shown"),
        (&named, Some("client.crt"), 200, "has one of the names"),
        (&other, Some("client.crt"), 403, "has another name"),
        (&either, Some("client.crt"), 200, "needs no token"),
        (&either, None, 401, "neither"),
        (&none, Some("client.crt"), 403, "nobody asked for it"),
    ] {
        let answer = call(&setup.admin, stranger(chain)).await;
        assert_eq!(said(answer).await.0, status, "{why}");
    }
    // Who configures one way in has closed the way for programs on this machine.
    let mut local = request("GET", "/roster_admin/refresh/john", "");
    assert_eq!(said(call(&any.admin, local).await).await.0, 403);
    local = stranger(None);
    let token = HeaderValue::from_static("Bearer s3cret");
    local.headers_mut().insert("authorization", token);
    assert_eq!(said(call(&either.admin, local).await).await.0, 200);
}

#[tokio::test]
async fn a_browser_with_a_certificate_is_no_tool_of_other_sites() {
    let authority = ClientAuthority::load(&certs().join("ca.crt"), &[]).expect("an authority");
    let setup = Setup::with(|admin| admin.client_ca = Some(authority)).await;
    let from = async |headers: &[(&'static str, &'static str)]| {
        let mut request = request("POST", "/roster_admin/refresh", "[]");
        request.extensions_mut().insert(shown("client.crt"));
        for (name, value) in headers {
            let value = HeaderValue::from_static(value);
            request.headers_mut().insert(*name, value);
        }
        said(call(&setup.admin, request).await).await.0
    };
    let origin = ("origin", "https://evil.example");
    assert_eq!(from(&[origin]).await, 403);
    assert_eq!(from(&[origin, ("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(from(&[("sec-fetch-site", "same-site")]).await, 403);
    let own = ("origin", "https://example.org");
    assert_eq!(from(&[own, ("sec-fetch-site", "same-origin")]).await, 200);
    assert_eq!(from(&[("sec-fetch-site", "none")]).await, 200);
}

#[tokio::test]
async fn a_certificate_counts_as_long_as_its_authority() {
    let folder = tempfile::tempdir().expect("a folder");
    let bundle = folder.path().join("ca.crt");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    let other = params.self_signed(&key).expect("an authority");
    fs::write(&bundle, other.pem()).expect("written");
    let load = |bundle: &Path| ClientAuthority::load(bundle, &[]).expect("an authority");
    let chain = shown("client.crt");
    load(&certs().join("ca.crt"))
        .admit(&chain)
        .expect("signed by it");
    load(&bundle).admit(&chain).expect_err("signed by another");
}

/// Status and headers of an answer that need not be JSON.
async fn page(admin: &Admin, path: &str, peer: [u8; 4]) -> (u16, http::HeaderMap) {
    let mut request = request("GET", path, "");
    request.extensions_mut().insert(Peer((peer, 1).into()));
    let response = call(admin, request).await;
    (response.status().as_u16(), response.headers().clone())
}

#[tokio::test]
async fn the_page_is_served_to_callers_who_may_ask_or_need_a_token() {
    const PARTS: [&str; 3] = ["", "status.js", "status.css"];
    let open = Setup::new().await;
    let guarded = Setup::with(|admin| admin.token = Some(Secret::new("s3cret"))).await;
    for part in PARTS {
        let path = format!("/roster_admin/{part}");
        let (status, headers) = page(&open.admin, &path, [127, 0, 0, 1]).await;
        assert_eq!(status, 200, "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert_eq!(page(&open.admin, &path, [10, 0, 0, 1]).await.0, 403);
        assert_eq!(page(&guarded.admin, &path, [10, 0, 0, 1]).await.0, 200);
    }
    // What it shows is not.
    let data = page(&guarded.admin, "/roster_admin/status", [10, 0, 0, 1]).await;
    assert_eq!(data.0, 401);

    let (status, headers) = page(&open.admin, "/roster_admin", [127, 0, 0, 1]).await;
    assert_eq!(
        (status, &headers["location"]),
        (308, &HeaderValue::from_static("roster_admin/"))
    );
}
