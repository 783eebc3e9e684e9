//! What the operator may set: every problem at once, with its path, place and remedy; runtime changes durable and whole.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use labelsync::names::ProjectName;
use labelsync::settings::show::diff;
use labelsync::settings::{
    BlobUrl, Loaded, LogFormat, OnChanged, OnDeleted, OnRemoved, Overrides, Problem, S3Settings, SourcePatch,
    StoreSettings, TargetPatch, keys, load, load_texts,
};
use serde_json::{Value, json};

#[path = "settings/durable.rs"]
mod durable;
#[path = "settings/gcs.rs"]
mod gcs;
#[path = "settings/paths.rs"]
mod paths;

const WRONG: &str = include_str!("settings/wrong.toml");
const WRONG_SAID: &str = include_str!("settings/wrong.txt");
const EXAMPLE: &str = include_str!("../config/labelsyncd.toml");

/// The least that works.
const CATS: &str = r#"
[projects.cats]
path = "/srv/annotations/cats"
[projects.cats.source]
type = "s3"
bucket = "my-s3-bucket"
[projects.cats.target]
type = "s3-completions"
bucket = "my-results"
"#;

#[test]
fn all_problems_are_said_at_once_each_with_path_place_and_remedy() {
    let said: String = problems(WRONG).iter().map(|problem| format!("{problem}\n")).collect();
    assert_eq!(said, WRONG_SAID);
}

#[test]
fn defaults_are_the_documented_ones() {
    let loaded = loaded(CATS);
    assert_eq!(loaded.settings.daemon.socket, Path::new("/run/labelsyncd/control.sock"));
    assert_eq!(loaded.settings.daemon.state_dir, Path::new("/var/lib/labelsyncd"));
    assert_eq!(loaded.settings.daemon.log_format, LogFormat::Auto);
    let cats = &loaded.settings.projects[&name("cats")];
    assert!(!cats.label_studio_has_credentials);
    let source = cats.source.as_ref().unwrap();
    let bucket = |bucket: &str| StoreSettings::S3(S3Settings { bucket: bucket.into(), ..S3Settings::default() });
    assert_eq!(source.store, bucket("my-s3-bucket"));
    assert_eq!((source.prefix.as_str(), &source.regex, &source.exclude), ("", &None, &None));
    assert!(source.recursive && source.use_blob_urls && !source.create_local_copy);
    assert_eq!((&source.data_key, source.blob_url), (&None, BlobUrl::Cloud));
    assert_eq!((source.on_removed, source.on_changed), (OnRemoved::Keep, OnChanged::Update));
    assert_eq!((source.max_removed.percent, source.local_copy_max_bytes), (50, 50 << 30));
    assert_eq!(source.poll_interval, Duration::from_secs(30));
    let target = cats.target.as_ref().unwrap();
    assert_eq!((&target.store, target.prefix.as_str()), (&bucket("my-results"), ""));
    assert!(target.create_local_copy);
    assert_eq!((target.on_deleted, target.poll_interval), (OnDeleted::Keep, Duration::from_secs(300)));
}

#[test]
fn c25_recursive_follows_label_studio_and_can_be_chosen() {
    let recursive = |more: &str| {
        let text = format!("[projects.c]\npath='/p'\n[projects.c.source]\n{more}");
        loaded(&text).settings.projects[&name("c")].source.as_ref().unwrap().recursive
    };
    assert!(recursive("type='s3'\nbucket='abc'"));
    assert!(!recursive("type='s3'\nbucket='abc'\nprefix='in/'"));
    assert!(recursive("type='s3'\nbucket='abc'\nprefix='in/'\nrecursive=true"));
    assert!(recursive("type='local'\npath='/in'\nprefix='in/'"));
}

