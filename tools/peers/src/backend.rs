//! The web application that rostergate asks for contacts: `/contacts/{user}`, in a thread of its own.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::Result;
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{DOMAIN, session::User};

/// A backend that runs until the program ends.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    generation: Arc<AtomicUsize>,
}

/// The generation in which nobody has contacts.
const EMPTY: usize = usize::MAX;

/// Who is on the contact lists of whom.
impl User {
    /// The `number`th of those with so many contacts.
    pub fn with_contacts(contacts: usize, number: usize) -> Self {
        let name = format!("u{contacts}x{number}");
        Self { name }
    }

    /// The localparts of a user's contacts. All are strangers but the first, another user with so many: a
    /// different one in each generation, who has this one, too.
    pub fn contacts(name: &str, generation: usize) -> Vec<String> {
        let Some((contacts, number)) = numbers(name).filter(|_| generation != EMPTY) else {
            return Vec::new();
        };
        let partner = number ^ (1 << (generation % 2));
        let strangers = (1..contacts).map(|number| format!("stranger{number}"));
        let partner = (contacts > 0).then(|| Self::with_contacts(contacts, partner).name);
        partner.into_iter().chain(strangers).collect()
    }
}

fn numbers(name: &str) -> Option<(usize, usize)> {
    let (contacts, number) = name.strip_prefix('u')?.split_once('x')?;
    Some((contacts.parse().ok()?, number.parse().ok()?))
}

impl Backend {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// There is no port for it.
    pub fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let backend = Self {
            address: listener.local_addr()?,
            generation: Arc::default(),
        };
        let generation = Arc::clone(&backend.generation);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("it does not block");
                while let Ok((stream, _)) = listener.accept().await {
                    // The client sees an error as the end of the connection.
                    tokio::spawn(serve(stream, Arc::clone(&generation)));
                }
            });
        });
        Ok(backend)
    }

    /// Takes all contacts from everybody, or gives them back.
    pub fn empty(&self, is_empty: bool) {
        let generation = if is_empty { EMPTY } else { 0 };
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// Gives everybody another first contact.
    pub fn change(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }
}

async fn serve(mut stream: TcpStream, generation: Arc<AtomicUsize>) -> Result<()> {
    let mut buffer = Vec::new();
    loop {
        while let Some(end) = memmem::find(&buffer, b"\r\n\r\n") {
            let name = user(&buffer[..end]).unwrap_or_default();
            let body = contact_list(&name, generation.load(Ordering::Relaxed));
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await?;
            buffer.drain(..end + 4);
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Whom `GET /contacts/{user} HTTP/1.1` is about.
fn user(request: &[u8]) -> Option<String> {
    let line = str::from_utf8(request).ok()?.lines().next()?;
    let path = line.split(' ').nth(1)?;
    Some(path.strip_prefix("/contacts/")?.to_owned())
}

fn contact_list(name: &str, generation: usize) -> String {
    let contacts = User::contacts(name, generation).into_iter();
    let contacts = contacts.map(|contact| {
        format!("\"{contact}@{DOMAIN}\":{{\"name\":\"{contact}\",\"groups\":[\"Friends\"],\"subscription\":\"both\"}}")
    });
    format!("{{{}}}", contacts.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_contacts_have_each_other() {
        for generation in 0..3 {
            for number in 0..8 {
                let user = User::with_contacts(10, number).name;
                let contacts = User::contacts(&user, generation);
                assert_eq!(contacts.len(), 10);
                assert_eq!(User::contacts(&contacts[0], generation)[0], user);
                assert_ne!(User::contacts(&user, generation + 1)[0], contacts[0]);
                assert_eq!(User::contacts(&user, generation + 2), contacts);
            }
        }
        assert_eq!(User::contacts("u0x1", 0), Vec::<String>::new());
    }

    #[test]
    fn lists_are_json() {
        assert_eq!(
            user(b"GET /contacts/u1x4 HTTP/1.1\r\nHost: x").as_deref(),
            Some("u1x4")
        );
        assert_eq!(
            contact_list("u1x4", 0),
            "{\"u1x5@example.org\":{\"name\":\"u1x5\",\"groups\":[\"Friends\"],\"subscription\":\"both\"}}"
        );
    }
}
