//! The danger that Label Studio's documentation warns of: a target that holds another project's completions under the
//! same ids. Real Label Studios, S3 by moto.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::beside::IMAGE_CONFIG;
use crate::handover::{chosen, label};
use crate::support::label_studio::{Installed, LabelStudio};
use crate::support::rig::{PATIENCE, Rig, until};
use crate::support::servers::Server;
use crate::support::{self, ACCESS_KEY, SECRET_KEY};

/// Several looks of a target at one a second.
const SEVERAL_LOOKS: Duration = Duration::from_secs(3);

/// One bucket that all projects name as their target, prefix `out`.
struct Target {
    moto: Arc<Server>,
    name: String,
    runtime: tokio::runtime::Runtime,
}

impl Target {
    fn new(moto: Arc<Server>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let name = runtime.block_on(moto.new_bucket());
        Self { moto, name, runtime }
    }

    fn object(&self, key: &str) -> Option<Vec<u8>> {
        let get = self.moto.client().get_object().bucket(&self.name).key(key).send();
        let got = self.runtime.block_on(get).ok()?;
        self.runtime.block_on(got.body.collect()).ok().map(|body| body.to_vec())
    }

    /// A machine with a project `cats` whose source is a directory and whose target is this bucket.
    fn project(&self) -> Rig {
        let mut rig = Rig::new();
        rig.environment = support::environment();
        rig.project("cats", IMAGE_CONFIG);
        let all = rig.local_project("cats", ".*");
        let (source, _) = all.split_once("[projects.cats.target]").unwrap();
        rig.settings(&format!(
            "{source}[projects.cats.target]\ntype = \"s3\"\nbucket = \"{}\"\nendpoint = \"{}\"\nallow_http = true\n\
             prefix = \"out\"\npoll_interval = \"1s\"\n",
            self.name, self.moto.endpoint
        ));
        rig
    }
}

fn file(rig: &Rig, id: u64) -> Option<Vec<u8>> {
    std::fs::read(rig.path(&format!("cats/completions/{id}.json"))).ok()
}

/// Four tasks, ids 0 to 3.
fn import(server: &LabelStudio, name: &str) {
    let images = (0..4).map(|n| json!({"image": format!("http://localhost/{name}-{n}.png")}));
    let answer = server.call("POST", "/api/project/import", Some(&Value::Array(images.collect())));
    assert_eq!(answer.status, 201, "{}", answer.body);
    // What it has not listed cannot be labelled.
    assert_eq!(server.tasks().len(), 4);
}

/// Ids of `lsctl list --state conflict`; each has its reason: only there, or a file here as well.
fn conflicts(rig: &Rig) -> Vec<u64> {
    let items = rig.list("conflict");
    assert!(items.iter().all(|item| ["data_mismatch", "conflict"].iter().any(|reason| item["reason"] == *reason)));
    items.iter().map(|item| item["id"].as_u64().unwrap()).collect()
}