#[test]
fn l59_an_empty_regex_is_none_and_a_target_prefix_has_no_slash_at_its_end() {
    let text = CATS.replace("bucket = \"my-s3-bucket\"", "bucket = \"my-s3-bucket\"\nregex = \"\"\ndata_key = \"\"");
    let text = text.replace("bucket = \"my-results\"", "bucket = \"my-results\"\nprefix = \"done//\"");
    let cats = loaded(&text).settings.projects[&name("cats")].clone();
    let source = cats.source.unwrap();
    assert_eq!((source.regex, source.data_key), (None, None));
    assert_eq!(cats.target.unwrap().prefix, "done");
}

#[test]
fn later_files_win_key_by_key() {
    let first = ("labelsyncd.toml", CATS);
    let second = ("conf.d/10.toml", "[projects.cats.source]\nprefix = 'a'\nregex = 'x'\n[daemon]\nlog_format = 'json'");
    let third = (
        "conf.d/20.toml",
        "[projects.cats.source]\nregex = 'y'\n[projects.dogs]\npath = '/dogs'\n[projects.dogs.target]\ntype='local'\npath='/out'",
    );
    let loaded = load_texts(&[first, second, third]).unwrap();
    let source = loaded.settings.projects[&name("cats")].source.clone().unwrap();
    assert_eq!((source.prefix.as_str(), source.regex.unwrap().as_str()), ("a", "y"));
    assert_eq!(loaded.settings.daemon.log_format, LogFormat::Json);
    assert_eq!(loaded.settings.projects.len(), 2);
}

#[test]
fn files_are_read_in_the_order_of_their_names_and_other_files_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("labelsyncd.toml");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    write("labelsyncd.toml", CATS);
    write("conf.d/20-b.toml", "[projects.cats.source]\nprefix = 'twenty'");
    write("conf.d/10-a.toml", "[projects.cats.source]\nprefix = 'ten'\nregex = 'ten'");
    for other in [".hidden.toml", "x.toml~", "x.toml.rpmsave", "x.txt"] {
        write(&format!("conf.d/{other}"), "this is no TOML");
    }
    let source = load(&main).unwrap().settings.projects[&name("cats")].source.clone().unwrap();
    assert_eq!((source.prefix.as_str(), source.regex.unwrap().as_str()), ("twenty", "ten"));
}

#[test]
fn a_missing_settings_file_is_named_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("labelsyncd.toml");
    let problems = load(&main).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].path, main.display().to_string());
    assert_eq!(problems[0].message, "there is no settings file");
    assert!(problems[0].remedy.contains("labelsyncd init"), "{}", problems[0].remedy);
    // What `labelsyncd init` writes is enough.
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    std::fs::write(dir.path().join("conf.d/cats.toml"), CATS).unwrap();
    assert_eq!(load(&main).unwrap().settings.projects.len(), 1);
}

#[test]
fn a_broken_file_hides_no_problem_of_another_and_nothing_is_called_missing() {
    let broken = ("a.toml", "[projects.cats]\npath = \"/srv/cats\"\nlabl = 1\n[projects.cats.source\ntype = \"s3\"\n");
    let other = ("b.toml", "[projects.dogs]\npath = 'dogs'\n[projects.dogs.source]\ntype = 's4'\n");
    let problems = load_texts(&[broken, other]).unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["a.toml:4", "projects.cats.labl", "projects.dogs.path", "projects.dogs.source.type"]);
    assert!(problems.iter().all(|problem| !problem.message.contains("missing")));
    assert!(problems.iter().all(|problem| !problem.remedy.is_empty()));
}

#[test]
fn bytes_that_are_no_text_and_files_that_are_too_large_are_problems() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("labelsyncd.toml");
    std::fs::write(&main, b"[daemon]\nsocket = \"\xff\"").unwrap();
    assert_eq!(load(&main).unwrap_err()[0].message, "is no UTF-8 text");
    std::fs::write(&main, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(load(&main).unwrap_err()[0].message.contains("larger than 1048576 bytes"));
}

