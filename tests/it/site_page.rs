//! The examples of sites with accounts of their own, which docs/site.md shows: members, friends, a chat.

use std::{fs, io::Write as _, net::TcpStream, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use support::{
    client::Account, free_ports, gateway::Gateway, process::Process, prosody::Prosody, root, within,
};

use crate::{
    site::item,
    tokens::{HTTP, asked, member},
};

const SECRET: &str = "swordfish-of-the-site";

/// How an example is run, as its README says.
struct Language {
    folder: &'static str,
    /// What is done once.
    before: &'static [&'static str],
    /// `PORT` stands for the port.
    command: &'static [&'static str],
}

const PHP: Language = Language {
    folder: "php",
    before: &["true"],
    command: &["php", "-S", "127.0.0.1:PORT", "-t", "../page", "site.php"],
};
const DJANGO: Language = Language {
    folder: "django",
    // Debian's, which has Debian's Django.
    before: &["/usr/bin/python3", "manage.py", "migrate", "--run-syncdb"],
    command: &[
        "/usr/bin/python3",
        "manage.py",
        "runserver",
        "--noreload",
        "PORT",
    ],
};
const NODE: Language = Language {
    folder: "node",
    before: &["true"],
    command: &["node", "site.mjs"],
};

impl Language {
    /// Copies the example, and does what is done once.
    fn install(&self, folder: &Path) {
        let example = root().join("examples").join(self.folder);
        let copied = Command::new("cp")
            .arg("-r")
            .arg(example)
            .arg(folder)
            .status();
        assert!(copied.expect("cp runs").success());
        fs::create_dir(folder.join("page")).expect("the folder of the page");
        let done = Command::new(self.before[0])
            .args(&self.before[1..])
            .current_dir(folder.join(self.folder))
            .env("CHAT_SECRET", SECRET)
            .output()
            .expect("it runs (make deps)");
        assert!(done.status.success(), "{done:?}");
    }

    /// Runs what is in the folder.
    fn run(&self, folder: &Path, port: u16, admin: &str) -> Process {
        self.run_with(folder, port, admin, SECRET)
    }

    fn run_with(&self, folder: &Path, port: u16, admin: &str, secret: &str) -> Process {
        let place = folder.join(self.folder).display().to_string();
        let port = port.to_string();
        let command = self.command.iter().map(|word| word.replace("PORT", &port));
        let arguments = ["-C".to_owned(), place].into_iter().chain(command);
        let environment = [
            ("CHAT_GATEWAY", admin),
            ("CHAT_SECRET", secret),
            ("PORT", &port),
        ];
        let log = folder.join(format!("site-{port}.log"));
        Process::start(Path::new("env"), arguments, &environment, log)
    }
}

/// A site in one language, the gateway, and the cookies of a visitor.
struct Site {
    gateway: Gateway,
    prosody: &'static Prosody,
    folder: TempDir,
    port: u16,
    /// Its address of the gateway.
    admin: String,
    _process: Process,
}

impl Site {
    async fn start(language: &Language) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        language.install(folder.path());
        let [port] = free_ports();
        let (prosody, gateway) = asked(|gateway| {
            gateway
                .host(HTTP)
                .host(&format!(
                    "http_roster_url = \"http://127.0.0.1:{port}/contacts/%s\""
                ))
                .host(&format!("backend_token = \"{SECRET}\""))
                .host(&format!(
                    "events_url = \"http://127.0.0.1:{port}/chat-events\""
                ))
                .host(&format!(
                    "events_token = \"{SECRET}\"\noffline_after = \"1s\""
                ))
        });
        let admin = format!("http://{}/roster_admin", gateway.admin().address);
        let process = language.run(folder.path(), port, &admin);
        let site = Self {
            gateway,
            prosody,
            folder,
            port,
            admin,
            _process: process,
        };
        site.until("the site", |site| site.get("nobody", "/").0 == 200)
            .await;
        site
    }

    /// Asks as the browser of `who` does, with its cookies.
    fn ask(&self, who: &str, url: &str, arguments: &[&str]) -> (u16, String) {
        let cookies = self.folder.path().join(format!("cookies-{who}"));
        // Django's against requests of other sites.
        let token = fs::read_to_string(&cookies).unwrap_or_default();
        let token = token
            .lines()
            .find_map(|line| line.split_once("csrftoken\t"));
        let token = token.map_or("", |(_, token)| token);
        let output = Command::new("curl")
            .args(["-s", "-m", "20", "-w", "\n%{http_code}", "-b"])
            .arg(&cookies)
            .arg("-c")
            .arg(&cookies)
            .args(["-H", &format!("X-CSRFToken: {token}")])
            .args(arguments)
            .arg(url)
            .output()
            .expect("curl runs");
        let output = String::from_utf8(output.stdout).expect("text");
        let (body, status) = output.rsplit_once('\n').expect("a status");
        (status.parse().expect("a number"), body.to_owned())
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn get(&self, who: &str, path: &str) -> (u16, String) {
        self.ask(who, &self.url(path), &[])
    }

    /// Sends a form of the page, which has brought the cookies.
    fn post(&self, who: &str, path: &str, form: &str) {
        assert_eq!(self.get(who, "/").0, 200);
        let (status, body) = self.ask(who, &self.url(path), &["-d", form]);
        assert!([302, 303].contains(&status), "{path}: {status} {body}");
    }

    fn join(&self, account: &Account, name: &str) {
        let who = &account.local;
        self.post(
            who,
            "/join",
            &format!("username={who}&name={name}&password=of-{who}"),
        );
    }

    /// Sends the beginning of what the gateway would, and hangs up.
    fn break_off_events(&self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let head = format!(
            "POST /chat-events HTTP/1.1\r\nHost: site\r\nAuthorization: Bearer {SECRET}\r\n\
             Content-Type: application/json\r\nContent-Length: 100\r\n\r\n[{{"
        );
        stream.write_all(head.as_bytes()).expect("it takes it");
    }

    /// Runs it once more, beside itself: the gateway tells that one nothing.
    async fn knows_who_is_online_when_it_is_started(&self, language: &Language, who: &str) {
        let [port] = free_ports();
        let _process = language.run(self.folder.path(), port, &self.admin);
        let url = format!("http://127.0.0.1:{port}/");
        self.until("one that has just been started", |site| {
            site.ask(who, &url, &[]).1.contains("(online)")
        })
        .await;
    }

    async fn until(&self, what: &str, probe: impl Fn(&Self) -> bool) {
        let probing = async {
            while !probe(self) {
                tokio::task::yield_now().await;
            }
        };
        within(what, probing).await;
    }
}