/// Two projects with labelsync: the second one pushes nothing, takes nothing, and says why; where the operator says that
/// it is to go on there, what the first one wrote is listed, stays as it is, and is shown for no task.
pub fn owned((installed, moto): (Installed, Arc<Server>)) {
    let target = Target::new(moto);
    let zygote = installed.zygote(&[]);
    let (mut first, mut second) = (target.project(), target.project());
    for id in 0..4 {
        first.put(&format!("first-{id}.png"), "a picture");
    }
    first.start();
    first.until_tasks(4);
    assert_eq!(first.sync(), 0);
    let (one, two) = (zygote.start(&first.path("cats")), zygote.start(&second.path("cats")));
    // The same ids, by imports: those of objects wait until it is known which ids the target holds.
    import(&two, "second");
    second.start();
    assert!(second.until_tasks(4).keys().eq([0, 1, 2, 3].iter()));
    second.until_code("target_owned");
    one.tasks();
    for id in [0, 1] {
        label(&one, id, "cat");
        until("the push", PATIENCE, || (target.object(&format!("out/{id}"))? == file(&first, id)?).then_some(()));
    }
    for id in [0, 2] {
        label(&two, id, "dog");
    }
    let (theirs, ours) = (file(&first, 0), [0, 2].map(|id| file(&second, id)));
    std::thread::sleep(SEVERAL_LOOKS);
    let hold = second.until_code("target_owned");
    assert!(hold["message"].as_str().is_some_and(|said| said.contains("belongs to project `cats`")), "{hold}");
    assert_eq!((target.object("out/0"), target.object("out/2")), (theirs.clone(), None), "nothing is pushed");
    assert_eq!((file(&second, 1), [0, 2].map(|id| file(&second, id))), (None, ours.clone()), "nothing is taken");

    second.ok(&["accept", "cats", hold["id"].as_str().unwrap()]);
    until("what is its own pushed", PATIENCE, || (target.object("out/2")? == file(&second, 2)?).then_some(()));
    let expected = [0, 1];
    second.until_status("both conflicts", |status| status["conflicts"] == 2);
    assert_eq!(conflicts(&second), expected);
    label(&two, 1, "dog");
    second.put("fifth.png", "another picture");
    assert!(second.until_tasks(5).contains_key(&4));
    std::thread::sleep(SEVERAL_LOOKS);
    assert_eq!(conflicts(&second), expected);
    assert_eq!(target.object("out/0"), theirs, "never overwritten");
    assert_eq!(target.object("out/1"), file(&first, 1), "never overwritten");
    assert_eq!([0, 1, 2].map(|id| chosen(&two, id)), [json!("dog"), json!("dog"), json!("dog")]);

    // The first one sees what is not about its task, and takes nothing; started again it finds whose the place is.
    first.until_status("the other's object", |status| status["conflicts"] == 1);
    assert_eq!(conflicts(&first), [2]);
    assert_eq!(file(&first, 2), None);
    first.stop();
    first.start();
    first.until_code("target_owned");
    label(&one, 3, "cat");
    std::thread::sleep(SEVERAL_LOOKS);
    assert_eq!(target.object("out/3"), None, "not pushed where it has no place any more");
    assert_eq!([0, 1, 3].map(|id| chosen(&one, id)), [json!("cat"), json!("cat"), json!("cat")]);
}

/// A Label Studio that never knew labelsync has written there, by its own S3 target: no mark warns of it.
pub fn unmarked((installed, moto): (Installed, Arc<Server>)) {
    let target = Target::new(moto);
    let variables = [
        ("AWS_ENDPOINT_URL", target.moto.endpoint.clone()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
    ];
    let zygote = installed.zygote(&variables);
    let other = tempfile::tempdir().unwrap();
    let own = ["--target", "s3-completions", "--target-path", &target.name, "--target-params", r#"{"prefix": "out"}"#];
    installed.init_with(&other.path().join("dogs"), IMAGE_CONFIG, &own, &variables);
    let server = zygote.start(&other.path().join("dogs"));
    import(&server, "other");
    for id in [0, 1] {
        label(&server, id, "cat");
    }
    drop(server);
    let theirs = ["out/0", "out/1"].map(|key| target.object(key));
    assert!(theirs.iter().all(Option::is_some), "it pushes there");

    let mut rig = target.project();
    rig.put("ours.png", "a picture");
    let server = zygote.start(&rig.path("cats"));
    import(&server, "ours");
    label(&server, 0, "dog");
    rig.start();
    // The mirrored task takes no id under which a completion stands there.
    assert!(rig.until_tasks(5).keys().eq([0, 1, 2, 3, 4].iter()));
    rig.until_status("both conflicts", |status| status["conflicts"] == 2);
    server.tasks();
    for id in [2, 4] {
        label(&server, id, "dog");
        until("the push", PATIENCE, || (target.object(&format!("out/{id}"))? == file(&rig, id)?).then_some(()));
    }
    let expected = [0, 1];
    assert_eq!(conflicts(&rig), expected);
    assert_eq!(file(&rig, 1), None, "attached to no task");
    label(&server, 1, "dog");
    std::thread::sleep(SEVERAL_LOOKS);
    assert_eq!(conflicts(&rig), expected);
    assert_eq!(["out/0", "out/1"].map(|key| target.object(key)), theirs, "never overwritten");
    assert_eq!([0, 1, 2, 4].map(|id| chosen(&server, id)), [json!("dog"), json!("dog"), json!("dog"), json!("dog")]);
}
