//! Google's kinds of credentials.

use serde_json::json;

use crate::support::Trials;
use crate::support::double::{Double, Reaction, Request, answer};
use crate::support::rig::{IMAGE_CONFIG, PATIENCE, Rig, until, write};

const JSON: &str = "Content-Type: application/json\r\n";

pub fn add(trials: &mut Trials) {
    trials.test("l54_google_service_account", || async {
        let (mut rig, gcs) = (Rig::new(), bucket().await);
        write(&rig.path("key.json"), &service_account());
        start(&mut rig, &gcs, "credentials_file = \"key.json\"\n");
        // Signed by itself: nobody is asked for a token.
        asked_with(&rig, &gcs, "Bearer ey", "from `credentials_file`");
    });
    trials.test("l54_google_user_account_and_its_variable_of_the_environment", || async {
        let (mut rig, gcs) = (Rig::new(), bucket().await);
        let tokens = Double::start(|_, request| token(request, "canary-refresh")).await;
        let user = json!({
            "type": "authorized_user", "client_id": "id", "client_secret": "canary-client",
            "refresh_token": "canary-refresh", "token_uri": format!("{}/token", tokens.endpoint()),
        });
        write(&rig.path("user.json"), &user.to_string());
        start(&mut rig, &gcs, "credentials_file = \"user.json\"\n");
        asked_with(&rig, &gcs, "Bearer canary-token-of-user", "from `credentials_file`");
    });
    trials.test("l54_google_workload_identity", || async {
        let (mut rig, gcs) = (Rig::new(), bucket().await);
        let tokens = Double::start(|_, request| token(request, "canary-subject")).await;
        write(&rig.path("subject"), "canary-subject");
        let external = json!({
            "type": "external_account", "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/a/providers/b",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": format!("{}/token", tokens.endpoint()),
            "credential_source": {"file": rig.path("subject")},
        });
        write(&rig.path("external.json"), &external.to_string());
        start(&mut rig, &gcs, "credentials_file = \"external.json\"\n");
        asked_with(&rig, &gcs, "Bearer canary-token-of-user", "from `credentials_file`");
    });
    trials.test("l54_google_without_credentials", || async {
        let (mut rig, gcs) = (Rig::new(), bucket().await);
        start(&mut rig, &gcs, "anonymous = true\n");
        asked_with(&rig, &gcs, "", "none: requests go out without credentials");
    });
    trials.test("l54_google_emulator_is_never_given_a_token", || async {
        let (mut rig, gcs) = (Rig::new(), bucket().await);
        write(&rig.path("key.json"), &service_account());
        rig.environment.push(("STORAGE_EMULATOR_HOST", gcs.endpoint().trim_start_matches("http://").to_owned()));
        rig.environment.push(("GOOGLE_APPLICATION_CREDENTIALS", rig.path("key.json").display().to_string()));
        settings(&rig, "");
        rig.start();
        asked_with(&rig, &gcs, "", "none: requests go out without credentials");
    });
}

/// A key of nobody's.
pub fn service_account() -> String {
    json!({
        "type": "service_account", "client_email": "labelsync@project.iam.gserviceaccount.com", "project_id": "project",
        "private_key_id": "canary-key-id", "private_key": include_str!("service-account-key.pem"),
    })
    .to_string()
}

fn token(request: &Request, secret: &str) -> Reaction {
    if !String::from_utf8_lossy(&request.body).contains(secret) {
        return answer("400 Bad Request", JSON, "{\"error\": \"invalid_grant\"}");
    }
    let token = json!({
        "access_token": "canary-token-of-user", "expires_in": 3600, "token_type": "Bearer",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    });
    answer("200 OK", JSON, &token.to_string())
}

pub async fn bucket() -> Double {
    Double::start(|_, request| match request.line.contains("/o?") {
        true => answer(
            "200 OK",
            JSON,
            r#"{"kind":"storage#objects","items":[{"name":"a.jpg","generation":"1","size":"1"}]}"#,
        ),
        false => answer("200 OK", "x-goog-generation: 1\r\n", "a"),
    })
    .await
}

fn settings(rig: &Rig, lines: &str) {
    rig.project("cats", IMAGE_CONFIG);
    rig.settings(&format!(
        "[projects.cats]\npath = \"{}\"\nlabel_studio_has_credentials = true\n[projects.cats.source]\ntype = \"gcs\"\n\
         bucket = \"bucket\"\nregex = '.*'\npoll_interval = \"1s\"\n{lines}",
        rig.path("cats").display()
    ));
}

fn start(rig: &mut Rig, gcs: &Double, lines: &str) {
    settings(rig, &format!("endpoint = \"{}\"\nallow_http = true\n{lines}", gcs.endpoint()));
    rig.start();
}

/// The bucket's object is a task, and every request for it said who asks.
fn asked_with(rig: &Rig, gcs: &Double, authorization: &str, from: &str) {
    until("a task of the bucket's object", PATIENCE, || (rig.tasks().len() == 1).then_some(()));
    for request in gcs.requests() {
        let sent = request.header("authorization").unwrap_or_default();
        assert!(sent.starts_with(authorization) && sent.is_empty() == authorization.is_empty(), "{request:?}");
    }
    let shown = rig.ok(&["check", "cats"]);
    assert!(shown.contains(from), "{shown}");
    for text in [shown, rig.log(), rig.ok(&["--json", "status"])] {
        assert!(!text.contains("canary") && !text.contains("PRIVATE"), "{text}");
    }
}
