//! Credentials that systemd hands over (`LoadCredential=`).

use crate::s3::{at_home, bucket, start};
use crate::support::Trials;
use crate::support::double::Double;
use crate::support::rig::{IMAGE_CONFIG, Ran, Rig, write};

pub fn add(trials: &mut Trials) {
    trials.test("l86_credentials_of_systemd_are_used", || async {
        let s3 = Double::start(|_, request| bucket(request, |key| key == "KEY-OF-SYSTEMD")).await;
        let mut rig = Rig::new();
        at_home(&mut rig);
        hand_over(&mut rig, Some("[default]\naws_access_key_id = KEY-OF-SYSTEMD\naws_secret_access_key = canary\n"));
        start(&mut rig, s3.endpoint(), "");
        rig.until_tasks(1);
        rig.stop();
        assert!(!rig.log().contains("canary"));
    });
    trials.test("l86_an_empty_credentials_directory_is_an_error", || async {
        empty_directory();
    });
}

/// As `LoadCredential=aws-credentials:…` with `Environment=AWS_SHARED_CREDENTIALS_FILE=%d/aws-credentials`.
fn hand_over(rig: &mut Rig, text: Option<&str>) {
    let dir = rig.path("credentials");
    std::fs::create_dir_all(&dir).expect("made");
    let file = dir.join("aws-credentials");
    std::fs::remove_file(&file).ok();
    if let Some(text) = text {
        write(&file, text);
    }
    rig.environment.retain(|(name, _)| *name != "AWS_SHARED_CREDENTIALS_FILE");
    rig.environment.push(("CREDENTIALS_DIRECTORY", dir.display().to_string()));
    rig.environment.push(("AWS_SHARED_CREDENTIALS_FILE", file.display().to_string()));
}

fn empty_directory() {
    let mut rig = Rig::new();
    rig.project("cats", IMAGE_CONFIG);
    rig.settings(&rig.local_project("cats", ".*"));
    let config = rig.config().display().to_string();
    let refused = |rig: &Rig, said: &str| {
        // The one that ends in any case comes first: a daemon that starts would be waited for.
        for words in [&["--config", &config, "--check"][..], &["--config", &config]] {
            let ran = Ran::of(&mut rig.labelsyncd(words));
            assert_eq!(ran.code, 78, "{said}: {}", ran.err);
            assert!(ran.err.contains(said) && ran.err.contains("LoadCredential="), "{said}: {}", ran.err);
        }
    };
    hand_over(&mut rig, None);
    refused(&rig, "is empty");
    hand_over(&mut rig, Some(""));
    refused(&rig, "is an empty file");
    // Another one came, but not this.
    write(&rig.path("credentials/other"), "x");
    hand_over(&mut rig, None);
    refused(&rig, "AWS_SHARED_CREDENTIALS_FILE: ");
    std::fs::remove_dir_all(rig.path("credentials")).expect("gone");
    refused(&rig, "cannot be read");
    hand_over(&mut rig, Some("[default]\n"));
    assert_eq!(Ran::of(&mut rig.labelsyncd(&["--config", &config, "--check"])).code, 0);
}
