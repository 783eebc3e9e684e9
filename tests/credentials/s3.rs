//! The sources of the AWS tools.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::Trials;
use crate::support::double::{Double, Reaction, Request, answer};
use crate::support::rig::{IMAGE_CONFIG, PATIENCE, Rig, until, write};

const XML: &str = "Content-Type: application/xml\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

pub fn add(trials: &mut Trials) {
    trials.test("l54_environment", || async {
        let machine =
            Machine::new(&[("AWS_ACCESS_KEY_ID", "KEY-OF-ENVIRONMENT"), SECRET, ("AWS_REGION", "eu-north-1")]).await;
        machine.signs_with("KEY-OF-ENVIRONMENT", "eu-north-1", "from the environment");
    });
    trials.test("l54_files_with_a_profile", || async {
        let machine = Machine::new(&[("AWS_PROFILE", "labeling")]).await;
        machine.config("[profile labeling]\nregion = eu-west-2\n");
        machine.credentials(
            "[default]\naws_access_key_id = OTHER\naws_secret_access_key = canary-x\n\
                             [labeling]\naws_access_key_id = KEY-OF-PROFILE\naws_secret_access_key = canary-y\n",
        );
        machine.signs_with("KEY-OF-PROFILE", "eu-west-2", "from the files");
    });
    trials.test("l54_the_setting_profile_comes_before_the_environment", || async {
        let mut machine = Machine::new(&[("AWS_ACCESS_KEY_ID", "OTHER"), SECRET]).await;
        machine.lines = "profile = \"labeling\"\n";
        machine.credentials("[labeling]\naws_access_key_id = KEY-OF-SETTING\naws_secret_access_key = canary-y\n");
        machine.signs_with("KEY-OF-SETTING", "us-east-1", "profile labeling");
    });
    trials.test("l54_credential_process", || async {
        let machine = Machine::new(&[]).await;
        let script = machine.rig.path("give");
        write(&script, "#!/bin/sh\necho '{\"Version\": 1, \"AccessKeyId\": \"KEY-OF-PROCESS\", \"SecretAccessKey\": \"canary-p\"}'\n");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("set");
        machine.config(&format!("[default]\nregion = ca-central-1\ncredential_process = {}\n", script.display()));
        machine.signs_with("KEY-OF-PROCESS", "ca-central-1", "from a credential_process");
    });
    services(trials);
    trials.test("l54_a_rotated_key_is_taken_without_a_restart", rotated);
}

/// Services that give credentials.
fn services(trials: &mut Trials) {
    trials.test("l54_assumed_role", || async {
        let sts = Double::start(|_, request| sts(request, "AssumeRole", "KEY-OF-ASSUMED-ROLE")).await;
        let mut machine = Machine::new(&[]).await;
        machine.environment("AWS_ENDPOINT_URL_STS", sts.endpoint());
        machine.config("[default]\nrole_arn = arn:aws:iam::123456789012:role/labeling\nsource_profile = base\nregion = eu-west-1\n");
        machine.credentials("[base]\naws_access_key_id = KEY-OF-BASE\naws_secret_access_key = canary-b\n");
        machine.signs_with("KEY-OF-ASSUMED-ROLE", "eu-west-1", "from an assumed role");
        assert!(sts.requests().iter().all(|request| request.header("authorization").is_some_and(|a| a.contains("KEY-OF-BASE"))));
    });
    trials.test("l54_web_identity", || async {
        let sts = Double::start(|_, request| sts(request, "AssumeRoleWithWebIdentity", "KEY-OF-WEB-IDENTITY")).await;
        let mut machine =
            Machine::new(&[("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/labeling"), ("AWS_REGION", "eu-west-1")])
                .await;
        machine.environment("AWS_ENDPOINT_URL_STS", sts.endpoint());
        let token = machine.rig.path("token");
        write(&token, "canary-token");
        machine.environment("AWS_WEB_IDENTITY_TOKEN_FILE", &token.display().to_string());
        machine.signs_with("KEY-OF-WEB-IDENTITY", "eu-west-1", "from a web identity's role");
    });
    trials.test("l54_container_metadata", || async {
        let double = Double::start(|_, request| match request.header("authorization") {
            Some("canary-container") => answer("200 OK", JSON, &temporary("KEY-OF-CONTAINER")),
            _ => answer("401 Unauthorized", JSON, "{}"),
        })
        .await;
        let mut machine = Machine::new(&[("AWS_CONTAINER_AUTHORIZATION_TOKEN", "canary-container")]).await;
        machine.environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/creds", double.endpoint()));
        machine.signs_with("KEY-OF-CONTAINER", "us-east-1", "from the container's role");
    });
    trials.test("l54_instance_metadata", || async {
        let double = Double::start(|_, request| instance(request)).await;
        let mut machine = Machine::new(&[("AWS_EC2_METADATA_DISABLED", "false")]).await;
        machine.environment("AWS_EC2_METADATA_SERVICE_ENDPOINT", double.endpoint());
        machine.signs_with("KEY-OF-INSTANCE", "us-east-1", "from the instance's role");
    });
    trials.test("l54_sso_session", || async {
        let double = Double::start(|_, request| sso(request)).await;
        let mut machine = Machine::new(&[]).await;
        machine.environment("AWS_ENDPOINT_URL_SSO", double.endpoint());
        machine.config(
            "[default]\nsso_session = lab\nsso_account_id = 123456789012\nsso_role_name = labeling\nregion = eu-west-1\n\
             [sso-session lab]\nsso_region = eu-west-1\nsso_start_url = https://lab.example/start\n",
        );
        let cache = machine.rig.path(".aws/sso/cache");
        std::fs::create_dir_all(&cache).expect("made");
        // Named by the SHA-1 of the session's name, as the AWS tools name it.
        let token = format!("{{\"accessToken\": \"canary-sso\", \"expiresAt\": \"{LATER}\", \"region\": \"eu-west-1\"}}");
        write(&cache.join(format!("{SHA1_OF_LAB}.json")), &token);
        machine.signs_with("KEY-OF-SSO-SESSION", "eu-west-1", "from an SSO session");
    });
}

