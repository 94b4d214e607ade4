//! `hyper-hop LISTEN SERVER`: takes HTTP at one address and passes it on to another, and bytes once a
//! connection has been upgraded, with the libraries that rostergate is made of and nothing else, with one
//! thread as well. What it costs is what they cost.

use std::{env, net::SocketAddr};

use anyhow::{Context as _, Result};
use http::{Request, StatusCode, Uri};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::service_fn,
    upgrade::{OnUpgrade, on},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{io::copy_bidirectional, net::TcpListener};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut addresses = env::args().skip(1);
    let mut address = || -> Result<SocketAddr> {
        let given = addresses.next().context("hyper-hop LISTEN SERVER")?;
        Ok(given.parse()?)
    };
    let (own, server) = (address()?, address()?);
    let listener = TcpListener::bind(own).await?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = client.clone();
        let pass = service_fn(move |mut request: Request<Incoming>| {
            let client = client.clone();
            async move {
                let path = request.uri().path();
                *request.uri_mut() = format!("http://{server}{path}").parse::<Uri>()?;
                let client_side = on(&mut request);
                let mut answer = client.request(request).await?;
                if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                    tokio::spawn(tunnel(client_side, on(&mut answer)));
                }
                anyhow::Ok(answer)
            }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), pass)
                .with_upgrades();
            // How a client leaves is its own business.
            let _ = connection.await;
        });
    }
}

async fn tunnel(client: OnUpgrade, server: OnUpgrade) -> Result<()> {
    let (client, server) = (client.await?, server.await?);
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
