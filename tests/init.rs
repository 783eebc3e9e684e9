//! `labelsyncd init`: the documentation's own lines, a project directory as Label Studio makes it, nothing overwritten.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Parser;
use labelsync::init::plan::{apply, look, plan_init};
use labelsync::init::request::Request;
use labelsync::init::{InitArgs, run_in};
use labelsync::names::ProjectName;
use labelsync::settings::{Loaded, StoreSettings, load};

/// `config.json` as Label Studio 0.8.2 writes it (Python's `json.dump(indent=2)` of its defaults with local storages).
const CONFIG_JSON: &str = include_str!("init/config.json");

/// The documentation's line for S3, after `label-studio start my_project --init`.
const S3_SOURCE: &str = "label-studio start my_project --init --source s3 --source-path my-s3-bucket";
const S3_TARGET: &str = "label-studio start my_project --init --target s3-completions --target-path my-s3-bucket";
const GCS_SOURCE: &str = "label-studio start my_project --init --source gcs --source-path my-gcs-bucket";
const GCS_TARGET: &str = "label-studio start my_project --init --target gcs-completions --source-path my-gcs-bucket";
/// What a shell makes of the documentation's `--source-params "{\"data_key\": \"my-object-tag-$value\", …, \"regex\": ".*"}"`.
const EATEN: &str = r#"{"data_key": "my-object-tag-", "use_blob_urls": true, "regex": .*}"#;
/// What it means.
const MEANT: &str = r#"{"data_key": "my-object-tag-$value", "use_blob_urls": true, "regex": ".*"}"#;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: InitArgs,
}