const SECRET: (&str, &str) = ("AWS_SECRET_ACCESS_KEY", "canary-secret");
const LATER: &str = "2999-01-01T00:00:00Z";
/// Of `lab`.
const SHA1_OF_LAB: &str = "3953f9ddf975ab5097ee468d99555c5b441169bf";

fn temporary(key: &str) -> String {
    format!(
        "{{\"Code\": \"Success\", \"Type\": \"AWS-HMAC\", \"LastUpdated\": \"2020-01-01T00:00:00Z\", \"AccessKeyId\": \
         \"{key}\", \"SecretAccessKey\": \"canary-temporary\", \"Token\": \"canary-session\", \"Expiration\": \"{LATER}\"}}"
    )
}

fn sts(request: &Request, action: &str, key: &str) -> Reaction {
    let body = String::from_utf8_lossy(&request.body);
    if !body.contains(&format!("Action={action}&")) {
        return answer(
            "400 Bad Request",
            XML,
            "<ErrorResponse><Error><Code>InvalidAction</Code></Error></ErrorResponse>",
        );
    }
    let body = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{key}</AccessKeyId><SecretAccessKey>canary-sts</SecretAccessKey>\
         <SessionToken>canary-session</SessionToken><Expiration>{LATER}</Expiration></Credentials>\
         <AssumedRoleUser><AssumedRoleId>A:b</AssumedRoleId>\
         <Arn>arn:aws:sts::123456789012:assumed-role/labeling/b</Arn></AssumedRoleUser></{action}Result></{action}Response>"
    );
    answer("200 OK", XML, &body)
}

/// IMDSv2: no answer without a token.
fn instance(request: &Request) -> Reaction {
    let base = "/latest/meta-data/iam/security-credentials";
    let path = request.line.split(' ').nth(1).unwrap_or_default().to_owned();
    if request.line.starts_with("PUT /latest/api/token ") {
        return answer("200 OK", "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n", "canary-imds");
    }
    if request.header("x-aws-ec2-metadata-token") != Some("canary-imds") {
        return answer("401 Unauthorized", "", "");
    }
    match path.trim_end_matches('/').strip_prefix(base) {
        Some("") => answer("200 OK", "", "labeling"),
        Some("/labeling") => answer("200 OK", JSON, &temporary("KEY-OF-INSTANCE")),
        _ => answer("404 Not Found", "", ""),
    }
}

fn sso(request: &Request) -> Reaction {
    if request.header("x-amz-sso_bearer_token") != Some("canary-sso") {
        return answer("401 Unauthorized", JSON, "{}");
    }
    answer(
        "200 OK",
        JSON,
        "{\"roleCredentials\": {\"accessKeyId\": \"KEY-OF-SSO-SESSION\", \"secretAccessKey\": \"canary-s\", \
         \"sessionToken\": \"canary-session\", \"expiration\": 32472144000000}}",
    )
}

