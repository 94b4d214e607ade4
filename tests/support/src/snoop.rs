//! Somebody who listens where a NATS is expected, and would have the credentials: it says that it speaks no TLS.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;

/// Longer than a client takes to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Snoop {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Snoop {
    pub fn start() -> Self {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub fn start_on(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let heard = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let all = Arc::clone(&heard);
        // It ends with the tests.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let said = first_words(stream, address);
                all.lock().push(said);
            }
        });
        Self { address, heard }
    }

    /// What those said first who have connected.
    pub fn heard(&self) -> Vec<String> {
        let heard = self.heard.lock();
        let heard = heard.iter().map(|it| String::from_utf8_lossy(it).into());
        heard.collect()
    }
}

/// Says hello as NATS does, and waits for an answer.
fn first_words(mut stream: TcpStream, address: SocketAddr) -> Vec<u8> {
    let hello = format!(
        "INFO {{\"server_id\":\"S\",\"server_name\":\"s\",\"version\":\"2.9.10\",\"go\":\"\",\"host\":\"{}\",\
         \"port\":{},\"headers\":true,\"max_payload\":1048576,\"proto\":1}}\r\n",
        address.ip(),
        address.port()
    );
    let mut said = vec![0; 4096];
    let heard = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.write_all(hello.as_bytes()))
        .and_then(|()| stream.read(&mut said));
    said.truncate(heard.unwrap_or(0));
    // Who spoke TLS is told that it is not understood.
    let _ = stream.write_all(b"-ERR 'Unknown Protocol Operation'\r\n");
    said
}
