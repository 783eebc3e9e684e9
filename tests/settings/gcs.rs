//! The keys of a GCS bucket.

use std::path::Path;

use labelsync::settings::{GcsSettings, Overrides, StoreSettings, load_texts};
use serde_json::json;

use super::{loaded, name, problems};

#[test]
fn a_gcs_bucket_has_its_own_keys() {
    let with = |side: &str, kind: &str, more: &str| {
        format!("[projects.c]\npath='/p'\n[projects.c.{side}]\ntype='{kind}'\nbucket='abc'\n{more}")
    };
    let gcs = |bucket: &str| GcsSettings { bucket: bucket.into(), ..GcsSettings::default() };
    for kind in ["gcs", "gcs-completions"] {
        let target = loaded(&with("target", kind, "")).settings.projects[&name("c")].target.clone().unwrap();
        assert_eq!((target.store.root().as_str(), &target.store), ("gs://abc", &StoreSettings::Gcs(gcs("abc"))));
        assert!(target.store.is_cloud());
    }
    // As Label Studio lists GCS: all levels, with a prefix too.
    let source =
        |more: &str| loaded(&with("source", "gcs", more)).settings.projects[&name("c")].source.clone().unwrap();
    assert!(source("prefix='in'").recursive && source("").recursive && !source("recursive=false").recursive);
    let all = "endpoint='http://127.0.0.1:9000'\nallow_http=true\nanonymous=true";
    let expected = GcsSettings { endpoint: Some("http://127.0.0.1:9000".into()), anonymous: true, ..gcs("abc") };
    assert_eq!(source(all).store, StoreSettings::Gcs(expected));
    for (side, kind, more, said) in [
        ("source", "gcs", "region='x'", "source.region: means nothing for the type `gcs`"),
        ("source", "gcs", "profile='x'", "source.profile: means nothing for the type `gcs`"),
        ("source", "gcs", "path_style=true", "source.path_style: means nothing for the type `gcs`"),
        ("source", "gcs", "path='/x'", "source.path: means nothing for the type `gcs`"),
        ("source", "s3", "anonymous=true", "source.anonymous: means nothing for the type `s3`"),
        ("source", "gcs", "credentials_file=''", "source.credentials_file: `` is no path"),
        ("source", "gcs", "anonymous=true\ncredentials_file='x'", "source.anonymous: goes without credentials"),
        ("source", "gcs", "endpoint='http://127.0.0.1'", "source.endpoint: is http:// without `allow_http`"),
        ("source", "gcs-completions", "", "source.type: `gcs-completions` is a target's type"),
    ] {
        let problems = problems(&with(side, kind, more));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].to_string().contains(said), "{more}: {}", problems[0]);
    }
}

#[test]
fn a_credentials_file_stands_beside_the_settings_that_name_it() {
    let file = |settings: &str, written: &str| {
        let text = format!(
            "[projects.c]\npath='/p'\n[projects.c.source]\ntype='gcs'\nbucket='abc'\ncredentials_file='{written}'"
        );
        let loaded = load_texts(&[(settings, &text)]).unwrap();
        let StoreSettings::Gcs(gcs) = loaded.settings.projects[&name("c")].source.clone().unwrap().store else {
            panic!()
        };
        gcs.credentials_file.unwrap()
    };
    for (settings, written, expected) in [
        ("/etc/labelsyncd/labelsyncd.toml", "key.json", "/etc/labelsyncd/key.json"),
        ("/etc/labelsyncd/conf.d/cats.toml", "keys/cats.json", "/etc/labelsyncd/conf.d/keys/cats.json"),
        ("/etc/labelsyncd/labelsyncd.toml", "/run/credentials/x/key.json", "/run/credentials/x/key.json"),
        ("labelsyncd.toml", "key.json", "key.json"),
    ] {
        assert_eq!(file(settings, written), Path::new(expected), "{settings}");
    }
}

#[test]
fn shown_has_every_key_of_a_gcs_bucket() {
    let text = "[projects.c]\npath='/p'\n[projects.c.source]\ntype='gcs'\nbucket='abc'\ncredentials_file='/key.json'\n\
                [projects.c.target]\ntype='gcs-completions'\nbucket='abc'\n";
    let shown = loaded(text).shown(&name("c"), &Overrides::default()).unwrap();
    let value = |key: &str| {
        let setting = shown.settings.iter().find(|setting| setting.key == key);
        setting.map(|setting| setting.value.clone())
    };
    for (key, expected) in [
        ("source.type", json!("gcs")),
        ("source.bucket", json!("abc")),
        ("source.endpoint", json!(null)),
        ("source.allow_http", json!(false)),
        ("source.credentials_file", json!("/key.json")),
        ("source.anonymous", json!(false)),
        ("source.recursive", json!(true)),
        ("target.type", json!("gcs-completions")),
        ("target.credentials_file", json!(null)),
    ] {
        assert_eq!(value(key), Some(expected), "{key}");
    }
    for key in ["source.region", "source.profile", "source.path_style", "source.expected_bucket_owner", "source.path"] {
        assert_eq!(value(key), None, "{key} means nothing for GCS");
    }
}