/// A machine: settings below `etc`, projects below the directory where one stands.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("srv")).unwrap();
        Self { dir }
    }

    fn args(&self, line: &str, more: &[&str]) -> InitArgs {
        let etc = self.etc();
        let words = std::iter::once("labelsyncd").chain(line.split(' ').filter(|word| !word.is_empty()));
        let words = words.chain(more.iter().copied()).chain(["--config-dir", etc.to_str().unwrap()]);
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).args
    }

    fn init(&self, line: &str, more: &[&str]) -> (i32, String) {
        run_in(&self.args(line, more), &self.srv())
    }

    fn done(&self, line: &str, more: &[&str]) -> String {
        let (code, said) = self.init(line, more);
        assert_eq!(code, 0, "{said}");
        said
    }

    fn refused(&self, line: &str, more: &[&str], code: i32) -> String {
        let before = tree(self.dir.path());
        let (got, said) = self.init(line, more);
        assert_eq!(got, code, "{said}");
        assert_eq!(tree(self.dir.path()), before, "a refused init writes nothing");
        said
    }

    fn etc(&self) -> PathBuf {
        self.dir.path().join("etc")
    }

    fn srv(&self) -> PathBuf {
        self.dir.path().join("srv")
    }

    fn settings(&self) -> Loaded {
        load(&self.etc().join("labelsyncd.toml")).unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

#[test]
fn the_documentations_s3_lines_are_taken_one_after_the_other() {
    let machine = Machine::new();
    let said = machine.done(S3_SOURCE, &[]);
    assert!(said.contains("no regex: nothing is taken, as in Label Studio"), "{said}");
    assert!(said.contains("Label Studio's environment"), "{said}");
    let project = |machine: &Machine| machine.settings().settings.projects[&name("my_project")].clone();
    let cats = project(&machine);
    assert_eq!(cats.path, machine.srv().join("my_project"));
    assert_eq!(cats.source.unwrap().store.root(), "s3://my-s3-bucket");
    assert!(cats.target.is_none());
    let first = machine.read("etc/conf.d/my_project.toml");
    machine.done(S3_TARGET, &[]);
    let both = machine.read("etc/conf.d/my_project.toml");
    assert!(both.starts_with(&first), "what stood there stays as it is: {both}");
    let cats = project(&machine);
    assert_eq!(cats.target.unwrap().store.root(), "s3://my-s3-bucket");
    assert!(cats.source.is_some());
    // Again: nothing changes.
    let before = tree(machine.dir.path());
    let said = machine.done(S3_SOURCE, &[]) + &machine.done(S3_TARGET, &[]);
    assert!(said.contains("left as it is") && said.contains("say so already"), "{said}");
    assert_eq!(tree(machine.dir.path()), before);
}

#[test]
fn the_documentations_gcs_lines_are_taken_one_after_the_other() {
    let machine = Machine::new();
    let said = machine.done(GCS_SOURCE, &[]);
    assert!(said.contains("Label Studio's environment"), "{said}");
    let said = machine.done(GCS_TARGET, &[]);
    assert!(said.contains("warning: --source-path: without `--source` is taken as `--target-path`"), "{said}");
    assert!(said.contains("labelsyncd init my_project --target gcs-completions --target-path my-gcs-bucket"), "{said}");
    let project = machine.settings().settings.projects[&name("my_project")].clone();
    assert_eq!(project.source.unwrap().store.root(), "gs://my-gcs-bucket");
    assert_eq!(project.target.unwrap().store.root(), "gs://my-gcs-bucket");
    let request = |line: &str| {
        let mut problems = Vec::new();
        let request = Request::of(&machine.args(line, &[]), &machine.srv(), &mut problems).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        request
    };
    let said = |side: Option<labelsync::init::request::Side>| -> Vec<String> {
        side.unwrap().settings.iter().map(|setting| format!("{} = {}", setting.key, setting.toml)).collect()
    };
    assert_eq!(said(request(GCS_SOURCE).source), ["type = \"gcs\"", "bucket = \"my-gcs-bucket\""]);
    let target = request(GCS_TARGET);
    assert!(target.source.is_none());
    assert_eq!(said(target.target), ["type = \"gcs-completions\"", "bucket = \"my-gcs-bucket\""]);
}

#[test]
fn the_same_slip_in_an_s3_line_is_taken_with_a_warning() {
    let machine = Machine::new();
    let said = machine.done("my_project --target s3-completions --source-path my-s3-bucket", &[]);
    assert!(said.contains("--target-path my-s3-bucket"), "{said}");
    let project = machine.settings().settings.projects[&name("my_project")].clone();
    assert_eq!(project.target.unwrap().store.root(), "s3://my-s3-bucket");
}

#[test]
fn parameters_that_a_shell_ate_into_are_answered_with_the_right_line() {
    let machine = Machine::new();
    let said = machine.refused(S3_SOURCE, &["--source-params", EATEN], 2);
    let etc = machine.etc();
    let right = format!("--source-params '{MEANT}' --config-dir {}", etc.display());
    assert!(
        said.contains(&format!("labelsyncd init my_project --source s3 --source-path my-s3-bucket {right}")),
        "{said}"
    );
    // The line that was printed works, and says what a data key is.
    let said = machine.done(S3_SOURCE, &["--source-params", MEANT]);
    assert!(said.contains("`my-object-tag-$value` has a `$`, which no data key has"), "{said}");
    let source = machine.settings().settings.projects[&name("my_project")].source.clone().unwrap();
    assert_eq!(source.data_key.as_deref(), Some("my-object-tag-$value"));
    assert_eq!(source.regex.unwrap().as_str(), ".*");
}

#[test]
fn the_documentations_line_really_arrives_like_that() {
    let typed = r#"printf %s "{\"data_key\": \"my-object-tag-$value\", \"use_blob_urls\": true, \"regex\": ".*"}""#;
    let arrived = std::process::Command::new("sh").args(["-c", typed]).env_remove("value").output().unwrap();
    assert_eq!(String::from_utf8(arrived.stdout).unwrap(), EATEN);
}

#[test]
fn parameters_are_label_studios() {
    let machine = Machine::new();
    let source = r#"{"prefix": "in/", "regex": "a'b\\.jpg", "use_blob_urls": false, "data_key": null, "region": "us-east-2",
        "create_local_copy": true, "recursive": true, "presign": true}"#;
    let target = r#"{"prefix": "done", "create_local_copy": false, "regex": ".*"}"#;
    let line = "cats --source s3 --source-path abc --target s3-completions --target-path results";
    let said = machine.done(line, &["--source-params", source, "--target-params", target]);
    assert!(said.contains("warning: --source-params presign: is not known"), "{said}");
    assert!(said.contains("warning: --target-params regex: means nothing for a target"), "{said}");
    let cats = machine.settings().settings.projects[&name("cats")].clone();
    let source = cats.source.unwrap();
    assert_eq!((source.prefix.as_str(), source.regex.unwrap().as_str()), ("in/", r"a'b\.jpg"));
    assert!(!source.use_blob_urls && source.create_local_copy && source.recursive);
    assert_eq!(source.data_key, None);
    let StoreSettings::S3(s3) = source.store else { panic!("s3") };
    assert_eq!(s3.region.as_deref(), Some("us-east-2"));
    let target = cats.target.unwrap();
    assert_eq!((target.prefix.as_str(), target.create_local_copy), ("done", false));
}

