//! The page on sites with accounts of their own: what it shows is run as it is, in a small site around it.

use std::{fs, io::Write as _, net::TcpStream, path::Path, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use support::{
    client::Account, free_ports, gateway::Gateway, process::Process, prosody::Prosody, within,
};

use crate::{
    site::item,
    tokens::{HTTP, asked, member},
};

const SECRET: &str = "swordfish-of-the-site";

/// How the lines of one language are run.
struct Language {
    /// As the page names it.
    mark: &'static str,
    /// What its lines are called, and what is around them.
    files: [&'static str; 2],
    program: &'static str,
}

const PHP: Language = Language {
    mark: "php",
    files: ["chat.php", "site.php"],
    program: "php",
};
const DJANGO: Language = Language {
    mark: "python",
    files: ["chat.py", "site_of_yours.py"],
    // Debian's, which has Debian's Django.
    program: "/usr/bin/python3",
};
const NODE: Language = Language {
    mark: "js",
    files: ["chat.mjs", "site.mjs"],
    program: "node",
};

impl Language {
    /// Runs what is in the folder.
    fn run(&self, folder: &Path, port: u16, admin: &str) -> Process {
        let script = folder.join(self.files[1]).display().to_string();
        let address = format!("127.0.0.1:{port}");
        let arguments = match self.mark {
            "php" => vec!["-S".to_owned(), address, script],
            _ => vec![script, port.to_string()],
        };
        let folder_name = folder.display().to_string();
        let environment = [
            ("CHAT_GATEWAY", admin),
            ("CHAT_SECRET", SECRET),
            ("PHP_CLI_SERVER_WORKERS", "4"),
            ("HOME", &folder_name),
        ];
        let program = Path::new("env");
        let arguments = ["-C", &folder_name, self.program]
            .map(str::to_owned)
            .into_iter()
            .chain(arguments);
        let log = folder.join(format!("site-{port}.log"));
        Process::start(program, arguments, &environment, log)
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
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().expect("a folder");
        let [chat, site] = language.files;
        let page = fs::read_to_string(root.join("docs/site.md")).expect("the page");
        let mark = format!("```{}\n", language.mark);
        let lines = page.split(&mark);
        let lines = lines.last().expect("lines").split("```").next();
        fs::write(folder.path().join(chat), lines.expect("lines")).expect("it can be written");
        fs::copy(root.join("tests/site").join(site), folder.path().join(site)).expect("a copy");

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
        site.until("the site", |site| site.get("/online").0 == 200)
            .await;
        site
    }

    /// Asks as a browser with its cookies does.
    fn ask(&self, path: &str, arguments: &[&str]) -> (u16, String) {
        let cookies = self.folder.path().join("cookies");
        let output = Command::new("curl")
            .args(["-s", "-m", "20", "-w", "\n%{http_code}", "-b"])
            .arg(&cookies)
            .arg("-c")
            .arg(&cookies)
            .args(arguments)
            .arg(format!("http://127.0.0.1:{}{path}", self.port))
            .output()
            .expect("curl runs");
        let output = String::from_utf8(output.stdout).expect("text");
        let (body, status) = output.rsplit_once('\n').expect("a status");
        (status.parse().expect("a number"), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(path, &[])
    }

    fn post(&self, path: &str, form: &str) {
        let (status, body) = self.ask(path, &["-d", form]);
        assert_eq!(status, 200, "{body}");
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
    async fn knows_who_is_online_when_it_is_started(&self, language: &Language, online: &str) {
        let [port] = free_ports();
        let _process = language.run(self.folder.path(), port, &self.admin);
        let url = format!("http://127.0.0.1:{port}/online");
        self.until("one that has just been started", |_| {
            let output = Command::new("curl").args(["-s", "-m", "20", &url]).output();
            let body = output.expect("curl runs").stdout;
            String::from_utf8_lossy(&body).replace(' ', "") == online
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

async fn members_chat_by_the_lines_of_the_page(language: &Language) {
    let site = Site::start(language).await;
    let (gateway, prosody) = (&site.gateway, site.prosody);
    let (john, marie) = (
        member(prosody, gateway, "john"),
        member(prosody, gateway, "marie"),
    );
    assert_eq!(site.get("/chat-credentials").0, 403, "without a cookie");
    for path in ["/contacts/john", "/chat-events"] {
        assert_eq!(site.get(path).0, 404, "{path}, without the secret");
    }
    site.post(
        "/befriend",
        &format!("one={}&other={}", john.local, marie.local),
    );

    site.post("/enter", &format!("user={}", john.local));
    let (status, body) = site.get("/chat-credentials");
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
    let expected = item(&marie.jid(), Some("Friend of One"), &["Friends"], "both");
    assert_eq!(client.roster().await, [(marie.jid(), expected)].into());

    client.send_presence("");
    let online = format!("[\"{}\"]", john.local);
    site.until("john to be online", |site| {
        site.get("/online").1.replace(' ', "") == online
    })
    .await;
    site.break_off_events();
    site.knows_who_is_online_when_it_is_started(language, &online)
        .await;

    let bob = member(prosody, gateway, "bob");
    site.post(
        "/befriend",
        &format!("one={}&other={}", john.local, bob.local),
    );
    let expected = item(&bob.jid(), Some("Friend of One"), &["Friends"], "both");
    assert_eq!(client.expect_push().await, expected);

    site.post("/ban", &format!("user={}", john.local));
    let end = client.expect_end().await;
    assert_eq!(end.stream_error(), Some("not-authorized"));
    assert_eq!(site.get("/chat-credentials").0, 403, "banned");
    site.until("nobody to be online", |site| site.get("/online").1 == "[]")
        .await;
}

#[tokio::test]
async fn a_site_in_php() {
    members_chat_by_the_lines_of_the_page(&PHP).await;
}

#[tokio::test]
async fn a_site_in_django() {
    members_chat_by_the_lines_of_the_page(&DJANGO).await;
}

#[tokio::test]
async fn a_site_in_node() {
    members_chat_by_the_lines_of_the_page(&NODE).await;
}