#[test]
fn what_is_not_built_yet_is_said_in_these_words() {
    for (side, kinds) in [("source", ["azure", "azure-blob"]), ("target", ["azure", "azure-completions"])] {
        for kind in kinds {
            let text = format!("[projects.c]\npath='/p'\n[projects.c.{side}]\ntype='{kind}'\nbucket='abc'\n");
            let problems = problems(&text);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].message.contains("not supported yet"), "{}", problems[0].message);
        }
    }
}

#[test]
fn l79_http_needs_allow_http_and_no_credentials_stand_in_an_endpoint() {
    let with = |more: &str| format!("[projects.c]\npath='/p'\n[projects.c.source]\ntype='s3'\nbucket='abc'\n{more}");
    for good in [
        "endpoint='https://storage.example.org:9000'",
        "endpoint='http://127.0.0.1:9000'\nallow_http=true",
        "endpoint='http://169.254.169.254'\nallow_http=true",
        "endpoint='http://[::1]:9000/'\nallow_http=true",
    ] {
        assert!(load_texts(&[("x", &with(good))]).is_ok(), "{good}");
    }
    for (bad, said) in [
        ("endpoint='http://127.0.0.1:9000'", "is http:// without `allow_http`"),
        ("endpoint='http://127.0.0.1:9000'\nallow_http=false", "is http:// without `allow_http`"),
        ("endpoint='https://KEY:CANARY@storage.example.org'", "has credentials in it"),
        ("endpoint='localhost:9000'", "is no URL with a scheme and a host"),
        ("endpoint='https://'", "is no URL"),
        ("endpoint=''", "is no URL"),
        ("endpoint='ftp://storage.example.org'", "is no scheme for it"),
        ("endpoint='https://storage.example.org/?token=CANARY'", "has a query or a fragment"),
        ("endpoint='https://storage.example.org/abc'", "ends in the bucket's name"),
        ("endpoint='https://abc.s3-website-us-east-1.amazonaws.com'", "is a website endpoint"),
    ] {
        let problems = problems(&with(bad));
        assert_eq!(problems.len(), 1, "{bad}: {problems:?}");
        assert_eq!(problems[0].path, "projects.c.source.endpoint");
        assert!(problems[0].message.contains(said), "{bad}: {}", problems[0].message);
        assert!(!format!("{problems:?}").contains("CANARY"));
    }
}

#[test]
fn l78_a_credential_in_the_file_is_refused_and_not_repeated() {
    for key in ["aws_access_key_id", "aws_secret_access_key", "secret", "account_key", "session-token"] {
        let text = CATS.replace("bucket = \"my-s3-bucket\"", &format!("bucket = \"my-s3-bucket\"\n{key} = \"CANARY\""));
        let problems = problems(&text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].path, format!("projects.cats.source.{key}"));
        assert!(problems[0].message.contains("credentials are never taken from this file"));
        assert!(problems[0].remedy.contains("profile"));
        assert!(!format!("{problems:?}").contains("CANARY"));
    }
    let broken = "[projects.cats.source]\naws_secret_access_key = CANARY\n";
    assert!(!format!("{:?}", problems(broken)).contains("CANARY"));
}

#[test]
fn buckets_are_checked_by_name() {
    let with = |bucket: &str| format!("[projects.c]\npath='/p'\n[projects.c.source]\ntype='s3'\nbucket='{bucket}'\n");
    for good in ["abc", "my.bucket-1", "My_Old_Bucket"] {
        assert!(load_texts(&[("x", &with(good))]).is_ok(), "{good}");
    }
    for bad in ["", "ab", "a b", "s3://abc", "abc/in", "a..b", ".abc", "ä-bucket", "arn:aws:s3:::abc", "a\tbc"] {
        let problems = problems(&with(bad));
        assert_eq!(problems.len(), 1, "{bad}: {problems:?}");
        assert_eq!(problems[0].path, "projects.c.source.bucket");
    }
}