async fn members_chat(language: &Language) {
    let site = Site::start(language).await;
    let (gateway, prosody) = (&site.gateway, site.prosody);
    let [john, marie, bob] = ["john", "marie", "bob"].map(|name| member(prosody, gateway, name));
    assert_eq!(site.get("nobody", "/chat-credentials").0, 403);
    for path in ["/contacts/john", "/chat-events"] {
        assert_eq!(
            site.get("nobody", path).0,
            401,
            "{path}, without the secret"
        );
    }
    site.join(&marie, "Marie");
    site.join(&bob, "Bob");
    site.join(&john, "John");
    site.post(&john.local, "/add", &format!("username={}", marie.local));

    let (status, body) = site.get(&john.local, "/chat-credentials");
    let given: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status} {body}"));
    assert_eq!((status, &given["jid"]), (200, &json!(john.jid())));
    let password = given["password"].as_str().expect("a text").to_owned();
    let mut client = gateway
        .login(
            &Account {
                password,
                ..john.clone()
            },
            "web",
        )
        .await;
    let expected = item(&marie.jid(), Some("Marie"), &["Friends"], "both");
    assert_eq!(client.roster().await, [(marie.jid(), expected)].into());

    client.send_presence("");
    site.until("john to be online", |site| {
        site.get(&marie.local, "/").1.contains("John (online)")
    })
    .await;
    site.break_off_events();
    site.knows_who_is_online_when_it_is_started(language, &marie.local)
        .await;

    site.post(&bob.local, "/add", &format!("username={}", john.local));
    let expected = item(&bob.jid(), Some("Bob"), &["Friends"], "both");
    assert_eq!(client.expect_push().await, expected);

    site.post(&john.local, "/logout", "");
    let end = client.expect_end().await;
    assert_eq!(end.stream_error(), Some("not-authorized"));
    assert_eq!(
        site.get(&john.local, "/chat-credentials").0,
        403,
        "logged out"
    );
    site.until("nobody to be online", |site| {
        !site.get(&marie.local, "/").1.contains("(online)")
    })
    .await;
}

#[tokio::test]
async fn a_site_in_php() {
    members_chat(&PHP).await;
}

#[tokio::test]
async fn a_site_in_django() {
    members_chat(&DJANGO).await;
}

#[tokio::test]
async fn a_site_in_node() {
    members_chat(&NODE).await;
}

#[tokio::test]
async fn a_site_in_node_does_not_start_without_its_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    NODE.install(folder.path());
    let [port, gateway] = free_ports();
    let admin = format!("http://127.0.0.1:{gateway}/roster_admin");
    let mut process = NODE.run_with(folder.path(), port, &admin, "");
    assert!(!process.wait(Duration::from_secs(30)).success());
    assert!(process.log().contains("CHAT_SECRET is not set"));
}

/// Not even to what an empty secret makes of the header.
#[tokio::test]
async fn a_site_in_php_gives_nobody_a_list_without_its_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    PHP.install(folder.path());
    let [port, gateway] = free_ports();
    let admin = format!("http://127.0.0.1:{gateway}/roster_admin");
    let process = PHP.run_with(folder.path(), port, &admin, "");
    let ask = || {
        let url = format!("http://127.0.0.1:{port}/contacts/john");
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H"]);
        let output = curl.args(["Authorization: Bearer ", &url]).output();
        String::from_utf8(output.expect("curl runs").stdout).expect("text")
    };
    let answered = async {
        loop {
            match &*ask() {
                "000" => tokio::task::yield_now().await,
                status => return status.to_owned(),
            }
        }
    };
    assert_eq!(within("the site", answered).await, "500");
    assert!(process.log().contains("CHAT_SECRET is not set"));
}