#[test]
fn l78_credentials_in_parameters_are_refused_and_not_repeated() {
    let machine = Machine::new();
    let params = r#"{"aws_access_key_id": "CANARY", "aws_secret_access_key": "CANARY", "aws_session_token": "CANARY"}"#;
    let said = machine.refused(S3_SOURCE, &["--source-params", params], 2);
    assert_eq!(said.matches("credentials are never taken from here").count(), 3, "{said}");
    assert!(!said.contains("CANARY"), "{said}");
    for eaten in ["{aws_secret_access_key: CANARY}", "{regex: .*, secret: CANARY}", "CANARY"] {
        let said = machine.refused(S3_SOURCE, &["--source-params", eaten], 2);
        assert!(!said.contains("CANARY"), "{said}");
    }
    let target = ["--target", "s3", "--target-path", "abc", "--target-params", r#"{"secret": "CANARY"}"#];
    let said = machine.refused(S3_SOURCE, &[&target[..], &["--source-params", "{regex:.*}"]].concat(), 2);
    assert!(!said.contains("CANARY"), "{said}");
}

#[test]
fn all_problems_are_said_at_once() {
    let machine = Machine::new();
    machine.write("srv/cats/tasks.json", "{}");
    let line = "cats --source s3 --target s4 --target-path results";
    let said = machine.refused(line, &["--source-params", r#"{"use_blob_urls": "yes"}"#], 2);
    for problem in [
        "error: --source-path: is missing",
        "error: --source-params use_blob_urls: must be true or false",
        "is half a Label Studio project: tasks.json there, config.xml, completions, config.json not",
        "error: projects.cats.source.bucket: is missing",
        "error: projects.cats.target.type: `s4` is no type of storage",
    ] {
        assert!(said.contains(problem), "{problem}\n---\n{said}");
    }
    assert_eq!(said.matches("error: ").count(), said.matches("  hint: ").count(), "each has a remedy: {said}");
}

#[test]
fn words_that_are_no_name_are_answered() {
    let machine = Machine::new();
    let said = machine.refused("/srv/annotations/cats --source s3 --source-path abc", &[], 2);
    assert!(said.contains("`labelsyncd init cats --project-dir /srv/annotations/cats …`"), "{said}");
    let said = machine.refused("my cats --source s3 --source-path abc", &[], 2);
    assert!(said.contains("`my` and `cats` are too many"), "{said}");
    machine.refused("cats", &[], 2);
    let said = machine.refused("cats --source-path abc", &[], 2);
    assert!(said.contains("--source-path: needs `--source`"), "{said}");
}

#[test]
fn a_missing_directory_is_made_as_label_studio_makes_it() {
    let machine = Machine::new();
    machine.done(S3_SOURCE, &[]);
    assert_eq!(machine.read("srv/my_project/config.json"), CONFIG_JSON);
    assert_eq!(machine.read("srv/my_project/config.xml"), "<View></View>");
    assert_eq!(machine.read("srv/my_project/tasks.json"), "{}");
    assert_eq!(names(&machine.srv().join("my_project")), ["completions", "config.json", "config.xml", "tasks.json"]);
    assert!(names(&machine.srv().join("my_project/completions")).is_empty());
    assert_eq!(names(&machine.srv()), ["my_project"], "nothing unfinished stays");
}

#[test]
fn the_label_config_is_copied_byte_for_byte() {
    let machine = Machine::new();
    let xml = "<View>\r\n  <Image name=\"i\" value=\"$image\"/> <!-- é -->\n</View>";
    machine.write("label.xml", xml);
    let file = machine.dir.path().join("label.xml");
    machine.done(S3_SOURCE, &["--label-config", file.to_str().unwrap(), "--project-dir", "deep/er/cats"]);
    assert_eq!(machine.read("srv/deep/er/cats/config.xml"), xml);
    let said = machine.refused("dogs --source s3 --source-path abc", &["-l", "/nowhere.xml"], 78);
    assert!(said.contains("/nowhere.xml: cannot be read"), "{said}");
}

#[test]
fn l89_what_is_made_belongs_to_whom_the_directory_above_does() {
    let machine = Machine::new();
    let root = rustix::process::geteuid().is_root();
    let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    set(&machine.srv(), 0o2770);
    if root {
        std::os::unix::fs::chown(machine.srv(), Some(12_345), Some(54_321)).unwrap();
        set(&machine.srv(), 0o2770);
    }
    let above = std::fs::metadata(machine.srv()).unwrap();
    machine.done(S3_SOURCE, &["--project-dir", "deep/cats"]);
    for (name, mode) in [
        ("deep", 0o2770),
        ("deep/cats", 0o2770),
        ("deep/cats/completions", 0o2770),
        ("deep/cats/config.json", 0o660),
        ("deep/cats/config.xml", 0o660),
        ("deep/cats/tasks.json", 0o660),
    ] {
        let made = std::fs::metadata(machine.srv().join(name)).unwrap();
        assert_eq!((made.uid(), made.gid()), (above.uid(), above.gid()), "{name}");
        assert_eq!(made.mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn what_is_made_below_a_directory_for_everybody_is_not_for_everybody_to_write() {
    let machine = Machine::new();
    std::fs::set_permissions(machine.srv(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    machine.done(S3_SOURCE, &[]);
    let mode = |name: &str| std::fs::metadata(machine.srv().join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("my_project"), mode("my_project/tasks.json")), (0o775, 0o664));
}

#[test]
fn an_empty_directory_is_filled_and_what_an_interrupted_init_left_is_cleaned() {
    let machine = Machine::new();
    std::fs::create_dir_all(machine.srv().join("my_project/lost+found")).unwrap();
    let inode = std::fs::metadata(machine.srv().join("my_project")).unwrap().ino();
    machine.write("srv/my_project/.my_project.labelsync-init.tmp/config.xml", "<Vi");
    machine.done(S3_SOURCE, &[]);
    assert_eq!(std::fs::metadata(machine.srv().join("my_project")).unwrap().ino(), inode);
    let expected = ["completions", "config.json", "config.xml", "lost+found", "tasks.json"];
    assert_eq!(names(&machine.srv().join("my_project")), expected);
    assert_eq!(machine.read("srv/my_project/config.json"), CONFIG_JSON);
}

#[test]
fn a_project_that_is_there_keeps_every_byte() {
    let machine = Machine::new();
    machine.done(S3_SOURCE, &[]);
    machine.write("srv/my_project/tasks.json", r#"{"7": {"id": 7, "data": {"image": "x"}}}"#);
    machine.write("srv/my_project/completions/7.json", r#"{"id": 7, "completions": []}"#);
    std::fs::remove_dir_all(machine.etc()).unwrap();
    let before = tree(&machine.srv());
    let said = machine.done(S3_SOURCE, &[]);
    assert!(said.contains("my_project: left as it is"), "{said}");
    assert_eq!(tree(&machine.srv()), before);
}

#[test]
fn a_directory_that_is_no_whole_project_is_named() {
    for (file, text, said) in [
        ("config.xml", "<View></View>", "is half a Label Studio project: config.xml there"),
        ("config.json", "{}", "config.json there, config.xml, tasks.json, completions not"),
        ("config.json", "{", "has a config.json that cannot be read: it is no JSON"),
        ("config.json", "[]", "has a config.json that cannot be read: it is JSON, but no object"),
        ("photos.zip", "", "is no Label Studio project (no config.json), and not empty (`photos.zip`)"),
    ] {
        let machine = Machine::new();
        machine.write(&format!("srv/my_project/{file}"), text);
        let refused = machine.refused(S3_SOURCE, &[], 78);
        assert!(refused.contains(said), "{said}\n---\n{refused}");
    }
    let machine = Machine::new();
    machine.write("srv/my_project", "a file");
    assert!(machine.refused(S3_SOURCE, &[], 78).contains("is no directory"));
}

#[test]
fn label_studios_own_cloud_storage_is_spoken_of() {
    let machine = Machine::new();
    let config = CONFIG_JSON.replace("\"type\": \"tasks-json\"", "\"type\": \"s3\"");
    machine.write("srv/my_project/config.json", &config);
    machine.write("srv/my_project/config.xml", "<View></View>");
    std::fs::create_dir(machine.srv().join("my_project/completions")).unwrap();
    let said = machine.refused(S3_SOURCE, &[], 78);
    assert!(
        said.contains("Label Studio itself serves the source from `s3`") && said.contains("label_studio_owns_source"),
        "{said}"
    );
}

/// The remedy to the letter: the same line with `--adopt`. Settings that stood there before stay in force.
#[test]
fn label_studios_own_cloud_storage_is_taken_over_by_the_same_line_with_adopt() {
    for before in [None, Some("prefix = \"mine\"\n")] {
        let machine = Machine::new();
        let mut config: serde_json::Value = serde_json::from_str(CONFIG_JSON).unwrap();
        let params = serde_json::json!({"prefix": "in/", "regex": ".*"});
        config["source"] = serde_json::json!({"name": "x", "type": "s3", "path": "my-s3-bucket", "params": params});
        machine.write("srv/my_project/config.json", &config.to_string());
        machine.write("srv/my_project/config.xml", "<View></View>");
        std::fs::create_dir(machine.srv().join("my_project/completions")).unwrap();
        if let Some(prefix) = before {
            let path = machine.srv().join("my_project");
            let text = format!(
                "[projects.my_project]\npath = \"{}\"\n[projects.my_project.source]\ntype = \"s3\"\nbucket = \
                 \"my-s3-bucket\"\nregex = \".*\"\n{prefix}",
                path.display()
            );
            machine.write("etc/conf.d/my_project.toml", &text);
        }
        assert!(machine.refused(S3_SOURCE, &[], 78).contains("run this again with `--adopt`"));
        let said = machine.done(S3_SOURCE, &["--adopt"]);
        let settings = machine.read("etc/conf.d/my_project.toml");
        assert_eq!(settings.contains("prefix = \"in/\""), before.is_none(), "{settings}");
        assert_eq!(said.contains("with another prefix"), before.is_some(), "{said}");
        assert!(machine.read("srv/my_project/config.json").contains("tasks-json"));
        let etc = machine.etc().join("labelsyncd.toml");
        assert!(said.contains(&format!("next: `labelsyncd --config {} --check`", etc.display())), "{said}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let machine = Machine::new();
    machine.done(S3_SOURCE, &["--source-params", r#"{"regex": "a"}"#]);
    let said = machine.refused(S3_SOURCE, &["--source-params", r#"{"regex": "b"}"#], 78);
    let file = machine.etc().join("conf.d/my_project.toml");
    assert!(said.contains(&format!("is set up already at {}:6, with another regex", file.display())), "{said}");
    let said = machine.refused(S3_SOURCE, &["--source-params", r#"{"regex": "a"}"#, "--project-dir", "elsewhere"], 78);
    assert!(said.contains("another directory than --project-dir is set at"), "{said}");
    // A project of the main file stays there.
    let machine = Machine::new();
    let main =
        "[projects.my_project]\npath = \"PATH\"\n[projects.my_project.target]\ntype = \"local\"\npath = \"/out\"\n";
    machine.write("etc/labelsyncd.toml", &main.replace("PATH", machine.srv().join("p").to_str().unwrap()));
    let said = machine.refused(S3_SOURCE, &[], 78);
    assert!(said.contains("labelsyncd.toml:1") && said.contains("add the missing side there by hand"), "{said}");
}

#[test]
fn a_broken_file_of_its_own_is_not_written_over_and_one_of_others_does_not_stop_it() {
    let machine = Machine::new();
    machine.write("etc/conf.d/other.toml", "[projects.other]\npath = 'relative'\n");
    let said = machine.done(S3_SOURCE, &[]);
    assert!(said.contains("warning: projects.other.path"), "{said}");
    let machine = Machine::new();
    machine.write("etc/conf.d/my_project.toml", "[projects.my_project\n");
    let said = machine.refused(S3_SOURCE, &[], 78);
    assert!(said.contains("my_project.toml:1: no TOML"), "{said}");
}

#[test]
fn l11_a_target_that_another_project_has_is_refused() {
    let machine = Machine::new();
    machine.done("cats --target s3 --target-path results", &[]);
    let said = machine.refused("dogs --target s3 --target-path results", &[], 78);
    assert!(said.contains("projects.dogs.target.prefix: is the target of project `cats` too"), "{said}");
    machine.refused("dogs --target s3 --target-path other --project-dir cats", &[], 78);
}

#[test]
fn directories_as_storage_are_named_in_full() {
    let machine = Machine::new();
    machine.done("cats --source local --source-path in --target local --target-path ./out", &[]);
    let cats = machine.settings().settings.projects[&name("cats")].clone();
    assert_eq!(cats.source.unwrap().store, StoreSettings::Local { path: machine.srv().join("in") });
    assert_eq!(cats.target.unwrap().store, StoreSettings::Local { path: machine.srv().join("out") });
}

#[test]
fn a_plan_writes_nothing_and_settings_come_last() {
    let machine = Machine::new();
    let mut problems = Vec::new();
    let request = Request::of(&machine.args(S3_SOURCE, &[]), &machine.srv(), &mut problems).unwrap();
    let before = tree(machine.dir.path());
    let plan = plan_init(&request, &look(&request)).unwrap();
    assert_eq!(tree(machine.dir.path()), before);
    // Where settings are to be stands a file: the directory is made, the settings are not; run again, it goes on.
    machine.write("etc", "");
    assert!(apply(&plan).is_err());
    std::fs::remove_file(machine.etc()).unwrap();
    let said = machine.done(S3_SOURCE, &[]);
    assert!(said.contains("left as it is"), "{said}");
    assert_eq!(machine.settings().settings.projects.len(), 1);
}

fn name(text: &str) -> ProjectName {
    ProjectName::parse(text).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every path below `dir` with its bytes, inode and mode.
fn tree(dir: &Path) -> Vec<(PathBuf, u64, u32, Vec<u8>)> {
    let mut found = Vec::new();
    for name in names(dir) {
        let path = dir.join(name);
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let bytes = if metadata.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        found.push((path.clone(), metadata.ino(), metadata.mode(), bytes));
        if metadata.is_dir() {
            found.append(&mut tree(&path));
        }
    }
    found
}