#[test]
fn l11_two_projects_never_share_a_directory_or_a_target_prefix() {
    let project = |name: &str, path: &str, bucket: &str, prefix: &str| {
        format!(
            "[projects.{name}]\npath='{path}'\n[projects.{name}.target]\ntype='s3'\nbucket='{bucket}'\nprefix='{prefix}'\n"
        )
    };
    let both = |b: &str| project("a", "/p/a", "abc", "done") + b;
    for fine in [
        project("b", "/p/b", "abc", "done2"),
        project("b", "/p/b", "abc", "don"),
        project("b", "/p/b", "other", "done"),
        project("b", "/p/b", "abc", "done") + "endpoint='https://elsewhere.example.org'\n",
    ] {
        assert!(load_texts(&[("x", &both(&fine))]).is_ok(), "{fine}");
    }
    for (wrong, path) in [
        (project("b", "/p/a/", "abc", "x"), "projects.b.path"),
        (project("b", "/p/./a", "abc", "x"), "projects.b.path"),
        (project("b", "/p/b", "abc", "done/"), "projects.b.target.prefix"),
        (project("b", "/p/b", "abc", "done/deep"), "projects.b.target.prefix"),
        (project("b", "/p/b", "abc", ""), "projects.b.target.prefix"),
    ] {
        let problems = problems(&both(&wrong));
        assert_eq!(problems.len(), 1, "{wrong}: {problems:?}");
        assert_eq!(problems[0].path, path);
        assert!(problems[0].message.contains("project `a`"));
    }
}

#[test]
fn l10_a_source_may_lie_in_its_own_target() {
    let text = CATS.replace("my-results", "my-s3-bucket");
    assert!(load_texts(&[("x", &text)]).is_ok());
}

#[test]
fn values_out_of_range_are_refused() {
    for (key, value) in [
        ("poll_interval", "\"0s\""),
        ("poll_interval", "\"999ms\""),
        ("poll_interval", "\"2d\""),
        ("poll_interval", "30"),
        ("max_removed", "\"101%\""),
        ("max_removed", "0.5"),
        ("max_changed", "\"101%\""),
        ("local_copy_max", "\"1KiB\""),
        ("local_copy_max", "\"5000TiB\""),
        ("on_removed", "\"delete\""),
        ("blob_url", "\"local\""),
        ("recursive", "\"true\""),
        ("region", "\"us east\""),
        ("profile", "\"\""),
        ("expected_bucket_owner", "\"1234\""),
        ("expected_bucket_owner", "\"11112222333x\""),
        ("expected_bucket_owner", "111122223333"),
    ] {
        let text = CATS.replace("bucket = \"my-s3-bucket\"", &format!("bucket = \"my-s3-bucket\"\n{key} = {value}"));
        let problems = problems(&text);
        assert_eq!(problems.len(), 1, "{key} = {value}: {problems:?}");
        assert_eq!(problems[0].path, format!("projects.cats.source.{key}"));
        assert!(problems[0].message.contains("(settings.toml:7)"), "{}", problems[0].message);
    }
}

#[test]
fn l57_a_regex_that_is_not_understood_is_shown_with_its_place() {
    for key in ["regex", "exclude"] {
        let text = CATS.replace("bucket = \"my-s3-bucket\"", &format!("bucket = \"my-s3-bucket\"\n{key} = 'a(b'"));
        let problems = problems(&text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].path, format!("projects.cats.source.{key}"));
        let lines: Vec<&str> = problems[0].message.lines().collect();
        assert!(lines[0].ends_with("(settings.toml:7)"), "{lines:?}");
        assert_eq!((lines[1], lines[2].trim()), ("    a(b", "^"), "{lines:?}");
    }
}

#[test]
fn label_studios_own_credentials_are_spoken_of_until_the_operator_says_so() {
    let warned = |text: &str| loaded(text).warnings.iter().any(|w| w.path.ends_with("label_studio_has_credentials"));
    assert!(warned(CATS));
    let said = CATS.replace(
        "path = \"/srv/annotations/cats\"",
        "path = \"/srv/annotations/cats\"\nlabel_studio_has_credentials = true",
    );
    assert!(!warned(&said));
    // Label Studio 0.8.2 knows another server than Amazon's from its environment only.
    let endpoint = "bucket = \"my-s3-bucket\"\nendpoint = \"https://storage.example.org\"";
    let elsewhere = loaded(&CATS.replace("bucket = \"my-s3-bucket\"", endpoint)).warnings;
    assert!(elsewhere.iter().any(|w| w.remedy.contains("AWS_ENDPOINT_URL_S3=https://storage.")), "{elsewhere:?}");
    assert!(!warned(&CATS.replace("bucket = \"my-s3-bucket\"", "bucket = \"my-s3-bucket\"\nuse_blob_urls = false")));
}

