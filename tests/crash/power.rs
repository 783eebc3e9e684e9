//! Power cuts on a real file system: everything that was not made durable is gone.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::kill::dice;
use crate::no_mounts;
use crate::soak;
use crate::support::rig::{PATIENCE, Rig, until};
use crate::world::World;

/// Cuts in the short and in the long form.
const CUTS: (usize, usize) = (3, 50);

/// FS_IOC_SHUTDOWN without flushing the log: what was not synced is lost, as when the power goes.
const CUT: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// What lies on the disk that is cut off; the buckets are elsewhere.
const ON_DISK: [&str; 2] = ["cats", "state"];

fn ok(program: &str, words: &[&str]) -> bool {
    let mut command = Command::new(program);
    let status = command.args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

pub fn no_ext4() -> Option<String> {
    no_mounts().or_else(|| {
        let disk = tempfile::tempdir().expect("a directory");
        let image = disk.path().join("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(16 << 20)).expect("made");
        let (image, mount) = (image.display().to_string(), disk.path().join("mount"));
        std::fs::create_dir(&mount).expect("made");
        let mount = mount.display().to_string();
        let may = ok("mkfs.ext4", &["-q", &image]) && ok("mount", &["-o", "loop", &image, &mount]);
        let may = may && ok("umount", &[&mount]) && ok("python3", &["-c", "import fcntl"]);
        (!may).then(|| "needs mkfs.ext4, loop mounts and python3".to_owned())
    })
}

struct Disk {
    image: String,
    mount: String,
}

impl Disk {
    fn new(rig: &Rig) -> Self {
        let (image, mount) = (rig.path("image"), rig.path("disk"));
        std::fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("made");
        std::fs::create_dir(&mount).expect("made");
        let this = Self { image: image.display().to_string(), mount: mount.display().to_string() };
        assert!(ok("mkfs.ext4", &["-q", &this.image]));
        this
    }

    fn mount(&self, rig: &Rig) {
        assert!(ok("mount", &["-o", "loop", &self.image, &self.mount]), "the disk is mounted");
        for name in ON_DISK {
            let (on_disk, seen) = (format!("{}/{name}", self.mount), rig.path(name));
            std::fs::create_dir_all(&on_disk).expect("made");
            std::fs::create_dir_all(&seen).expect("made");
            assert!(ok("mount", &["--bind", &on_disk, &seen.display().to_string()]), "{name} is on the disk");
        }
    }

    fn unmount(&self, rig: &Rig) {
        for name in ON_DISK {
            let seen = rig.path(name).display().to_string();
            until("nobody has it open", PATIENCE, || ok("umount", &[&seen]).then_some(()));
        }
        until("nobody has it open", PATIENCE, || ok("umount", &[&self.mount]).then_some(()));
    }
}

/// Ids with their keys, as the daemon says that it has them.
fn acknowledged(world: &World) -> BTreeMap<u64, String> {
    let ran = world.rig.lsctl(&["--json", "list", "cats", "--state", "tasks"]);
    let items: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_default();
    let items = items["items"].as_array().cloned().unwrap_or_default();
    items.iter().filter_map(|item| Some((item["id"].as_u64()?, item["key"].as_str()?.to_owned()))).collect()
}

pub fn l36_after_a_power_cut_all_that_was_acknowledged_is_there() {
    let rig = Rig::new();
    let disk = Disk::new(&rig);
    disk.mount(&rig);
    let mut world = World::of(rig);
    // What the test itself made must not be what is lost.
    assert!(ok("sync", &["-f", &disk.mount]));
    let cuts = if soak() { CUTS.1 } else { CUTS.0 };
    let mut known: BTreeMap<u64, String> = BTreeMap::new();
    for cut in 0..cuts {
        world.rig.start();
        for (id, key) in acknowledged(&world) {
            let before = known.entry(id).or_insert_with(|| key.clone());
            assert_eq!(*before, key, "id {id} is another key's after cut {cut}");
        }
        let end = Instant::now() + Duration::from_millis(800 + dice(cut) % 2_500);
        for n in 0.. {
            if Instant::now() > end {
                break;
            }
            world.put(&format!("{cut}-{n}.json"));
            let tasks = world.look().min(5);
            if tasks > 0 {
                world.label_durably((n % tasks) as u64, if n % 2 == 0 { "cat" } else { "dog" });
            }
            known.extend(acknowledged(&world));
            std::thread::sleep(Duration::from_millis(dice(cut + n) % 150));
        }
        known.extend(acknowledged(&world));
        assert!(ok("python3", &["-c", CUT, &disk.mount]), "the power is cut");
        world.rig.kill();
        disk.unmount(&world.rig);
        disk.mount(&world.rig);
    }
    world.rig.start();
    let now = acknowledged(&world);
    for (id, key) in &known {
        assert_eq!(now.get(id), Some(key), "id {id} was acknowledged");
    }
    world.goes_on();
    world.rig.kill();
    disk.unmount(&world.rig);
}
