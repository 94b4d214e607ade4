//! `hyper-hop LISTEN SERVER`: takes HTTP at one address and passes it on to another, with the libraries that
//! rostergate is made of and nothing else, with one thread as well. What it costs is what they cost.

use std::{env, net::SocketAddr};

use anyhow::{Context as _, Result};
use http::{Request, Uri};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpListener;

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
                anyhow::Ok(client.request(request).await?)
            }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), pass);
            // How a client leaves is its own business.
            let _ = connection.await;
        });
    }
}