#[test]
fn l61_runtime_changes_are_what_set_source_and_set_target_name() {
    let runtime = |keys: &[keys::Key]| -> Vec<&str> { keys.iter().filter(|k| k.runtime).map(|k| k.name).collect() };
    let source = [
        "prefix",
        "regex",
        "exclude",
        "recursive",
        "use_blob_urls",
        "data_key",
        "create_local_copy",
        "poll_interval",
        "on_removed",
        "on_changed",
    ];
    assert_eq!(runtime(keys::SOURCE), source);
    assert_eq!(runtime(keys::TARGET), ["prefix", "create_local_copy", "on_deleted"]);
    assert!(runtime(keys::DAEMON).is_empty() && runtime(keys::PROJECT).is_empty());
    for secret in ["bucket", "endpoint", "path", "profile", "type", "allow_http"] {
        let json = json!({ secret: "x" });
        assert!(serde_json::from_value::<SourcePatch>(json.clone()).is_err(), "{secret}");
        assert!(serde_json::from_value::<TargetPatch>(json).is_err(), "{secret}");
    }
}

#[test]
fn shown_names_value_origin_and_what_is_hidden() {
    let text = CATS
        .replace("bucket = \"my-s3-bucket\"", "bucket = \"my-s3-bucket\"\nregex = \"a.*\"\npoll_interval = \"60s\"");
    let loaded = loaded(&text);
    let cats = name("cats");
    let source = SourcePatch { regex: Some(".*".into()), prefix: Some("in/".into()), ..SourcePatch::default() };
    let changed = Overrides { source, ..Overrides::default() };
    let before = loaded.shown(&cats, &Overrides::default()).unwrap();
    let after = loaded.shown(&cats, &changed).unwrap();
    let setting = |key: &str| {
        let found = after.settings.iter().find(|setting| setting.key == key).unwrap();
        (found.value.clone(), found.origin.as_str(), found.hidden.clone())
    };
    assert_eq!(setting("source.regex"), (json!(".*"), "lsctl", Some(json!("a.*"))));
    assert_eq!(setting("source.prefix"), (json!("in/"), "lsctl", None));
    assert_eq!(setting("source.poll_interval"), (json!("1m"), "file", None));
    assert_eq!(setting("source.region"), (Value::Null, "default", None));
    assert_eq!(setting("source.recursive"), (json!(false), "default", None));
    assert_eq!(setting("target.type"), (json!("s3-completions"), "file", None));
    let changes: Vec<_> = diff(&before, &after).into_iter().map(|c| (c.key, c.old, c.new)).collect();
    assert_eq!(
        changes,
        [
            ("source.prefix".into(), json!(""), json!("in/")),
            ("source.regex".into(), json!("a.*"), json!(".*")),
            ("source.recursive".into(), json!(true), json!(false)),
        ]
    );
    let hidden = loaded.hidden(&BTreeMap::from([(cats, changed)]));
    assert_eq!(hidden.len(), 1);
    assert_eq!(hidden[0].path, "projects.cats.source.regex");
    assert!(hidden[0].message.contains("settings.toml:7"), "{}", hidden[0].message);
}

