//! Events of several gateways: they tell the site one story.

use serde_json::{Value, json};

use support::{
    bosh::Bosh, client::Account, gateway::Gateway, nats::Nats, prosody::Prosody,
    receiver::Receiver, unique, within,
};

/// Gateways `a` and `b`, and a site that both of them tell.
struct Scene {
    receiver: Receiver,
    gateways: [Gateway; 2],
}

impl Scene {
    async fn new(nats: &Nats) -> Self {
        let receiver = Receiver::start();
        let (name, nats) = (format!("e{}-{}", std::process::id(), unique()), nats.url());
        let gateways = ["a", "b"].map(|node| {
            let url = format!("events_url = \"{}?gateway={node}\"", receiver.url());
            let cluster =
                format!("[cluster]\nnats = [\"{nats}\"]\nname = \"{name}\"\nnode = \"{node}\"");
            let builder = Gateway::builder(Prosody::shared()).host(&url);
            let builder = builder.host("offline_after = \"1s\"").tables(&cluster);
            builder.start_alone()
        });
        let scene = Self { receiver, gateways };
        scene.gateways.iter().for_each(|it| it.await_members(2));
        // The site has to ask, as each begins.
        scene.receiver.hears_times("gap", 2).await;
        scene
    }

    async fn online(&self, gateway: usize, account: &Account) -> Bosh {
        let resource = format!("web{gateway}");
        let mut bosh = Bosh::log_in(&self.gateways[gateway].bosh(), account, &resource).await;
        bosh.exchange("<presence xmlns='jabber:client'/>").await;
        bosh
    }

    /// Somebody comes to a gateway, and goes: whatever it has to tell of others who have gone before is told by then.
    async fn fence(&self, gateway: usize) {
        let stranger = Prosody::shared().account("stranger");
        let bosh = self.online(gateway, &stranger).await;
        self.receiver.hears(&words("online", &stranger)).await;
        bosh.terminate().await;
        self.receiver.hears(&words("offline", &stranger)).await;
    }

    /// What the site has heard of this user.
    fn story_of(&self, account: &Account) -> Vec<String> {
        let story = self.receiver.story().into_iter();
        let of_user = story.filter_map(|it| {
            let (kind, user) = it.split_once(' ')?;
            (user == account.local).then(|| kind.to_owned())
        });
        of_user.collect()
    }

    fn gaps(&self) -> usize {
        let story = self.receiver.story();
        story.iter().filter(|it| *it == "gap").count()
    }

    /// What one of the gateways answers of who is available.
    /// Whether the user is available, as soon as a gateway can say that of all.
    async fn presence(&self, gateway: usize, account: &Account) -> Value {
        let path = format!("/roster_admin/presence?user={}", account.local);
        let endpoint = self.gateways[gateway].admin().at(&path);
        let known = async {
            loop {
                let shown = endpoint.request("GET", &[], "").await;
                let shown: Value = serde_json::from_str(shown.text()).expect("JSON");
                let shown = &shown[&account.local];
                if shown.get("reason").is_none() {
                    return shown["available"].clone();
                }
                tokio::task::yield_now().await;
            }
        };
        within("an answer of all gateways", known).await
    }
}

fn words(kind: &str, account: &Account) -> String {
    format!("{kind} {}", account.local)
}

#[tokio::test]
async fn a_user_at_two_gateways_comes_once_and_goes_once() {
    let scene = Scene::new(Nats::shared()).await;
    let john = Prosody::shared().account("john");
    let first = scene.online(0, &john).await;
    scene.receiver.hears(&words("online", &john)).await;
    let second = scene.online(1, &john).await;
    scene.fence(1).await;
    assert_eq!(scene.story_of(&john), ["online"]);
    first.terminate().await;
    scene.fence(0).await;
    assert_eq!(scene.story_of(&john), ["online"], "still at the other");
    assert_eq!(scene.presence(0, &john).await, json!(true));
    second.terminate().await;
    scene.receiver.hears(&words("offline", &john)).await;
    scene.fence(0).await;
    scene.fence(1).await;
    assert_eq!(scene.story_of(&john), ["online", "offline"]);
    assert_eq!(scene.gaps(), 2);
    assert!(!scene.receiver.story().contains(&"reset".to_owned()));
}

#[tokio::test]
async fn of_one_that_is_killed_the_site_hears_that_it_has_to_ask() {
    let mut scene = Scene::new(Nats::shared()).await;
    let (john, marie) = (
        Prosody::shared().account("john"),
        Prosody::shared().account("marie"),
    );
    let _web = (scene.online(0, &john).await, scene.online(1, &marie).await);
    scene.receiver.hears(&words("online", &john)).await;
    scene.receiver.hears(&words("online", &marie)).await;
    scene.gateways[0].signal("KILL");
    scene.gateways[0].wait();
    scene.receiver.hears_times("gap", 3).await;
    assert_eq!(scene.presence(1, &john).await, json!(false));
    assert_eq!(scene.presence(1, &marie).await, json!(true));
    assert_eq!(scene.story_of(&john), ["online"], "nobody knows more");
}

#[tokio::test]
async fn one_that_stops_leaves_the_users_of_the_others_alone() {
    let mut scene = Scene::new(Nats::shared()).await;
    let marie = Prosody::shared().account("marie");
    let _web = scene.online(1, &marie).await;
    scene.receiver.hears(&words("online", &marie)).await;
    scene.gateways[0].signal("TERM");
    assert!(scene.gateways[0].wait().success());
    assert_eq!(scene.gaps(), 3, "{:?}", scene.receiver.story());
    scene.fence(1).await;
    assert_eq!(scene.story_of(&marie), ["online"]);
    assert!(!scene.receiver.story().contains(&"reset".to_owned()));
}

#[tokio::test]
async fn without_nats_each_tells_its_own_and_then_the_site_has_to_ask() {
    let mut nats = Nats::start();
    let scene = Scene::new(&nats).await;
    let john = Prosody::shared().account("john");
    let first = scene.online(0, &john).await;
    scene.receiver.hears(&words("online", &john)).await;
    let _second = scene.online(1, &john).await;
    scene.fence(1).await;
    nats.kill();
    first.terminate().await;
    within("the outage", async {
        // Where nobody can be asked, nobody is waited for.
        scene.receiver.hears(&words("offline", &john)).await;
    })
    .await;
    nats.start_again();
    scene.receiver.hears_times("gap", 4).await;
    scene.gateways.iter().for_each(|it| it.await_members(2));
    assert_eq!(scene.presence(0, &john).await, json!(true));
}
