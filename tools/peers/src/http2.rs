//! HTTP/2 over TLS, one exchange at a time.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use h2::{
    RecvStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Request, StatusCode};
use tokio::{net::TcpStream, task::AbortHandle};

use crate::{DOMAIN, stream::encrypt};

/// A connection.
#[derive(Debug)]
pub(crate) struct Http2 {
    sender: SendRequest<Bytes>,
    /// Of what sends and receives.
    driver: AbortHandle,
    state: State,
}

/// How far an exchange has come; kept, so that waiting for it can be given up and begun again.
#[derive(Debug)]
enum State {
    Idle,
    Sent(ResponseFuture),
    Receiving(RecvStream, Vec<u8>),
}

impl Http2 {
    /// Shakes hands on a TCP connection.
    pub(crate) async fn open(stream: TcpStream) -> Result<Self> {
        let stream = encrypt(stream, b"h2").await?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        let driver = tokio::spawn(async move {
            // The end of a connection is seen by who waits for an answer.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            driver: driver.abort_handle(),
            state: State::Idle,
        })
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, path: &str, content_type: &str, body: &str) -> Result<()> {
        let request = Request::post(format!("https://{DOMAIN}{path}"))
            .header("content-type", content_type)
            .header("content-length", body.len())
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (answer, mut stream) = sender.send_request(request, false)?;
        stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true)?;
        self.state = State::Sent(answer);
        Ok(())
    }

    /// The body of its answer.
    pub(crate) async fn answer(&mut self) -> Result<Vec<u8>> {
        loop {
            match &mut self.state {
                State::Idle => bail!("no request was sent"),
                State::Sent(answer) => {
                    let (head, body) = answer.await?.into_parts();
                    if head.status != StatusCode::OK {
                        bail!("{}", head.status);
                    }
                    self.state = State::Receiving(body, Vec::new());
                }
                State::Receiving(stream, received) => {
                    let Some(data) = stream.data().await else {
                        let body = std::mem::take(received);
                        self.state = State::Idle;
                        return Ok(body);
                    };
                    let data = data.context("the answer breaks off")?;
                    stream.flow_control().release_capacity(data.len())?;
                    received.extend_from_slice(&data);
                }
            }
        }
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