#[test]
fn shown_has_every_key_that_means_something() {
    let shown = loaded(CATS).shown(&name("cats"), &Overrides::default()).unwrap();
    let shown: Vec<&str> = shown.settings.iter().map(|setting| setting.key.as_str()).collect();
    let all = |side: &str, keys: &[keys::Key]| -> Vec<String> {
        let bucket = |key: &&keys::Key| !matches!(key.name, "path" | "credentials_file" | "anonymous");
        keys.iter().filter(bucket).map(|key| format!("{side}.{}", key.name)).collect()
    };
    let expected: Vec<String> = ["path", "label_studio_has_credentials"]
        .map(str::to_owned)
        .into_iter()
        .chain(all("source", keys::SOURCE))
        .chain(all("target", keys::TARGET))
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn the_shipped_example_is_valid_as_it_is_and_with_every_setting_uncommented() {
    assert!(loaded(EXAMPLE).settings.projects.is_empty());
    let all = uncommented(EXAMPLE);
    let loaded = loaded(&all);
    assert_eq!(loaded.settings.projects.len(), 1);
    let project = loaded.raw.projects.values().next().unwrap();
    let names = |keys: &[keys::Key]| keys.iter().map(|key| key.name).collect::<Vec<_>>();
    let written = |table: &labelsync::settings::file::Table| table.entries.keys().copied().collect::<Vec<_>>();
    let missing = |keys: Vec<&'static str>, written: Vec<&str>| -> Vec<&str> {
        keys.into_iter().filter(|key| !written.contains(key)).collect()
    };
    assert!(missing(names(keys::DAEMON), written(&loaded.raw.daemon)).is_empty());
    assert!(missing(names(keys::PROJECT), written(&project.own)).is_empty());
    // A directory's path and what only GCS has stand in the text only: they mean nothing for S3.
    let elsewhere = ["path", "credentials_file", "anonymous"];
    assert_eq!(missing(names(keys::SOURCE), written(project.source.as_ref().unwrap())), elsewhere);
    assert_eq!(missing(names(keys::TARGET), written(project.target.as_ref().unwrap())), elsewhere);
    assert!(elsewhere.iter().all(|key| EXAMPLE.contains(&format!("`{key} = "))));
}

#[test]
fn the_shipped_example_says_the_defaults() {
    let all = loaded(&uncommented(EXAMPLE));
    let (cats, shown) = (name("cats"), |loaded: &Loaded| loaded.shown(&name("cats"), &Overrides::default()).unwrap());
    let stated = shown(&all);
    let defaults = shown(&loaded(CATS));
    // It has no default: nobody listens.
    let daemon = labelsync::settings::DaemonSettings { metrics_listen: None, ..all.settings.daemon.clone() };
    assert_eq!(daemon, loaded(CATS).settings.daemon);
    assert!(all.settings.projects.contains_key(&cats));
    // These have no default, or one that depends on others; the example says so beside them.
    let chosen = [
        "path",
        "label_studio_has_credentials",
        "source.bucket",
        "source.prefix",
        "source.regex",
        "source.exclude",
        "source.recursive",
        "source.data_key",
        "source.region",
        "source.endpoint",
        "source.allow_http",
        "source.profile",
        "source.path_style",
        "source.expected_bucket_owner",
        "target.bucket",
        "target.prefix",
        "target.region",
        "target.endpoint",
        "target.allow_http",
        "target.profile",
        "target.path_style",
        "target.expected_bucket_owner",
    ];
    let differing: Vec<String> = diff(&defaults, &stated).into_iter().map(|change| change.key).collect();
    let unexpected: Vec<&String> = differing.iter().filter(|key| !chosen.contains(&key.as_str())).collect();
    assert!(unexpected.is_empty(), "the example states another default: {unexpected:?}");
}

fn problems(text: &str) -> Vec<Problem> {
    load_texts(&[("settings.toml", text)]).expect_err("these settings are wrong")
}

fn loaded(text: &str) -> Loaded {
    load_texts(&[("settings.toml", text)]).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())
    })
}

fn name(text: &str) -> ProjectName {
    ProjectName::parse(text).unwrap()
}

/// Lines that begin with `#` and no space are settings; the others explain.
fn uncommented(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with([' ', '#']) => setting.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(|text| line(text) + "\n").collect()
}
