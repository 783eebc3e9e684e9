//! What stands in task data: where the object is, and nothing that opens it.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::bucket::rig;
use crate::support::rig::IMAGE_CONFIG;
use crate::support::{ACCESS_KEY, SECRET_KEY, Server};

/// What a signed URL holds, and no other.
const SIGNED: [&str; 4] = ["X-Amz-", "Signature=", "AWSAccessKeyId", "GoogleAccessId"];

/// Promise 75: grep for the canary, in every file of project, state and log.
pub async fn l75_no_url_on_disk_carries_a_credential(server: Arc<Server>) {
    let (mut rig, from, to) = rig(&server, IMAGE_CONFIG, "regex = '.*'\ncreate_local_copy = true").await;
    from.put("a b.png", b"a picture".to_vec()).await;
    rig.start();
    let tasks = rig.until_tasks(1);
    assert_eq!(tasks[&0]["data"], json!({"image": format!("s3://{}/a b.png", from.name)}), "where it is, no more");
    let saved = rig.label(0, "cat");
    to.until_holds("done/0", &saved).await;
    assert_eq!(rig.sync(), 0);
    let mut files = 0;
    below(rig.dir.path(), &mut |path, bytes| {
        files += 1;
        let text = String::from_utf8_lossy(bytes);
        for word in SIGNED.into_iter().chain([ACCESS_KEY, SECRET_KEY]) {
            assert!(!text.contains(word), "{word} is in {}", path.display());
        }
    });
    assert!(files > 8, "project, state, settings and log were looked at: {files} files");
}

fn below(dir: &Path, each: &mut dyn FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("read").path();
        // It may be gone again: what is replaced has another name for a while.
        let Ok(kind) = std::fs::symlink_metadata(&path).map(|found| found.file_type()) else { continue };
        if kind.is_dir() {
            below(&path, each);
        } else if kind.is_file() {
            each(&path, &std::fs::read(&path).unwrap_or_default());
        }
    }
}