/// A bucket of one object, for whoever signs with the key.
pub fn bucket(request: &Request, is_good: impl Fn(&str) -> bool) -> Reaction {
    let key = signed_with(request).map(|(key, _)| key).unwrap_or_default();
    if !is_good(&key) {
        let body = "<Error><Code>ExpiredToken</Code><Message>canary</Message></Error>";
        return answer("400 Bad Request", XML, body);
    }
    let page = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult \
                xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name><EncodingType>url</EncodingType>\
                <IsTruncated>false</IsTruncated><Contents><Key>a.jpg</Key><ETag>&quot;1&quot;</ETag><Size>1</Size>\
                </Contents></ListBucketResult>";
    match request.line.starts_with("GET /bucket?") || request.line.starts_with("GET /bucket/?") {
        true => answer("200 OK", XML, page),
        false => answer("200 OK", "ETag: \"1\"\r\n", "a"),
    }
}

/// Key and region of a signature.
fn signed_with(request: &Request) -> Option<(String, String)> {
    let scope = request.header("authorization")?.split_once("Credential=")?.1.split(',').next()?;
    let mut parts = scope.split('/');
    let key = parts.next()?.to_owned();
    Some((key, parts.nth(1)?.to_owned()))
}

/// One project, whose bucket takes every key and remembers it.
struct Machine {
    rig: Rig,
    s3: Double,
    lines: &'static str,
}

impl Machine {
    async fn new(environment: &[(&'static str, &'static str)]) -> Self {
        let s3 = Double::start(|_, request| bucket(request, |key| !key.is_empty())).await;
        let mut rig = Rig::new();
        at_home(&mut rig);
        rig.environment.extend(environment.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Self { rig, s3, lines: "" }
    }

    fn environment(&mut self, name: &'static str, value: &str) {
        self.rig.environment.push((name, value.to_owned()));
    }

    fn config(&self, text: &str) {
        write(&self.rig.path(".aws/config"), text);
    }

    fn credentials(&self, text: &str) {
        write(&self.rig.path(".aws/credentials"), text);
    }

    fn signs_with(mut self, key: &str, region: &str, from: &str) {
        start(&mut self.rig, self.s3.endpoint(), self.lines);
        until("a task of the bucket's object", PATIENCE, || (self.rig.tasks().len() == 1).then_some(()));
        let signed: Vec<_> = self.s3.requests().iter().filter_map(signed_with).collect();
        assert!(!signed.is_empty());
        assert!(signed.iter().all(|by| *by == (key.to_owned(), region.to_owned())), "{signed:?}");
        let shown = self.rig.ok(&["check", "cats"]);
        assert!(shown.contains(from) && shown.contains(&format!("…{}", &key[key.len() - 4..])), "{from}: {shown}");
        for text in [shown, self.rig.log(), self.rig.ok(&["--json", "status"])] {
            assert!(!text.contains("canary") && !text.contains(key), "{text}");
        }
    }
}

/// A home with an empty `.aws`, and no credentials elsewhere.
pub fn at_home(rig: &mut Rig) {
    let home = rig.dir.path();
    std::fs::create_dir_all(home.join(".aws")).expect("made");
    let at = |name: &str| home.join(name).display().to_string();
    rig.environment = vec![
        ("HOME", home.display().to_string()),
        ("AWS_CONFIG_FILE", at(".aws/config")),
        ("AWS_SHARED_CREDENTIALS_FILE", at(".aws/credentials")),
    ];
    rig.without = vec!["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
}

pub fn start(rig: &mut Rig, endpoint: &str, lines: &str) {
    rig.project("cats", IMAGE_CONFIG);
    let path: &Path = &rig.path("cats");
    rig.settings(&format!(
        "[projects.cats]\npath = \"{}\"\nlabel_studio_has_credentials = true\n[projects.cats.source]\ntype = \"s3\"\n\
         bucket = \"bucket\"\nregex = '.*'\npoll_interval = \"1s\"\nendpoint = \"{endpoint}\"\nallow_http = true\n{lines}",
        path.display()
    ));
    rig.start();
}

async fn rotated() {
    let rotated = Arc::new(AtomicBool::new(false));
    let new = rotated.clone();
    let s3 = Double::start(move |_, request| {
        let good = if new.load(Ordering::Relaxed) { "KEY-NEW" } else { "KEY-OLD" };
        bucket(request, |key| key == good)
    })
    .await;
    let mut rig = Rig::new();
    at_home(&mut rig);
    let file = rig.path(".aws/credentials");
    let hold =
        |key: &str| write(&file, &format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = canary\n"));
    hold("KEY-OLD");
    start(&mut rig, s3.endpoint(), "");
    rig.until_tasks(1);
    rotated.store(true, Ordering::Relaxed);
    rig.until_code("auth_error");
    hold("KEY-NEW");
    rig.until_status("the new key", |status| status["state"] == "ok");
    assert!(!rig.log().contains("canary"));
}
